"""Scores over all classes on the scale of scores given the class: by hand, and the rate that a detector keeps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import binom

from vae_detect.runtime import graph
from vae_detect.runtime.bundle import Calibration
from vae_detect.runtime.calibration.calibration import calibrate
from vae_detect.runtime.detector import Detector
from vae_detect.runtime.layout import Layout
from vae_detect.runtime.opening import read_model_file
from vae_detect.runtime.rows.fields import UNKNOWN
from vae_detect.runtime.session import Session
from vae_detect.training.data.selection import Selection
from vae_detect.training.model.unknown_class import UnknownClass
from vae_detect.training.settings.config import configure
from vae_detect.training.train import train

FAR = 0.02


def calibrations(n: int) -> tuple[Calibration, Calibration]:
    """Of scores over all classes, which are larger and spread otherwise, and of scores given the class."""
    known = np.random.default_rng(0).gamma(2.0, 1.0, n)
    return calibrate(1.8 + 1.5 * known, far=FAR), calibrate(known, far=FAR)


@pytest.mark.parametrize("n", [60, 1000])
def test_the_threshold_becomes_the_threshold(n: int) -> None:
    unknown, known = calibrations(n)
    carry = UnknownClass(unknown, known)
    at = np.float32(unknown.threshold)
    just_below, just_above = carry(torch.tensor([at, 1.0001 * at])).tolist()
    assert just_below == pytest.approx(known.threshold, rel=1e-5)
    assert just_below <= known.threshold < just_above


def test_a_score_becomes_the_one_that_is_as_rare() -> None:
    carry = UnknownClass(*calibrations(1000))
    true = np.random.default_rng(1).gamma(2.0, 1.0, 1000).astype(np.float32)
    found = carry(torch.from_numpy(1.8 + 1.5 * true)).numpy()
    np.testing.assert_allclose(found, true, atol=0.05 * true.max())


def test_beyond_the_table_scores_keep_their_order_and_what_is_not_finite_stays_so() -> None:
    carry = UnknownClass(*calibrations(1000))
    found = carry(torch.tensor([-5.0, -4.0, 0.0, 1e6, 1e7, torch.nan, torch.inf, -torch.inf])).numpy()
    assert (np.diff(found[:5]) > 0).all()
    assert not np.isfinite(found[5:]).any()


# --- a detector ------------------------------------------------------------------------------------------------------


def machines(n: int, seed: int) -> NDArray[np.float32]:
    """Which of six machines a row is of, its pressure and its flow, which depend on the machine."""
    generator = np.random.default_rng(seed)
    machine = generator.integers(0, 6, n)
    pressure = 100 + 60 * machine + generator.normal(0, 4, n)
    flow = pressure / 2 + generator.normal(0, 2, n)
    return np.column_stack([machine, pressure, flow]).astype(np.float32)


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    folder = tmp_path_factory.mktemp("classes")
    lines = [f"M{int(machine)},{pressure},{flow}" for machine, pressure, flow in machines(1800, 0).tolist()]
    (folder / "normal.csv").write_text("\n".join(["machine,pressure,flow", *lines]) + "\n")
    config = configure({"recipe": "cvae", "hidden": "16", "latent": 2, "epochs": 20, "learning_rate": 1e-2})
    selection, out = Selection(class_column="machine"), folder / "classes.onnx"
    train(folder / "normal.csv", out, config, selection=selection, layout=Layout(), far=str(FAR))
    return Detector.load(out, provider="cpu")


def without_class(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.column_stack([np.full(len(x), UNKNOWN, np.float32), x[:, 1:]])


def bare(detector: Detector, x: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    session = Session(read_model_file(Path(detector.path)), source="classes", provider="cpu")
    return dict(zip(session.outputs, session.run(session.outputs, {graph.X: x}), strict=True))


def test_the_promised_rate_is_kept_with_the_class_and_without(classes: Detector) -> None:
    x, calibration = machines(5000, 1), classes.bundle.calibration
    for rows in (x, without_class(x)):
        alarms = int(bare(classes, rows)["is_anomaly"].sum())
        low, high = binom.ppf(0.001, 5000, calibration.far_low), binom.ppf(0.999, 5000, calibration.far_high)
        assert low <= alarms <= high
        for p in (0.05, 0.2, 0.5):
            noise = 3.5 * (p / calibration.n) ** 0.5  # of so few calibration rows
            assert (classes.score(rows).p_value <= p).mean() == pytest.approx(p, abs=noise)


def test_with_the_class_the_score_is_what_it_was(classes: Detector) -> None:
    x = machines(100, 2)
    known, unknown = bare(classes, x), bare(classes, without_class(x))
    np.testing.assert_array_equal(known["score"], known["reconstruction_error"] + known["kl"])
    # By itself the divergence over all classes is larger; as a score it is held against the same threshold.
    assert np.median(unknown["kl"] - known["kl"]) > 0.3
    assert abs(float(np.median(unknown["score"] - known["score"]))) < 0.2


def test_a_fault_is_found_without_the_class(classes: Detector) -> None:
    x = machines(300, 3)
    x[:, 2] += 300
    assert classes.score(x).is_anomaly.mean() > 0.95
    assert classes.score(without_class(x)).is_anomaly.mean() > 0.95


def test_golden_rows_hold_some_without_class(classes: Detector) -> None:
    x = classes.golden_inputs()
    assert (x[:, 0] == UNKNOWN).sum() == 3
