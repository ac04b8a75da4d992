"""Fixtures that several test files share: the committed detector, a small one for windows, recordings, real data."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from vae_detect.runtime.detector import Detector
from vae_detect.runtime.simulation import csv_lines, simulate

ROOT = Path(__file__).parent.parent
MODEL = ROOT / "exported" / "vae.onnx"


@pytest.fixture(scope="session")
def detector() -> Detector:
    """The detector that is committed under exported/."""
    return Detector.load(MODEL, provider="cpu")


@pytest.fixture(scope="session")
def normal_rows() -> NDArray[np.float32]:
    """Normal rows of the pump station that the committed detector watches, (720, 8), raw units."""
    return simulate(duration_s=6 * 3600, period_s=30, seed=7).values.astype(np.float32)


@pytest.fixture(scope="session")
def normal_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two days of normal operation as a CSV, 1440 rows with time stamps."""
    path = tmp_path_factory.mktemp("recordings") / "normal.csv"
    path.write_text("".join(csv_lines(simulate(duration_s=2 * 86400, period_s=120, seed=1))))
    return path


@pytest.fixture(scope="session")
def windows_model(normal_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small detector of windows of 4 rows, trained on `normal_csv`."""
    from vae_detect.runtime.tables import TableFormat
    from vae_detect.training.data import Selection
    from vae_detect.training.recipes import TrainConfig
    from vae_detect.training.train import train

    out = tmp_path_factory.mktemp("windows") / "windows.onnx"
    config = TrainConfig(kind="windows", window=4, hidden=(16,), latent=3, epochs=5)
    train(normal_csv, out, config, selection=Selection(), form=TableFormat(), far="0.05")
    return out


@pytest.fixture(scope="session")
def windows_detector(windows_model: Path) -> Detector:
    return Detector.load(windows_model, provider="cpu")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets; tests that need it are skipped where it is absent."""
    path = Path(os.environ.get("VAE_DETECT_DATA", ROOT.parent / "shared" / "data"))
    if not (path / "tabular").is_dir():
        pytest.skip(f"the real data sets are not in {path}; set VAE_DETECT_DATA")
    return path
