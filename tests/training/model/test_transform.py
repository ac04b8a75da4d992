"""Raw values to what a network sees: the way there, the way back, and the same in numpy."""

import math
from collections.abc import Sequence
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from vae_detect.runtime.bundle import Column, Treatment
from vae_detect.runtime.observation import treat, untreat
from vae_detect.training.data.columns import plan_columns
from vae_detect.training.model.transform import Expansion, Transform

Floats = NDArray[np.float32]


def one_column(cells: Sequence[float] | NDArray[np.floating]) -> Floats:
    return np.asarray(cells, np.float32)[:, None]


def plan(
    cells: Sequence[float] | NDArray[np.floating], treatment: Treatment | None = None, *, name: str = "a"
) -> Column:
    (column,), _ = plan_columns(one_column(cells), [name], treatments={name: treatment} if treatment else None)
    return column


def raw(treatment: Treatment, *, knee: float = 1.0, levels: tuple[float, ...] = ()) -> Column:
    """A column whose treatment alone is seen: center 0, scale 1."""
    return Column("a", "", 0.0, 1.0, treatment, knee=knee, levels=levels)


def treated(column: Column, value: float) -> float:
    return float(Transform((column,))(torch.tensor([[value]])))


# --- there and back --------------------------------------------------------------------------------------------------

NUMBERS = st.floats(-1e6, 1e6, width=32)


def there_and_back(column: Column, value: float) -> float:
    transform = Transform((column,)).double()
    transform.inverse_scale = 1 / transform.scale
    return transform.inverse(transform(torch.tensor([[value]], dtype=torch.float64))).item()


@given(NUMBERS, NUMBERS, st.floats(0.125, 1e3, width=32))
def test_linear_there_and_back(value: float, center: float, scale: float) -> None:
    assert there_and_back(Column("a", "", center, scale), value) == pytest.approx(value, rel=1e-6, abs=1e-6)


@given(NUMBERS, st.floats(-10, 10, width=32), st.floats(0.125, 10, width=32), st.floats(0.125, 1e3, width=32))
def test_log_there_and_back(value: float, center: float, scale: float, knee: float) -> None:
    column = Column("a", "", center, scale, "log", knee=knee)
    assert there_and_back(column, value) == pytest.approx(value, rel=1e-6, abs=1e-6)


@given(st.floats(-0.5, 1.5, width=32), st.sampled_from([(0.0, 1.0), (0.0, 100.0)]))
def test_logit_there_and_back_within_the_range_and_beyond(share: float, ends: tuple[float, float]) -> None:
    column = Column("a", "", 0.5, 2.0, "logit", levels=ends)
    assert there_and_back(column, share * ends[1]) == pytest.approx(share * ends[1], rel=1e-4, abs=1e-6 * ends[1])


@given(st.floats(-100, 100, width=32))
def test_binary_there_and_back(value: float) -> None:
    column = Column("a", "", 4.0, 16.0, "binary", levels=(4.0, 20.0))
    assert there_and_back(column, value) == pytest.approx(value, rel=1e-6, abs=1e-6)


@given(NUMBERS, NUMBERS, st.sampled_from(["linear", "log", "logit", "binary"]))
def test_every_treatment_keeps_the_order(a: float, b: float, kind: Treatment) -> None:
    column = raw(kind, levels=(0.0, 100.0) if kind == "logit" else ())
    low, high = sorted((a, b))
    assert treated(column, low) <= treated(column, high)


@pytest.mark.parametrize("kind", get_args(Treatment))
def test_what_is_not_finite_stays_so(kind: Treatment) -> None:
    column = raw(kind, levels=(0.0, 1.0) if kind in ("logit", "angle") else ())
    assert math.isnan(treated(column, math.nan))
    assert treated(column, math.inf) == math.inf
    assert treated(column, -math.inf) == -math.inf


def test_the_way_back_is_finite_wherever_a_network_may_point() -> None:
    columns = [raw("linear"), raw("log"), raw("logit", levels=(0.0, 100.0)), raw("binary", levels=(0.0, 1.0))]
    found = Transform(columns).inverse(torch.tensor([[1e30] * 4, [-1e30] * 4, [100.0] * 4]))
    assert bool(torch.isfinite(found).all())


def test_columns_are_treated_side_by_side() -> None:
    columns = [
        Column("a", "", 1.0, 2.0),
        Column("b", "", 0.0, 1.0, "log", knee=1.0),
        Column("c", "", 0.0, 1.0, "logit", levels=(0.0, 100.0)),
        Column("d", "", 0.0, 1.0, "category", levels=(0.0, 3.0)),
    ]
    x = torch.tensor([[5.0, math.e - 1, 75.0, 3.0]])
    transform = Transform(columns)
    torch.testing.assert_close(transform(x), torch.tensor([[2.0, 1.0, math.log(3), 3.0]]))
    torch.testing.assert_close(transform.inverse(transform(x)), x)


def test_windows_are_treated_like_rows() -> None:
    transform = Transform([raw("log"), raw("logit", levels=(0.0, 1.0))])
    rows = torch.rand(6, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(transform(rows.reshape(2, 3, 2)).reshape(6, 2), transform(rows))


@pytest.mark.parametrize("kind", ["linear", "log", "logit"])
def test_torch_and_numpy_treat_alike(kind: Treatment) -> None:
    column = Column("a", "", 0.0, 1.0, kind, knee=2.0, levels=(0.0, 100.0) if kind == "logit" else ())
    x = np.concatenate([np.linspace(-20, 120, 1401), [0.1, 99.9, 1e6, -1e6, 1e30]]).astype(np.float32)
    transform = Transform((column,))
    found = treat(x, column)
    np.testing.assert_allclose(found, transform.treat(torch.from_numpy(x[:, None]))[:, 0].numpy(), rtol=1e-5, atol=1e-5)
    back = transform.inverse(torch.from_numpy(found[:, None]))[:, 0].numpy()
    np.testing.assert_allclose(untreat(found, column), back, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(untreat(treat(x[:1401].astype(np.float64), column), column), x[:1401], atol=1e-9)


def test_no_log_leaves_float32_on_the_way_back() -> None:
    column = Column("a", "", 0.0, 1.0, "log", knee=1.0)
    far = np.array([-1e4, 1e4], np.float32)
    np.testing.assert_allclose(untreat(far, column), Transform((column,)).inverse(torch.from_numpy(far[:, None]))[:, 0])


# --- the expansion ---------------------------------------------------------------------------------------------------

MIXED = (
    Column("mode", "", 0.0, 1.0, "category", levels=(0.0, 1.0, 2.0), texts=("auto", "manual", "off")),
    Column("flow", "", 0.0, 1.0),
    Column("product", "", 0.0, 1.0, "class", levels=(5.0, 9.0)),
    Column("pump", "", 0.0, 1.0, "binary", levels=(0.0, 1.0)),
    Column("rain", "", 0.0, 1.0, "log"),
    Column("line", "", 0.0, 1.0, "category", levels=(-1.0, 4.0)),
)
#                  mode flow product pump rain line
ROW = torch.tensor([[2.0, 3.5, 9.0, 1.0, 0.5, 4.0]])


def test_a_network_sees_numbers_then_flags_then_levels_and_no_class() -> None:
    expansion = Expansion(MIXED)
    assert expansion.width == 2 + 1 + 3 + 2
    #                                        flow rain pump  mode           line
    assert expansion.expand(ROW).tolist() == [[3.5, 0.5, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0]]


def test_numbers_alone_are_left_as_they_are() -> None:
    expansion = Expansion((Column("a", "", 0.0, 1.0), Column("b", "", 0.0, 1.0, "log")))
    x = torch.tensor([[1.0, 2.0]])
    assert expansion.is_plain
    assert expansion.width == 2
    assert expansion.expand(x) is x
    assert not Expansion(MIXED).is_plain


def test_windows_are_expanded_row_by_row() -> None:
    expansion = Expansion(MIXED)
    window = torch.cat([ROW, ROW + 1])[None]  # (1, 2, 6)
    torch.testing.assert_close(expansion.expand(window)[0], expansion.expand(window[0]))


@pytest.mark.parametrize(("value", "expected"), [(-1.0, [1.0, 0.0]), (4.0, [0.0, 1.0]), (3.0, [0.0, 0.0])])
def test_one_hot_by_hand(value: float, expected: list[float]) -> None:
    x = ROW.clone()
    x[0, 5] = value
    assert Expansion(MIXED).one_hot(x, 1).tolist() == [expected]  # zeros for a value that is no level


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_category_that_is_no_number_is_not_taken_for_an_unknown_level(bad: float) -> None:
    x = ROW.clone()
    x[0, 0] = bad
    assert bool(torch.isnan(Expansion(MIXED).one_hot(x, 0)).all())


def test_the_order_of_the_columns_comes_back() -> None:
    expansion = Expansion(MIXED)
    # positions in the order numbers, flags, categories, classes: flow 1, rain 4, pump 3, mode 0, line 5, product 2
    inside = torch.tensor([1, 4, 3, 0, 5, 2])
    assert inside[expansion.back].tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(("value", "expected"), [(5.0, [1.0, 0.0]), (9.0, [0.0, 1.0]), (-1.0, [0.0, 0.0])])
def test_the_class_of_a_row(value: float, expected: list[float]) -> None:
    x = ROW.clone()
    x[0, 2] = value
    assert Expansion(MIXED).class_of(x).tolist() == [expected]


def test_the_class_of_a_window_is_that_of_its_newest_row() -> None:
    window = torch.cat([ROW, ROW])[None]
    window[0, 0, 2], window[0, 1, 2] = 9.0, 5.0
    assert Expansion(MIXED).class_of(window).tolist() == [[1.0, 0.0]]


@given(st.permutations(range(len(MIXED))))
def test_the_order_in_the_file_does_not_matter(order: list[int]) -> None:
    shuffled = Expansion([MIXED[position] for position in order])
    x = ROW[:, order]
    assert sorted(shuffled.expand(x)[0].tolist()) == sorted(Expansion(MIXED).expand(ROW)[0].tolist())
    assert shuffled.class_of(x).tolist() == [[0.0, 1.0]]
