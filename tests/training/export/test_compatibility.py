"""An exported detector works on ONNX Runtime 1.18, which older boxes have."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from every_recipe import trained_model
from numpy.typing import NDArray

from vae_detect.runtime.detector import Detector

_SCORE = """
import json, sys
import numpy, onnxruntime
from vae_detect.runtime.detector import Detector
assert onnxruntime.__version__.startswith("1.18."), onnxruntime.__version__
detector = Detector.load(sys.argv[1])
golden, image = detector.bundle.golden, detector.bundle.image
x = numpy.array(golden.x, numpy.float32)
if image is not None:
    x = numpy.frombuffer(golden.pixels, numpy.uint8).reshape(-1, *image.shape)
print(json.dumps([detector.score(x).score.tolist(), detector.encode(x).tolist(), detector.reconstruct(x).tolist()]))
"""


@pytest.fixture(scope="module")
def old_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with ONNX Runtime 1.18 and numpy 1, beside the one that runs the tests."""
    if sys.version_info >= (3, 13):
        pytest.skip("ONNX Runtime 1.18 has no build for this Python")
    folder = tmp_path_factory.mktemp("old")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    packages = ["onnxruntime==1.18.1", "numpy<2", "msgspec"]
    installed = subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-compile", *packages],
        capture_output=True,
        text=True,
        check=False,
    )
    if installed.returncode != 0:
        pytest.skip(f"no package index to install {packages[0]} from")
    return python


def check(python: Path, detector: Detector) -> None:
    """The golden inputs have the same scores, codes and reconstructions on 1.18."""
    command = [str(python), "-c", _SCORE, str(detector.path)]
    ran = subprocess.run(command, env={"PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    golden, image = detector.bundle.golden, detector.bundle.image
    x: NDArray[Any] = np.array(golden.x, np.float32)
    if image is not None:
        x = np.frombuffer(golden.pixels, np.uint8).reshape(-1, *image.shape)
    expected = (detector.score(x).score, detector.encode(x), detector.reconstruct(x))
    for found, array in zip(json.loads(ran.stdout), expected, strict=True):
        np.testing.assert_allclose(found, array, rtol=1e-4, atol=1e-5 * max(1.0, float(np.abs(array).max())))


def test_the_committed_detector_scores_the_same_on_1_18(old_python: Path, detector: Detector) -> None:
    check(old_python, detector)


@pytest.mark.parametrize(
    "case", ["conv-unpool, images", "vae, gru", "iwae", "ensemble", "ensemble, windows", "ensemble, images"]
)
def test_every_kind_of_graph_scores_the_same_on_1_18(
    old_python: Path, case: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    check(old_python, trained_model(tmp_path_factory, case).detector)
