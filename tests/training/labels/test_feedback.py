"""The correction of a score by labels: its parts by hand, and against other ways to compute them."""

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize
from scipy.special import expit

from vae_detect.runtime.bundle import Bundle, Calibration, Column
from vae_detect.runtime.detector import Detector
from vae_detect.training.labels.feedback import (
    NARROW,
    WIDE,
    Fit,
    Likeness,
    Yardstick,
    fit_weights,
    likeness_of,
    shared_counts,
)
from vae_detect.training.labels.reviews import ScoredRows

Floats = NDArray[np.float64]

CALIBRATION = Calibration(
    far=0.1,
    threshold=20.0,
    n=99,
    effective_n=99.0,
    far_low=0.05,
    far_high=0.15,
    method="conformal",
    resolution=0.01,
    knot_scores=(0.0, 10.0, 20.0, 30.0),
    knot_log10_p=(0.0, float(np.log10(0.5)), -1.0, -2.0),
)
YARDSTICK = Yardstick.of(CALIBRATION)


@pytest.fixture(scope="module")
def two_columns(detector: Detector) -> Bundle:
    """The facts of a detector of two columns, one of them on a logarithmic scale; scores as in `CALIBRATION`."""
    columns = (Column("a", "", 1.0, 2.0), Column("b", "", 0.0, 0.5, "log", knee=1.0))
    return msgspec.structs.replace(detector.bundle, columns=columns, calibration=CALIBRATION)


# --- the yardstick ---------------------------------------------------------------------------------------------------


def test_the_yardstick_by_hand() -> None:
    # log10 0.05 = -1.30103 is 0.30103 of the way from 20 to 30
    assert pytest.approx((0.0, 23.0103)) == YARDSTICK
    expected = [np.log(10 / 23.0103), 0.0]
    assert YARDSTICK.log_odds(np.array([10.0, 23.0103])) == pytest.approx(expected, abs=1e-6)
    assert np.isfinite(YARDSTICK.log_odds(np.array([0.0]))).all()


def test_a_free_energy_is_measured_from_the_lowest() -> None:
    negative = msgspec.structs.replace(CALIBRATION, knot_scores=(-10.0, 0.0, 10.0, 20.0))
    yardstick = Yardstick.of(negative)
    assert yardstick == pytest.approx((-10.0, 13.0103))
    found = yardstick.correct(torch.tensor([10.0, -10.0, -12.0]), torch.full((3,), float(np.log(2))))
    assert found.tolist() == pytest.approx([30.0, -10.0, -11.0])  # 20 above is doubled, 2 below halved


def test_a_detector_with_one_normal_score_has_a_yardstick() -> None:
    for score in (5.0, 0.0, -3.0):
        one = msgspec.structs.replace(CALIBRATION, knot_scores=(score,), knot_log10_p=(0.0,))
        assert np.isfinite(Yardstick.of(one).log_odds(np.array([score]))).all()


@settings(deadline=None)
@given(st.floats(0, 2.0**100, width=32), st.floats(-6, 6, width=32))
def test_a_correction_multiplies_the_score(score: float, g: float) -> None:
    found = YARDSTICK.correct(torch.tensor([score]), torch.tensor([g])).item()
    assert found == pytest.approx(score * np.exp(g), rel=1e-5, abs=1e-37)
    assert YARDSTICK.correct(torch.tensor([score]), torch.zeros(1)).item() == score


def test_corrected_scores_keep_the_order_of_scores_and_of_corrections() -> None:
    yardstick = YARDSTICK._replace(low=-20.0)
    scores = torch.tensor([-50.0, -21.0, 0.0, 9.0, 11.0, 1e5])
    for g in (-3.0, -0.1, 0.1, 3.0):
        assert torch.all(torch.diff(yardstick.correct(scores, torch.full((6,), g))) > 0)
    for score in scores:
        assert torch.all(torch.diff(yardstick.correct(score.expand(5), torch.tensor([-4.0, -1.0, 0.0, 1.0, 4.0]))) > 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_stays_so(bad: float) -> None:
    assert not YARDSTICK.correct(torch.tensor([bad]), torch.tensor([0.5])).isfinite().item()


# --- likeness --------------------------------------------------------------------------------------------------------


def test_the_likeness_of_two_rows_by_hand(two_columns: Bundle) -> None:
    x = torch.tensor([[1.0, 0.0], [3.0, float(np.e) - 1]])  # standardised (0, 0) and (1, 2)
    likeness = Likeness(two_columns, 0.5)
    # squared distance 5, length scale 0.5 * sqrt(2 * 2) = 1
    expected = np.array([[1, np.exp(-5 / 2)], [np.exp(-5 / 2), 1]])
    np.testing.assert_allclose(likeness_of(likeness(x), likeness(x)).numpy(), expected, rtol=1e-5)


def test_far_values_are_compared_clipped(two_columns: Bundle) -> None:
    likeness = Likeness(two_columns, 0.5)
    x = torch.tensor([[1e6, 0.0], [11.0, 0.0]])  # 5 standard deviations is 1 + 5 * 2
    assert torch.equal(*likeness(x))


def test_a_window_is_as_far_from_another_as_its_rows_on_average(two_columns: Bundle) -> None:
    rows = torch.tensor([[1.0, 0.0], [3.0, float(np.e) - 1]])
    of_rows = Likeness(two_columns, 0.7)
    windows = rows[:, None].expand(2, 3, 2)  # the same row three times
    of_windows = Likeness(msgspec.structs.replace(two_columns, kind="windows", window=3), 0.7)
    a, b = of_rows(rows), of_windows(windows)
    torch.testing.assert_close(likeness_of(a, a), likeness_of(b, b))


def test_another_category_is_another_place_and_an_unknown_class_none(two_columns: Bundle) -> None:
    columns = (
        Column("a", "", 0.0, 1.0, "category", levels=(0.0, 1.0, 2.0)),
        Column("b", "", 0.0, 1.0, "class", levels=(0.0, 1.0)),
    )
    likeness = Likeness(msgspec.structs.replace(two_columns, columns=columns), 0.5)
    points = likeness(torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, -1.0]]))
    # two levels differ in two of the places of a category: squared distance 2, length scale 1
    assert likeness_of(points[:1], points)[0].tolist() == pytest.approx([1, np.exp(-1), 1], rel=1e-5)


# --- the fit ---------------------------------------------------------------------------------------------------------


def test_one_label_by_hand() -> None:
    # a = sigma(-(m + k a)): how surprising the label is, once it is known
    for log_odds, is_fault in ((-2.0, True), (3.0, False)):
        sign = 1 if is_fault else -1
        expected = brentq(lambda a, m=log_odds, y=sign: a - expit(-y * m - 4 * a), 0, 1)
        found = fit_weights(np.array([[4.0]]), np.array([log_odds]), np.array([is_fault]), np.ones(1))
        assert found == pytest.approx([sign * expected])


def some_labels(n: int, seed: int) -> tuple[Floats, Floats, NDArray[np.bool_], Floats]:
    generator = np.random.default_rng(seed)
    points = torch.from_numpy(generator.normal(size=(n, 3)))
    k = 3 * likeness_of(points, points).numpy() + 25
    return k, generator.normal(0, 4, n), generator.random(n) < 0.5, generator.uniform(0.1, 1, n)


@pytest.mark.parametrize("seed", range(4))
def test_the_fit_is_the_one_that_another_optimiser_finds(seed: int) -> None:
    k, log_odds, is_fault, counts = some_labels(12, seed)

    def cost(h: Floats) -> float:  # of the function's values, not of the weights
        y = np.where(is_fault, 1, -1)
        return float(counts @ np.logaddexp(0, -y * (log_odds + h)) + 0.5 * h @ np.linalg.solve(k, h))

    expected = minimize(cost, np.zeros(12), tol=1e-10).x
    found = k @ fit_weights(k, log_odds, is_fault, counts)
    np.testing.assert_allclose(found, expected, atol=2e-3)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 30), st.integers(0, 1000), st.floats(0, 30))
def test_each_weight_is_how_surprising_its_label_is(n: int, seed: int, far: float) -> None:
    k, log_odds, is_fault, counts = some_labels(n, seed)
    log_odds = log_odds * far
    a = fit_weights(k, log_odds, is_fault, counts)
    f = log_odds + k @ a
    # The search stops when the posterior hardly rises any more: its maximum is flat, so a is known less well.
    np.testing.assert_allclose(a, counts * (is_fault - expit(f)), atol=1e-4)
    assert np.all(a[is_fault] >= -1e-6)
    assert np.all(a[~is_fault] <= 1e-6)


def test_labels_of_a_kind_within_a_stretch_count_as_one() -> None:
    stretch = np.array([0, 0, 0, 0, 1, 2])
    is_fault = np.array([True, True, False, True, True, False])
    assert shared_counts(stretch, is_fault).tolist() == pytest.approx([1 / 3, 1 / 3, 1, 1 / 3, 1, 1])


def recording(x: NDArray[np.float32], score: float = 20.0) -> ScoredRows:
    return ScoredRows(x, np.full(len(x), score, np.float32), np.ones(len(x), np.bool_), {})


def test_rows_near_a_label_are_scored_without_it(two_columns: Bundle) -> None:
    rows = recording(np.zeros((100, 2), np.float32))
    labelled = np.array([10, 13, 40])
    fit = Fit(two_columns, rows, labelled, np.array([True, False, True]), near=5)
    # 10 and 13 are one stretch, 40 another
    assert fit.columns_of(np.array([0, 4, 5, 10, 18, 19, 34, 35, 45, 46, 99])).tolist() == [
        *(0, 0, 1, 1, 1, 0),
        *(0, 2, 2, 0, 0),
    ]
    assert fit.weights.shape == (3, 3)
    assert fit.weights[:2, 1].tolist() == [0, 0]
    assert fit.weights[2, 2] == 0
    alone = Fit(two_columns, rows, labelled, np.array([True, False, True]), near=0)
    assert alone.columns_of(np.array([9, 10, 13, 40])).tolist() == [0, 1, 2, 3]


def test_labels_reach_far_only_when_they_foretell_each_other(two_columns: Bundle) -> None:
    generator = np.random.default_rng(0)
    faults = generator.normal((5, 3), 0.3, (20, 2))
    normal = generator.normal((-3, 3), 0.3, (20, 2))
    x = np.concatenate([faults, normal]).astype(np.float32)
    labelled = np.arange(40)
    clear = Fit(two_columns, recording(x), labelled, labelled < 20, near=0)
    at_random = Fit(two_columns, recording(x), labelled, generator.random(40) < 0.5, near=0)
    few = Fit(two_columns, recording(x), labelled[:1], np.array([True]), near=0)
    assert (clear.foretold, at_random.foretold, few.foretold) == (True, False, False)
    assert clear.likeness.divisor == pytest.approx(2 * WIDE.length * np.sqrt(2))
    assert few.likeness.divisor == pytest.approx(2 * NARROW.length * np.sqrt(2))
    assert "speak for all rows of their kind" in clear.describe()
    assert "labels: 1 of faults, 0 of false alarms" in few.describe()
    unseen = np.array([[5.2, 3.1], [-3.2, 2.9]], np.float32)
    column = np.zeros(2, np.int64)
    found = clear.correct(unseen, np.arange(2), np.full(2, 20, np.float32), column)
    assert found[0] > 20 > found[1]
