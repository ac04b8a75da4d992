"""From a CSV of normal operation to training, validation and calibration inputs, split before any statistic."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..runtime.bundle import Column
from ..runtime.errors import InputError
from ..runtime.tables import TIME_NAMES, TableFormat, bad_reason, parse_time, read_rows, read_sample

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHARES = {"train": 0.7, "validation": 0.1, "calibration": 0.2}
"""Share of the inputs that each part of the split gets."""

_BLOCKS = 10
"""Ordered data is cut into this many blocks and each block is split, so that every part sees the whole recording:
with one cut, slow drift (the day, the season) would all land in the calibration rows."""

_MOST_BAD = 0.2
"""Share of bad rows above which training is refused: the rest is no longer a fair sample."""

_UNIT = re.compile(r"\[([^\[\]]+)\]\s*$")


@dataclass(frozen=True)
class Selection:
    """Which columns of a file are features; None and "" leave the choice to `choose_columns`."""

    columns: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    time_column: str | None = None


class Table(NamedTuple):
    """Normal rows, ready to be split.

    `values` is float32 (rows, features) without bad rows; `segment` (rows,) numbers the stretches of rows that follow
    each other without a bad row or a jump in time; `period_s` is the median time step, None without time stamps;
    `notes` say what was done to the columns and rows, for the user.
    """

    values: NDArray[np.float32]
    names: tuple[str, ...]
    time_column: str | None
    segment: NDArray[np.int64]
    period_s: float | None
    notes: list[str]
    sha256: str


class Split(NamedTuple):
    """Index of the first row of every input of each part."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    calibration: NDArray[np.int64]


class Scaling(NamedTuple):
    """x_standardised = (x - center) / scale, each of shape (features,), float32."""

    center: NDArray[np.float32]
    scale: NDArray[np.float32]


def load_table(path: Path, selection: Selection, form: TableFormat) -> Table:
    """The features of a CSV file.

    Raises
    ------
    InputError
        when there is nothing to learn from: no numeric column, a column named in `selection` that is missing or
        holds text, or more than a fifth of the rows bad
    """
    header, sample = read_sample(path, form)
    time_column = find_time_column(header, sample, selection.time_column)
    names, notes = choose_columns(header, sample, selection, time_column, form)
    if not form.header and names != header:
        missed = next(name for at, name in enumerate(header) if names[at : at + 1] != [name])
        raise InputError(
            f"{path}: column {missed!r} is no feature or out of order, but columns can be told apart only by a header; "
            "add one, or leave only the features in the file"
        )
    if time_column is not None:
        notes.insert(0, f"time stamps: column {time_column!r}")
    chunks = list(read_rows(path, names, form=form, time_column=time_column))
    values = np.concatenate([chunk.values for chunk in chunks])
    bad = {chunk.first + index: cell for chunk in chunks for index, cell in chunk.bad.items()}
    times = np.concatenate([chunk.times for chunk in chunks if chunk.times is not None]) if time_column else None
    if bad:
        row, why = next(iter(bad.items()))
        text = f"{len(bad)} of {len(values)} rows left out: a missing or bad cell (first: row {row}, {why})"
        if len(bad) > _MOST_BAD * len(values):
            raise InputError(f"{path}: {text}; more than a fifth is too much, mend the file or --exclude the column")
        notes.append(text)
    kept = np.ones(len(values), np.bool_)
    kept[list(bad)] = False
    segment, period_s = _segments(kept, times)
    digest = sha256(path.read_bytes()).hexdigest()
    return Table(values[kept], tuple(names), time_column, segment[kept], period_s, notes, digest)


def find_time_column(header: Sequence[str], sample: Sequence[Sequence[str]], named: str | None) -> str | None:
    """The column that holds time stamps: the one named, else one with a usual name, else a first column of dates."""
    if named is not None:
        if named not in header:
            raise InputError(f"time column {named!r} is not in the header: {', '.join(map(repr, header))}")
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
    form: TableFormat,
) -> tuple[list[str], list[str]]:
    """Names of the feature columns, and notes on those left out.

    Columns that the user names must be numeric. Otherwise every column is taken whose filled cells in the first rows
    are mostly numbers.
    """
    for name in (*selection.columns, *selection.exclude):
        if name not in header:
            raise InputError(f"column {name!r} is not in the header: {', '.join(map(repr, header))}")
    candidates = [n for n in selection.columns or header if n not in selection.exclude and n != time_column]
    chosen, notes = [], []
    for name in candidates:
        if not name:  # the row numbers that pandas writes
            notes.append("a column without a name left out")
            continue
        position = list(header).index(name)
        cells = [row[position] for row in sample if position < len(row) and row[position].strip()]
        numeric = [cell for cell in cells if not bad_reason(form.with_point(cell))]
        if len(numeric) * 2 > len(cells):
            chosen.append(name)
            continue
        what = f"holds text ({cells[0]!r})" if cells else "is empty"
        if name in selection.columns:
            raise InputError(f"column {name!r} {what}, expected numbers")
        notes.append(f"column {name!r} left out: {what}")
    if not chosen:
        raise InputError("no numeric column is left to learn from; the header has " + ", ".join(map(repr, header)))
    return chosen, notes


def _segments(kept: NDArray[np.bool_], times: NDArray[np.float64] | None) -> tuple[NDArray[np.int64], float | None]:
    """Number of each row's unbroken stretch, and the median time step."""
    breaks = np.zeros(len(kept), np.int64)
    breaks[1:] |= ~kept[:-1]
    if times is None or len(times) == 1:
        return np.cumsum(breaks), None
    steps = np.diff(times)
    forward = steps[steps > 0]
    if not len(forward):
        raise InputError("the time stamps never go forward; name the right column with --time-column")
    period_s = float(np.median(forward))
    breaks[1:] |= (steps > 1.5 * period_s) | (steps <= 0)
    return np.cumsum(breaks), period_s


def split(table: Table, *, window: int, stride: int, ordered: bool, seed: int) -> Split:
    """Inputs for training, validation and calibration, none of which shares a row with another part.

    Ordered data is split in blocks with a gap of one window between the parts, since neighbours are alike and would
    make validation and calibration too easy. Other rows are shuffled.
    """
    rows = len(table.values)
    if not ordered:
        order = np.random.default_rng(seed).permutation(rows)
        first, second = (round(share * rows) for share in (SHARES["train"], SHARES["train"] + SHARES["validation"]))
        return Split(*(np.sort(part) for part in np.split(order, [first, second])))
    blocks = max(1, min(_BLOCKS, rows // (20 * window)))
    edges = np.linspace(0, rows, blocks + 1).astype(int)
    shares = np.cumsum([0.0, *SHARES.values()])
    parts: list[list[NDArray[np.int64]]] = [[], [], []]
    for low, high in pairwise(edges):
        cuts = low + np.rint(shares * (high - low)).astype(int)
        for part, (begin, end) in zip(parts, pairwise(cuts), strict=True):
            # An input ends a window before its part does: that window is the gap.
            part.append(np.arange(begin, end - 2 * window + 1))
    train, validation, calibration = (_unbroken(np.concatenate(part), table.segment, window) for part in parts)
    return Split(train[::stride], validation, calibration)


def _unbroken(starts: NDArray[np.int64], segment: NDArray[np.int64], window: int) -> NDArray[np.int64]:
    """Those of the inputs that lie within one segment."""
    unbroken: NDArray[np.int64] = starts[segment[starts] == segment[starts + window - 1]]
    return unbroken


def fit_scaling(table: Table, rows: NDArray[np.int64], *, standardise: bool) -> tuple[Scaling, list[str]]:
    """Mean and standard deviation of the training rows, and a note on constant columns.

    A constant column is kept, since a change in it is news: its deviations are measured relative to its value
    (or as they are, when that is 0).
    """
    values = table.values[rows].astype(np.float64)
    center, scale = values.mean(axis=0), values.std(axis=0)
    constant = scale <= 1e-6 * np.maximum(np.abs(center), 1e-30)
    scale = np.where(constant, np.where(center == 0, 1.0, np.abs(center)), scale)
    names = [name for name, flat in zip(table.names, constant, strict=True) if flat]
    notes = [f"constant while training, kept so that a change shows: {', '.join(names)}"] if names else []
    if not standardise:
        center, scale = np.zeros_like(center), np.ones_like(scale)
    return Scaling(center.astype(np.float32), scale.astype(np.float32)), notes


def covered_rows(starts: NDArray[np.int64], window: int) -> NDArray[np.int64]:
    """The rows that inputs starting at `starts` touch, each once."""
    touched = np.zeros(int(starts.max()) + window, np.bool_)
    for offset in range(window):
        touched[starts + offset] = True
    return np.flatnonzero(touched)


def describe_columns(names: Sequence[str], scaling: Scaling) -> tuple[Column, ...]:
    """The columns as the metadata has them; a unit stands in square brackets at the end of a header."""
    units = [found.group(1).strip() if (found := _UNIT.search(name)) else "" for name in names]
    return tuple(map(Column, names, units, scaling.center.tolist(), scaling.scale.tolist()))
