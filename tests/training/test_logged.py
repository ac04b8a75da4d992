"""Which of the scores that a service has logged are normal."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from conftest import MODEL
from numpy.typing import NDArray

from vae_detect.runtime.alarms.event import Change, Event, Label
from vae_detect.runtime.alarms.store import FILE, EventStore
from vae_detect.runtime.bundle import Recalibration
from vae_detect.runtime.detector import Detector, Scores
from vae_detect.runtime.errors import InputError
from vae_detect.runtime.scoring.results import Results
from vae_detect.runtime.streams.score_log import ScoreLog
from vae_detect.training.logged import of_log
from vae_detect.training.normal import Normal

DAY = 86_400.0
NOW = 20_000 * DAY
THRESHOLD = 21.8367


@pytest.fixture
def detector() -> Detector:
    """The committed detector, 1 row in 1000 of which may alarm, one row every 30 s."""
    return Detector.load(MODEL, provider="cpu")


def write(state: Path, key: str, times: NDArray[np.float64], scores: NDArray[np.float64], identity: str) -> None:
    score = scores.astype(np.float32)
    scored = np.isfinite(score)
    log = ScoreLog(state / "vae.scores", identity, clock=lambda: 0.0)
    log.add(key, times, Results(0, Scores(score, score, score, scored, scored), [], [], None))
    log.flush()


def quiet(seed: int, n: int = 4000) -> NDArray[np.float64]:
    """Scores that do not alarm, as few as a row in a thousand might."""
    return np.random.default_rng(seed).uniform(0, 20, size=n)


def times(n: int, period: float = 30.0) -> NDArray[np.float64]:
    """Up to now."""
    return NOW - period * np.arange(n, 0, -1, dtype=np.float64)


def keep(state: Path, *events: Event) -> None:
    store = EventStore(state / FILE)
    store.apply([Change(event, "started") for event in events])
    for event in events:
        store.label(event.id, event.label)
    store.close()


def event(start: float, end: float, peak: float, label: Label = "", *, key: str = "p", model: str = "vae") -> Event:
    return Event(model=model, key=key, start=start, end=end, peak_severity=peak, rows=1, state="ended", label=label)


def of(detector: Detector, state: Path, days: float = 7) -> Normal:
    return of_log(detector, state, since_s=days * DAY, now=NOW)


def test_without_events_all_scores_of_the_last_days_count(detector: Detector, tmp_path: Path) -> None:
    at = times(4000)
    write(tmp_path, "p", at, quiet(0), detector.bundle.export_id)
    np.testing.assert_allclose(of(detector, tmp_path).scores, quiet(0), rtol=1e-6)
    np.testing.assert_allclose(of(detector, tmp_path, 0.5).scores, quiet(0)[at >= NOW - 0.5 * DAY], rtol=1e-6)
    assert of(detector, tmp_path).inputs is None
    assert of(detector, tmp_path).told.startswith(
        f"{tmp_path / 'vae.scores'}: 4000 scores of 1 keys, 4000 of them normal"
    )


def test_each_machine_comes_by_itself_in_order_of_time(detector: Detector, tmp_path: Path) -> None:
    at = times(100)
    for begin in range(0, 100, 10):
        for key, seed in (("b", 1), ("a", 2)):
            cut = slice(begin, begin + 10)
            write(tmp_path, key, at[cut], quiet(seed)[cut], detector.bundle.export_id)
    expected = np.concatenate([quiet(1)[:100], quiet(2)[:100]])  # as their keys came
    np.testing.assert_allclose(of(detector, tmp_path).scores, expected, rtol=1e-6)


def test_scores_in_events_are_left_out_with_their_neighbours(detector: Detector, tmp_path: Path) -> None:
    at, scores = times(4000), quiet(0)
    scores[1000:1050] = 100
    write(tmp_path, "p", at, scores, detector.bundle.export_id)
    write(tmp_path, "other", at, quiet(1), detector.bundle.export_id)
    keep(tmp_path, event(at[1000], at[1049], 9.0))
    found = of(detector, tmp_path).scores
    # 10 rows on both sides may belong to it
    expected = np.concatenate([np.delete(scores, slice(990, 1060)), quiet(1)])
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(("label", "kept"), [("fault", False), ("false-alarm", True), ("", False)])
def test_what_people_said_of_an_event_counts(detector: Detector, label: Label, kept: bool, tmp_path: Path) -> None:
    at, scores = times(4000), quiet(0)
    scores[1000:1050] = 100
    write(tmp_path, "p", at, scores, detector.bundle.export_id)
    keep(tmp_path, event(at[1000], at[1049], 9.0, label))
    assert (of(detector, tmp_path).scores.max() == 100) == kept


def test_as_many_alarms_as_were_promised_are_normal_the_lowest_first(detector: Detector, tmp_path: Path) -> None:
    at, scores = times(4000), quiet(0)  # of 4000 rows 4 may alarm
    events = []
    for number, (peak, rows) in enumerate([(1.2, 2), (5.0, 30), (1.4, 2), (1.6, 2), (1.1, 1)]):
        begin = 500 * (number + 1)
        scores[begin : begin + rows] = 30 * peak
        events.append(event(at[begin], at[begin + rows - 1], peak, "fault" if peak == 1.1 else ""))
    write(tmp_path, "p", at, scores, detector.bundle.export_id)
    keep(tmp_path, *events)
    found = of(detector, tmp_path)
    assert found.scores.max() == pytest.approx(42)  # 1.2 and 1.4; the fault of 1.1 is one
    assert np.count_nonzero(found.scores > THRESHOLD) == 4
    assert found.told.endswith(
        "of 5 events 0 were false alarms, 1 faults, and 2 that nobody has judged count as the "
        "false alarms that were promised"
    )


@pytest.mark.parametrize("label", ["false-alarm", ""])
def test_a_fault_within_another_event_is_one(detector: Detector, label: Label, tmp_path: Path) -> None:
    at, scores = times(4000), quiet(0)
    scores[1000:1002], scores[1500:1502] = 30, 50
    write(tmp_path, "p", at, scores, detector.bundle.export_id)
    keep(tmp_path, event(at[990], at[1600], 1.1, label), event(at[1500], at[1501], 2.0, "fault"))
    found = of(detector, tmp_path).scores
    assert found.max() == 30
    assert len(found) == 4000 - 22


def test_calibrating_again_and_again_does_not_sink_the_threshold(detector: Detector, tmp_path: Path) -> None:
    """With events alone left out, each round would cut off the highest thousandth."""
    at, scores = times(20_000), np.random.default_rng(0).gamma(2, 2, size=20_000)
    threshold = float(np.sort(scores)[-21])  # 20 of 20 000 alarm
    calibration = msgspec.structs.replace(detector.bundle.calibration, threshold=threshold)
    detector.bundle = msgspec.structs.replace(detector.bundle, calibration=calibration)
    write(tmp_path, "p", at, scores, detector.bundle.export_id)
    over = np.flatnonzero(scores > threshold)
    keep(tmp_path, *(event(at[row], at[row], float(scores[row])) for row in over))
    assert len(of(detector, tmp_path).scores) == 20_000


def test_events_of_other_models_and_a_running_one(detector: Detector, tmp_path: Path) -> None:
    at = times(1000)
    write(tmp_path, "p", at, quiet(0, 1000) + 30, detector.bundle.export_id)
    running = event(at[900], at[910], 3.0)
    running.state = "running"
    keep(tmp_path, event(at[100], at[200], 3.0, model="fan"), event(at[300], at[400], 3.0, key="q"), running)
    assert len(of(detector, tmp_path).scores) == 890


def test_thinned_scores_depend_on_fewer_neighbours(detector: Detector, tmp_path: Path) -> None:
    period = detector.bundle.data.period_s
    assert period is not None
    for step, expected in ((1, 10), (4, 3), (50, 1)):
        state = tmp_path / str(step)
        write(state, "p", times(500, step * period), quiet(0, 500), detector.bundle.export_id)
        assert of(detector, state).dependence_rows == expected


def test_scores_of_the_detector_before_its_calibration_count(detector: Detector, tmp_path: Path) -> None:
    write(tmp_path, "p", times(500), quiet(0, 500), "f" * 16)
    with pytest.raises(InputError, match=r"vae\.scores: no score of export .* of the last 7 days"):
        of(detector, tmp_path)
    detector.bundle = msgspec.structs.replace(detector.bundle, recalibration=Recalibration("f" * 16, 1.0, 0.1, ""))
    assert len(of(detector, tmp_path).scores) == 500


def test_a_folder_without_scores_is_told(detector: Detector, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no score of export"):
        of(detector, tmp_path / "nothing")
