"""A small detector of every recipe and of the ways to set it, trained once a run for all tests that ask for it."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from conftest import made_once
from numpy.typing import NDArray
from PIL import Image as Pillow

from vae_detect.runtime.bundle import Bundle, Kind
from vae_detect.runtime.detector import Detector
from vae_detect.runtime.layout import Layout
from vae_detect.training.data.selection import Selection
from vae_detect.training.settings.config import TrainConfig, configure
from vae_detect.training.settings.recipes import RECIPES
from vae_detect.training.train import train

FEATURES, WINDOW, SIDE = 6, 8, 16

SETPOINT = 60.0
"""Of a column that is constant while training."""

CASES: dict[str, dict[str, Any]] = {
    **{name: {"recipe": name, "kind": "windows" if RECIPES[name].convolutional else "rows"} for name in RECIPES},
    "ensemble, windows": {"recipe": "ensemble", "kind": "windows"},
    "ensemble, images": {"recipe": "ensemble", "kind": "images"},
    "ae, two layers, tied": {"recipe": "ae", "hidden": "", "tied": "true"},
    "sparse, l1": {"recipe": "sparse", "penalty": "l1"},
    "denoising, mask": {"recipe": "denoising", "corruption": "mask"},
    "contractive, deep": {"recipe": "contractive", "hidden": "16"},
    "vae, points": {"recipe": "vae", "points": 4},
    "beta-vae, annealed": {"recipe": "beta-vae", "annealing": 2, "free_bits": 0.1},
    "vae, gru": {"recipe": "vae", "kind": "windows", "network": "gru", "hidden": "8"},
    "ae, laplace": {"recipe": "ae", "likelihood": "laplace"},
    "vae, images": {"recipe": "vae", "kind": "images"},
    "conv-unpool, images": {"recipe": "conv-unpool", "kind": "images"},
    "rbm, images": {"recipe": "rbm", "kind": "images"},
    "vae, images, continuous-bernoulli": {"recipe": "vae", "kind": "images", "likelihood": "continuous-bernoulli"},
}
SMALL = {"epochs": 8, "pretrain_epochs": 3, "learning_rate": 5e-3, "batch": 32}

FAR: dict[Kind, str] = {"rows": "0.006", "windows": "0.1", "images": "0.025"}
"""Of rows and images so small that the threshold is the highest score: the last normal one of the golden inputs."""


class Trained(NamedTuple):
    path: Path
    detector: Detector
    normal: NDArray[Any]
    """Inputs that took no part in training."""
    faulty: NDArray[Any]

    @property
    def bundle(self) -> Bundle:
        return self.detector.bundle


def table(rows: int, seed: int) -> NDArray[np.float64]:
    """Two slow hidden causes behind six columns; in front a class that shifts them, and a constant."""
    generator = np.random.default_rng(seed)
    time = np.arange(rows) / 7 + seed
    causes = np.stack([np.sin(time), np.cos(0.37 * time)], axis=1)
    mixing = np.random.default_rng(99).normal(size=(2, FEATURES))
    values = causes @ mixing + 0.1 * generator.normal(size=(rows, FEATURES))
    kind = generator.integers(0, 2, size=rows)
    return np.column_stack([kind, np.full(rows, SETPOINT), values + kind[:, None]])


def pictures(count: int, seed: int) -> NDArray[np.uint8]:
    """Stripes of random phase: (count, SIDE, SIDE, 1)."""
    generator = np.random.default_rng(seed)
    phase = generator.uniform(0, 2 * np.pi, size=(count, 1, 1))
    stripes = 128 + 80 * np.sin(np.arange(SIDE)[None, None] / 2 + phase)
    noisy = stripes + generator.normal(0, 8, size=(count, SIDE, SIDE))
    return np.clip(noisy, 0, 255).astype(np.uint8)[..., None]


def write_table(path: Path, values: NDArray[np.float64]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["kind", "setpoint", *(f"c{place}" for place in range(FEATURES))])
        writer.writerows([["idle", "busy"][int(row[0])], *row[1:]] for row in values)


def config_of(case: str) -> TrainConfig:
    config = configure({**SMALL, **CASES[case]})
    if config.kind == "windows":
        config = configure({**SMALL, "window": WINDOW, **CASES[case]})
    return replace(config, size=(SIDE,)) if config.kind == "images" else config


def wants_class(case: str) -> bool:
    return RECIPES[config_of(case).recipe].prior == "classes"


def inputs_of(case: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Normal inputs that took no part in training, and the same with a fault in each."""
    kind = config_of(case).kind
    if kind == "images":
        images = pictures(30, seed=1)
        spoilt = images.copy()
        spoilt[:, 4:12, 4:12] = 255 - spoilt[:, 4:12, 4:12]
        return images, spoilt
    rows = table(120, seed=1)[:, 0 if wants_class(case) else 1 :].astype(np.float32)
    broken = rows.copy()
    broken[:, -1] += 8
    windows = np.arange(100)[:, None] + np.arange(WINDOW)
    return (rows[windows], broken[windows]) if kind == "windows" else (rows, broken)


def trained_model(factory: pytest.TempPathFactory, case: str) -> Trained:
    """The detector of a case."""

    def make(folder: Path) -> None:
        config, data = config_of(case), folder / "normal.csv"
        if config.kind == "images":
            data = folder / "images"
            data.mkdir()
            for number, pixels in enumerate(pictures(200, seed=0)):
                Pillow.fromarray(pixels[..., 0]).save(data / f"{number}.png")
        else:
            rows = table(900, seed=0)
            write_table(data, np.random.default_rng(0).permutation(rows) if config.kind == "rows" else rows)
        excluded = ("kind",) if data.is_file() else ()
        selection = Selection(class_column="kind") if wants_class(case) else Selection(exclude=excluded)
        train(data, folder / "model.onnx", config, selection=selection, layout=Layout(), far=FAR[config.kind])

    path = made_once(factory, f"recipe {case}", make) / "model.onnx"
    return Trained(path, Detector.load(path, provider="cpu"), *inputs_of(case))
