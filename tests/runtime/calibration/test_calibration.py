"""The promise of the threshold, by simulation and by hand, and the p-value table against the exact definition."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from vae_detect.runtime.bundle import Calibration
from vae_detect.runtime.calibration.calibration import (
    USUAL_RATE,
    calibrate,
    min_calibration_rows,
    realised_range,
    supported_rate,
)
from vae_detect.runtime.describe import describe_calibration
from vae_detect.runtime.errors import InputError

Floats = NDArray[np.float64]

# Zero, or large enough that the neighbouring float32 is no subnormal number away.
SCORES = st.one_of(
    st.sampled_from([-1.0, 0.0, 0.5, 2.0]),  # ties
    st.floats(0.0009765625, 1000, width=32),
    st.floats(-1000, -0.0009765625, width=32),
)


def as_float32(values: Floats) -> Floats:
    return values.astype(np.float32).astype(np.float64)


def exact_p(score: float, calibration: Floats) -> float:
    """(1 + #{s_i >= s}) / (n + 1), counted one by one."""
    return (1 + sum(1 for value in calibration if value >= score)) / (len(calibration) + 1)


def p_value(scores: ArrayLike, knot_scores: ArrayLike, knot_log10_p: ArrayLike) -> Floats:
    """The p-value table as the graph reads it: linear in log10 p, constant at both ends."""
    s, knots, log10_p = (np.asarray(values, np.float64) for values in (scores, knot_scores, knot_log10_p))
    return np.asarray(10.0 ** np.interp(s, knots, log10_p))


def p_of(scores: Floats, fitted: Calibration) -> Floats:
    return p_value(scores, fitted.knot_scores, fitted.knot_log10_p)


def ar1(generator: np.random.Generator, *, n: int, coefficient: float) -> Floats:
    """Gaussian AR(1) series with standard normal margin."""
    noise = generator.standard_normal(n) * math.sqrt(1 - coefficient**2)
    series = np.empty(n)
    value = generator.standard_normal()
    for i, step in enumerate(noise):
        series[i] = value = coefficient * value + step
    return series


# --- the threshold ---------------------------------------------------------------------------------------------------


def test_threshold_by_hand() -> None:
    scores = np.array([5.0, 1.0, 9.0, 3.0, 7.0, 2.0, 8.0, 4.0, 6.0])
    # n = 9, alpha = 0.2: k = ceil(10 * 0.8) = 8, the 8th smallest of 1..9
    fitted = calibrate(scores, far=0.2)
    assert (fitted.threshold, fitted.method, fitted.n, fitted.effective_n) == (8.0, "conformal", 9, 9.0)
    assert fitted.resolution == pytest.approx(0.1)
    # alpha = 0.1: k = 9 = n, the largest
    assert calibrate(scores, far=0.1).threshold == 9.0
    # alpha = 0.25: k = ceil(7.5) = 8 again
    assert calibrate(scores, far=0.25).threshold == 8.0


@pytest.mark.parametrize("far", [0.01, 0.07, 0.29, 0.029, 0.057])
def test_rank_survives_round_off(far: float) -> None:
    # (n+1) alpha is a whole number m on paper, so exactly m calibration scores minus the threshold itself lie above.
    fitted = calibrate(np.arange(999.0), far=far)
    assert np.count_nonzero(np.arange(999.0) > fitted.threshold) == round(1000 * far) - 1


def test_range_is_the_beta_law() -> None:
    fitted = calibrate(np.arange(9.0), far=0.1)
    # Beta(1, 9): P(U <= u) = 1 - (1-u)^9
    assert fitted.far_low == pytest.approx(1 - 0.95 ** (1 / 9))
    assert fitted.far_high == pytest.approx(1 - 0.05 ** (1 / 9))


@pytest.mark.parametrize("law", ["normal", "exponential"])
def test_promised_rate_holds_over_calibration_sets(law: str) -> None:
    generator = np.random.default_rng(1)
    n, far, draws = 250, 0.05, 1500
    rates, inside = [], 0
    for _ in range(draws):
        scores = generator.standard_normal(n) if law == "normal" else generator.exponential(size=n)
        fitted = calibrate(scores, far=far)
        rate = ndtr(-fitted.threshold) if law == "normal" else math.exp(-fitted.threshold)
        rates.append(rate)
        inside += fitted.far_low <= rate <= fitted.far_high
    # (n+1-k)/(n+1) = 12/251; standard error of the mean = 0.0135/sqrt(1500) = 0.00035
    assert np.mean(rates) == pytest.approx(12 / 251, abs=0.0011)
    assert np.mean(rates) <= far
    assert 0.87 <= inside / draws <= 0.93


def test_threshold_is_rounded_up_to_float32() -> None:
    scores = np.full(50, 0.1)  # float32 has 0.100000001490116 and 0.0999999940395355
    fitted = calibrate(scores, far=0.1)
    assert fitted.threshold == float(np.float32(0.1)) >= 0.1
    below = calibrate(np.full(50, 0.7), far=0.1)  # the nearest float32 to 0.7 is below it
    assert below.threshold == float(np.nextafter(np.float32(0.7), np.float32(1))) > 0.7


# --- dependence ------------------------------------------------------------------------------------------------------


def test_range_of_a_series_needs_dependence_rows() -> None:
    generator = np.random.default_rng(2)
    draws, covered, covered_blind, rates = 100, 0, 0, []
    for _ in range(draws):
        scores = ar1(generator, n=2000, coefficient=0.9)
        known, blind = calibrate(scores, far=0.02, dependence_rows=20), calibrate(scores, far=0.02)
        assert known.threshold >= blind.threshold
        assert known.effective_n < blind.effective_n == 2000
        assert known.far_high - known.far_low > blind.far_high - blind.far_low
        rates.append(ndtr(-known.threshold))
        covered += known.far_low <= rates[-1] <= known.far_high
        covered_blind += blind.far_low <= ndtr(-blind.threshold) <= blind.far_high
    assert covered / draws >= 0.88
    assert covered_blind / draws < 0.65
    assert np.mean(rates) <= 1.2 * 0.02


@pytest.mark.parametrize(
    ("coefficient", "n", "far"),
    [(0.0, 300, 0.05), (0.5, 1140, 0.001), (0.9, 1140, 0.05), (0.97, 5000, 0.01), (0.99, 10_000, 0.05)],
)
def test_the_range_holds_where_the_rate_is_taken(coefficient: float, n: int, far: float) -> None:
    generator, rates, inside = np.random.default_rng(3), [], []
    for _ in range(60):
        scores = ar1(generator, n=n, coefficient=coefficient)
        try:
            fitted = calibrate(scores, far=far, dependence_rows=10)
        except InputError:
            continue
        rates.append(ndtr(-fitted.threshold))
        inside.append(fitted.far_low <= rates[-1] <= fitted.far_high)
    assert len(rates) >= 30
    assert np.mean(inside) >= 0.83  # 0.88, less two standard errors of 60 draws that hold in 0.92
    assert np.mean(rates) <= 1.2 * far * (1 + 0.2)  # two standard errors of the mean


@pytest.mark.parametrize(("coefficient", "n", "far"), [(0.99, 1140, 0.001), (0.99, 300, 0.05), (0.9, 300, 0.001)])
def test_a_rate_that_dependent_rows_cannot_support_is_refused(coefficient: float, n: int, far: float) -> None:
    for seed in range(20):
        scores = ar1(np.random.default_rng(seed), n=n, coefficient=coefficient)
        with pytest.raises(InputError, match=r"depend on their neighbours and are worth about \d+, .* times as long"):
            calibrate(scores, far=far, dependence_rows=10)


@pytest.mark.parametrize("coefficient", [0.0, 0.9, 0.99])
def test_the_rate_that_nobody_asked_for_is_taken(coefficient: float) -> None:
    scores = ar1(np.random.default_rng(9), n=1140, coefficient=coefficient)
    far = supported_rate(scores, dependence_rows=10)
    assert calibrate(scores, far=far, dependence_rows=10).far == far
    if coefficient == 0:
        assert far == USUAL_RATE
    else:
        with pytest.raises(InputError, match=r"they support 0\.\d+ or more"):
            calibrate(scores, far=0.5 * far, dependence_rows=10)
    assert supported_rate(np.arange(50.0)) == pytest.approx(0.02)  # 1/51, to two digits upwards


@pytest.mark.parametrize(("coefficient", "far"), [(0.9, 0.02), (0.97, 0.1), (0.5, 0.001)])
def test_the_table_of_a_series_is_alpha_at_its_threshold(coefficient: float, far: float) -> None:
    for seed in range(5):
        scores = ar1(np.random.default_rng(seed), n=2000, coefficient=coefficient)
        fitted = calibrate(scores, far=far, dependence_rows=10)
        check_table(fitted)
        check_verdict(fitted, np.concatenate([as_float32(scores), [fitted.threshold]]))


def test_the_upper_end_never_falls_as_rows_are_worth_less() -> None:
    for share in (0.05, 0.01, 0.001):
        highs = [realised_range(share, rows)[1] for rows in (1000, 300, 100, 30, 10, 3, 1)]
        assert highs == sorted(highs)


# --- the p-value table -----------------------------------------------------------------------------------------------


def check_table(fitted: Calibration) -> None:
    knots, log10_p = np.array(fitted.knot_scores), np.array(fitted.knot_log10_p)
    assert 2 <= knots.size == log10_p.size <= 64
    assert np.array_equal(knots, as_float32(knots))
    assert np.array_equal(log10_p, as_float32(log10_p))
    assert np.all(np.diff(knots.astype(np.float32)) > 0)
    assert np.all(np.diff(log10_p) <= 0)
    assert log10_p[0] == 0
    assert 10 ** log10_p[fitted.knot_scores.index(fitted.threshold)] == pytest.approx(fitted.far, rel=1e-6)


def check_verdict(fitted: Calibration, scores: Floats) -> None:
    """p < alpha exactly where score > threshold, alpha being the p-value of the threshold itself."""
    (alpha,) = p_of(np.array([fitted.threshold]), fitted)
    assert np.array_equal(p_of(scores, fitted) < alpha, scores > fitted.threshold)


@settings(max_examples=150, deadline=None)
@given(scores=st.lists(SCORES, min_size=5, max_size=70), far=st.floats(0.2, 0.49), fresh=st.lists(SCORES, max_size=20))
def test_p_below_alpha_means_score_above_threshold(scores: list[float], far: float, fresh: list[float]) -> None:
    calibration = np.array(scores)
    fitted = calibrate(calibration, far=far)
    check_table(fitted)
    neighbours = np.nextafter(calibration.astype(np.float32), np.float32(1e9)).astype(np.float64)
    neighbours = neighbours[np.abs(neighbours) > 1e-30]
    check_verdict(fitted, np.concatenate([calibration, neighbours, np.array(fresh, np.float64)]))


@settings(max_examples=100, deadline=None)
@given(scores=st.lists(SCORES, min_size=5, max_size=48), far=st.floats(0.2, 0.49), fresh=st.lists(SCORES, max_size=20))
def test_no_p_below_the_exact_one_when_all_ranks_are_knots(scores: list[float], far: float, fresh: list[float]) -> None:
    calibration = np.array(scores)
    fitted = calibrate(calibration, far=far)
    probes = np.concatenate([calibration, np.array(fresh, np.float64)])
    # At the threshold itself p is alpha by definition; above it p may be one float32 step below the exact one.
    for score, p in zip(probes, p_of(probes, fitted), strict=True):
        assert score == fitted.threshold or p >= exact_p(score, calibration) * (1 - 1e-6)


@pytest.mark.parametrize(("n", "slack"), [(200, 1.10), (10_000, 1.21)])
@pytest.mark.parametrize("law", ["normal", "two clumps"])
def test_thinned_table_stays_near_the_exact_p(n: int, slack: float, law: str) -> None:
    generator = np.random.default_rng(3)
    calibration = as_float32(generator.standard_normal(n))
    if law == "two clumps":  # a gap in the scores is where interpolation between thinned ranks is worst
        calibration = as_float32(np.where(calibration > 1.5, 1000 + calibration, calibration))
    fitted = calibrate(calibration, far=0.01)
    check_table(fitted)
    probes = as_float32(generator.uniform(calibration.min() - 1, calibration.max(), 400))
    check_verdict(fitted, np.concatenate([calibration, probes]))
    exact = np.array([exact_p(score, calibration) for score in probes])
    assert np.all(p_of(probes, fitted) * slack >= exact)


def test_p_values_of_fresh_normal_rows_are_super_uniform() -> None:
    generator = np.random.default_rng(4)
    levels = np.array([0.005, 0.01, 0.02, 0.05, 0.1, 0.3, 0.7])
    below = np.zeros(levels.size)
    for _ in range(300):
        fitted = calibrate(generator.standard_normal(500), far=0.01)
        p = p_of(generator.standard_normal(500), fitted)
        below += np.array([np.mean(p <= level) for level in levels]) / 300
    # 2 % for interpolation between thinned ranks, and three standard errors (calibration and test rows, 300 draws)
    noise = 3 * np.sqrt(2 * levels * (1 - levels) / 500 / 300)
    assert np.all(below <= levels * 1.02 + noise)
    assert np.all(below >= levels * 0.6 - noise)  # valid, and still of use


def test_p_value_is_the_clipped_sum() -> None:
    knots, log10_p = np.array([0.0, 1.0, 3.0]), np.array([0.0, -1.0, -2.0])
    scores = np.array([[-5.0, 0.0, 0.5], [2.0, 3.0, np.inf], [-np.inf, 1.0, 1.5]])
    share = np.clip((scores[..., None] - knots[:-1]) / np.diff(knots), 0, 1)
    expected = 10 ** (log10_p[0] + (share * np.diff(log10_p)).sum(-1))
    assert p_value(scores, knots, log10_p) == pytest.approx(expected, rel=1e-12)
    assert p_value(scores, knots, log10_p)[1].tolist() == pytest.approx([10**-1.5, 0.01, 0.01])
    assert np.isnan(p_value(np.array([np.nan]), knots, log10_p)[0])


def test_table_follows_the_tail_above_the_largest_score() -> None:
    generator = np.random.default_rng(5)
    scores = generator.exponential(size=20_000)
    fitted = calibrate(scores, far=0.001)
    assert fitted.knot_log10_p[-1] == -9.0
    # exponential: p = exp(-s); two decades past the data within a factor 10
    deep = -math.log(5e-7)
    assert 5e-8 < p_of(np.array([deep]), fitted)[0] < 5e-6


def test_outlier_among_normal_scores_makes_no_cliff() -> None:
    scores = np.append(np.random.default_rng(6).exponential(size=1000), 40.0)
    fitted = calibrate(scores, far=0.01)
    check_table(fitted)
    assert p_of(np.array([40.5]), fitted)[0] > 0.3 * fitted.resolution


def test_short_table_ends_at_the_resolution() -> None:
    fitted = calibrate(np.arange(1.0, 100.0), far=0.05)
    assert fitted.knot_scores[-1] == 99 + (99 - 50)
    assert 10 ** fitted.knot_log10_p[-1] == pytest.approx(0.01, rel=1e-6)


@pytest.mark.parametrize("value", [0.0, -3.5, 1e-30, 1e20])
@pytest.mark.parametrize("n", [20, 1000])
def test_equal_scores(value: float, n: int) -> None:
    fitted = calibrate(np.full(n, value), far=0.1)
    check_table(fitted)
    assert fitted.threshold == float(np.float32(value))
    assert fitted.knot_scores[-1] > fitted.threshold
    assert p_of(np.array([2e20]), fitted)[0] == pytest.approx(1 / (n + 1), rel=1e-6)
    check_verdict(fitted, np.array([fitted.threshold, -1e25, 1e25]))


# --- extrapolation ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [0.0, 0.2, -0.2])
def test_extrapolated_threshold_near_the_true_quantile(shape: float) -> None:
    far, n = 1e-4, 5000
    true = -math.log(far) if shape == 0 else (far**-shape - 1) / shape
    ratios = []
    for seed in range(20):
        draws = np.random.default_rng(seed).exponential(size=n)
        scores = draws if shape == 0 else np.expm1(shape * draws) / shape
        fitted = calibrate(scores, far=far)
        assert fitted.method == "extrapolated"
        assert fitted.threshold > np.sort(scores)[-2]
        ratios.append(fitted.threshold / true)
        check_table(fitted)
        check_verdict(fitted, as_float32(np.concatenate([scores, np.linspace(0, 3 * true, 500)])))
    # One set in two holds a row beyond the true quantile, and the threshold is never below the largest score.
    assert np.median(ratios) == pytest.approx(1, abs=0.15)
    assert min(ratios) > 1 / 1.6
    assert max(ratios) < 2.5


def test_extrapolated_range_covers() -> None:
    covered = 0
    for seed in range(100):
        fitted = calibrate(np.random.default_rng(seed).exponential(size=1000), far=2e-4)
        assert 0 <= fitted.far_low < fitted.far_high
        covered += fitted.far_low <= math.exp(-fitted.threshold) <= fitted.far_high
    assert covered >= 80


def test_extrapolated_range_is_wider_for_a_series() -> None:
    scores = np.exp(ar1(np.random.default_rng(7), n=3000, coefficient=0.8))
    blind, known = calibrate(scores, far=2e-4), calibrate(scores, far=2e-4, dependence_rows=20)
    assert known.far_high > blind.far_high
    assert calibrate(scores, far=2e-4) == blind  # the bootstrap is seeded


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("far", "rows"), [(0.1, 9), (0.01, 99), (0.001, 300), (1e-4, 999), (1e-6, 99_999)])
def test_fewest_rows(far: float, rows: int) -> None:
    assert min_calibration_rows(far) == rows
    calibrate(np.arange(float(rows)), far=far)
    with pytest.raises(InputError, match=f"needs {rows} normal rows.*got {rows - 1}"):
        calibrate(np.arange(rows - 1.0), far=far)


def test_refusal_names_what_the_rows_support() -> None:
    with pytest.raises(InputError, match=r"needs 300 .* got 99: they support 0\.01 or more"):
        calibrate(np.arange(99.0), far=0.001)
    with pytest.raises(InputError, match=r"needs 9999 .* got 999: they support 0\.0001 or more"):
        calibrate(np.arange(999.0), far=1e-5)
    assert calibrate(np.arange(999.0), far=1e-4).method == "extrapolated"


def test_ties_cannot_be_extrapolated() -> None:
    with pytest.raises(InputError, match="scores are equal"):
        calibrate(np.zeros(400), far=0.001)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.array([]), "held-out normal scores"),
        (np.zeros((3, 2)), "shape"),
        (np.array([1.0, np.nan, np.inf, 2.0]), "2 of 4 calibration scores are not finite"),
        (np.array([1.0, 1e35]), "1 of 2"),
    ],
)
def test_scores_that_cannot_be_used(scores: Floats, message: str) -> None:
    with pytest.raises(InputError, match=message):
        calibrate(scores, far=0.1)


def test_settings_that_cannot_be_used() -> None:
    for far in (0.0, -0.1, 0.5, math.nan):
        with pytest.raises(InputError, match=r"between 0 and 0\.5"):
            calibrate(np.arange(10.0), far=far)
    with pytest.raises(InputError, match="dependence_rows"):
        calibrate(np.arange(10.0), far=0.2, dependence_rows=-1)


# --- words -----------------------------------------------------------------------------------------------------------


def test_describe() -> None:
    scores = np.random.default_rng(8).exponential(size=1000)
    plain, deep = describe_calibration(calibrate(scores, far=0.01)), describe_calibration(calibrate(scores, far=1e-4))
    assert "1000 held-out normal scores: promised false-alarm rate 0.01, really between 0.0054 and 0.016" in plain
    assert "extrapolated" not in plain
    assert "independent" not in plain
    assert "extrapolated" in deep
    assert "independent" in describe_calibration(calibrate(scores, far=0.01, dependence_rows=5))
