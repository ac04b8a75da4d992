"""Training in bfloat16: every family on every network follows float32, and what is exported scores in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from vae_detect.runtime.detector import Detector
from vae_detect.runtime.layout import Layout
from vae_detect.training.data.columns import plan_columns
from vae_detect.training.data.selection import Selection
from vae_detect.training.data.split import Split
from vae_detect.training.fitting.fit import Epoch, fit
from vae_detect.training.fitting.objective import Losses, Objective
from vae_detect.training.model.autoencoder import Autoencoder
from vae_detect.training.settings.config import TrainConfig, configure
from vae_detect.training.settings.recipes import RECIPES
from vae_detect.training.train import train

WINDOWS = {"kind": "windows", "window": 8}
RUNS: dict[str, dict[str, Any]] = {
    **{recipe: {"recipe": recipe} for recipe in RECIPES if recipe not in ("cvae", "conv", "conv-unpool")},
    "contractive, deep": {"recipe": "contractive", "hidden": (8,), "tied": False},
    "bernoulli": {"likelihood": "bernoulli"},
    "continuous-bernoulli": {"likelihood": "continuous-bernoulli"},
    "laplace": {"likelihood": "laplace"},
    "windows, mlp": WINDOWS,
    "windows, gru": {"recipe": "vae", "network": "gru", **WINDOWS},
    "conv": {"recipe": "conv", **WINDOWS},
    "conv-unpool": {"recipe": "conv-unpool", **WINDOWS},
}
PARTS = Split(np.arange(0, 280), np.arange(290, 320), np.arange(330, 390))


def settings_of(name: str, precision: str) -> TrainConfig:
    given = RUNS[name]
    hidden = {} if RECIPES[given.get("recipe", "vae")].settings.get("hidden") == () else {"hidden": (8,)}
    quick = {"epochs": 4, "batch": 32, "pretrain_epochs": 2, "learning_rate": 3e-3, "precision": precision}
    return configure({**hidden, **quick, **given})


def rows(name: str) -> NDArray[np.float32]:
    """400 rows of 4 columns in [0, 1] that one hidden cause ties together; only 0 and 1 for a Bernoulli."""
    generator = np.random.default_rng(0)
    cause = generator.normal(size=(400, 1)) @ generator.normal(size=(1, 4)) + 0.1 * generator.normal(size=(400, 4))
    values = 1 / (1 + np.exp(-cause))
    return (np.rint(values) if name == "bernoulli" else values).astype(np.float32)


def learn(name: str, precision: str, checkpoint: Path) -> list[Epoch]:
    config, values = settings_of(name, precision), rows(name)
    columns, _ = plan_columns(values, list("abcd"), numeric_only=True, standardise="bernoulli" not in name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Autoencoder(config, columns)
    history = fit(model, torch.from_numpy(values), PARTS, checkpoint=checkpoint, fingerprint="")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    return history


@pytest.mark.parametrize("name", RUNS)
def test_bfloat16_follows_float32_with_losses_in_float32(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[torch.dtype] = set()
    forward = Objective.forward

    def spied(self: Objective, *arguments: Any) -> Losses:
        assert torch.is_autocast_enabled("cpu")
        losses = forward(self, *arguments)
        seen.update(loss.dtype for loss in losses)
        return losses

    with monkeypatch.context() as patch:
        patch.setattr(Objective, "forward", spied)
        half = learn(name, "bfloat16", tmp_path / "half")
    assert seen == {torch.float32}
    whole = learn(name, "float32", tmp_path / "whole")
    assert half != whole
    for one, other in zip(half, whole, strict=True):
        np.testing.assert_allclose(one[1:5], other[1:5], rtol=0.05, atol=0.1)


@pytest.mark.parametrize("name", ["vae", "contractive, deep", "windows, gru", "conv"])
def test_a_detector_trained_in_bfloat16_scores_in_float32(name: str, tmp_path: Path) -> None:
    data, out = tmp_path / "d.csv", tmp_path / "d.onnx"
    np.savetxt(data, rows(name), delimiter=",", header="a,b,c,d", comments="", fmt="%.5f")
    config = settings_of(name, "bfloat16")
    outcome = train(data, out, config, selection=Selection(), layout=Layout())
    assert outcome is not None
    assert outcome.bundle.parity.max_relative_error < 1e-5
    assert Detector.load(out, provider="cpu").bundle.settings["precision"] == "bfloat16"
