"""vae-detect reconstruct."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..batch.reconstructions import write_reconstructions
from ..output import keep_inputs
from .options import OutPath, load_detector, model_files, model_options, table_form, table_options
from .terminal import end


@click.command()
@click.argument("data", type=click.Path(exists=True, path_type=Path))
@model_options
@click.option(
    "--out",
    required=True,
    type=OutPath(folder=True),
    help="The CSV to write; for images the folder to write PNGs into.",
)
@click.option("--force", is_flag=True, help="Replace --out, or images in it, when they exist.")
@table_options
def reconstruct(data: Path, model: Path, provider: str, threads: int, out: Path, force: bool, **form: Any) -> None:
    """Write what the model expects instead of every row of DATA, a CSV, or instead of every image of DATA, a folder.

    \b
    vae-detect reconstruct recording.csv --model exported/vae.onnx --out expected.csv
    """
    keep_inputs([out], [data, *model_files(model)])
    summary = write_reconstructions(
        load_detector(model, provider, threads), data, out, layout=table_form(**form), force=force
    )
    end(summary)
