"""A detector as the version before wrote it, whose scorer has optional inputs: it works as it did.

The files in schema_2/ were written by `vae-detect train --recipe vae` when 2 was the schema.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from conftest import run_here

from vae_detect.runtime.detector import Detector

PUMP = Path(__file__).parent / "schema_2" / "pump.onnx"


@pytest.fixture(scope="module")
def pump() -> Detector:
    return Detector.load(PUMP, provider="cpu")


def test_it_is_loaded_and_scores_as_it_did(pump: Detector) -> None:
    assert pump.bundle.schema_version == 2
    found, golden = pump.score(pump.golden_inputs()), pump.bundle.golden
    np.testing.assert_allclose(found.score, golden.score, rtol=1e-5)
    assert found.is_anomaly.tolist() == golden.is_anomaly


def test_its_parts_are_loaded(pump: Detector) -> None:
    x = pump.golden_inputs()
    np.testing.assert_allclose(pump.decode(pump.encode(x)), pump.reconstruct(x), rtol=1e-5)
    assert pump.sample(3).shape == (3, 3)


def test_its_optional_inputs_override_in_a_bare_session(pump: Detector) -> None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(PUMP, options)
    x = pump.golden_inputs()
    score = session.run(["score"], {"x": x})[0]
    middle = np.array(np.median(score), np.float32)
    assert session.run(["is_anomaly"], {"x": x, "threshold": middle})[0].tolist() == (score > middle).tolist()
    assert (session.run(["score"], {"x": x, "noise": np.ones((1, 2), np.float32)})[0] != score).any()


def test_the_commands_take_it(pump: Detector, normal_csv: Path, tmp_path: Path) -> None:
    shown = run_here("inspect", PUMP)
    assert shown.returncode == 0
    assert "schema 2" in shown.stdout
    scored = run_here("score", normal_csv, "--model", PUMP, "--out", tmp_path / "scores.csv")
    assert scored.returncode == 0, scored.stderr
    assert "1440 rows: 1440 scored" in scored.stderr
