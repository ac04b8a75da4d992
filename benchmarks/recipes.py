"""Every recipe on a table, a recording and a folder of images, with its defaults: training time and detection.

The data sets are public and are not part of this project: cardio (ADBench), omi-1 (ASD; windows of 16) and mnist_8
(digits: 8 is normal). Prints a Markdown table; about a quarter of an hour on two cores.

    python benchmarks/recipes.py DATA [--recipes vae,ae] [--seed 0]
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch

from vae_detect.runtime.detector import Detector
from vae_detect.runtime.errors import InputError
from vae_detect.runtime.layout import Layout
from vae_detect.training.data.selection import Selection
from vae_detect.training.evaluation.evaluate import evaluate
from vae_detect.training.evaluation.figures import Evaluation
from vae_detect.training.settings.config import configure
from vae_detect.training.settings.recipes import RECIPES
from vae_detect.training.train import train

VARIANTS: dict[str, dict[str, Any]] = {
    **{name: {"recipe": name} for name in RECIPES},
    "vae, network=conv1d": {"recipe": "vae", "network": "conv1d"},
    "vae, network=gru": {"recipe": "vae", "network": "gru"},
}


class Task(NamedTuple):
    """What to train on and what to judge by."""

    name: str
    train: Path
    test: Path
    settings: Mapping[str, Any]
    labels: str | None = None
    class_column: str | None = None
    """A column with two values, for cvae; None where there is none."""


def tasks(data: Path) -> list[Task]:
    """One of each kind."""
    cardio, omi, digits = data / "tabular" / "cardio", data / "asd" / "omi-1", data / "images" / "mnist_8"
    return [
        Task("rows", cardio / "train.csv", cardio / "test.csv", {}, str(cardio / "test_labels.csv"), "f05"),
        Task("windows", omi / "train.csv", omi / "test.csv", {"kind": "windows"}, str(omi / "test_labels.csv")),
        Task("images", digits, digits, {"kind": "images", "size": 28}),
    ]


def measure(task: Task, settings: Mapping[str, Any], seed: int, out: Path) -> list[str]:
    """Seconds of training, ROC-AUC and average precision, or dashes where the recipe does not fit the data."""
    wants_class = RECIPES[settings["recipe"]].prior == "classes"
    try:
        config = configure({**task.settings, **settings, "seed": seed})
    except InputError:  # a convolution of rows, and the like
        return ["", "–", "–"]
    if wants_class and task.class_column is None:
        return ["", "–", "–"]
    selection = Selection(class_column=task.class_column if wants_class else None)
    started = time.perf_counter()
    train(task.train, out, config, selection=selection, layout=Layout(), far="0.05")
    seconds = time.perf_counter() - started
    found = evaluate(Detector.load(out, provider="cpu"), task.test, task.labels, Layout())
    assert isinstance(found, Evaluation)
    return [f"{seconds:.0f}", f"{found.detector.roc_auc:.3f}", f"{found.detector.average_precision:.3f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", type=Path, help="the folder with tabular/, skab/ and images/")
    parser.add_argument("--recipes", default=",".join(RECIPES), help="which of them, and their variants")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    chosen = {name: settings for name, settings in VARIANTS.items() if settings["recipe"] in asked.recipes.split(",")}
    with tempfile.TemporaryDirectory() as folder:
        todo = tasks(asked.data)
        print("| recipe |" + "".join(f" {task.name}: s | ROC-AUC | AP |" for task in todo))
        print("|---|" + "---|---|---|" * len(todo))
        for name, settings in chosen.items():
            cells = [cell for task in todo for cell in measure(task, settings, asked.seed, Path(folder) / "model.onnx")]
            print(f"| `{name}` | " + " | ".join(cells) + " |", flush=True)
    print()
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads; "
        f"Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in ("torch", "onnxruntime", "numpy"))
    )


if __name__ == "__main__":
    main()
