"""vae-detect inspect."""

from __future__ import annotations

from pathlib import Path

import click

from ..describe import describe
from .options import NamedPath, load_detector


@click.command()
@click.argument("model", type=NamedPath())
@click.option("--json", "as_json", is_flag=True, help="Everything but the golden rows, as JSON.")
def inspect(model: Path, as_json: bool) -> None:
    """Show what the detector MODEL is."""

    bundle = load_detector(model, "cpu", 1).bundle
    click.echo(bundle.facts_json() if as_json else describe(bundle))
