"""The verdict of a graph alone, by bare ONNX Runtime."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from small_exports import CALIBRATION, Exported, build, export, some_inputs

from vae_detect.runtime.bundle import Limit
from vae_detect.runtime.errors import ParityError
from vae_detect.training.export.constants import Constants
from vae_detect.training.export.graphs import build_graphs
from vae_detect.training.export.parity import certify
from vae_detect.training.export.verdict import Verdict

ALL = (Limit("a", "<", 8.0), Limit("b", "<=", 0.1), Limit("c", ">", -3.0), Limit("a", ">=", -8.0))


@cache
def limited(name: str) -> Exported:
    """A configuration exported with `ALL`, once."""
    model = build(name)
    return Exported(model, build_graphs(model, Constants.of(model, CALIBRATION), ALL), some_inputs(model, 50))


def alone(exported: Exported, x: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Score and verdict by bare ONNX Runtime."""
    session = onnxruntime.InferenceSession(
        exported.graphs.scorer.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    score, verdict = session.run(["score", "is_anomaly"], {"x": x})
    return np.asarray(score), np.asarray(verdict)


def inside(name: str) -> NDArray[np.float32]:
    """One input that keeps `ALL`, with a score far below the threshold."""
    x = np.zeros((1, *build(name).input_shape), np.float32)
    x[...] = [1.0, -2.0, 30.0]  # their centers
    return x


@pytest.mark.parametrize("name", ["ae", "windows"])
@pytest.mark.parametrize(
    ("at", "reading", "alarm"),
    [
        (0, 8.0, True),  # < 8
        (0, np.nextafter(np.float32(8), np.float32(0)), False),
        (0, -8.0, False),  # >= -8
        (0, np.nextafter(np.float32(-8), np.float32(-9)), True),
        (1, 0.1, False),  # <= 0.1
        (1, np.nextafter(np.float32(0.1), np.float32(1)), True),
        (2, -3.0, True),  # > -3
        (2, np.nextafter(np.float32(-3), np.float32(0)), False),
    ],
)
def test_the_verdict_at_a_limit_and_one_step_of_float32_beside_it(
    name: str, at: int, reading: float, alarm: bool
) -> None:
    x = inside(name)
    x[(0, -1, at) if name == "windows" else (0, at)] = reading
    score, by_score = alone(export(name), x)
    same_score, verdict = alone(limited(name), x)
    assert verdict.tolist() == [bool(by_score[0]) or alarm]
    assert same_score.tolist() == score.tolist()  # the score knows nothing of limits


@pytest.mark.parametrize("name", ["ae", "windows"])
def test_an_input_within_the_limits_is_judged_by_its_score(name: str) -> None:
    x = np.concatenate([inside(name)] * 2)
    x[1, ..., 2] = 1e3  # far from all that is normal, and within "c > -3"
    assert alone(limited(name), x)[1].tolist() == [False, True]


def test_older_rows_of_a_window_break_no_limit() -> None:
    x = np.concatenate([inside("windows")] * 2)
    x[0, :-1, 0], x[1, -1, 0] = 9.0, 9.0
    by_score = alone(export("windows"), x)[1]
    assert alone(limited("windows"), x)[1].tolist() == [by_score[0], True]


def test_a_reading_that_is_no_number_breaks_no_limit() -> None:
    x = inside("ae")
    x[0, 0] = np.nan
    assert alone(limited("ae"), x)[1].tolist() == [False]


def test_many_limits_are_no_more_nodes_than_a_few() -> None:
    many = [Limit(name, "<", 100.0 + number) for name in "abc" for number in range(20)]
    assert Verdict(many, "abc").operators == Verdict(many[:1], "abc").operators == ["<"]


def test_a_certificate_holds_limits_against_the_graph() -> None:
    exported, x = limited("ae"), np.concatenate([inside("ae"), np.full((1, 3), 9.0, np.float32)])
    assert certify(exported.model, exported.graphs.scorer, x, CALIBRATION.threshold, ALL).verdict_flips == 0
    x[1] = [8.0, -2.0, 30.0]  # breaks a < 8 only
    for other, limits in ((export("ae"), ALL), (exported, ())):
        with pytest.raises(ParityError, match="verdicts flip"):
            certify(other.model, other.graphs.scorer, x, CALIBRATION.threshold, limits)
