"""The files to learn from: how each is written, which columns they share, and what they hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from msgspec.structs import replace

from ...runtime.errors import InputError, few
from ...runtime.layout import Layout, Stamps, TableFormat
from ...runtime.rows.binary_tables import sheets_of
from ...runtime.rows.cells import BadCell, is_missing
from ...runtime.rows.fields import Absences, Field
from ...runtime.rows.forms import settle_pattern
from ...runtime.rows.recognise import describe_format, recognise
from ...runtime.rows.table_files import Tables
from ...runtime.rows.tables import read_column, read_rows, read_sample
from ...runtime.rows.time_order import describe_order, order_of, rows_in_order

if TYPE_CHECKING:
    from numpy.typing import NDArray


_LEAST_FILLED = 0.2
"""Share of its cells that a column must hold to be one that came late."""


class Source(NamedTuple):
    """One of the files."""

    path: Path
    layout: Layout
    """Of which no part is still to be recognised."""


class Sample(NamedTuple):
    """The first rows of all files."""

    header: list[str]
    """The columns that all files have, in the order of the first file."""
    rows: list[list[str]]
    """Of these columns, of the files that write numbers like the first."""
    absent: dict[str, str]
    """By column, why it is not among them."""


def sources_of(tables: Tables, layout: Layout) -> list[Source]:
    """The files, each written as the layout says or as is recognised."""
    return [Source(path, _recognised(path, layout)) for path in tables.files]


def _recognised(path: Path, layout: Layout) -> Layout:
    if layout.declared is None:
        return layout
    return replace(layout, format=recognise(path, layout.declared), declared=None)


def sample_of(sources: Sequence[Source]) -> Sample:
    """What the files begin with. Raises InputError when they have no column in common."""
    samples = [read_sample(path, layout) for path, layout in sources]
    first, first_rows = samples[0]
    if len(sources) == 1:
        return Sample(first, first_rows, {})
    headers = [header for header, _ in samples]
    shared = [name for name in first if all(name in header for header in headers)]
    if not shared:
        told = [f"{path.name} has {few(map(repr, header))}" for (path, _), header in zip(sources, headers, strict=True)]
        listed = "; ".join(told[:4]) + ("; ..." if len(told) > 4 else "")
        raise InputError(f"the files have no column in common: {listed}")
    lacking = {
        name: [path.name for (path, _), header in zip(sources, headers, strict=True) if name not in header]
        for name in dict.fromkeys(name for header in headers for name in header if name and name not in shared)
    }
    marks = _marks(sources[0])
    alike = [sample for source, sample in zip(sources, samples, strict=True) if _marks(source) == marks]
    cells = [
        [row[place] if place < len(row) else "" for place in map(header.index, shared)]
        for header, rows in alike
        for row in rows
    ]
    return Sample(shared, cells, {name: f"is not in {few(files, 3)}" for name, files in lacking.items()})


def with_late_columns(sources: Sequence[Source], sample: Sample) -> Sample:
    """The same with later cells of columns that begin only below, as where a sensor came late.

    One that holds next to nothing stays empty.
    """
    width = len(sample.header)
    rows = [[*row, *[""] * (width - len(row))] for row in sample.rows]
    for place, name in enumerate(sample.header):
        if not name or sample.header.count(name) > 1 or not all(is_missing(row[place]) for row in rows):
            continue
        cells = read_texts(sources, name)
        filled = [cell for cell in cells if not is_missing(cell)]
        if len(filled) >= _LEAST_FILLED * len(cells):
            for row, cell in zip(rows, filled, strict=False):
                row[place] = cell
    return sample._replace(rows=rows)


def describe_sheets(sources: Sequence[Source]) -> list[str]:
    """A line for each workbook of several sheets, of which only one is read."""
    books = [path for path, _ in sources if path.suffix.lower() in (".xlsx", ".xls", ".ods")]
    found = [(path, sheets_of(path)) for path in books]
    return [
        f"{path.name}: only the first of its sheets that holds anything is read: {few(sheets)}"
        for path, sheets in found
        if len(sheets) > 1
    ]


def describe_text(sources: Sequence[Source]) -> str:
    """How the files are written, "" where that is the plain form."""
    forms = dict.fromkeys(source.layout.format for source in sources)
    return "; or ".join(map(describe_format, forms)) if {*forms} != {TableFormat()} else ""


def _marks(source: Source) -> tuple[str, str]:
    """How a file writes numbers."""
    return source.layout.format.decimal, source.layout.format.thousands


def read_texts(sources: Sequence[Source], name: str) -> list[str]:
    """One column as text, of all rows of all files."""
    return [cell for path, layout in sources for cell in read_column(path, name, layout)]


def stamped(sources: Sequence[Source], stamps: Stamps | None, *, is_said: bool) -> list[Source]:
    """The files with their time stamps, which each may write in its own form where nobody said how they are written."""
    if stamps is None:
        return list(sources)
    if is_said or len(sources) == 1:
        return [source._replace(layout=replace(source.layout, stamps=stamps)) for source in sources]
    found = []
    for source in sources:
        texts = [read_column(source.path, name, source.layout) for name in stamps.columns]
        cells = [" ".join(each) for each in zip(*texts, strict=True)]
        pattern = settle_pattern(cells, cells.copy, column=" and ".join(stamps.columns), likely=stamps.pattern)
        own = stamps if pattern is None else replace(stamps, pattern=pattern)
        found.append(source._replace(layout=replace(source.layout, stamps=own)))
    return found


class Read(NamedTuple):
    """All rows of some columns; those that are not `kept` are bad."""

    values: NDArray[np.float32]
    """(rows, columns)"""
    bad: dict[int, BadCell]
    kept: NDArray[np.bool_]
    times: NDArray[np.float64] | None
    recording: NDArray[np.int64]
    """(rows,), the number of the recording of each: of its file, or of its key in it."""
    files: tuple[str, ...]
    """Their names."""
    file: NDArray[np.int64]
    """(rows,), the number of the file of each."""
    row: NDArray[np.int64]
    """(rows,), the number of each in its file."""
    keys: tuple[str, ...] = ()
    """The key of each recording, where there are keys."""
    told: tuple[str, ...] = ()
    """What was done with rows that do not stand in order of time."""

    def place(self, row: int) -> str:
        """Where a row is, for people."""
        where = f"row {self.row[row]}"
        return where if len(self.files) == 1 else f"{self.files[self.file[row]]}, {where}"

    def reordered(self, order: NDArray[np.int64]) -> Read:
        """The same with the rows from these places."""
        if np.array_equal(order, np.arange(len(order))):
            return self
        place = np.argsort(order)
        return self._replace(
            values=self.values[order],
            bad=dict(sorted((int(place[row]), why) for row, why in self.bad.items())),
            kept=self.kept[order],
            times=None if self.times is None else self.times[order],
            recording=self.recording[order],
            file=self.file[order],
            row=self.row[order],
        )

    def settled(self, fields: Sequence[Field]) -> Read:
        """The same where some numbers turned out to stand for no value."""
        values, bad = self.values.copy(), dict(self.bad)
        Absences(fields).settle(values, bad)
        bad = dict(sorted(bad.items()))
        return self._replace(values=values, bad=bad, kept=_but(bad, len(values)))


def read_features(sources: Sequence[Source], fields: Sequence[Field]) -> Read:
    """All rows of all files."""
    parts = [list(read_rows(path, fields, layout=layout)) for path, layout in sources]
    chunks = [chunk for part in parts for chunk in part]
    lengths = [sum(len(chunk.values) for chunk in part) for part in parts]
    bad = {
        begin + chunk.first + index: cell
        for begin, part in zip(accumulate(lengths, initial=0), parts, strict=False)
        for chunk in part
        for index, cell in chunk.bad.items()
    }
    values = np.concatenate([chunk.values for chunk in chunks])
    timed = sources[0].layout.stamps is not None
    times = np.concatenate([chunk.times for chunk in chunks if chunk.times is not None]) if timed else None
    file = np.repeat(np.arange(len(sources)), lengths)
    row = np.concatenate([np.arange(length) for length in lengths])
    names = tuple(path.name for path, _ in sources)
    read = Read(values, bad, _but(bad, len(values)), times, file, names, file, row)
    if sources[0].layout.key is not None:
        read = _by_key(read, [key for chunk in chunks for key in chunk.keys or ()])
    return read if read.times is None else _in_time_order(read, read.times)


def _in_time_order(read: Read, times: NDArray[np.float64]) -> Read:
    """The rows of each recording in order of time."""
    order, told = np.arange(len(times)), []
    for number in np.unique(read.recording).tolist():
        places = np.flatnonzero(read.recording == number)
        own = times[places]
        found = order_of(own)
        order[places] = places[rows_in_order(own, found)]
        if text := describe_order(found, own):
            names = [read.files[read.file[places[0]]]] if len(read.files) > 1 else []
            told.append(": ".join([*names, *read.keys[number : number + 1], text]))
    return read.reordered(order)._replace(told=tuple(told))


def _by_key(read: Read, keys: Sequence[str]) -> Read:
    """The same with the rows of each key of a file one after the other, as a recording of its own."""
    whose = list(zip(read.file.tolist(), keys, strict=True))
    numbers = {each: number for number, each in enumerate(dict.fromkeys(whose))}
    recording = np.array([numbers[each] for each in whose])
    order = np.lexsort((np.arange(len(recording)), recording, read.file))
    return read._replace(recording=recording, keys=tuple(key for _, key in numbers)).reordered(order)


def _but(bad: Mapping[int, BadCell], rows: int) -> NDArray[np.bool_]:
    """Which of so many rows are not bad."""
    kept = np.ones(rows, np.bool_)
    kept[list(bad)] = False
    return kept
