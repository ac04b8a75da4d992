"""Does a row with filled cells keep the false-alarm promise, and are faults still found?

    python benchmarks/missing.py [--seeds 2] [--far 0.05] [--recipes ensemble,vae] [SET ...]

Trains by the command on half of the normal rows of a set of `tabular/`, of which 2 % of the cells are taken out at
random, or on a made series in windows. Fresh normal rows, and the anomalies, are scored with 0, 1, 2, ... cells of each
row taken out, up to as many as may be missing. Printed is the rate of alarms among the normal rows over the promised
one, and the share of anomalies found.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

SETS = ("cardio", "thyroid", "satellite", "pendigits", "shuttle")
MISSING = 0.02
MOST_ROWS = 4000


def read(path: Path) -> NDArray[np.float64]:
    found = path if path.exists() else path.with_suffix(".csv.gz")
    return np.atleast_2d(np.genfromtxt(found, delimiter=",", skip_header=1))


def of_set(folder: Path, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Rows to learn from, fresh normal ones, anomalies."""
    generator = np.random.default_rng(seed)
    train, test, labels = (read(folder / name) for name in ("train.csv", "test.csv", "test_labels.csv"))
    is_anomaly = labels.ravel() > 0
    normal = generator.permutation(np.concatenate([train, test[~is_anomaly]]))
    anomalies = test[is_anomaly]
    half = len(normal) // 2
    return normal[:half][:MOST_ROWS], normal[half:][:MOST_ROWS], anomalies[:MOST_ROWS]


def series(seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Ten tied columns, slow and fast, in order of time; the faults are a column that loses its ties."""
    generator = np.random.default_rng(seed)

    def made(rows: int) -> NDArray[np.float64]:
        factors = [lfilter([1], [1, -rho], generator.standard_normal((rows, 2)), axis=0) for rho in (0.5, 0.9, 0.99)]
        shared = np.concatenate([part / part.std(0) for part in factors], axis=1)
        mixing = np.random.default_rng(seed + 1000).standard_normal((6, 10))
        return shared @ mixing + 0.3 * generator.standard_normal((rows, 10))

    faults = made(3000)
    faults[:, 3] = made(3000)[:, 3] + 2
    return made(8000), made(MOST_ROWS), faults


def punch(rows: NDArray[np.float64], cells: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """So many cells of every row taken out."""
    order = generator.random(rows.shape).argsort(axis=1)
    return np.where(order < cells, np.nan, rows)


def write(path: Path, rows: NDArray[np.float64]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([f"c{place}" for place in range(rows.shape[1])])
        writer.writerows([["" if np.isnan(cell) else f"{cell:.7g}" for cell in row] for row in rows])
    return path


def alarms(model: Path, data: Path) -> float:
    out = data.with_suffix(".scores.csv")
    run("score", data, "--model", model, "--out", out, "--force")
    with out.open(encoding="utf-8", newline="") as file:
        verdicts = [row["is_anomaly"] for row in csv.DictReader(file) if row["status"] in ("ok", "filled")]
    return sum(verdict.lower() in ("1", "true") for verdict in verdicts) / len(verdicts)


def run(*arguments: str | Path) -> str:
    command = [sys.executable, "-m", "vae_detect", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout


def measure(name: str, recipe: str, seed: int, far: float, folder: Path) -> None:
    generator = np.random.default_rng(seed)
    sets = Path(os.environ.get("VAE_DETECT_DATA", "../shared/data")) / "tabular"
    train, fresh, faults = series(seed) if name == "series" else of_set(sets / name, seed)
    learnt = np.where(generator.random(train.shape) < MISSING, np.nan, train)
    model = folder / "model.onnx"
    kind = ["--window", "8"] if name == "series" else ["--kind", "rows"]
    options = ["--recipe", recipe, "--far", str(far), *kind, "--max-missing", "0.2", "--force", "--json"]
    made = json.loads(run("train", write(folder / "train.csv", learnt), "--out", model, *options))
    most, promised = made["data"]["layout"]["most_missing"], made["calibration"]["far"]
    for cells in sorted({0, 1, 2, most // 2, most} & {*range(most + 1)}):
        holed = {"fresh": punch(fresh, cells, generator), "faults": punch(faults, cells, generator)}
        rate, found = (alarms(model, write(folder / f"{what}.csv", rows)) for what, rows in holed.items())
        filled = f"{cells} of {train.shape[1]}"
        print(f"| {name} | {recipe} | {seed} | {filled} | {rate / promised:.2f} | {found:.3f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=[*SETS, "series"])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--far", type=float, default=0.05)
    parser.add_argument("--recipes", default="ensemble,vae")
    arguments = parser.parse_args()
    print("| set | recipe | seed | filled | alarms / promised | anomalies found |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.sets:
            for recipe in arguments.recipes.split(","):
                for seed in range(arguments.seeds):
                    measure(name, recipe, seed, arguments.far, Path(folder))


if __name__ == "__main__":
    main()
