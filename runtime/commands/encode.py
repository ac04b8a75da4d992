"""vae-detect encode."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..output import keep_inputs
from .options import DataPath, OutPath, load_detector, model_files, model_options, table_form, table_options
from .terminal import end

if TYPE_CHECKING:
    from ..batch.codes import CodePlot
from ..batch.codes import write_codes


@click.command()
@click.argument("data", nargs=-1, required=True, type=DataPath())
@model_options
@click.option(
    "--out",
    required=True,
    type=OutPath(),
    help="The table to write, NAME.csv or NAME.parquet.",
)
@click.option("--picture", type=OutPath(), help="A PNG to draw too: the codes as points.")
@click.option("--force", is_flag=True, help="Replace --out and --picture when they exist.")
@table_options
@click.pass_obj
def encode(
    code_plot: Callable[[], CodePlot],
    /,
    data: tuple[Path, ...],
    model: Path,
    provider: str,
    threads: int,
    out: Path,
    picture: Path | None,
    force: bool,
    **form: Any,
) -> None:
    """Write the code of every row of DATA, tables, or of every image of DATA, a folder.

    \b
    vae-detect encode recording.csv --model exported/vae.onnx --out codes.csv --picture codes.png
    """
    keep_inputs([out, picture], [*data, *model_files(model)])
    draw = None if picture is None else code_plot()
    detector = load_detector(model, provider, threads)
    summary = write_codes(detector, data, out, layout=table_form(**form), picture=picture, draw=draw, force=force)
    end(summary)
