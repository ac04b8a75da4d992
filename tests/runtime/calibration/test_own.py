"""A machine's own threshold: scores that are made by hand or drawn, with the faults that must not be learnt."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import lfilter

from vae_detect.runtime.bundle import Bundle
from vae_detect.runtime.calibration.calibration import calibrate
from vae_detect.runtime.calibration.own import SIZES, OwnCalibration, OwnMemory
from vae_detect.runtime.calibration.sample import SampleMemory
from vae_detect.runtime.detector import Detector, Scores
from vae_detect.runtime.scoring.results import Results

FAR, MODELS = 0.01, 6.6  # of the model: its rate and its threshold, which gamma(2) scores exceed so often

Floats = NDArray[np.float64]


@pytest.fixture(scope="module")
def bundle(detector: Detector) -> Bundle:
    """Of rows without an order, and with a rate that a few hundred scores support."""
    gamma = np.sort(np.random.default_rng(99).gamma(2, size=20_000))
    data = msgspec.structs.replace(detector.bundle.data, period_s=None, time_column=None, ordered=False)
    return msgspec.structs.replace(detector.bundle, calibration=calibrate(gamma, far=FAR), data=data)


def ordered(bundle: Bundle, period_s: float | None = None) -> Bundle:
    data = msgspec.structs.replace(bundle.data, ordered=True, period_s=period_s)
    return msgspec.structs.replace(bundle, data=data)


def drawn(seed: int, n: int, times: float = 1.0) -> Floats:
    return np.random.default_rng(seed).gamma(2, size=n) * times


def wandering(seed: int, n: int, coefficient: float) -> Floats:
    noise = np.random.default_rng(seed).normal(size=n + 500) * np.sqrt(1 - coefficient**2)
    return np.exp(0.4 * np.asarray(lfilter([1], [1, -coefficient], noise)[500:]))


def results(scores: Floats, limited: NDArray[np.bool_] | None = None) -> Results:
    """What the model makes of scores, NaN of rows without one."""
    score = scores.astype(np.float32)
    scored = np.isfinite(score)
    verdicts = score > MODELS
    if limited is not None:
        verdicts |= limited
    p = np.where(scored, np.float32(0.5), np.float32(np.nan))
    status = ["ok" if each else "bad" for each in scored]
    return Results(0, Scores(score, p, p, verdicts, scored), status, [""] * len(score), None, limited=limited)


def after(bundle: Bundle, *parts: Floats) -> OwnCalibration:
    """Having seen these scores."""
    own = OwnCalibration(bundle)
    for part in parts:
        own.judge(results(part))
    return own


def alarms(own: OwnCalibration, scores: Floats) -> float:
    """Share of alarms, with which it learns nothing."""
    copy = OwnCalibration.__new__(OwnCalibration)
    copy.__dict__ |= own.__dict__
    copy._sample, copy._rows_a_day = None, 1_000_000_000
    return float(copy.judge(results(scores)).scores.is_anomaly.mean())


def test_the_models_verdicts_hold_until_its_own_are_there(bundle: Bundle) -> None:
    own, given = OwnCalibration(bundle), results(drawn(0, 190) + 10)
    judged = own.judge(given)
    assert [each.tobytes() for each in judged.scores] == [each.tobytes() for each in given.scores]
    assert own.calibration is None
    assert own.is_learning
    assert own.describe() == "the model's threshold; learning from 190 rows so far"


def test_its_threshold_is_that_of_its_own_scores(bundle: Bundle) -> None:
    scores = drawn(0, 256)
    own = OwnCalibration(bundle)
    for score in scores:
        own.judge(results(np.array([score])))
        if own.calibration is not None:
            break
    row = len(own._sample or [])
    assert 192 <= row <= 256
    assert own.calibration == calibrate(scores[:row].astype(np.float32), far=FAR)


def test_verdict_p_value_and_severity_are_those_of_the_table(bundle: Bundle) -> None:
    own = after(bundle, drawn(0, 300))
    found = own.calibration
    assert found is not None
    scores = np.concatenate([drawn(1, 2000), found.knot_scores, [found.threshold, -5, 0, 1e9]]).astype(np.float32)
    log10_p = np.interp(scores, found.knot_scores, found.knot_log10_p)
    own._sample, own._rows_a_day = None, 1_000_000_000  # it learns no more
    whole = own.judge(results(scores.astype(np.float64))).scores
    single = [own.judge(results(np.array([score], np.float64))).scores for score in scores]
    for judged in (whole, Scores(*map(np.concatenate, zip(*single, strict=True)))):
        np.testing.assert_allclose(judged.p_value, 10.0**log10_p, rtol=1e-6)
        np.testing.assert_allclose(judged.severity, log10_p / np.log10(FAR), rtol=1e-6)
        assert judged.is_anomaly.tolist() == (scores > found.threshold).tolist() == (log10_p < np.log10(FAR)).tolist()
        assert [each.dtype for each in judged] == [np.float32] * 3 + [np.bool_] * 2


def test_how_rows_are_cut_changes_nothing(bundle: Bundle) -> None:
    scores = wandering(3, 6000, 0.8)
    scores[::7] = np.nan
    limited = np.arange(6000) % 50 == 3
    whole = OwnCalibration(ordered(bundle))
    expected = whole.judge(results(scores, limited)).scores
    for sizes in ([1] * 6000, [3, 400, 1, 1, 595] * 6, [0, 6000]):
        own, pieces, begin = OwnCalibration(ordered(bundle)), list[Scores](), 0
        for size in sizes:
            cut = slice(begin, begin := begin + size)
            pieces.append(own.judge(results(scores[cut], limited[cut])).scores)
        for name, each, other in zip(
            Scores._fields, expected, map(np.concatenate, zip(*pieces, strict=True)), strict=True
        ):
            np.testing.assert_array_equal(other, each, name)
        assert own.memory == whole.memory
    assert whole.calibration is not None


def test_rows_that_break_a_limit_alarm_and_are_not_learnt(bundle: Bundle) -> None:
    scores, limited = drawn(0, 1000), np.arange(1000) % 4 == 0
    scores[limited] += 100
    own = OwnCalibration(bundle)
    assert own.judge(results(scores, limited)).scores.is_anomaly[limited].all()
    assert own.calibration is not None
    assert own.calibration.threshold < 12
    one = own.judge(results(np.array([0.1]), np.array([True]))).scores
    assert one.is_anomaly.tolist() == [True]
    assert own.judge(results(np.array([0.1]), np.array([False]))).scores.is_anomaly.tolist() == [False]


def test_rows_without_a_score_are_passed_over(bundle: Bundle) -> None:
    own = after(bundle, drawn(0, 300))
    for nothing in (np.array([np.nan]), np.full(3, np.nan), np.empty(0)):
        scores = own.judge(results(nothing)).scores
        assert np.isnan(scores.p_value).all()
        assert np.isnan(scores.severity).all()
        assert not scores.is_anomaly.any()
    assert own.memory == after(bundle, drawn(0, 300)).memory


def test_what_is_usual_is_told_by_its_own_threshold_once_there_is_one(bundle: Bundle) -> None:
    hourly = ordered(bundle, period_s=36.0)  # 100 rows an hour, three days 7200
    own = OwnCalibration(hourly)
    scores = drawn(0, 12_000)
    severity = own.judge(results(scores)).scores.severity
    assert own.usual is not None
    assert own.calibration is not None
    since = next(
        row for row in range(11_999, 0, -1) if not np.isclose(severity[row], expected_of(own, drawn(0, 12_000)[row]))
    )
    hours = np.log(
        severity[since + 1 :][: (11_999 - since) // 100 * 100].reshape(-1, 100).astype(np.float64).mean(axis=1)
    )
    assert own.usual.median == pytest.approx(np.median(hours), abs=1e-5)
    assert own.usual.spread == pytest.approx(max(np.median(np.abs(hours - np.median(hours))), 0.05), abs=1e-5)


def expected_of(own: OwnCalibration, score: float) -> float:
    """Severity by the threshold that it has learnt."""
    found = own.calibration
    assert found is not None
    return float(np.interp(np.float32(score), found.knot_scores, found.knot_log10_p) / np.log10(FAR))


def test_it_goes_on_where_it_was_saved(bundle: Bundle) -> None:
    scores = wandering(5, 9000, 0.9)
    whole = after(ordered(bundle), scores)
    for cut in (0, 1, 100, 1700, 5000):
        content = msgspec.msgpack.encode(after(ordered(bundle), scores[:cut]).memory)
        assert len(content) < 11_000
        own = OwnCalibration(ordered(bundle))
        own.recall(msgspec.msgpack.decode(content, type=OwnMemory))
        own.judge(results(scores[cut:]))
        assert own.memory == whole.memory


def test_a_damaged_memory_is_refused_and_all_stays(bundle: Bundle) -> None:
    own = after(bundle, drawn(0, 500))
    memory = own.memory
    with pytest.raises(ValueError, match="size"):
        own.recall(OwnMemory(SampleMemory(b"123")))
    assert own.memory == memory


@pytest.mark.parametrize("times", [0.2, 5.0])
def test_a_machine_that_is_normal_in_its_own_way_keeps_the_rate(bundle: Bundle, times: float) -> None:
    own = after(bundle, drawn(0, 3000, times))
    found = own.calibration
    assert found is not None
    assert not own.is_learning
    fresh = drawn(1, 100_000, times)
    assert found.far_low <= alarms(own, fresh) <= found.far_high
    assert (fresh > MODELS).mean() < found.far_low or (fresh > MODELS).mean() > found.far_high


def test_the_rate_is_kept_on_average_and_mostly_in_its_range(bundle: Bundle) -> None:
    rates, inside = [], []
    for seed in range(100):
        own = after(bundle, drawn(seed, 300))
        assert own.calibration is not None
        rates.append(alarms(own, drawn(seed + 1000, 20_000)))
        inside.append(own.calibration.far_low <= rates[-1] <= own.calibration.far_high)
    assert 0.006 < np.mean(rates) <= 0.0105
    assert np.mean(inside) >= 0.85


def test_bursts_that_alarm_by_both_thresholds_are_not_learnt_however_many(bundle: Bundle) -> None:
    scores = drawn(2, 8000)
    for begin in range(1000, 8000, 500):
        scores[begin : begin + 12] += 30  # 2 % of the rows
    own = after(ordered(bundle, period_s=30.0), scores)
    assert own.calibration is not None
    assert own.calibration.threshold < 9
    assert alarms(own, drawn(4, 10_000)) <= own.calibration.far_high


@pytest.mark.parametrize("length", [10, 60, 400])
def test_a_burst_in_the_first_part_is_not_learnt(bundle: Bundle, length: int) -> None:
    scores = drawn(2, 8000)
    scores[120 : 120 + length] += 30
    own = after(bundle, scores)
    assert own.calibration is not None
    assert own.calibration.threshold < 12


def test_a_fault_that_begins_and_stays_is_not_learnt(bundle: Bundle) -> None:
    for begin in (150, 230, 700):
        own = after(bundle, drawn(2, begin), drawn(3, 20_000) + 30)
        assert alarms(own, drawn(4, 1000) + 30) == 1
        assert alarms(own, drawn(4, 10_000)) < 0.03


def test_a_fault_that_is_there_at_first_is_forgotten_when_it_is_mended(bundle: Bundle) -> None:
    own = after(bundle, drawn(2, 600) + 30)
    assert own.calibration is not None  # nobody could tell
    assert alarms(own, drawn(4, 1000) + 30) < 0.05
    own.judge(results(drawn(3, 3000)))
    assert alarms(own, drawn(4, 1000) + 30) == 1
    assert alarms(own, drawn(4, 10_000)) < 0.03


def test_life_that_the_first_days_did_not_show_is_learnt_later(bundle: Bundle) -> None:
    hourly = ordered(bundle, period_s=60.0)  # 1440 rows a day
    own = after(hourly, drawn(0, 9000, 0.3))
    first = own.calibration
    assert first is not None
    assert not own.is_learning
    for seed in range(30):
        own.judge(results(drawn(seed, 100, 0.6)))  # within what the model calls normal
        if own.is_learning:
            break
    assert own.is_learning
    assert own.calibration == first
    own.judge(results(drawn(2, 3000, 0.6)))
    assert own.calibration is not None
    assert own.calibration.far_low <= alarms(own, drawn(3, 20_000, 0.6)) <= own.calibration.far_high
    copy = OwnCalibration(hourly)
    copy.recall(own.memory)
    assert copy.memory == own.memory


def test_what_the_model_calls_a_fault_is_never_learnt_later(bundle: Bundle) -> None:
    own = after(ordered(bundle, period_s=60.0), drawn(0, 9000, 0.3))
    first = own.calibration
    for begin in range(0, 1440, 97):  # whenever in a day it begins
        own = after(ordered(bundle, period_s=60.0), drawn(0, 9000 + begin, 0.3), drawn(1, 10_000, 2.0))
        assert (own.calibration, own.is_learning) == (first, False)
    # and an hour of it a day is no normal life either
    scores = drawn(2, 14_400, 0.3)
    scores[np.arange(14_400) % 1440 < 60] *= 20
    own.judge(results(scores))
    assert (own.calibration, own.is_learning) == (first, False)


def test_a_level_that_moves_within_what_the_model_calls_normal_is_learnt(bundle: Bundle) -> None:
    day = np.where(np.arange(20_000) // 300 % 2 == 0, 0.3, 0.6)
    own = after(ordered(bundle), drawn(1, 20_000) * day)
    found = own.calibration
    assert found is not None
    assert alarms(own, drawn(2, 20_000) * day) <= found.far_high


def test_dependent_scores_are_collected_for_longer(bundle: Bundle) -> None:
    scores = wandering(1, 60_000, 0.98)
    own = OwnCalibration(ordered(bundle))
    own.judge(results(scores[:1000]))
    assert own.calibration is None
    assert own.describe().endswith("scores do not yet support a false-alarm rate of 0.01")
    own.judge(results(scores[1000:40_000]))
    assert own.calibration is not None
    assert own.calibration.far_low <= alarms(own, scores) <= own.calibration.far_high


def test_a_rate_that_no_sample_supports_ends_the_learning(bundle: Bundle) -> None:
    rare = msgspec.structs.replace(bundle, calibration=msgspec.structs.replace(bundle.calibration, far=1e-6))
    own = OwnCalibration(rare)
    for seed in range(40):
        own.judge(results(drawn(seed, 100_000)))
    assert (own.calibration, own.is_learning) == (None, False)
    assert own.describe().startswith("the model's threshold; no longer learning: ")


def test_learning_takes_three_days_where_the_period_is_known(bundle: Bundle) -> None:
    own = after(ordered(bundle, period_s=30.0), drawn(0, 8000))  # 8640 rows
    assert own.calibration is not None
    assert own.is_learning
    own.judge(results(drawn(1, 8000)))
    assert not own.is_learning


def test_machines_that_begin_together_learn_at_different_times(bundle: Bundle) -> None:
    due = [after(bundle, drawn(seed, 1)).memory.due for seed in range(20)]
    assert len(set(due)) > 10
    assert all(0.75 * SIZES[0] <= each <= SIZES[0] for each in due)
