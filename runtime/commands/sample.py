"""vae-detect sample."""

from __future__ import annotations

from pathlib import Path

import click

from ..batch.reconstructions import write_samples
from ..output import keep_inputs
from .options import OutPath, load_detector, model_files, model_options


@click.command()
@model_options
@click.option("--n", default=64, show_default=True, type=click.IntRange(1), help="How many rows, windows or images.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Another seed gives other samples.")
@click.option(
    "--out",
    required=True,
    type=OutPath(),
    help="The CSV to write; for images a PNG with all of them.",
)
@click.option("--force", is_flag=True, help="Replace --out when it exists.")
def sample(model: Path, provider: str, threads: int, n: int, seed: int, out: Path, force: bool) -> None:
    """Write new rows, windows or images like those that the model learnt from.

    \b
    vae-detect sample --model exported/vae.onnx --n 100 --out new.csv
    """
    keep_inputs([out], model_files(model))
    write_samples(load_detector(model, provider, threads), n, out, seed=seed, force=force)
