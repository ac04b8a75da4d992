"""Detectors of recordings with a direction: the seam between 359 and 0 degrees is nothing to them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from conftest import made_once, run_here
from numpy.typing import NDArray

from vae_detect.runtime.detector import Detector
from vae_detect.runtime.scoring.framing import windows_at

CASES = {
    "vae": ("--kind", "rows", "--recipe", "vae", "--set", "likelihood=laplace"),
    "rbm": ("--kind", "rows", "--recipe", "rbm", "--set", "epochs=40"),
    "ensemble, rows": ("--kind", "rows"),
    "ensemble, windows": ("--kind", "windows", "--window", "4"),
}
SMALL = ("epochs=15", "latent=8", "pretrain_epochs=2", "batch=32", "learning_rate=0.005")

Floats = NDArray[np.float32]


def recording(rows: int, seed: int) -> Floats:
    """A wind that turns around north, (rows, 2), and the power that it gives."""
    generator = np.random.default_rng(seed)
    direction = generator.normal(0, 25, rows)
    power = 1000 + 300 * np.cos(np.radians(direction)) + generator.normal(0, 20, rows)
    return np.column_stack([(350 + direction) % 360, power]).astype(np.float32)


@pytest.fixture(scope="module", params=CASES)
def detector(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Detector:
    def make(folder: Path) -> None:
        with (folder / "wind.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["Wind Direction (°)", "power_kw"], *recording(900, 0).tolist()])
        model = folder / "wind.onnx"
        done = run_here("train", folder / "wind.csv", "--set", *SMALL, *CASES[request.param], "--out", model)
        assert done.returncode == 0, done.stderr
        assert "taken as angle: Wind Direction (°)" in done.stderr

    return Detector.load(made_once(tmp_path_factory, f"wind {request.param}", make) / "wind.onnx", provider="cpu")


def inputs(detector: Detector, rows: Floats) -> Floats:
    window = detector.bundle.window
    return rows if detector.bundle.kind == "rows" else windows_at(rows, np.arange(window - 1, len(rows)), window)


def test_both_sides_of_the_seam_score_the_same(detector: Detector) -> None:
    rows = recording(40, 1)
    scores: list[Floats] = []
    for north, west in ((0.0, 359.9), (360.0, -0.1)):
        rows[::3, 0], rows[1::3, 0] = north, west
        scores.append(detector.score(inputs(detector, rows)).score)
    np.testing.assert_array_equal(scores[0], scores[1])


def test_alarms_are_as_rare_at_the_seam_and_the_opposite_direction_is_found(detector: Detector) -> None:
    rows = recording(1500, 2)
    newest = rows[detector.bundle.window - 1 :, 0]
    at_seam = np.minimum(newest, 360 - newest) < 10
    usual = detector.score(inputs(detector, rows))
    assert usual.is_anomaly[at_seam].mean() <= usual.is_anomaly[~at_seam].mean() + 0.01
    turned = inputs(detector, rows).copy()
    turned[(..., 0) if turned.ndim == 2 else (..., -1, 0)] += 180
    assert detector.score(turned).is_anomaly.mean() > 0.9


def test_expectations_are_in_degrees_and_a_direction_contributes_as_one_column(detector: Detector) -> None:
    rows = recording(60, 3)
    rows[::2, 0] = (rows[::2, 0] + 180) % 360
    contribution, expected = detector.explain(inputs(detector, rows))
    assert contribution.shape == expected.shape == inputs(detector, rows).shape
    assert contribution.min() >= 0
    assert expected[..., 0].min() >= 0
    assert expected[..., 0].max() <= 360
    newest = expected if expected.ndim == 2 else expected[:, -1]
    off = (newest[:, 0] - 350 + 180) % 360 - 180
    assert np.abs(off).max() < 120  # it expects a wind from north, not the one that it sees


def test_drawn_directions_are_those_of_the_recording(detector: Detector) -> None:
    if detector.bundle.prior is None:
        return
    drawn = detector.sample(300, seed=0)[..., 0]
    assert drawn.min() >= 0
    assert drawn.max() <= 360
    assert np.mean(np.abs((drawn - 350 + 180) % 360 - 180) < 75) > 0.95
