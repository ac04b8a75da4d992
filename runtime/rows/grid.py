"""Rows at uneven times brought to a grid: one row for each stretch of time that holds any."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..bundle import Column
from ..errors import InputError
from ..layout import Resampling
from .chunk import Rows
from .fields import Field, as_fields

if TYPE_CHECKING:
    from numpy.typing import NDArray


def are_numbers(columns: Sequence[str | Column | Field]) -> NDArray[np.bool_]:
    """Which columns have a mean: (columns,)."""
    return np.array([field.is_number and not field.flag for field in as_fields(columns)], np.bool_)


def resampled(chunks: Iterable[Rows], resampling: Resampling, is_number: NDArray[np.bool_]) -> Iterator[Rows]:
    """A row for each period, of the rows in it that are not bad: their mean, or the last; its time is the beginning.

    Of columns that are not `is_number`, (columns,), such as texts, it is always the last. A period without rows has
    none, so that time jumps; one of bad rows only has a bad one. A row whose time is unreadable belongs to the one
    before. Raises InputError when there are no times.
    """
    number, pending = 0, None
    for rows in chunks:
        if rows.times is None:
            raise InputError("the model looks at rows on a grid of time, and the table has no time stamps")
        pending = rows if pending is None else _joined(pending, rows)
        starts = _starts(pending, resampling.period_s)
        if len(starts) > 1:
            yield _grid(pending, starts[:-1], int(starts[-1]), number, resampling, is_number)
            number += len(starts) - 1
        pending = _from(pending, int(starts[-1]))
    if pending is not None:
        yield _grid(pending, np.zeros(1, np.int64), len(pending.values), number, resampling, is_number)


def _joined(before: Rows, after: Rows) -> Rows:
    assert before.times is not None
    assert after.times is not None
    n = len(before.values)
    return Rows(
        0,
        np.concatenate([before.values, after.values]),
        before.bad | {n + index: why for index, why in after.bad.items()},
        np.concatenate([before.times, after.times]),
    )


def _from(rows: Rows, begin: int) -> Rows:
    assert rows.times is not None
    bad = {index - begin: why for index, why in rows.bad.items() if index >= begin}
    return Rows(0, rows.values[begin:], bad, rows.times[begin:])


def _starts(rows: Rows, period_s: float) -> NDArray[np.int64]:
    """Where the rows of each period begin."""
    assert rows.times is not None
    periods = np.floor(rows.times / period_s)
    known = np.flatnonzero(np.isfinite(periods))
    moved = known[1:][np.diff(periods[known]) != 0]
    return np.concatenate([np.zeros(1, np.int64), moved.astype(np.int64)])


def _grid(
    rows: Rows, starts: NDArray[np.int64], end: int, first: int, resampling: Resampling, is_number: NDArray[np.bool_]
) -> Rows:
    """The grid's rows for the periods that begin at these rows, the last of which ends before `end`."""
    assert rows.times is not None
    good = np.ones(end, np.bool_)
    good[[index for index in rows.bad if index < end]] = False
    last = np.maximum.reduceat(np.where(good, np.arange(end), -1), starts)
    values = rows.values[:end][last]
    if resampling.how == "mean":
        held = good[:, None] & np.isfinite(rows.values[:end])
        counts = np.add.reduceat(held, starts, dtype=np.int64)
        sums = np.add.reduceat(np.where(held, rows.values[:end], 0).astype(np.float64), starts)
        means = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0).astype(np.float32)
        values = np.where(is_number, means, values)
    values[last < 0] = np.nan
    bad = {place: rows.bad[int(start)] for place, start in enumerate(starts.tolist()) if last[place] < 0}
    known = np.where(np.isfinite(rows.times[:end]), rows.times[:end], -np.inf)
    latest = np.maximum.reduceat(known, starts)
    times = np.where(np.isfinite(latest), np.floor(latest / resampling.period_s) * resampling.period_s, np.nan)
    return Rows(first, values, bad, times)
