"""From a CSV to a table of numbers: which of its columns are features, which hold texts, which the time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from msgspec.structs import replace

from ...runtime.bundle import Image, Treatment
from ...runtime.errors import InputError, few
from ...runtime.layout import Layout, Stamps
from ...runtime.opening import digest
from ...runtime.rows.cells import BadCell, bad_reason, is_utf8, shown
from ...runtime.rows.fields import Field
from ...runtime.rows.tables import read_column, read_rows, read_sample
from ...runtime.rows.times import TIME_NAMES, Clock, clock_of, is_break, parse_time
from .suspects import MOST_LEVELS, describe_doubts, find_doubts

if TYPE_CHECKING:
    from numpy.typing import NDArray


MOST_BAD = 0.2
"""Share of bad rows above which training is refused: the rest is no longer a fair sample."""

_LEAST_OF_A_TEXT = 10
"""How often each text of a category must come up, on average."""


@dataclass(frozen=True)
class Selection:
    """Which columns of a file are features, and what is done with them; empty leaves the choice to `choose_columns`."""

    columns: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    time_column: str | None = None
    class_column: str | None = None
    """What recipe cvae is conditioned on."""
    treatments: Mapping[str, Treatment] = field(default_factory=dict)
    """By column, what is done with its values; see `columns.plan_columns`."""

    def asks_for(self, name: str) -> bool:
        """Whether the user wants this very column."""
        return name in self.columns or name in self.treatments or name == self.class_column


class Table(NamedTuple):
    """Normal rows or images, ready to be split.

    `values` is float32 (rows, features) without bad rows, or uint8 (images, height, width, channels); `segment` (rows,)
    numbers the stretches of rows that follow each other without a bad row or a jump in time; `period_s` is the time
    from row to row, None without time stamps; `notes` say what was done to the columns and rows, for the user; `texts`
    are those of the columns that hold text; `stamp_s` is the time between stamps that several rows share, else 0;
    `classes` are the folders of the images and `class_of` each image's;
    `ordered` says that neighbouring rows are so much alike that they follow each other, time stamps or not;
    `layout` is how the recording is written, as declared and as found out.
    """

    values: NDArray[np.float32] | NDArray[np.uint8]
    names: tuple[str, ...]
    time_column: str | None
    segment: NDArray[np.int64]
    period_s: float | None
    notes: list[str]
    sha256: str
    texts: Mapping[str, tuple[str, ...]] = {}
    stamp_s: float = 0.0
    image: Image | None = None
    classes: tuple[str, ...] = ()
    class_of: NDArray[np.int64] | None = None
    ordered: bool = False
    layout: Layout = Layout()


def load_table(path: Path, selection: Selection, layout: Layout, *, numbers_only: bool = False) -> Table:
    """The features of a CSV file. Columns of a few texts are categories, unless `numbers_only`.

    Raises
    ------
    InputError
        when there is nothing to learn from: no numeric column, a column named in `selection` that is missing or
        holds text, or more than a fifth of the rows bad
    """
    header, sample = read_sample(path, layout)
    time_column = find_time_column(header, sample, selection.time_column)
    if time_column is not None:
        layout = replace(layout, stamps=Stamps(time_column))
    texts = {} if numbers_only else few_texts(path, header, sample, selection, time_column, layout)
    names, notes = choose_columns(header, sample, selection, time_column, layout, texts)
    if not layout.format.header and names != header:
        missed = next(name for at, name in enumerate(header) if names[at : at + 1] != [name])
        raise InputError(
            f"{path}: column {missed!r} is no feature or out of order, but columns can be told apart only by a header; "
            "add one, or leave only the features in the file"
        )
    if time_column is not None:
        notes.insert(0, f"time stamps: column {time_column!r}")
    read = _read(path, names, texts, layout)
    names, more = _without_doubtful(read, names, texts, selection, layout)
    if len(names) < read.values.shape[1]:  # again, since a row whose bad cell was in a column left out is a good one
        read = _read(path, names, texts, layout)
    notes += more
    if read.bad:
        row, why = next(iter(read.bad.items()))
        rows = len(read.values)
        text = f"{len(read.bad)} of {rows} rows left out: a missing or bad cell (first: row {row}, {why})"
        if len(read.bad) > MOST_BAD * rows:
            raise InputError(f"{path}: {text}; more than a fifth is too much, mend the file or --exclude the column")
        notes.append(text)
    segment, clock = _segments(read.kept, read.times)
    period_s, stamp_s = clock or (None, 0.0)
    if stamp_s:
        notes.append(f"rows share time stamps, {stamp_s:g} s apart: a row counts as {period_s:.4g} s")
    values, segment = read.values[read.kept], segment[read.kept]
    texts = {name: found for name, found in texts.items() if name in names}
    return Table(
        values, tuple(names), time_column, segment, period_s, notes, digest(path), texts, stamp_s, layout=layout
    )


class _Read(NamedTuple):
    """All rows of the columns of a file; those that are not `kept` are bad."""

    values: NDArray[np.float32]
    bad: dict[int, BadCell]
    kept: NDArray[np.bool_]
    times: NDArray[np.float64] | None


def _read(path: Path, names: Sequence[str], texts: Mapping[str, tuple[str, ...]], layout: Layout) -> _Read:
    fields = [Field(name, texts.get(name, ())) for name in names]
    chunks = list(read_rows(path, fields, layout=layout))
    values = np.concatenate([chunk.values for chunk in chunks])
    bad = {chunk.first + index: cell for chunk in chunks for index, cell in chunk.bad.items()}
    kept = np.ones(len(values), np.bool_)
    kept[list(bad)] = False
    times = np.concatenate([chunk.times for chunk in chunks if chunk.times is not None]) if layout.stamps else None
    return _Read(values, bad, kept, times)


def _without_doubtful(
    read: _Read, names: list[str], texts: Mapping[str, Sequence[str]], selection: Selection, layout: Layout
) -> tuple[list[str], list[str]]:
    """The columns without those that nobody asked for and that say nothing of later rows, and notes."""
    if not read.kept.any():
        return names, []
    free = [at for at, name in enumerate(names) if not selection.asks_for(name)]
    values = read.values[read.kept]
    segment = None if read.times is not None else np.cumsum(~read.kept, dtype=np.int64)[read.kept]
    doubts, notes = find_doubts(values[:, free], [names[at] for at in free], texts, segment)
    left = [name for name in names if name not in doubts]
    why = "no other column is left" if not left else "" if layout.format.header else "the file has no header"
    return names if why else left, [*describe_doubts(doubts, kept=why), *notes]


def few_texts(
    path: Path,
    header: Sequence[str],
    sample: Sequence[Sequence[str]],
    selection: Selection,
    time_column: str | None,
    layout: Layout,
) -> dict[str, tuple[str, ...]]:
    """By column, the texts of those that hold at most `MOST_LEVELS` different ones, each several times."""
    found = {}
    wanted = {*(selection.columns or header), *([selection.class_column] if selection.class_column else [])}
    for position, name in enumerate(header):
        cells = [row[position].strip() for row in sample if position < len(row) and row[position].strip()]
        numeric = sum(not bad_reason(layout.format.with_point(cell)) for cell in cells)
        if name not in wanted or name in selection.exclude or name in ("", time_column) or 2 * numeric > len(cells):
            continue
        filled = [cell for cell in map(str.strip, read_column(path, name, layout)) if cell and is_utf8(cell)]
        texts = sorted(set(filled))
        if 1 < len(texts) <= MOST_LEVELS and len(filled) >= _LEAST_OF_A_TEXT * len(texts):
            found[name] = tuple(texts)
    return found


def find_time_column(header: Sequence[str], sample: Sequence[Sequence[str]], named: str | None) -> str | None:
    """The column that holds time stamps: the one named, else one with a usual name, else a first column of dates."""
    if named is not None:
        if named not in header:
            raise InputError(f"time column {named!r} is not in the header: {few(map(shown, header), 12)}")
        return named
    for position, name in enumerate(header):
        cells = [row[position] for row in sample if position < len(row) and row[position].strip()]
        readable = [cell for cell in cells if not np.isnan(parse_time(cell))]
        dates = [cell for cell in readable if bad_reason(cell)]
        # Half, not all: a few damaged stamps must not turn the clock into a feature.
        stamps = readable if name.lower() in TIME_NAMES else dates if position == 0 else []
        if 2 * len(stamps) > len(cells):
            return name
    return None


def choose_columns(
    header: Sequence[str],
    sample: Sequence[Sequence[str]],
    selection: Selection,
    time_column: str | None,
    layout: Layout,
    texts: Mapping[str, Sequence[str]] | None = None,
) -> tuple[list[str], list[str]]:
    """Names of the feature columns, and notes on those left out.

    Columns that the user names must be numeric. Otherwise every column is taken whose filled cells in the first rows
    are mostly numbers.
    """
    named = [selection.class_column] if selection.class_column else []
    for name in (*selection.columns, *selection.exclude, *selection.treatments, *named):
        if name not in header:
            raise InputError(f"column {name!r} is not in the header: {few(map(shown, header), 12)}")
    candidates = [n for n in selection.columns or header if n not in selection.exclude and n != time_column]
    candidates += [name for name in named if name not in candidates]
    chosen, notes = [], []
    for name in candidates:
        if not name:  # the row numbers that pandas writes
            notes.append("a column without a name left out")
            continue
        position = list(header).index(name)
        cells = [row[position] for row in sample if position < len(row) and row[position].strip()]
        numeric = [cell for cell in cells if not bad_reason(layout.format.with_point(cell))]
        if len(numeric) * 2 > len(cells) or name in (texts or {}):
            chosen.append(name)
            continue
        what = f"holds text ({shown(cells[0])})" if cells else "is empty"
        if name in (*selection.columns, *named):
            raise InputError(
                f"column {name!r} {what}, expected numbers, or 2 to {MOST_LEVELS} different texts that come up at "
                f"least {_LEAST_OF_A_TEXT} times each on average"
            )
        notes.append(f"column {name!r} left out: {what}")
    if not chosen:
        raise InputError("no numeric column is left to learn from; the header has " + few(map(shown, header), 12))
    return chosen, notes


def _segments(kept: NDArray[np.bool_], times: NDArray[np.float64] | None) -> tuple[NDArray[np.int64], Clock | None]:
    """Number of each row's unbroken stretch, and how time goes on."""
    breaks = np.zeros(len(kept), np.int64)
    breaks[1:] |= ~kept[:-1]
    if times is None or len(times) == 1:
        return np.cumsum(breaks), None
    clock = clock_of(times)
    if clock is None:
        raise InputError("the time stamps never go forward; name the right column with --time-column")
    breaks[1:] |= is_break(np.diff(times), 1, clock)
    return np.cumsum(breaks), clock
