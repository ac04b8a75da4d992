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
from numpy.typing import NDArray
from PIL import Image as Pillow
from tiny_images import normal_images

from vae_detect.runtime.bundle import Image
from vae_detect.runtime.detector import Detector
from vae_detect.runtime.layout import Layout
from vae_detect.training.data.selection import Selection
from vae_detect.training.settings.config import configure
from vae_detect.training.train import train

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
        [sys.executable, "-m", "pip", "--python", python, "install", "-q", *packages],
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
    "settings",
    [
        {"recipe": "conv-unpool", "kind": "images", "size": 16, "hidden": "4,8"},
        {"recipe": "vae", "kind": "windows", "window": 4, "network": "gru", "hidden": "8"},
        {"recipe": "iwae", "hidden": "16"},
        {"recipe": "ensemble", "kind": "windows", "window": 4},
        {"recipe": "ensemble", "kind": "images", "size": 16, "hidden": "4,8"},
    ],
    ids=lambda settings: f"{settings['recipe']}, {settings.get('kind', 'rows')}",
)
def test_every_kind_of_graph_scores_the_same_on_1_18(
    old_python: Path, normal_csv: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    config = configure({"epochs": 1, "latent": 3, **settings})
    data = normal_csv
    if config.kind == "images":
        data = tmp_path / "images"
        data.mkdir()
        for number, pixels in enumerate(normal_images(Image(16, 16, "grey"), 60, seed=0)):
            Pillow.fromarray(pixels[..., 0]).save(data / f"{number}.png")
    out = tmp_path / "model.onnx"
    train(data, out, config, selection=Selection(), layout=Layout())
    check(old_python, Detector.load(out, provider="cpu"))
