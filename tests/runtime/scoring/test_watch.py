"""What is watched over a stream."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from pieces import Floats, chunks, run

from vae_detect.runtime.detector import Detector
from vae_detect.runtime.errors import InputError
from vae_detect.runtime.scoring.score import score_images
from vae_detect.runtime.scoring.watch import Watch


@pytest.mark.parametrize("adaptive", [False, True])
def test_a_watch_sees_the_shipped_verdicts_of_scored_rows_only(
    detector: Detector, normal_rows: Floats, adaptive: bool
) -> None:
    watch = Watch(detector.bundle, adaptive=adaptive)
    rows = np.tile(normal_rows[:1], (2000, 1))
    rows[:, 0] *= 3  # alarms in every row
    for results in run(detector, chunks(rows, [1, 500, 7], bad=tuple(range(0, 2000, 2)))):
        watch.accept(results)
    assert watch.monitor.memory.rows == 1000
    assert watch.monitor.first_report is None
    for results in run(detector, chunks(rows, [300])):
        watch.accept(results)
    assert watch.monitor.first_report == 4 * watch.monitor.block


def test_an_adaptive_watch_changes_verdicts_and_nothing_else(detector: Detector, normal_rows: Floats) -> None:
    rows = np.tile(normal_rows[:1], (100, 1))
    rows[:, 0] *= 3
    (plain,) = run(detector, chunks(rows, [], bad=(3,)))
    adapted = Watch(detector.bundle, adaptive=True).accept(plain)
    assert plain.scores.is_anomaly.tolist() == [row != 3 for row in range(100)]
    assert adapted.scores.is_anomaly.tolist() == [row != 3 and row < 35 for row in range(100)]
    for name in ("score", "severity", "p_value", "scored"):
        assert getattr(adapted.scores, name).tobytes() == getattr(plain.scores, name).tobytes()


@pytest.mark.parametrize("adaptive", [False, True])
def test_limits_are_no_part_of_what_was_promised(
    limited_detector: Detector, normal_rows: Floats, adaptive: bool
) -> None:
    watch = Watch(limited_detector.bundle, adaptive=adaptive)
    row = normal_rows[normal_rows[:, 5].argmax()]  # beyond the limit, and normal by its score
    for results in run(limited_detector, chunks(np.tile(row, (5000, 1)), [2000])):
        assert watch.accept(results).scores.is_anomaly.all()
    assert watch.monitor.memory.rows == 5000
    assert watch.monitor.memory.since_alarms == 0
    assert watch.monitor.holds


def test_an_adaptive_threshold_that_is_used_up_switches_no_limit_off(
    limited_detector: Detector, normal_rows: Floats
) -> None:
    rows = np.tile(normal_rows[:1], (100, 1))
    rows[:, 0] *= 3
    rows[50:, 5] = 17
    (plain,) = run(limited_detector, chunks(rows, []))
    adapted = Watch(limited_detector.bundle, adaptive=True).accept(plain)
    # used up after 34 alarms, as without limits
    assert adapted.scores.is_anomaly.tolist() == [row < 34 or row >= 50 for row in range(100)]


def test_images_are_watched_too(images_detector: Detector, photos: NDArray[np.uint8]) -> None:
    watch = Watch(images_detector.bundle)
    watch.accept(score_images(images_detector, 0, [photos[0], "is damaged", photos[40]]))
    assert watch.monitor.memory.rows == 2


def test_a_watch_that_keeps_a_false_discovery_rate_is_saved_and_changes_verdicts_alone(
    detector: Detector, normal_rows: Floats
) -> None:
    rows = np.tile(normal_rows[:1], (60, 1))
    rows[20:40, 0] *= 3
    (plain,) = run(detector, chunks(rows, [], bad=(3,)))
    watch = Watch(detector.bundle, fdr=0.1)
    judged = watch.accept(plain)
    assert judged.scores.is_anomaly.tolist() == [20 <= row < 40 for row in range(60)]
    assert judged.scores.p_value.tobytes() == plain.scores.p_value.tobytes()
    earned = watch.memory.earned
    assert earned is not None
    assert earned > 0
    other = Watch(detector.bundle, fdr=0.1)
    other.recall(watch.memory)
    assert other.memory == watch.memory
    adaptive = Watch(detector.bundle, adaptive=True)
    adaptive.recall(watch.memory)  # of another kind: it starts anew
    assert adaptive.memory.alpha == detector.bundle.calibration.far
    with pytest.raises(InputError, match="--adaptive and --fdr each set the threshold"):
        Watch(detector.bundle, adaptive=True, fdr=0.1)
