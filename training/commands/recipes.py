"""vae-detect recipes."""

from __future__ import annotations

import click


@click.command()
def recipes() -> None:
    """List the recipes, the families of autoencoders that `train --recipe NAME` knows."""
    from ..settings.recipes import RECIPES  # needs no torch

    for name, recipe in RECIPES.items():
        click.echo(f"{name:16} {recipe.summary} ({recipe.source})")
