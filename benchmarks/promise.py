"""Does the false-alarm promise hold on rows that depend on each other?

    python benchmarks/promise.py coverage [--draws 400]
    python benchmarks/promise.py recordings [--seeds 3] [FOLDER ...]

`coverage` calibrates on Gaussian AR(1) scores, whose true rate is known, and says how often the printed range holds it.
`recordings` trains by the command, with its defaults, on a recording and scores others of the same machine: AR(1) pairs
made here, and every FOLDER that holds `normal.csv` and `t_none.csv`, a normal recording of another time.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.special import ndtr

from vae_detect.runtime.calibration.calibration import EVENT_ROWS, calibrate
from vae_detect.runtime.errors import InputError

COEFFICIENTS = (0.0, 0.5, 0.9, 0.97, 0.99)
ROWS = (300, 1140, 5000)
RATES = (0.05, 0.01, 0.001)

FRESH = 24
RECORDED = 5760


def series(generator: np.random.Generator, coefficient: float, n: int) -> NDArray[np.float64]:
    """Gaussian AR(1), standard normal margin, (n,)."""
    first = generator.standard_normal()
    noise = generator.standard_normal(n - 1) * np.sqrt(1 - coefficient**2)
    rest = lfilter([1], [1, -coefficient], noise, zi=[coefficient * first])[0]
    return np.append(first, rest)


def coverage(draws: int) -> None:
    print("| phi | n | far | taken | range holds | mean realised / promised | upper end / promised |")
    print("|---|---|---|---|---|---|---|")
    for coefficient in COEFFICIENTS:
        for n in ROWS:
            for far in RATES:
                print(f"| {coefficient:g} | {n} | {far:g} | {_cell(coefficient, n, far, draws)} |", flush=True)


def _cell(coefficient: float, n: int, far: float, draws: int) -> str:
    found = []
    for seed in range(draws):
        scores = series(np.random.default_rng(seed), coefficient, n)
        try:
            fitted = calibrate(scores, far=far, dependence_rows=EVENT_ROWS)
        except InputError:
            continue
        rate = float(ndtr(-fitted.threshold))
        found.append((fitted.far_low <= rate <= fitted.far_high, rate / far, fitted.far_high / far))
    if not found:
        return "refused | | | "
    inside, realised, upper = np.mean(np.array(found, float), axis=0)
    return f"{len(found) / draws:.2f} | {inside:.2f} | {realised:.2f} | {upper:.1f}"


def recordings(seeds: int, folders: list[Path]) -> None:
    print("| data | recipe | promised | range | mean realised / promised | in | above | below |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        for name, normal, fresh in [*_pairs(Path(temporary), seeds), *map(_machine, folders)]:
            for recipe in ("ensemble", "vae"):
                print(f"| {name} | {recipe} | {_realised(normal, fresh, recipe, Path(temporary))} |", flush=True)


def _pairs(folder: Path, seeds: int) -> Iterator[tuple[str, Path, list[Path]]]:
    for seed in range(seeds):
        generator, paths = np.random.default_rng(100 + seed), []
        for number in range(FRESH + 1):
            rows = np.column_stack([series(generator, 0.99, RECORDED), series(generator, 0.97, RECORDED)])
            paths.append(folder / f"ar_{seed}_{number}.csv")
            np.savetxt(paths[-1], rows, fmt="%.4f", delimiter=",", header="a,b", comments="")
        yield f"AR(1) pairs, seed {seed}", paths[0], paths[1:]


def _machine(folder: Path) -> tuple[str, Path, list[Path]]:
    return f"machine {folder.name}", folder / "normal.csv", [folder / "t_none.csv"]


def _realised(normal: Path, fresh: list[Path], recipe: str, folder: Path) -> str:
    """Trains, scores the others, and compares their rates with the range."""
    model, scores = folder / "model.onnx", folder / "scores.csv"
    for path in folder.glob("model.*"):
        path.unlink()
    made = json.loads(_run("train", normal, "--recipe", recipe, "--out", model, "--json"))["calibration"]
    rates = []
    for path in fresh:
        _run("score", path, "--model", model, "--out", scores, "--force")
        with scores.open(encoding="utf-8", newline="") as file:
            verdicts = [row["is_anomaly"] for row in csv.DictReader(file) if row["status"] == "ok"]
        rates.append(sum(verdict.lower() in ("1", "true") for verdict in verdicts) / len(verdicts))
    low, high = made["far_low"], made["far_high"]
    above, below = sum(rate > high for rate in rates), sum(rate < low for rate in rates)
    return (
        f"{made['far']:.3g} | {low:.2g} to {high:.2g} | {np.mean(rates) / made['far']:.2f} | "
        f"{len(rates) - above - below} of {len(rates)} | {above} | {below}"
    )


def _run(*arguments: str | Path) -> str:
    command = [sys.executable, "-m", "vae_detect", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["coverage", "recordings"])
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_intermixed_args()
    if arguments.part == "coverage":
        coverage(arguments.draws)
    else:
        recordings(arguments.seeds, arguments.folders)


if __name__ == "__main__":
    main()
