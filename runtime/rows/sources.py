"""Where a table comes from: a header and rows of cells, whatever the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ..layout import Layout
from .csv_text import cells, open_text, read_header


class Opened(NamedTuple):
    """A table whose rows are still to be read."""

    header: list[str] | None
    """None where the file has none."""
    rows: Iterator[list[str]]
    """Of cells; blank lines are left out."""


@contextmanager
def open_table(path: Path, layout: Layout, *, stream: bool = False) -> Iterator[Opened]:
    """A table of this layout; with `stream` a pipe will do. Raises as `open_text`, `read_header` and `cells` do."""
    source = str(path)
    with open_text(path, stream=stream) as text:
        rows = cells(text, layout.format, source)
        yield Opened(read_header(rows, source) if layout.format.header else None, rows)
