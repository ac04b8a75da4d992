"""What train and finetune print at their end."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ...runtime.bundle import Bundle


def print_made(files: Iterable[Path], bundle: Bundle, *, as_json: bool) -> None:
    if as_json:
        click.echo(bundle.facts_json())
    else:
        for path in files:
            click.echo(path)
