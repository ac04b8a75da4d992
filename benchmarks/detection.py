"""Detection with default settings, beside PyOD and a plain PCA, on public data sets; and whether false alarms are kept.

One default for each kind of data and no setting for a data set. Everyone gets the same split: the training file
(peers: at most 10,000 of its rows or 5,000 windows, standardised with its statistics; this project sets a fifth aside
for calibration), and is judged on the whole test file. A window's score belongs to its newest row.

    python benchmarks/detection.py DATA [--columns tabular,smd] [--methods ensemble,KNN] [--seeds 3] [--results FILE]

Prints Markdown. Each result is appended to FILE (JSON lines) as it is found and is not computed again, so that a run
can be stopped and goes on where it was. About an hour on two cores.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import tempfile
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from pyod.models.auto_encoder import AutoEncoder
from pyod.models.iforest import IForest
from pyod.models.knn import KNN
from pyod.models.lof import LOF
from pyod.models.vae import VAE
from sklearn.metrics import average_precision_score, roc_auc_score

from vae_detect.runtime.detector import Detector
from vae_detect.runtime.images.folders import image_files, read_file
from vae_detect.runtime.layout import Layout
from vae_detect.runtime.scoring.drift import DriftMonitor
from vae_detect.training.data.selection import Selection
from vae_detect.training.evaluation.vus import vus_pr
from vae_detect.training.settings.config import configure
from vae_detect.training.train import train

Floats = NDArray[np.float32]

OURS = ("ensemble", "vae")
FAR = 0.01
MOST_ROWS, MOST_WINDOWS = 10_000, 5_000
SKAB_HEAD, NAB_HEAD = 400, 0.15
"""Rows of a SKAB file, and share of a NAB file, that their protocols train on."""

BARS = {
    "tabular": (0.939, 0.877),
    "smd": (0.867, 0.427),
    "asd": (0.703, 0.277),
    "skab": (0.892, 0.900),
    "nab": (0.772, 0.425),
    "deeppcb": (0.831, None),
    "magnetic_tile": (0.648, None),
    "mnist_8": (0.912, None),
}
"""The best peer of each column, measured before: ROC-AUC and average precision."""


class Series(NamedTuple):
    """A data set: rows to train on, rows to judge by, which of them are anomalous, and rows in a window."""

    column: str
    name: str
    train: Floats
    test: Floats
    truth: NDArray[np.bool_]
    window: int = 1


class Folder(NamedTuple):
    """A folder of images laid out like MVTec, and the pixels to which they are brought."""

    column: str
    name: str
    path: Path
    size: int


def data_sets(data: Path) -> Iterator[Series | Folder]:
    """All of them, columns of the table together."""
    for folder in sorted((data / "tabular").iterdir()):
        yield Series("tabular", folder.name, *_files(folder))
    for column, window in (("smd", 10), ("asd", 16)):
        for folder in sorted(path for path in (data / column).iterdir() if path.is_dir()):
            yield Series(column, folder.name, *_files(folder), window)
    for path in sorted((data / "skab").glob("*/[0-9]*.csv")):
        table = pd.read_csv(path, sep=";").drop(columns="datetime")
        truth = table.pop("anomaly").to_numpy().astype(bool)
        values = table.drop(columns="changepoint").to_numpy(np.float32)
        name = f"{path.parent.name}/{path.stem}"
        yield Series("skab", name, values[:SKAB_HEAD], values[SKAB_HEAD:], truth[SKAB_HEAD:], 16)
    for path in sorted((data / "nab").glob("real*/*.csv")):
        values = pd.read_csv(path)[["value"]].to_numpy(np.float32)
        labels = pd.read_csv(data / "nab" / "labels" / f"{path.stem}_labels.csv").iloc[:, -1].to_numpy().astype(bool)
        head = int(NAB_HEAD * len(values))
        yield Series("nab", path.stem, values[:head], values[head:], labels[head:], 32)
    for path in sorted((data / "kpi").glob("*.csv")):
        table = pd.read_csv(path)
        values, labels = table[["value"]].to_numpy(np.float32), table["label"].to_numpy().astype(bool)
        half = len(values) // 2
        yield Series("kpi", path.stem, values[:half], values[half:], labels[half:], 32)
    for name, size in (("deeppcb", 64), ("magnetic_tile", 64), ("mnist_8", 32)):
        yield Folder(name, name, data / "images" / name, size)


def _files(folder: Path) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    train_table, test_table = (pd.read_csv(next(folder.glob(f"{part}.csv*"))) for part in ("train", "test"))
    names = [name for name in train_table.columns if name.lower() != "timestamp"]
    truth = pd.read_csv(folder / "test_labels.csv").iloc[:, -1].to_numpy().astype(bool)
    return train_table[names].to_numpy(np.float32), test_table[names].to_numpy(np.float32), truth


def windows(values: Floats, window: int) -> Floats:
    """(windows, window, features), one for each row that has enough rows before it."""
    return np.lib.stride_tricks.sliding_window_view(values, window, axis=0).transpose(0, 2, 1)


class Reconstruction:
    """Squared error of a principal component analysis that keeps 90 % of the variance."""

    def fit(self, x: Floats) -> None:
        self.center = x.mean(0)
        _, values, axes = np.linalg.svd(x - self.center, full_matrices=False)
        share = np.cumsum(values**2) / np.sum(values**2)
        self.axes = axes[: int(np.searchsorted(share, 0.9)) + 1]

    def decision_function(self, x: Floats) -> Floats:
        centred = x - self.center
        left = centred - centred @ self.axes.T @ self.axes
        return np.asarray((left * left).sum(1), np.float32)


PEERS: dict[str, Callable[[int], Any]] = {
    "PyOD AutoEncoder": lambda seed: AutoEncoder(random_state=seed, verbose=0),
    "PyOD VAE": lambda seed: VAE(random_state=seed, verbose=0),
    "PyOD KNN": lambda seed: KNN(),
    "PyOD LOF": lambda seed: LOF(),
    "PyOD IForest": lambda seed: IForest(random_state=seed),
    "PCA reconstruction": lambda seed: Reconstruction(),
}
FIXED = ("PyOD KNN", "PyOD LOF", "PCA reconstruction")
"""Peers that a seed does not change."""


def run_peer(name: str, data: Series | Folder, seed: int) -> dict[str, Any]:
    """Fit on the training file, standardised; threshold at the 99 % quantile of its scores, as PyOD sets it."""
    if isinstance(data, Folder):
        of = _pixels(data)
        fit_on, test, truth = of["train"], of["test"], of["truth"]
    else:
        center, scale = data.train.mean(0), data.train.std(0)
        scale = np.where(scale < 1e-6 * np.maximum(1, np.abs(center)), 1, scale)
        fit_on, test = ((part - center) / scale for part in (data.train, data.test))
        truth = data.truth
        most = MOST_ROWS
        if data.window > 1:
            fit_on, test = (
                windows(part, data.window).reshape(-1, data.window * part.shape[1]) for part in (fit_on, test)
            )
            truth, most = truth[data.window - 1 :], MOST_WINDOWS
        if len(fit_on) > most:
            fit_on = fit_on[np.sort(np.random.default_rng(0).choice(len(fit_on), most, replace=False))]
    model = PEERS[name](seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(np.ascontiguousarray(fit_on))
        inside = model.decision_function(np.ascontiguousarray(fit_on))
        score = np.concatenate(
            [model.decision_function(part) for part in np.array_split(test, max(1, len(test) // 4096))]
        )
    return judge(truth, score, score > np.quantile(inside, 1 - FAR), data)


def _pixels(data: Folder) -> dict[str, NDArray[Any]]:
    def read(path: Path) -> Floats:
        image = Image.open(path).convert("L").resize((data.size, data.size), Image.Resampling.BILINEAR)
        return np.asarray(image, np.float32).reshape(-1) / np.float32(255)

    train_files = sorted((data.path / "train" / "good").iterdir())
    test_files = sorted(path for path in (data.path / "test").glob("*/*"))
    fit_on, test = (np.stack([read(path) for path in files]) for files in (train_files, test_files))
    center, scale = fit_on.mean(), fit_on.std()
    truth = np.array([path.parent.name != "good" for path in test_files])
    return {"train": (fit_on - center) / scale, "test": (test - center) / scale, "truth": truth}


def run_ours(recipe: str, data: Series | Folder, seed: int, folder: Path) -> dict[str, Any]:
    """Train through the library as the command does, on a CSV or the folder, and score the test file."""
    settings: dict[str, Any] = {"recipe": recipe, "seed": seed}
    selection, source = Selection(), data.path if isinstance(data, Folder) else folder / "train.csv"
    if isinstance(data, Folder):
        settings |= {"kind": "images", "size": data.size}
    else:
        if data.window > 1:
            settings |= {"kind": "windows", "window": data.window}
        with source.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([f"c{place}" for place in range(data.train.shape[1])])
            writer.writerows(data.train.tolist())
    out = folder / "model.onnx"
    train(source, out, configure(settings), selection=selection, layout=Layout())
    detector = Detector.load(out, provider="cpu")
    if isinstance(data, Folder):
        image = detector.bundle.image
        assert image is not None
        files = image_files(data.path / "test").files
        truth = np.array([not file.name.startswith("good/") for file in files])
        found = [detector.score(read_file(file, image)[None]) for file in files]
        score, alarm = (np.concatenate([getattr(each, name) for each in found]) for name in ("score", "is_anomaly"))
    else:
        x = windows(data.test, data.window) if data.window > 1 else data.test
        truth = data.truth[data.window - 1 :]
        parts = [detector.score(np.ascontiguousarray(part)) for part in np.array_split(x, max(1, len(x) // 4096))]
        score, alarm = (np.concatenate([getattr(each, name) for each in parts]) for name in ("score", "is_anomaly"))
    calibration = detector.bundle.calibration
    monitor = DriftMonitor(calibration, None)
    monitor.push(alarm)
    return judge(truth, score, alarm, data) | {
        "promised": calibration.far,
        "low": calibration.far_low,
        "high": calibration.far_high,
        "reported": monitor.first_report is not None,
    }


def judge(truth: NDArray[np.bool_], score: Floats, alarm: NDArray[np.bool_], data: Series | Folder) -> dict[str, Any]:
    """ROC-AUC, average precision, VUS-PR of series, and the share of normal inputs with an alarm."""
    is_series = isinstance(data, Series) and data.window > 1
    return {
        "roc_auc": float(roc_auc_score(truth, score)),
        "ap": float(average_precision_score(truth, score)),
        "vus_pr": float(vus_pr(truth, score)) if is_series else None,
        "far": float(alarm[~truth].mean()),
    }


def measure(asked: argparse.Namespace) -> list[dict[str, Any]]:
    """The results of every method on every set, those in the file included."""
    known: dict[tuple[str, str, str, int], dict[str, Any]] = {}
    if asked.results.exists():
        for line in asked.results.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            known[row["column"], row["set"], row["method"], row["seed"]] = row
    chosen = []
    for data in data_sets(asked.data):
        if asked.columns and data.column not in asked.columns.split(","):
            continue
        for method in (*OURS, *PEERS):
            if asked.methods and method not in asked.methods.split(","):
                continue
            for seed in range(1 if method in FIXED else asked.seeds):
                key = (data.column, data.name, method, seed)
                if key not in known:
                    with tempfile.TemporaryDirectory() as folder:
                        ours = method in OURS
                        found = run_ours(method, data, seed, Path(folder)) if ours else run_peer(method, data, seed)
                    known[key] = dict(zip(("column", "set", "method", "seed"), key, strict=True)) | found
                    with asked.results.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(known[key]) + "\n")
                    print(*key, {name: found[name] for name in ("roc_auc", "ap", "far")}, flush=True)
                chosen.append(known[key])
    return chosen


def report(rows: list[dict[str, Any]]) -> Iterator[str]:
    """The tables, as Markdown."""
    table = pd.DataFrame(rows)
    columns, methods = list(dict.fromkeys(table["column"])), list(dict.fromkeys(table["method"]))
    by_set = (
        table.groupby(["column", "set", "method"], sort=False)[["roc_auc", "ap", "vus_pr", "far"]].mean().reset_index()
    )
    means = by_set.groupby(["column", "method"])[["roc_auc", "ap", "vus_pr", "far"]].mean()
    ranks = by_set.assign(rank=by_set.groupby(["column", "set"])["roc_auc"].rank(ascending=False))
    for title, shown in (
        ("ROC-AUC / average precision", ("roc_auc", "ap")),
        ("VUS-PR", ("vus_pr",)),
        ("false-alarm rate at a promised 1 %", ("far",)),
    ):
        used = [c for c in columns if not means.loc[c][list(shown)].isna().all().any()]
        yield f"\n{title}, means over data sets and seeds\n"
        yield (
            "| |"
            + "".join(f" {c} ({by_set[by_set['column'] == c]['set'].nunique()}) |" for c in used)
            + (" mean rank |" if shown[0] == "roc_auc" else "")
        )
        yield "|---|" + "---|" * (len(used) + (shown[0] == "roc_auc"))
        for method in methods:
            cells = [
                " / ".join(f"{means.loc[c, method][name]:.3f}" for name in shown) if (c, method) in means.index else "–"
                for c in used
            ]
            if shown[0] == "roc_auc":
                cells.append(f"{ranks[ranks['method'] == method]['rank'].mean():.2f}")
            yield f"| {method} | " + " | ".join(cells) + " |"
        if shown[0] == "roc_auc":
            yield (
                "| bar | "
                + " | ".join(" / ".join(f"{bar:.3f}" for bar in BARS.get(c, ()) if bar) or "–" for c in used)
                + " | |"
            )
    ours = table[table["method"].isin(OURS) & table["low"].notna()] if "low" in table else table[:0]
    if len(ours):
        yield "\nThe promise on false alarms, over data sets and seeds\n"
        yield "| | sets x seeds | in the printed range | out of it and reported | neither |"
        yield "|---|---|---|---|---|"
        for method in [m for m in methods if m in OURS]:
            for column in columns:
                found = ours[(ours["method"] == method) & (ours["column"] == column)]
                if not len(found):
                    continue
                inside = (found["far"] >= found["low"]) & (found["far"] <= found["high"])
                told = ~inside & found["reported"].astype(bool)
                counts = (len(found), inside.sum(), told.sum(), (~inside & ~told).sum())
                yield f"| {method}, {column} | " + " | ".join(map(str, counts)) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", type=Path, help="the folder with tabular/, smd/, asd/, skab/, nab/, kpi/ and images/")
    parser.add_argument("--columns", default="", help="which columns of the table")
    parser.add_argument("--methods", default="", help=f"which of {', '.join((*OURS, *PEERS))}")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=Path("detection.jsonl"))
    asked = parser.parse_args()
    for line in report(measure(asked)):
        print(line)
    print(
        f"\n{platform.machine()}, {os.cpu_count()} cores; Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in ("torch", "onnxruntime", "numpy", "pyod", "scikit-learn"))
    )


if __name__ == "__main__":
    main()
