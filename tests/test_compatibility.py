"""An exported detector works on ONNX Runtime 1.18, which older boxes have."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from vae_detect.runtime.detector import Detector

ROOT = Path(__file__).parent.parent

_SCORE = """
import json, sys
import numpy, onnxruntime
from vae_detect.runtime.detector import Detector
assert onnxruntime.__version__.startswith("1.18."), onnxruntime.__version__
detector = Detector.load(sys.argv[1])
x = numpy.array(detector.bundle.golden.x, numpy.float32)
print(json.dumps([detector.score(x).score.tolist(), detector.encode(x).tolist(), detector.reconstruct(x).tolist()]))
"""


@pytest.fixture(scope="module")
def old_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with ONNX Runtime 1.18 and numpy 1, beside the one that runs the tests."""
    if sys.version_info >= (3, 13):
        pytest.skip("ONNX Runtime 1.18 has no build for this Python")
    folder = tmp_path_factory.mktemp("old")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    packages = ["onnxruntime==1.18.1", "numpy<2", "msgspec"]
    installed = subprocess.run(
        [python, "-m", "pip", "install", "-q", *packages], capture_output=True, text=True, check=False
    )
    if installed.returncode != 0:
        pytest.skip(f"no package index to install {packages[0]} from")
    return python


def test_the_committed_detector_scores_the_same_on_1_18(old_python: Path, detector: Detector) -> None:
    command = [str(old_python), "-c", _SCORE, str(detector.path)]
    ran = subprocess.run(command, env={"PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    x = detector.bundle.golden.x
    expected = (detector.score(x).score, detector.encode(x), detector.reconstruct(x))
    for found, array in zip(json.loads(ran.stdout), expected, strict=True):
        assert found == pytest.approx(array.tolist() if array.ndim == 1 else array, rel=1e-4, abs=1e-5)
