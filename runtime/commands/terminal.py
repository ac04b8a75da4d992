"""How a command talks: on standard error, in single lines, and to the exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from ..errors import EXIT_REFUSED, MissingExtraError

if TYPE_CHECKING:
    from ..batch.summary import Summary


def say(text: str) -> None:
    """A line for the user; standard output is for data."""
    click.echo(text, err=True)


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Turns a missing third-party package into one sentence that names the extra to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("vae_detect"):
            raise
        raise MissingExtraError(
            f"this command needs {error.name}, which is not installed: pip install 'vae-detect[{extra}]'"
        ) from None


def leads() -> bool:
    """Whether this is the first of the processes that torchrun started, or the only one."""
    return not launched() or os.environ["RANK"] == "0"


def launched() -> bool:
    """Whether torchrun, or what speaks its language, started this process as one of several; RANK alone says little."""
    told = all(name in os.environ for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"))
    return told and os.environ["WORLD_SIZE"] not in ("", "0", "1")


def end(summary: Summary) -> None:
    """The last line of a run over a file or a folder, and exit code 4 when its input was refused."""
    say(summary.describe())
    if summary.refused:
        sys.exit(EXIT_REFUSED)
