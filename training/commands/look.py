"""vae-detect look."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ...runtime.commands.options import DataPath, OutPath
from ...runtime.commands.terminal import needs
from ...runtime.output import keep_existing, keep_inputs, written_aside
from .data_options import as_typed, data_options, read_data_options


@click.command()
@click.argument("data", nargs=-1, required=True, type=DataPath())
@data_options
@click.option("--picture", type=OutPath(), metavar="FILE.png", help="Draw the columns over time.")
@click.option("--force", is_flag=True, help="Replace --picture when it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print all of it as JSON.")
@click.pass_context
def look(
    ctx: click.Context, /, data: tuple[Path, ...], picture: Path | None, force: bool, as_json: bool, **options: Any
) -> None:
    """Say what is in DATA, and what `train` would make of it. Nothing is trained.

    DATA are tables, folders of tables and patterns like 'logs/*.csv'; each file is a recording of its own.

    How the text is written, the time stamps and their gaps, and a line for each column: its range, what is missing, how
    it would be treated and why. The last line is the command that trains on it.

    \b
    vae-detect look normal.csv
    vae-detect look normal.csv --picture normal.png
    vae-detect look january.csv february.csv
    """
    keep_inputs([picture], data)
    keep_existing([picture] if picture else [], force=force)
    with needs("train"):
        import msgspec

        from ..data.look import look as run

        selection, layout = read_data_options(options)
        asked = as_typed(ctx, "picture", "force", "as_json")
        looked, found = run(data, selection, layout, {}, asked=asked)
        if picture is not None:
            from ..data.look_picture import draw

            with written_aside(picture, force=force) as file:
                file.write(draw(found))
    click.echo(msgspec.json.format(msgspec.json.encode(looked), indent=2) if as_json else looked.describe())
