"""Where a table comes from: a header and rows of cells, whatever the file."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from ..layout import Layout, TableFormat
from .csv_text import cells, check_header, open_text, read_header
from .long_tables import as_wide, is_long
from .recognise import recognise


class Opened(NamedTuple):
    """A table whose rows are still to be read."""

    header: list[str] | None
    """None where the file has none."""
    rows: Iterator[list[str]]
    """Of cells; blank lines are left out."""
    form: TableFormat
    """How it is written, where that was to be recognised."""


@contextmanager
def open_table(path: Path, layout: Layout, *, wanted: Sequence[str] = (), stream: bool = False) -> Iterator[Opened]:
    """A table of this layout, recognised where `layout.declared` asks for it; with `stream` a pipe will do.

    A pipe can be read only once, so that it is taken to be written as the layout says. A long table comes as a wide one
    where the layout says how, and where its time stamps are. Raises as `recognise`,
    `open_text`, `read_header` and `cells` do.

    Parameters
    ----------
    wanted : columns that a header must hold
    """
    source = str(path)
    form = layout.format
    if layout.long is not None:
        wanted = [layout.long.name, layout.long.value]
    if layout.declared is not None:
        is_file = path.is_file()  # a pipe can be read only once
        form = (
            recognise(path, layout.declared, like=form, wanted=wanted) if is_file else form.as_declared(layout.declared)
        )
    with open_text(path, form.encoding, stream=stream) as text:
        rows = cells(text, form, source)
        header = read_header(rows, source, form) if form.header else None
        deque(islice(rows, form.below), maxlen=0)
        if header is not None and is_long(header, layout):
            check_header(header, [*layout.stamps.columns] if layout.stamps else [], source)
            wide, cells_of = as_wide(header, rows, layout)
            header, rows = wide, iter(cells_of)
        yield Opened(header, rows, form)
