"""Scores of rows and images: what is wrong with one leaves its neighbours as they are."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from pieces import Floats, chunks, run

from vae_detect.runtime.detector import Detector
from vae_detect.runtime.rows.writers import records
from vae_detect.runtime.scoring.score import score_images, score_stream
from vae_detect.runtime.scoring.state import StreamState


def test_an_overflow_takes_only_its_row_down(detector: Detector, normal_rows: Floats) -> None:
    values = normal_rows[:10].copy()
    values[6] = 3.4e38
    [result] = run(detector, chunks(values, []))
    assert result.status == ["ok"] * 6 + ["overflow"] + ["ok"] * 3
    assert math.isnan(result.scores.score[6])
    assert not result.scores.is_anomaly[6]
    clean = detector.score(normal_rows[:10]).score
    assert np.delete(result.scores.score, 6).tobytes() == np.delete(clean, 6).tobytes()


# --- limits ----------------------------------------------------------------------------------------------------------


def test_a_row_that_breaks_a_limit_alarms_and_its_reason_says_why(
    limited_detector: Detector, normal_rows: Floats
) -> None:
    values = normal_rows[:4].copy()
    values[1], values[3, 5] = normal_rows[normal_rows[:, 5].argmax()], 3.4e38
    [result] = run(limited_detector, chunks(values, [], bad=(2,)))
    assert result.status == ["ok", "ok", "bad", "overflow"]
    told = ["", "power_kw is 17.37, limit < 17", "column 'flow_m3h' is empty", "the score exceeds float32"]
    assert result.reason == told
    assert result.scores.score[1] < limited_detector.bundle.calibration.threshold
    assert result.limited is not None
    assert result.limited.tolist() == result.scores.is_anomaly.tolist() == [False, True, False, False]


def test_a_row_that_breaks_a_limit_blames_its_column(limited_detector: Detector, normal_rows: Floats) -> None:
    values = normal_rows[:3].copy()
    values[0, 0] *= 5
    values[1, 0] *= 5
    values[1, 5] = 17  # nothing beside that speed
    results = list(score_stream(limited_detector, chunks(values, [1]), StreamState(limited_detector.bundle)))
    assert [name for each in results for name in each.blamed or ()] == ["speed_rpm", "power_kw", ""]


# --- images ----------------------------------------------------------------------------------------------------------


def test_an_unreadable_image_leaves_its_neighbours_as_they_are(
    images_detector: Detector, photos: NDArray[np.uint8]
) -> None:
    found = score_images(images_detector, 7, [photos[0], "is damaged", photos[1], photos[40]])
    expected = images_detector.score(photos[[0, 1, 40]])
    assert found.first == 7
    assert found.status == ["ok", "bad", "ok", "ok"]
    assert found.reason == ["", "is damaged", "", ""]
    assert found.scores.score[[0, 2, 3]].tobytes() == expected.score.tobytes()
    assert found.scores.is_anomaly.tolist() == [False, False, False, True]
    assert list(records(found.table("row")))[1] == {
        **dict.fromkeys(("score", "severity", "p_value", "is_anomaly")),
        "row": 8,
        "status": "bad",
        "reason": "is damaged",
    }


def test_unreadable_images_only(images_detector: Detector) -> None:
    found = score_images(images_detector, 0, ["is empty", "is damaged"])
    assert found.status == ["bad", "bad"]
    assert not found.scores.scored.any()
