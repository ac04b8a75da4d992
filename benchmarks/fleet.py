"""One model of several machines: does each keep its rate by a threshold of its own, and is the odd one out found?

    python benchmarks/fleet.py DATA [--kind rows] [--hours 24] [--model FILE]

DATA holds `smd/MACHINE/train.csv.gz`, `test.csv.gz` and `test_labels.csv`, a row a minute. One model is trained by the
command, with its defaults, on the first 40 % of the normal recordings of all machines. What follows in them, and the
test recordings, are fleets.

Rates: of rows that are normal, after the first 3.6 days, in which the thresholds are learnt. Faults: into each machine
in turn, in hours of normal operation drawn at random, one or four of the columns that move in this hour are changed.
"""

from __future__ import annotations

import argparse
import gzip
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vae_detect.runtime.calibration.own import OwnCalibration
from vae_detect.runtime.calibration.peers import ODD, Hour, odd_ones
from vae_detect.runtime.calibration.usual import Hours
from vae_detect.runtime.detector import Detector, Scores
from vae_detect.runtime.scoring.framing import windows_at
from vae_detect.runtime.scoring.results import Results

Rows = NDArray[np.float32]

LEARNT = 0.4
HOUR, LEARNING = 60, 5184
KINDS = ("shift", "drift", "noise", "stuck", "relation")


class Machine(NamedTuple):
    name: str
    rows: Rows
    normal: NDArray[np.bool_]
    own: OwnCalibration
    model: Scores
    """Of all rows, by the model's threshold and by its own as it was at the time."""
    judged: Scores


def table(path: Path) -> tuple[str, list[str]]:
    header, *lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    return header, lines


def values(lines: list[str]) -> Rows:
    return np.array([line.split(",")[1:] for line in lines], np.float32)


def trained(data: Path, kind: str, folder: Path) -> Path:
    files = []
    for machine in sorted((data / "smd").iterdir()):
        header, lines = table(machine / "train.csv.gz")
        files.append(folder / f"{machine.name}.csv")
        files[-1].write_text("\n".join([header, *lines[: int(LEARNT * len(lines))]]) + "\n")
    out = folder / "fleet.onnx"
    subprocess.run([sys.executable, "-m", "vae_detect", "train", *files, "--kind", kind, "--out", out], check=True)
    return out


def scored(detector: Detector, rows: Rows) -> Scores:
    """Of all rows, NaN before the first window is full."""
    window = detector.bundle.window
    inputs = windows_at(rows, np.arange(window - 1, len(rows)), window) if window > 1 else rows
    found = detector.score(inputs)
    if window == 1:
        return found
    none, no = np.full(window - 1, np.nan, np.float32), np.zeros(window - 1, np.bool_)
    blank = Scores(none, none, none, no, no)
    return Scores(*(np.concatenate(pair) for pair in zip(blank, found, strict=True)))


def judged(own: OwnCalibration, scores: Scores) -> Scores:
    n = len(scores.score)
    return own.judge(Results(0, scores, ["ok"] * n, [""] * n, None)).scores


def fleet(detector: Detector, data: Path, part: str) -> list[Machine]:
    found = []
    for folder in sorted((data / "smd").iterdir()):
        _, lines = table(folder / f"{part}.csv.gz")
        rows = values(lines)
        if part == "train":
            rows, normal = rows[int(LEARNT * len(rows)) :], None
        else:
            labels = (folder / "test_labels.csv").read_text().splitlines()[1:]
            normal = np.array([line.split(",")[-1] == "0" for line in labels])
        own = OwnCalibration(detector.bundle)
        model = scored(detector, rows)
        judgement = judged(own, model)
        usable = np.ones(len(rows), np.bool_) if normal is None else normal
        found.append(Machine(folder.name, rows, usable, own, model, judgement))
    return found


def rates(detector: Detector, machines: list[Machine], part: str) -> None:
    promised = detector.bundle.calibration
    for machine in machines:
        later = machine.normal & machine.model.scored & (np.arange(len(machine.rows)) >= LEARNING)
        by_model, by_own = (float(each.is_anomaly[later].mean()) for each in (machine.model, machine.judged))
        own = machine.own.calibration
        low, high = (promised.far_low, promised.far_high) if own is None else (own.far_low, own.far_high)
        held = f"{low:.4f}-{high:.4f}, {'in' if low <= by_own <= high else 'above' if by_own > high else 'below'}"
        within = "in" if promised.far_low <= by_model <= promised.far_high else "out"
        whose = "the model's" if own is None else f"{own.threshold:.4g}"
        print(f"| {machine.name}, {part} | {by_model:.4f}, {within} | {whose} | {by_own:.4f} | {held} |")


def broken(kind: str, machine: Machine, end: int, columns: NDArray[np.intp], generator: np.random.Generator) -> Rows:
    """The rows up to `end`, with a fault in the last hour."""
    rows = machine.rows[:end].copy()
    hour, spread = slice(end - HOUR, end), machine.rows.std(axis=0)[columns]
    if kind == "shift":
        rows[hour, columns] += 5 * spread
    elif kind == "drift":
        rows[hour, columns] += np.linspace(0, 10, HOUR, dtype=np.float32)[:, None] * spread
    elif kind == "noise":
        rows[hour, columns] += (4 * generator.normal(size=(HOUR, len(columns))) * spread).astype(np.float32)
    elif kind == "stuck":
        rows[hour, columns] = rows[end - HOUR - 1, columns]
    else:  # what these columns did at another time: each as ever, but not with the others
        begin = int(generator.integers(LEARNING, len(machine.rows) - HOUR))
        rows[hour, columns] = machine.rows[begin : begin + HOUR, columns]
    return rows


def last_hour(machine: Machine, severity: NDArray[np.float32], end: int) -> Hour:
    """As a service would know it at `end`."""
    hours = Hours(HOUR)
    for begin in range(LEARNING, end - HOUR, HOUR):
        part = machine.judged.severity[begin : begin + HOUR].astype(np.float64)
        hours.add(float(part.sum()), HOUR)
    return Hour(float(severity.mean()), HOUR, hours.usual)


def odd(machines: list[Machine], end: int, changed: dict[str, NDArray[np.float32]]) -> dict[str, float]:
    """z of each machine, of some of which the severities of the last hour are others."""
    hour = slice(end - HOUR, end)
    severities = {machine.name: machine.judged.severity[hour] for machine in machines} | changed
    return odd_ones({machine.name: last_hour(machine, severities[machine.name], end) for machine in machines})


def faults(detector: Detector, machines: list[Machine], hours: int) -> None:
    generator = np.random.default_rng(0)
    shortest = min(len(machine.rows) for machine in machines)
    ends = generator.integers(LEARNING + 10 * HOUR, shortest, size=hours)
    for machine in machines:
        machine.own._sample = None  # what is asked with a fault is not learnt
    odd_anyway = [max(odd(machines, int(end), {}).values()) >= ODD for end in ends]
    for kind in KINDS:
        cells = []
        for columns in (1, 4):
            hits = flagged = 0
            for machine in machines:
                for end in ends.tolist():
                    part = machine.rows[end - HOUR : end].std(axis=0) / (machine.rows.std(axis=0) + 1e-9)
                    moving = np.flatnonzero((part > 0.1) & (machine.rows.std(axis=0) > 1e-3))
                    chosen = generator.choice(moving, min(columns, len(moving)), replace=False)
                    rows = broken(kind, machine, end, chosen, generator)[-HOUR - detector.bundle.window :]
                    severity = judged(machine.own, scored(detector, rows)).severity[-HOUR:]
                    z = odd(machines, end, {machine.name: severity})
                    first = max(z, key=lambda name: z[name])
                    hits, flagged = hits + (first == machine.name), flagged + (z[machine.name] >= ODD)
            n = len(machines) * hours
            cells.append(f"{hits / n:.2f} | {flagged / n:.2f}")
        print(f"| {kind} | {' | '.join(cells)} |", flush=True)
    print(f"without a fault some machine is odd in {np.mean(odd_anyway):.2f} of the hours")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--kind", default="rows", choices=["rows", "windows"])
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--model", type=Path, help="one that was trained before")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = asked.model or trained(asked.data, asked.kind, Path(folder))
        detector = Detector.load(model, provider="cpu")
    promised = detector.bundle.calibration
    print(f"promised {promised.far:g}, {promised.far_low:.4f}-{promised.far_high:.4f}; window {detector.bundle.window}")
    print("| machine | rate by the model's threshold | own threshold | rate by it | its range |\n|---|---|---|---|---|")
    machines = fleet(detector, asked.data, "train")
    rates(detector, machines, "same recording")
    rates(detector, fleet(detector, asked.data, "test"), "test")
    print("\n| fault | 1 column: top-1 | odd | 4 columns: top-1 | odd |\n|---|---|---|---|---|")
    faults(detector, machines, asked.hours)


if __name__ == "__main__":
    main()
