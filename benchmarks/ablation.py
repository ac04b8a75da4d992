"""What each member of the ensemble is worth, and what a choice among subsets of them is worth on a set not seen.

Trains the default on every set of benchmarks/detection.py once and joins all subsets of the autoencoder's error and
the members. "Left out": for each set in turn the subset is taken that does best on the mean of the others of its kind,
and judged on the one left out.

    python benchmarks/ablation.py DATA [--columns tabular,smd] [--seed 0]

Prints Markdown; about a quarter of an hour on two cores.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from detection import Folder, Series, data_sets, windows
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from vae_detect.runtime.images.folders import image_files, read_file
from vae_detect.runtime.layout import Layout
from vae_detect.training.data.images import load_images
from vae_detect.training.data.loading import load_table
from vae_detect.training.data.selection import Selection
from vae_detect.training.data.split import split
from vae_detect.training.fitting.fit import fit
from vae_detect.training.model.building import build, settle
from vae_detect.training.model.ensemble import Ensemble
from vae_detect.training.settings.config import configure

MEMBERS = {
    "rows": ("error", "prototypes", "codes"),
    "windows": ("error", "all rows", "halves", "mean"),
    "images": ("error", "fine cells", "coarse cells", "patches", "subspace"),
}


class Judged(NamedTuple):
    """Distances (1 + members, inputs) of a test file, its labels, and the ensemble that joins them."""

    column: str
    kind: str
    distances: torch.Tensor
    truth: NDArray[np.bool_]
    ensemble: Ensemble


def judge(data: Series | Folder, seed: int, folder: Path) -> Judged:
    """Trains on a set and measures its test file."""
    settings: dict[str, Any] = {"seed": seed}
    x: NDArray[Any]
    if isinstance(data, Folder):
        config = configure(settings | {"kind": "images", "size": data.size})
        table = load_images(data.path, config.size, config.colour)
        assert table.image is not None
        files = image_files(data.path / "test").files
        x = np.stack([read_file(file, table.image) for file in files])
        truth = np.array([not file.name.startswith("good/") for file in files])
    else:
        config = configure(settings | ({"kind": "windows", "window": data.window} if data.window > 1 else {}))
        with (folder / "train.csv").open("w", newline="") as file:
            csv.writer(file).writerows([[f"c{n}" for n in range(data.train.shape[1])], *data.train.tolist()])
        table = load_table(folder / "train.csv", Selection(), Layout())
        x = windows(data.test, data.window) if data.window > 1 else data.test
        truth = data.truth[data.window - 1 :]
    parts = split(table, window=config.window, stride=1, ordered=config.kind == "windows", seed=seed)
    model, _ = build(table, parts, config, Selection())
    fit(model, torch.from_numpy(table.values), parts, checkpoint=folder / "checkpoint", fingerprint="")
    settle(model.eval(), table.values, parts)
    assert model.ensemble is not None
    with torch.no_grad():
        batches = np.array_split(x, max(1, len(x) // 1024))
        distances = torch.cat([model.distances(torch.from_numpy(np.ascontiguousarray(b))) for b in batches], -1)
    return Judged(data.column, config.kind, distances, truth, model.ensemble)


def figures(judged: Judged, chosen: tuple[int, ...]) -> tuple[float, float]:
    """ROC-AUC and average precision of a subset: members that are left out never measure anything."""
    distances = torch.zeros_like(judged.distances)
    distances[list(chosen)] = judged.distances[list(chosen)]
    score = judged.ensemble.join(distances)[0].numpy()
    return float(roc_auc_score(judged.truth, score)), float(average_precision_score(judged.truth, score))


def report(kind: str, found: list[Judged]) -> Iterator[str]:
    """A row for the whole, for each member alone, and for the whole without it; then what choosing is worth."""
    names = MEMBERS[kind]
    everyone = tuple(range(len(names)))
    subsets = [each for size in everyone for each in combinations(everyone, size + 1)]
    results = np.array([[figures(judged, each) for judged in found] for each in subsets])  # (subsets, sets, 2)
    columns = list(dict.fromkeys(judged.column for judged in found))
    member = np.array([[judged.column == column for judged in found] for column in columns])

    def line(name: str, of_sets: NDArray[np.float64]) -> str:
        cells = [" / ".join(f"{value:.3f}" for value in of_sets[chosen].mean(0)) for chosen in member]
        return f"| {name} | " + " | ".join(cells) + " |"

    yield f"\n| {kind} | " + " | ".join(columns) + " |"
    yield "|---|" + "---|" * len(columns)
    yield line("all", results[subsets.index(everyone)])
    for number in everyone:
        yield line(f"only {names[number]}", results[subsets.index((number,))])
    for number in everyone:
        yield line(f"without {names[number]}", results[subsets.index(tuple(n for n in everyone if n != number))])
    best = [int(np.delete(results, number, 1).mean((1, 2)).argmax()) for number in range(len(found))]
    yield line("left out", results[best, np.arange(len(found))])
    picks = {" + ".join(names[n] for n in subsets[each]): best.count(each) for each in dict.fromkeys(best)}
    yield "\nChosen when leaving out: " + ", ".join(f"{name} ({count} times)" for name, count in picks.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", type=Path, help="the folder with tabular/, smd/, asd/, skab/, nab/, kpi/ and images/")
    parser.add_argument("--columns", default="", help="which columns of the table")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    found = []
    for data in data_sets(asked.data):
        if not asked.columns or data.column in asked.columns.split(","):
            with tempfile.TemporaryDirectory() as folder:
                found.append(judge(data, asked.seed, Path(folder)))
    for kind in MEMBERS:
        of_kind = [judged for judged in found if judged.kind == kind]
        if len(of_kind) > 1:
            for text in report(kind, of_kind):
                print(text)


if __name__ == "__main__":
    main()
