"""CPU time of training for an epoch: vae_detect's loop against a DataLoader loop and against Lightning's Trainer.

One process, one thread, one 38-64-32-8 VAE with the same likelihood for all, batches of 128. In every round each
contender trains for a few epochs, in turn, so that a change in the machine's speed hits all alike; the first epoch of
each, which builds things, is not counted. CPU seconds, since other work on the machine stretches the clock's; with one
thread the two are the same on a quiet one. Everyone validates after each epoch on 4,000 more rows; vae_detect and the
default Trainer also write a checkpoint. With --peers-only-train the others leave the validation out. Prints a Markdown
table of medians and ratios.

    make bench        or        python benchmarks/training.py [--rounds 7] [--epochs 3]

There are 28,000 rows: those of a server of the Server Machine Dataset, repeated, where the folder that VAE_DETECT_DATA
names holds it, else simulated ones.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from vae_detect.runtime.bundle import Column
from vae_detect.training.data.columns import plan_columns
from vae_detect.training.data.split import Split
from vae_detect.training.fitting.fit import fit
from vae_detect.training.model.autoencoder import Autoencoder
from vae_detect.training.model.likelihoods import Gaussian, kl_standard_normal
from vae_detect.training.settings.config import TrainConfig

FEATURES, HIDDEN, LATENT, BATCH = 38, (64, 32), 8, 128
ROWS, VALIDATION_ROWS = 28_000, 4_000
YARDSTICK = "vae-detect fit"
ROOT = Path(__file__).parent.parent
MACHINE = "smd/machine-1-2/train.csv.gz"

Contender = Callable[[int], list[float]]
"""Trains a new network for so many epochs; returns the CPU seconds of each."""


class Clock:
    """CPU seconds of this process between successive ticks."""

    def __init__(self) -> None:
        self._last, self.laps = time.process_time(), list[float]()

    def tick(self, _: object = None) -> None:
        now = time.process_time()
        self.laps.append(now - self._last)
        self._last = now


class Vae(nn.Module):
    """The network that `vae_detect` trains here, written as one would without it."""

    def __init__(self) -> None:
        super().__init__()
        a, b = HIDDEN
        self.encoder = nn.Sequential(
            nn.Linear(FEATURES, a), nn.ReLU(), nn.Linear(a, b), nn.ReLU(), nn.Linear(b, 2 * LATENT)
        )
        self.decoder = nn.Sequential(
            nn.Linear(LATENT, b), nn.ReLU(), nn.Linear(b, a), nn.ReLU(), nn.Linear(a, FEATURES)
        )
        self.likelihood = Gaussian(FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        """The negative ELBO, a mean over the batch."""
        mean, log_variance = self.encoder(x).chunk(2, dim=-1)
        latent = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        deviance = self.likelihood.deviance(x, self.decoder(latent)).sum(-1)
        loss: Tensor = (deviance + kl_standard_normal(mean, log_variance)).mean() + self.likelihood.log_normaliser()
        return loss


class LightningVae(lightning.LightningModule):
    """The same for Lightning."""

    def __init__(self) -> None:
        super().__init__()
        self.vae = Vae()

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        loss: Tensor = self.vae(batch[0])
        return loss

    def validation_step(self, batch: list[Tensor], _: int) -> None:
        self.log("validation", self.vae(batch[0]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


class Laps(lightning.Callback):
    """Ends an epoch where the next one begins, so that what the Trainer does in between counts."""

    def __init__(self) -> None:
        self.clock = Clock()

    def on_train_start(self, *_: object) -> None:
        self.clock = Clock()

    def on_train_epoch_start(self, trainer: lightning.Trainer, _: object) -> None:
        if trainer.current_epoch:
            self.clock.tick()

    def on_train_end(self, *_: object) -> None:
        self.clock.tick()


def rows_to_train() -> tuple[NDArray[np.float32], str]:
    """Rows (rows, FEATURES) and where they come from."""
    rows = ROWS + VALIDATION_ROWS
    path = Path(os.environ.get("VAE_DETECT_DATA", ROOT.parent / "shared" / "data")) / MACHINE
    if path.is_file():
        found = np.loadtxt(path, delimiter=",", skiprows=1, usecols=range(1, FEATURES + 1), dtype=np.float32)
        return np.resize(found, (rows, FEATURES)), f"rows of {MACHINE}"
    generator = np.random.default_rng(0)
    common = generator.normal(size=(rows, 5)) @ generator.normal(size=(5, FEATURES))
    return (common + 0.3 * generator.normal(size=common.shape)).astype(np.float32), "simulated rows"


def numeric_columns(values: NDArray[np.float32]) -> tuple[Column, ...]:
    """Every column as a number, so that all contenders have the same likelihood."""
    names = [f"x{i}" for i in range(FEATURES)]
    return plan_columns(values, names, treatments=dict.fromkeys(names, "linear"))[0]


def loader(x: Tensor, *, shuffle: bool) -> DataLoader[tuple[Tensor, ...]]:
    return DataLoader(TensorDataset(x), batch_size=BATCH, shuffle=shuffle)


def ours(values: NDArray[np.float32], columns: tuple[Column, ...], folder: Path) -> Contender:
    """`training.fit`, with validation and a checkpoint after every epoch."""
    train = len(values) - VALIDATION_ROWS
    parts = Split(np.arange(train), np.arange(train, len(values)), np.arange(0))
    raw = torch.from_numpy(values)

    def run(epochs: int) -> list[float]:
        config = TrainConfig(recipe="vae", hidden=HIDDEN, latent=LATENT, batch=BATCH, epochs=epochs, patience=epochs)
        model, clock = Autoencoder(config, columns), Clock()
        fit(model, raw, parts, checkpoint=folder / "checkpoint", fingerprint="", report=clock.tick)
        return clock.laps

    return run


def plain(x: Tensor, validation: Tensor) -> Contender:
    """A DataLoader and Adam as most tutorials have them."""

    def run(epochs: int) -> list[float]:
        model, batches, held_out = Vae(), loader(x, shuffle=True), loader(validation, shuffle=False)
        optimiser, clock = torch.optim.Adam(model.parameters(), lr=1e-3), Clock()
        for _ in range(epochs):
            for (batch,) in batches:
                optimiser.zero_grad()
                model(batch).backward()
                optimiser.step()
            with torch.no_grad():
                _ = sum(float(model(batch)) for (batch,) in held_out)
            clock.tick()
        return clock.laps

    return run


def with_lightning(x: Tensor, validation: Tensor, folder: Path, **options: Any) -> Contender:
    """Lightning's Trainer with these options, everything else as it comes."""

    def run(epochs: int) -> list[float]:
        laps = Laps()
        trainer = lightning.Trainer(
            max_epochs=epochs, accelerator="cpu", default_root_dir=folder, callbacks=[laps], **options
        )
        with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):  # the progress bar
            trainer.fit(LightningVae(), loader(x, shuffle=True), loader(validation, shuffle=False))
        return laps.clock.laps

    return run


def compare(contenders: dict[str, Contender], rounds: int, epochs: int) -> dict[str, list[float]]:
    """CPU seconds per epoch of each contender in each round: the median of its epochs but the first."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            times[name].append(statistics.median(run(epochs)[1:]))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--epochs", type=int, default=3, help="in each round; the first is not counted")
    parser.add_argument("--peers-only-train", action="store_true", help="the others leave the validation out")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # Lightning's advice to start workers, which would be slower here
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    values, source = rows_to_train()
    columns = numeric_columns(values)
    with tempfile.TemporaryDirectory() as name, torch.random.fork_rng():
        folder = Path(name)
        standardise = Autoencoder(TrainConfig(recipe="vae"), columns).standardise
        x, validation = standardise(torch.from_numpy(values)).split([len(values) - VALIDATION_ROWS, VALIDATION_ROWS])
        if arguments.peers_only_train:
            validation = validation[:0]
        off = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
        times = compare(
            {
                YARDSTICK: ours(values, columns, folder),
                "DataLoader, Adam": plain(x, validation),
                "Lightning, everything off": with_lightning(x, validation, folder, **off),
                "Lightning, default Trainer": with_lightning(x, validation, folder),
            },
            arguments.rounds,
            arguments.epochs,
        )
    print(f"{len(x)} x {FEATURES} {source}, batch {BATCH}, medians of {arguments.rounds} rounds\n")
    print("| contender | CPU s per epoch | ratio to vae-detect | lowest | highest |")
    print("|---|---|---|---|---|")
    for name, taken in times.items():
        ratios = [a / b for a, b in zip(taken, times[YARDSTICK], strict=True)]
        print(
            f"| {name} | {statistics.median(taken):.3f} | {statistics.median(ratios):.2f} | "
            f"{min(ratios):.2f} | {max(ratios):.2f} |"
        )
    print()
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, one thread; Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in ("torch", "lightning", "numpy"))
    )


if __name__ == "__main__":
    main()
