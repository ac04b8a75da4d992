"""What a scorer takes, of every command that writes one: `x` and nothing else, or with --overridable more."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import ROOT, run_here

from vae_detect.runtime.detector import Detector
from vae_detect.runtime.session import Session

SCHEMA_2 = ROOT / "tests" / "runtime" / "schema_2" / "pump.onnx"
TABLE = ["threshold", "calibration_knots", "calibration_inverse_widths", "calibration_log_steps"]


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows for the model of schema 2, the last two of them faults, and enough normal ones to set its threshold."""
    path = tmp_path_factory.mktemp("labels") / "labels.csv"
    parent = Detector.load(SCHEMA_2, provider="cpu")
    rows = parent.sample(300, seed=1)
    rows[-2:] += 10 * rows.std(0)
    lines = [",".join([*map(str, row), "1" if number >= 298 else "0"]) for number, row in enumerate(rows.tolist())]
    path.write_text("\n".join([",".join([*parent.bundle.names, "label"]), *lines]) + "\n")
    return path


def inputs(path: Path) -> list[str]:
    return [item.name for item in onnx.load(path).graph.input]


def train(normal_csv: Path, out: Path, *options: str) -> Path:
    settings = ("--recipe", "vae", "--set", "hidden=4", "latent=2", "epochs=1")
    made = run_here("train", normal_csv, "--out", out, *settings, *options)
    assert made.returncode == 0, made.stderr
    return out


def finetune(labels: Path, out: Path, *options: str) -> Path:
    made = run_here("finetune", "--model", SCHEMA_2, "--labels", labels, "--out", out, *options)
    assert made.returncode == 0, made.stderr
    return out


def test_train_and_finetune_write_scorers_of_one_input(normal_csv: Path, labels: Path, tmp_path: Path) -> None:
    trained, tuned = train(normal_csv, tmp_path / "trained.onnx"), finetune(labels, tmp_path / "tuned.onnx")
    for path in (trained, tuned):
        assert inputs(path) == ["x"]
        assert Detector.load(path, provider="cpu").bundle.schema_version == 3
        # By itself ONNX Runtime says what it thinks of a graph; of optional inputs it has much to say.
        code = f"import onnxruntime; onnxruntime.InferenceSession({str(path)!r})"
        bare = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert (bare.stdout, bare.stderr) == ("", "")


def test_overridable_brings_the_optional_inputs_back(normal_csv: Path, labels: Path, tmp_path: Path) -> None:
    trained = train(normal_csv, tmp_path / "trained.onnx", "--overridable")
    tuned = finetune(labels, tmp_path / "tuned.onnx", "--overridable")
    for path in (trained, tuned):
        assert inputs(path) == ["x", *TABLE, "noise"]
        detector = Detector.load(path, provider="cpu")
        x = detector.golden_inputs()
        session = Session(path.read_bytes(), source="overridable", provider="cpu")
        score, verdict = session.run(["score", "is_anomaly"], {"x": x})
        assert verdict.tolist() == detector.score(x).is_anomaly.tolist()
        middle = np.asarray(np.median(score), np.float32)
        assert session.run(["is_anomaly"], {"x": x, "threshold": middle})[0].tolist() == (score > middle).tolist()
        moved = session.run(["score"], {"x": x, "noise": np.ones((1, 2), np.float32)})[0]
        assert np.abs(moved - score).max() > 0.01


def test_the_parts_of_a_file_of_schema_2_go_on_with_its_fine_tuned_scorer(labels: Path, tmp_path: Path) -> None:
    for part in ("", ".encoder", ".decoder"):
        shutil.copy(SCHEMA_2.with_name(f"pump{part}.onnx"), tmp_path)
    before = Detector.load(tmp_path / "pump.onnx", provider="cpu")
    after = Detector.load(finetune(labels, tmp_path / "tuned.onnx"), provider="cpu")
    x = before.golden_inputs()
    np.testing.assert_array_equal(after.encode(x), before.encode(x))
    np.testing.assert_allclose(after.decode(after.encode(x)), after.reconstruct(x), rtol=1e-5)
