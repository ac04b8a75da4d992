"""What 5, 10 and 50 labels gain, on rows they were not taken from: tables, recordings and windows of recordings.

The data sets are public and are not part of this project: six of ADBench, four machines of SMD, two of ASD, SKAB. A
vae with its defaults is trained on each. The test rows are halved, those of a recording such that no event is on both
sides (between events; SKAB, which has one event in a file, by files). Labels come from one half: half of them from
its highest scores, true faults or false alarms as they come, a quarter faults and a quarter normal rows drawn from the
rest. The other half is scored before and after. Prints Markdown tables; a quarter of an hour on two cores, nearly all
of it training.

    python benchmarks/finetuning.py DATA [--seeds 10] [--models FOLDER]
"""

from __future__ import annotations

import argparse
import platform
import tempfile
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from vae_detect.runtime.calibration.calibration import event_rows
from vae_detect.runtime.detector import Detector
from vae_detect.runtime.layout import Layout, TableFormat
from vae_detect.training.data.selection import Selection
from vae_detect.training.labels.feedback import Fit
from vae_detect.training.labels.origin import read_labels
from vae_detect.training.labels.reviews import ScoredRows, score_recording
from vae_detect.training.labels.words import FAULT
from vae_detect.training.settings.config import configure
from vae_detect.training.train import train

COUNTS = (5, 10, 50)
FIRST_SEED = 100
"""The draws before it helped to choose the constants of the method."""

LEAST = 0.005
"""A loss of less than this does not count as one."""


class Task(NamedTuple):
    """What to train on and what to judge by; several test files are one recording after the other."""

    name: str
    group: str
    train: Path
    tests: tuple[Path, ...]
    labels: str
    settings: Mapping[str, Any] = {}
    form: Layout = Layout()


class Reviewed(NamedTuple):
    """Test rows with the truth; rows of the same `part` stay on the same side."""

    recording: ScoredRows
    truth: NDArray[np.bool_]
    part: NDArray[np.int64]


def tasks(data: Path) -> Iterator[Task]:
    """Tables, recordings row by row, and windows of recordings."""
    for name in ("cardio", "thyroid", "pendigits", "satellite", "spambase", "shuttle"):
        folder, end = data / "tabular" / name, ".csv.gz" if name == "shuttle" else ".csv"
        labels = str(folder / "test_labels.csv")
        yield Task(name, "tables", folder / f"train{end}", (folder / f"test{end}",), labels)
    skab = data / "skab"
    files = tuple(sorted(path for folder in ("other", "valve1", "valve2") for path in (skab / folder).glob("*.csv")))
    for group, settings in (("recordings", {}), ("windows of 10", {"kind": "windows", "window": 10})):
        for family, end in (("smd", ".csv.gz"), ("asd", ".csv")):
            for folder in sorted((data / family).iterdir()):
                labels = str(folder / "test_labels.csv")
                train_file, test_file = folder / f"train{end}", folder / f"test{end}"
                yield Task(folder.name, group, train_file, (test_file,), labels, settings)
        normal = skab / "anomaly-free" / "anomaly-free.csv"
        yield Task("skab", group, normal, files, "anomaly", settings, Layout(TableFormat(";")))


def read(task: Task, detector: Detector) -> Reviewed:
    """The test rows of a task; in windows, a gap keeps each file's from the next one's."""
    recordings = [score_recording(detector, path, task.form) for path in task.tests]
    truths = [
        read_labels(path, task.labels, task.form)(len(recording.score), recording.times) == FAULT
        for path, recording in zip(task.tests, recordings, strict=True)
    ]
    truth = np.concatenate(truths)
    if len(task.tests) > 1:
        part = np.repeat(np.arange(len(truths)), [len(each) for each in truths])
    elif task.group == "tables":
        part = np.arange(len(truth))
    else:
        edges = np.flatnonzero(np.diff(truth.astype(np.int8)))  # the row before a change
        ends, starts = edges[truth[edges]], edges[~truth[edges]]
        between = [(end + starts[starts > end][0]) // 2 for end in ends if (starts > end).any()]
        part = np.searchsorted(between, np.arange(len(truth)))
    columns = [np.concatenate(each) for each in list(zip(*recordings, strict=True))[:3]]
    return Reviewed(ScoredRows(columns[0], columns[1], columns[2], {}), truth, part)


def halves(reviewed: Reviewed, generator: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Usable rows to label and usable rows to judge by, with faults among both."""
    parts = np.unique(reviewed.part)
    while True:
        first = np.isin(reviewed.part, generator.permutation(parts)[: len(parts) // 2])
        sides = [np.flatnonzero(side & reviewed.recording.usable) for side in (first, ~first)]
        if all(reviewed.truth[side].any() for side in sides):
            return sides[0], sides[1]


def draw(reviewed: Reviewed, rows: NDArray[np.int64], count: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """The rows that were looked at, ascending."""
    order = rows[np.argsort(-reviewed.recording.score[rows], kind="stable")]
    top = generator.choice(order[: max(4 * count, len(order) // 20)], count - count // 2, replace=False)
    rest = np.setdiff1d(rows, top)
    faults, normal = rest[reviewed.truth[rest]], rest[~reviewed.truth[rest]]
    faults = generator.choice(faults, min((count // 2 + 1) // 2, len(faults)), replace=False)
    normal = generator.choice(normal, count // 2 - len(faults), replace=False)
    return np.sort(np.concatenate([top, faults, normal]))


def measure(task: Task, detector: Detector, reviewed: Reviewed, seed: int) -> list[tuple[float, ...]]:
    """For each count: ROC-AUC and average precision before, then after."""
    generator = np.random.default_rng(seed)
    review, judge = halves(reviewed, generator)
    truth, before = reviewed.truth[judge], reviewed.recording.score[judge]
    near = 0 if task.group == "tables" else event_rows(detector.bundle)
    found: list[tuple[float, ...]] = []
    for count in COUNTS:
        rows = draw(reviewed, review, count, generator)
        fit = Fit(detector.bundle, reviewed.recording, rows, reviewed.truth[rows], near=near)
        after = fit.correct(reviewed.recording.values, judge, before, np.zeros(len(judge), np.int64))
        measures = [(roc_auc_score(truth, s), average_precision_score(truth, s)) for s in (before, after)]
        found.append((*measures[0], *measures[1], float(fit.foretold)))
    return found


def show(title: str, found: NDArray[np.float64]) -> None:
    """A line for each count of the results (cases, counts, 5)."""
    for place, count in enumerate(COUNTS):
        cases = found[:, place]
        gain = cases[:, 2:4] - cases[:, :2]
        cells = [f"{before:.3f} to {after:.3f}" for before, after in zip(*cases.mean(0)[:4].reshape(2, 2), strict=True)]
        hurt = [f"{share:.0%}" for share in (gain < -LEAST).mean(0)]
        print(
            f"| {title} | {count} | {' | '.join(cells)} | {' / '.join(hurt)} | {cases[:, 4].mean():.0%} |", flush=True
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", type=Path, help="the folder with tabular/, smd/, asd/ and skab/")
    parser.add_argument("--seeds", type=int, default=10, help="draws of halves and labels")
    parser.add_argument("--models", type=Path, help="keep the trained models here, and take those that are there")
    asked = parser.parse_args()
    results: dict[str, list[NDArray[np.float64]]] = {}
    print("| data | labels | ROC-AUC | average precision | hurt, ROC-AUC / AP | reach far |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for task in tasks(asked.data):
            out = (asked.models or Path(folder)) / f"{task.name} {task.group}.onnx"
            if not out.exists():
                config = configure({"recipe": "vae", **task.settings})
                train(task.train, out, config, selection=Selection(), layout=task.form, far="0.05")
            detector = Detector.load(out, provider="cpu")
            reviewed = read(task, detector)
            found = np.array(
                [measure(task, detector, reviewed, seed) for seed in range(FIRST_SEED, FIRST_SEED + asked.seeds)]
            )
            show(f"{task.name}, {task.group}", found)
            results.setdefault(task.group, []).append(found)
    for group, parts in results.items():
        show(f"**all {group}**", np.concatenate(parts))
    show("**all**", np.concatenate([part for parts in results.values() for part in parts]))
    print()
    print(
        f"{asked.seeds} draws; {platform.machine()}, Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in ("torch", "onnxruntime", "numpy"))
    )


if __name__ == "__main__":
    main()
