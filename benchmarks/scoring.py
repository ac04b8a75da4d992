"""Time of scoring against a bare ONNX Runtime, against encoder + decoder + numpy, and against PyOD's VAE.

One process, one thread, one 38-64-32-8 network for all; every round times each contender once, in turn, so that a
change in the machine's speed hits all alike. Prints a Markdown table of medians and ratios.

    make bench        or        python benchmarks/scoring.py [--rounds 15]
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from pyod.models.vae import VAE

from vae_detect.runtime.detector import Detector
from vae_detect.runtime.layout import Layout
from vae_detect.training.data.selection import Selection
from vae_detect.training.settings.config import TrainConfig
from vae_detect.training.train import train

FEATURES, HIDDEN, LATENT = 38, (64, 32), 8
BATCHES = (1, 32, 1024)
SECONDS_PER_TIMING = 0.05
VERDICT = ["score", "p_value", "is_anomaly"]

Contenders = dict[str, Callable[[], object]]


def correlated_rows(rows: int, seed: int) -> NDArray[np.float32]:
    """Standard normal rows (rows, FEATURES) with five common causes."""
    generator = np.random.default_rng(seed)
    mixing = np.random.default_rng(0).normal(size=(5, FEATURES))
    common = generator.normal(size=(rows, 5)) @ mixing
    return (common + 0.3 * generator.normal(size=(rows, FEATURES))).astype(np.float32)


def make_detector(folder: Path, rows: NDArray[np.float32]) -> Detector:
    """A detector trained for a few epochs; how well it detects does not matter here."""
    data = folder / "normal.csv"
    header = ",".join(f"x{i}" for i in range(FEATURES))
    np.savetxt(data, rows, delimiter=",", header=header, comments="", fmt="%.7g")
    config = TrainConfig(recipe="vae", hidden=HIDDEN, latent=LATENT, epochs=5)
    outcome = train(data, folder / "vae.onnx", config, selection=Selection(), layout=Layout())
    assert outcome is not None  # as it is for all but the first of several processes
    return Detector.load(outcome.files.scorer, provider="cpu")


def make_pyod(rows: NDArray[np.float32]) -> VAE:
    """PyOD's VAE of the same sizes."""
    detector = VAE(
        encoder_neuron_list=list(HIDDEN),
        decoder_neuron_list=list(reversed(HIDDEN)),
        latent_dim=LATENT,
        epoch_num=2,
        batch_size=128,
        verbose=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        detector.fit(rows)
    return detector


def bare_session(model: Path) -> onnxruntime.InferenceSession:
    """ONNX Runtime with one thread and nothing of vae_detect around it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def contenders(detector: Detector, pyod: VAE, x: NDArray[np.float32]) -> Contenders:
    """What is timed on this batch, by name; the first is the yardstick."""
    scorer = bare_session(detector.path)
    encoder = bare_session(detector.path.with_name(f"{detector.path.stem}.encoder.onnx"))
    decoder = bare_session(detector.path.with_name(f"{detector.path.stem}.decoder.onnx"))

    def two_runs() -> NDArray[np.float32]:
        mean, log_variance = encoder.run(None, {"x": x})
        reconstruction, scale = decoder.run(None, {"latent": mean})
        error = 0.5 * np.square((x - reconstruction) / scale).sum(axis=1)
        kl = 0.5 * (np.square(mean) + np.exp(log_variance) - log_variance - 1).sum(axis=1)
        score: NDArray[np.float32] = error + kl
        return score

    def pyod_scores() -> NDArray[np.float64]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scores: NDArray[np.float64] = pyod.decision_function(x)
        return scores

    named: Contenders = {"session.run of the scorer": lambda: scorer.run(VERDICT, {"x": x})}
    if len(x) == 1:
        row = x[0]
        named["vae-detect score_one"] = lambda: detector.score_one(row)
    named["vae-detect score"] = lambda: detector.score(x)
    named["encoder + decoder + numpy"] = two_runs
    named["PyOD VAE decision_function"] = pyod_scores
    return named


def time_once(call: Callable[[], object], repeats: int) -> float:
    """Microseconds per call."""
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats * 1e6


def compare(named: Contenders, rounds: int) -> dict[str, list[float]]:
    """Microseconds of each contender in each round."""
    repeats = {name: max(1, round(SECONDS_PER_TIMING * 1e6 / time_once(call, 3))) for name, call in named.items()}
    times: dict[str, list[float]] = {name: [] for name in named}
    for _ in range(rounds):
        for name, call in named.items():
            times[name].append(time_once(call, repeats[name]))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    rows = correlated_rows(4000, seed=1)
    with tempfile.TemporaryDirectory() as folder:
        detector, pyod = make_detector(Path(folder), rows), make_pyod(rows)
        print("| rows at once | contender | us per call | ratio to session.run | PyOD's time / this |")
        print("|---|---|---|---|---|")
        for batch in BATCHES:
            times = compare(contenders(detector, pyod, correlated_rows(batch, seed=2)), rounds)
            yardstick, peer = times["session.run of the scorer"], times["PyOD VAE decision_function"]
            for name, taken in times.items():
                ratio = statistics.median(a / b for a, b in zip(taken, yardstick, strict=True))
                faster = statistics.median(b / a for a, b in zip(taken, peer, strict=True))
                print(f"| {batch} | {name} | {statistics.median(taken):.1f} | {ratio:.2f} | {faster:.1f} |")
    print()
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, one thread; Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in ("onnxruntime", "torch", "numpy", "pyod"))
    )


if __name__ == "__main__":
    main()
