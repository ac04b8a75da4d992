"""What is done with each column: every formula by hand, its way back, and how it is chosen from the training rows."""

import math
from collections.abc import Sequence
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vae_detect.runtime.bundle import Column, Treatment
from vae_detect.runtime.errors import InputError
from vae_detect.training.data.columns import parse_treatments, plan_columns
from vae_detect.training.data.suspects import MOST_LEVELS
from vae_detect.training.model.transform import Transform

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


# --- names and units -------------------------------------------------------------------------------------------------


def test_units_stand_in_brackets_at_the_end() -> None:
    names = ["flow [m3/h]", "power", "temp [ °C ] ", "a [b] c", "[bar]"]
    values = np.array([[1, 2, 3, 1, 5], [3, 4, 5, 3, 7], [5, 6, 7, 5, 9]], np.float32)
    columns, _ = plan_columns(values, names)
    assert [column.unit for column in columns] == ["m3/h", "", "°C", "", "bar"]
    assert [column.name for column in columns] == names
    assert columns[3].center == 3.0
    assert columns[3].scale == pytest.approx(math.sqrt(8 / 3))


# --- linear ----------------------------------------------------------------------------------------------------------


def test_linear_by_hand() -> None:
    values = np.array([[1, 10], [3, 10], [1, 10], [3, 10]], np.float32)
    columns, notes = plan_columns(values, ["f0", "f1"], numeric_only=True)
    # column 0: mean 2, standard deviation 1; column 1 is constant while training, and a network never sees it
    assert [column.center for column in columns] == [2.0, 10.0]
    assert [column.scale for column in columns] == [1.0, 0.0]
    assert [column.treatment for column in columns] == ["linear", "constant"]
    assert notes == ["constant while training, so that any other value will be an anomaly: f1"]
    standardised = Transform(columns)(torch.tensor([[5.0, 25.0]]))
    assert standardised.tolist() == [[3.0, 0.0]]  # (5 - 2) / 1


@pytest.mark.parametrize("value", [0.0, -5.0, 0.25, 1e-8, 5_350_000.0, 3e38])
def test_a_constant_column_is_its_value(value: float) -> None:
    (column,), notes = plan_columns(np.full((50, 1), value, np.float32), ["a"])
    assert (column.treatment, column.scale) == ("constant", 0.0)
    assert column.levels == (column.center,)
    assert column.center == float(np.float32(value))
    assert len(notes) == 1


def test_a_column_that_changes_only_among_the_held_out_rows_is_no_constant() -> None:
    everywhere = one_column([7.0] * 80 + [6.0, 7.5, 8.0] * 5)
    (column,), _ = plan_columns(everywhere[:80], ["a"], everywhere=everywhere)
    assert column.treatment == "linear"
    assert column.scale == pytest.approx(float(everywhere.std()))


def test_a_large_offset_with_a_small_signal_is_no_constant() -> None:
    values = one_column(5_350_000 + 2 * np.random.default_rng(0).normal(size=500))
    (column,), notes = plan_columns(values, ["northing"])
    assert (column.treatment, notes) == ("linear", [])
    assert column.scale == pytest.approx(2.0, rel=0.1)
    jump = Transform((column,))(torch.tensor([[column.center + 100.0]]))
    assert float(jump) == pytest.approx(100 / column.scale, rel=1e-3)


@pytest.mark.parametrize("cells", [[0.0, 1e-44], [1e-44, 2e-44, 3e-44, 4e-43]])
def test_a_scale_by_which_float32_cannot_divide_is_1(cells: list[float]) -> None:
    assert plan(cells).scale == 1.0


def test_a_column_that_varies_only_by_rounding_is_constant() -> None:
    # Neighbouring float32 numbers.
    values = one_column([1e8, 1e8 + 8, 1e8 + 16] * 20)
    (column,), notes = plan_columns(values, ["a"])
    assert (column.treatment, column.center) == ("constant", 1e8 + 8)
    assert notes == ["constant while training, so that any other value will be an anomaly: a"]


def test_data_in_a_range_is_not_standardised() -> None:
    values = np.array([[0, 1], [1, 1]], np.float32)
    columns, notes = plan_columns(values, ["a", "b"], standardise=False)
    found = [(column.center, column.scale, column.treatment) for column in columns]
    assert found == [(0.0, 1.0, "linear"), (1.0, 0.0, "constant")]
    assert len(notes) == 1  # a constant column is told all the same


def test_the_statistics_are_the_float32_numbers_that_the_graph_holds() -> None:
    column = plan(np.random.default_rng(0).normal(3.0, 0.1, size=100))
    assert column.center == float(np.float32(column.center))
    assert column.scale == float(np.float32(column.scale))


# --- log -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "knee", "expected"),
    [
        (0.0, 1.0, 0.0),
        (math.e - 1, 1.0, 1.0),
        (1.0 - math.e, 1.0, -1.0),  # odd, so that negative numbers have a place
        (30.0, 10.0, math.log(4)),
        (-30.0, 10.0, -math.log(4)),
        (1e30, 1.0, 30 * math.log(10)),
    ],
)
def test_log_by_hand(value: float, knee: float, expected: float) -> None:
    assert treated(raw("log", knee=knee), value) == pytest.approx(expected, rel=1e-6)


def test_log_is_nearly_linear_below_the_knee() -> None:
    assert treated(raw("log", knee=100.0), 0.1) == pytest.approx(0.001, rel=1e-3)


def test_log_is_standardised_after_the_logarithm() -> None:
    column = plan([0.0, 3.0, 15.0, 0.0, 3.0, 15.0], "log")  # whole numbers, so the knee is 1
    # log 1, log 4, log 16 are 0, 2 and 4 times log 2: mean 2 log 2, variance 8/3 of log^2 2
    assert column.knee == 1.0
    assert column.center == pytest.approx(2 * math.log(2))
    assert column.scale == pytest.approx(math.sqrt(8 / 3) * math.log(2))
    assert treated(column, 15.0) == pytest.approx(math.sqrt(3 / 2))  # 2 / sqrt(8 / 3)


@pytest.mark.parametrize(
    ("cells", "knee"),
    [
        ([0, 1, 2, 1000], 1.0),  # counts
        ([0.0, 0.25, 4.0, -8.5], 4.0),  # the median size of what is not 0
        ([0.5, 0.5, 2.5, 100.0], 1.5),
        ([0.0, 0.0], 1.0),
    ],
)
def test_the_knee_is_one_for_counts_and_else_the_median_size(cells: list[float], knee: float) -> None:
    assert plan(cells, "log").knee == knee


# --- logit -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "ends", "expected"),
    [
        (0.5, (0.0, 1.0), 0.0),
        (0.75, (0.0, 1.0), math.log(3)),
        (0.25, (0.0, 1.0), -math.log(3)),
        (75.0, (0.0, 100.0), math.log(3)),
        (0.999, (0.0, 1.0), math.log(999)),
        # from the edge on a straight line with the logit's own slope there, 1 / (0.001 * 0.999)
        (1.0, (0.0, 1.0), math.log(999) + 1 / 0.999),
        (0.0, (0.0, 1.0), -math.log(999) - 1 / 0.999),
        (110.0, (0.0, 100.0), math.log(999) + 0.101 / (0.001 * 0.999)),
    ],
)
def test_logit_by_hand(value: float, ends: tuple[float, float], expected: float) -> None:
    assert treated(raw("logit", levels=ends), value) == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(
    ("cells", "name", "ends"),
    [
        ([0.1, 0.5, 1.0], "a", (0.0, 1.0)),  # shares
        ([0.0, 50.0, 100.0], "a", (0.0, 100.0)),
        ([0.1, 0.5, 0.9], "errors [%]", (0.0, 100.0)),  # of a percentage, 0.9 is little
    ],
)
def test_the_range_of_a_logit(cells: list[float], name: str, ends: tuple[float, float]) -> None:
    assert plan(cells, "logit", name=name).levels == ends


def test_logit_is_standardised_after_the_logit() -> None:
    column = plan([0.25, 0.75] * 10, "logit")
    assert column.center == pytest.approx(0.0, abs=1e-6)
    assert column.scale == pytest.approx(math.log(3))


# --- flags, categories, classes --------------------------------------------------------------------------------------


def test_a_flag_is_0_at_its_lower_level_and_1_at_its_higher() -> None:
    column = plan([4.0, 20.0, 20.0, 4.0])
    assert (column.treatment, column.levels) == ("binary", (4.0, 20.0))
    assert [treated(column, value) for value in (4.0, 20.0, 12.0)] == [0.0, 1.0, 0.5]


def test_a_flag_that_never_changed_is_kept_where_it_is_asked_for() -> None:
    column = plan([0.0] * 5, "binary")
    assert (column.levels, column.center, column.scale) == ((0.0,), 0.0, 1.0)
    assert plan([3.0] * 5, "binary").scale == 3.0


@pytest.mark.parametrize("treatment", ["category", "class"])
def test_categories_are_left_as_they_are(treatment: Treatment) -> None:
    column = plan([7.0, 2.0, 2.5, 7.0], treatment)
    assert (column.levels, column.texts) == ((2.0, 2.5, 7.0), ())
    assert treated(column, 7.0) == 7.0


def test_the_levels_of_a_text_column_are_the_places_of_its_texts() -> None:
    texts = {"mode": ("auto", "manual", "off")}
    # "off" is in the file but not among the training rows: it keeps its place
    (column,), notes = plan_columns(one_column([0, 1, 1, 0]), ["mode"], texts=texts)
    assert (column.treatment, column.levels, column.texts) == ("category", (0.0, 1.0, 2.0), texts["mode"])
    assert notes == ["taken as category: mode"]


# --- what is chosen --------------------------------------------------------------------------------------------------

RNG = np.random.default_rng(5)


@pytest.mark.parametrize(
    ("cells", "name", "expected"),
    [
        pytest.param(RNG.normal(size=1000), "a", "linear", id="normal"),
        pytest.param(RNG.exponential(size=1000), "a", "linear", id="exponential: kurtosis 9"),
        pytest.param(RNG.poisson(4, size=1000), "a", "linear", id="well-behaved counts"),
        pytest.param(RNG.lognormal(sigma=2, size=1000), "a", "log", id="heavy tail"),
        pytest.param([0] * 990 + [1, 2, 3] * 3 + [500], "a", "log", id="rare counts"),
        pytest.param(-RNG.lognormal(sigma=2, size=1000), "a", "log", id="heavy tail below 0"),
        pytest.param([0, 1] * 50, "a", "binary", id="flag"),
        pytest.param([0] * 999 + [1], "a", "binary", id="rare flag"),
        pytest.param([4.0] * 50, "a", "constant", id="constant"),
        pytest.param(np.linspace(0.5, 60, 100), "valve [%]", "logit", id="percentage near 0"),
        pytest.param(np.linspace(40, 99.5, 100), "valve [percent]", "logit", id="percentage near 100"),
        pytest.param(np.linspace(20, 80, 100), "valve [%]", "linear", id="percentage in the middle"),
        pytest.param(np.linspace(0.5, 120, 100), "load [%]", "linear", id="more than 100 percent"),
        pytest.param(np.linspace(-0.5, 60, 100), "slope [%]", "linear", id="below 0 percent"),
        pytest.param(np.linspace(0.5, 60, 100), "valve", "linear", id="no unit"),
        pytest.param([0, 1, 2] * 50, "a", "linear", id="few numbers are numbers"),
    ],
)
def test_what_is_chosen(cells: list[float], name: str, expected: str) -> None:
    assert plan(cells, name=name).treatment == expected


@pytest.mark.parametrize(("spread", "expected"), [(59, "linear"), (61, "log")])
def test_the_tail_is_heavy_from_a_kurtosis_of_30(spread: int, expected: str) -> None:
    # Of n values, one 1 and one -1 among zeros, the kurtosis is (2 / n) / (2 / n)^2 = n / 2.
    assert plan([1.0, -1.0, *[0.0] * (spread - 2)]).treatment == expected


def test_flags_are_numbers_where_only_numbers_are_wanted() -> None:
    (column,), _ = plan_columns(one_column([0, 1] * 20), ["a"], numeric_only=True)
    assert (column.treatment, column.center, column.scale) == ("linear", 0.5, 0.5)


def test_the_user_is_told_what_was_chosen() -> None:
    values = np.stack([np.linspace(0, 1, 100), [0, 1] * 50, [0] * 99 + [90], [7] * 100], axis=1).astype(np.float32)
    values[:50, 2] = np.linspace(0, 0.1, 50)
    _, notes = plan_columns(values, ["a", "pump", "rain", "setpoint"])
    assert notes == [
        "constant while training, so that any other value will be an anomaly: setpoint",
        "taken as log: rain",
        "taken as binary: pump",
    ]


@pytest.mark.parametrize("kind", get_args(Treatment))
def test_the_users_word_wins(kind: Treatment) -> None:
    cells = [1.0] * 40 if kind == "constant" else [0, 1] * 20
    assert plan(cells, kind).treatment == kind


def test_what_varies_cannot_be_taken_as_constant() -> None:
    with pytest.raises(InputError, match="2 values and cannot be taken as constant"):
        plan([0, 1] * 20, "constant")


def test_other_columns_keep_their_own_choice() -> None:
    values = np.array([[0, 0], [1, 1]] * 10, np.float32)
    columns, _ = plan_columns(values, ["a", "b"], treatments={"b": "category"})
    assert [column.treatment for column in columns] == ["binary", "category"]


NUMBERS = st.floats(-1e6, 1e6, width=32)


@settings(deadline=None)
@given(st.lists(NUMBERS, min_size=1, max_size=60), st.sampled_from(["a", "a [%]"]))
def test_whatever_the_column_the_training_rows_come_out_finite(cells: list[float], name: str) -> None:
    column = plan(cells, name=name)
    assert (column.scale > 0) == (column.treatment != "constant")
    standardised = Transform((column,))(torch.from_numpy(one_column(cells)))
    assert bool(torch.isfinite(standardised).all())
    assert float(standardised.abs().max()) <= max(10.0, math.sqrt(len(cells)) + 0.1)


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "treatment", "message"),
    [
        ([0, 1, 2], "binary", "column 'a' has 3 values and cannot be taken as binary, which has 2"),
        ([0, 101], "logit", "column 'a' goes beyond 0 to 100 and cannot be taken as logit"),
        ([-0.1, 0.5], "logit", "column 'a' goes beyond 0 to 100 and cannot be taken as logit"),
        (range(33), "category", "column 'a' has 33 values, expected at most 32 to be taken as category"),
        (range(33), "class", "column 'a' has 33 values, expected at most 32 to be taken as class"),
    ],
)
def test_a_treatment_that_the_values_do_not_allow_is_refused(
    cells: Sequence[float], treatment: Treatment, message: str
) -> None:
    with pytest.raises(InputError) as refused:
        plan(list(cells), treatment)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([3.0, 3.0], "class column 'a' holds only 3 in the training rows, expected at least 2 classes"),
    ],
)
def test_what_is_no_class_is_refused(cells: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        plan(cells, "class")


def test_as_many_levels_as_allowed() -> None:
    assert len(plan(list(range(MOST_LEVELS)), "category").levels) == MOST_LEVELS


def test_the_class_that_stands_for_unknown_is_refused() -> None:
    with pytest.raises(InputError, match="class column 'a' holds -1, which stands for a class that is not known"):
        plan([-1, 1], "class")
    assert plan([-1, 1], "category").levels == (-1.0, 1.0)


@pytest.mark.parametrize("kind", ["linear", "log", "logit", "binary"])
def test_text_is_no_number(kind: Treatment) -> None:
    with pytest.raises(InputError, match=f"column 'a' holds text and cannot be taken as {kind}; expected category"):
        plan_columns(one_column([0, 1]), ["a"], texts={"a": ("off", "on")}, treatments={"a": kind})


# --- as users write them ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("a=log", {"a": "log"}),
        (" a = log ", {"a": "log"}),
        ("a=log, b [m3/h]=linear,", {"a": "log", "b [m3/h]": "linear"}),
        ("x=y=binary", {"x=y": "binary"}),  # the last equals sign divides
        ("a=log,a=linear", {"a": "linear"}),
        ("Temp, C=log,b,c,d=linear", {"Temp, C": "log", "b,c,d": "linear"}),  # so does no comma before it
    ],
)
def test_treatments_from_text(text: str, expected: dict[str, str]) -> None:
    assert parse_treatments([text]) == expected
    assert parse_treatments(["z=binary", text]) == {"z": "binary", **expected}


@pytest.mark.parametrize("text", ["a", "=log", "a=", "a=logarithm", "a=log,b"])
def test_what_is_no_treatment_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is no treatment; expected NAME=one of linear, log, logit, binary, category"):
        parse_treatments([text])
