"""Scores of rows and images: what is wrong with one leaves its neighbours as they are."""

from __future__ import annotations

import math
from copy import copy

import msgspec
import numpy as np
from numpy.typing import NDArray
from pieces import Floats, chunks, run

from vae_detect.runtime.bundle import Limit
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
    told = ["", "power_kw is 17.37, limit < 17", "column 'flow_m3h' is empty",
            "the score exceeds float32; power_kw is 3.4e+38, limit < 17"]  # fmt: skip
    assert result.reason == told
    assert result.scores.score[1] < limited_detector.bundle.calibration.threshold
    assert result.limited is not None
    assert result.limited.tolist() == result.scores.is_anomaly.tolist() == [False, True, False, True]
    assert limited_detector.score(values[[0, 3]]).is_anomaly.tolist() == [False, True]


def test_a_row_before_a_full_window_that_breaks_a_limit_alarms_without_a_score(
    windows_detector: Detector, normal_rows: Floats
) -> None:
    limited = copy(windows_detector)
    limited.bundle = msgspec.structs.replace(windows_detector.bundle, limits=(Limit("power_kw", "<", 100.0),))
    values = normal_rows[:12].copy()
    values[[1, 5, 7, 9], 5] = 100  # warming, beside a bad row, in the gap after it, in a full window
    [result] = run(limited, chunks(values, [], bad=(5,)))
    assert result.status == ["warming"] * 3 + ["ok", "ok", "bad"] + ["gap"] * 3 + ["ok"] * 3
    told = list(records(result.table("row")))
    beyond = [row["row"] for row in told if "power_kw is 100, limit < 100" in (row["reason"] or "")]
    assert beyond == [1, 7, 9]
    assert all(told[row]["is_anomaly"] for row in beyond)
    assert [row["is_anomaly"] for row in told[:3]] == [None, True, None]
    assert told[1]["score"] is told[1]["severity"] is told[1]["p_value"] is None
    assert told[7]["reason"] == "row 5 in the window is bad; 2 more rows fill the window; power_kw is 100, limit < 100"
    [blamed] = score_stream(limited, chunks(values, [], bad=(5,)), StreamState(limited.bundle))
    assert blamed.blamed is not None
    assert [blamed.blamed[row] for row in (1, 7, 9)] == ["power_kw"] * 3


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
