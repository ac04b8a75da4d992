"""Does `--fdr` keep the share of false alarms?

    python benchmarks/fdr.py simulated [--runs 2000]
    python benchmarks/fdr.py recordings TRAIN.csv TEST.csv LABELS [...]

`simulated` draws independent p-values, where it is proved: uniform of normal rows, shifted by 3.5 deviations of
anomalous ones, which come alone or twenty together. `recordings` trains by the command, with its defaults, and
evaluates labelled recordings, whose rows depend on each other and whose normal operation changes: nothing is proved.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from scipy.special import ndtr, ndtri

from vae_detect.runtime.scoring.fdr import DiscoveryThreshold

FDR, BASE, SHIFT = 0.1, 0.0005, 3.5
ROWS = 4000
SHARES = (0.0, 0.0001, 0.001, 0.01, 0.1)


def simulated(runs: int) -> None:
    print("| anomalous | together | remembered false / (alarms + 1) | false of all alarms | found | threshold `BASE` |")
    print("|---|---|---|---|---|---|")
    for share in SHARES:
        for together in (1, 20):
            print(f"| {share:g} | {together} | {_cell(share, together, runs)} |", flush=True)


def _cell(share: float, together: int, runs: int) -> str:
    generator = np.random.default_rng([int(share * 1e5), together])
    weights = (1 - BASE / FDR) ** np.arange(ROWS - 1.0, -1.0, -1.0)
    remembered, counts = np.zeros(2), np.zeros(5)
    for _ in range(runs):
        faults = np.repeat(generator.random(ROWS // together) < share, together)
        p = generator.random(ROWS)
        p[faults] = ndtr(ndtri(p[faults]) - SHIFT)
        alarms = DiscoveryThreshold(FDR, base=BASE).verdicts(p.astype(np.float32))
        remembered += weights @ (alarms & ~faults), weights @ alarms
        fixed = p <= BASE
        counts += [
            (alarms & ~faults).sum(),
            alarms.sum(),
            (alarms & faults).sum(),
            faults.sum(),
            (fixed & faults).sum(),
        ]
    false, every = remembered / runs
    found = _share(counts[2], counts[3])
    return f"{false / (every + 1):.3f} | {_share(counts[0], counts[1])} | {found} | {_share(counts[4], counts[3])}"


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.3f}" if whole else "-"


def recordings(paths: list[str]) -> None:
    print("| data | anomalous | false of all alarms, found | the same with --fdr 0.1 | false events | with --fdr 0.1 |")
    print("|---|---|---|---|---|---|")
    for train, test, labels in zip(*(iter(paths),) * 3, strict=True):
        with tempfile.TemporaryDirectory() as folder:
            model = Path(folder) / "model.onnx"
            _run("train", train, "--out", model)
            plain, kept = (
                json.loads(_run("evaluate", test, "--labels", labels, "--model", model, "--json", *more))
                for more in ((), ("--fdr", FDR))
            )
        name = f"{Path(test).parent.name}/{Path(test).name}"
        cells = [_of(found) for found in (plain, kept)]
        events = [(found["events"] or {}).get("false_events", "-") for found in (plain, kept)]
        share = plain["anomalous"] / plain["scored"]
        print(f"| {name} | {share:.3f} | {cells[0]} | {cells[1]} | {events[0]} | {events[1]} |", flush=True)


def _of(found: dict[str, dict[str, float | None]]) -> str:
    precision = found["at_threshold"]["precision"]
    return f"{'-' if precision is None else f'{1 - precision:.3f}'}, {found['at_threshold']['recall']:.3f}"


def _run(*arguments: object) -> str:
    command = [sys.executable, "-m", "vae_detect", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_subparsers(dest="what", required=True)
    what.add_parser("simulated").add_argument("--runs", type=int, default=2000)
    what.add_parser("recordings").add_argument("paths", nargs="+", metavar="TRAIN TEST LABELS")
    asked = parser.parse_args()
    if asked.what == "simulated":
        simulated(asked.runs)
    else:
        recordings(asked.paths)


if __name__ == "__main__":
    main()
