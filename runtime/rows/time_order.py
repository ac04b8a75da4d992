"""The order of the rows of a recording in time, and what is done where it is another one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from ..errors import InputError
from .chunk import Rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

Order = Literal["forward", "stretches", "backward", "shuffled"]
"""forward: time goes on. stretches: it goes back now and then, as where several recordings stand in one file.
backward: the newest row stands first. shuffled: rows stand anywhere."""

_MOSTLY = 0.9
"""Share of the steps that go back in a recording whose newest row stands first."""

_SHORT = 8
"""Rows of a stretch, on average, below which rows are shuffled and no recordings one after the other."""

_CLOSE = 0.6
"""Of a usual step, below which two rows are of two recordings that ran at the same time."""


def order_of(times: NDArray[np.float64]) -> Order:
    """How rows with these times, (rows,), follow each other in time; NaN, which is unreadable, is passed over."""
    known = times[np.isfinite(times)]
    steps = np.diff(known)
    back, forward = int(np.count_nonzero(steps < 0)), int(np.count_nonzero(steps > 0))
    if not back:
        return "forward"
    if back > _MOSTLY * (back + forward):
        return "backward"
    if back + forward < _SHORT * back:
        return "shuffled"
    usual = float(np.median(steps[steps > 0]))
    sorted_steps = np.diff(np.sort(known))
    # What fills a place in time that no other row has belongs there; where two rows would have one, both ran at once.
    both = np.count_nonzero(sorted_steps < _CLOSE * usual) - np.count_nonzero((steps >= 0) & (steps < _CLOSE * usual))
    return "shuffled" if both <= 0 else "stretches"


def rows_in_order(times: NDArray[np.float64], order: Order) -> NDArray[np.int64]:
    """The places of rows with these times in order of time. One whose time is unreadable stays behind its neighbour."""
    places = np.arange(len(times))
    if order == "backward":
        return places[::-1]
    if order != "shuffled":
        return places
    last = np.maximum.accumulate(np.where(np.isfinite(times), places, -1))
    return np.argsort(np.where(last < 0, -np.inf, times[last]), kind="stable")


def describe_order(order: Order, times: NDArray[np.float64]) -> str:
    """What is done with rows that do not stand in order of time, "" for those that do."""
    if order == "backward":
        return "the newest row stands first: the recording is turned round"
    if order == "shuffled":
        return "rows do not stand in order of time: they are sorted"
    if order == "stretches":
        steps = np.diff(times[np.isfinite(times)])
        back = int(np.count_nonzero(steps < 0))
        return f"time goes back {back} time{'s' * (back > 1)}: what follows is a recording of its own"
    return ""


class InOrder(NamedTuple):
    """Rows as they are to be framed."""

    chunks: Iterator[Rows]
    order: Order
    numbers: NDArray[np.int64] | None
    """Of the rows in the file, in the order in which they come; None where that is the order of the file."""


def in_time_order(chunks: Iterable[Rows]) -> InOrder:
    """Rows in order of time: as they come, or all at once in memory where the first ones say that they do not."""
    rest = iter(chunks)
    first = next(rest, None)
    if first is None:
        return InOrder(iter(()), "forward", None)
    order = order_of(first.times) if first.times is not None else "forward"
    if order in ("forward", "stretches"):
        return InOrder(chain([first], rest), order, None)
    pieces = [first, *rest]
    whole = Rows(
        0,
        np.concatenate([piece.values for piece in pieces]),
        {piece.first + index: why for piece in pieces for index, why in piece.bad.items()},
        np.concatenate([piece.times for piece in pieces if piece.times is not None]),
        None if first.keys is None else [key for piece in pieces for key in piece.keys or ()],
    )
    assert whole.times is not None
    order = order_of(whole.times)
    numbers = rows_in_order(whole.times, order)
    return InOrder(iter(_cut(whole, numbers, len(first.values))), order, numbers)


def _cut(whole: Rows, numbers: NDArray[np.int64], size: int) -> list[Rows]:
    """Chunks of the rows of these numbers."""
    assert whole.times is not None
    found = []
    for begin in range(0, len(numbers), size):
        part = numbers[begin : begin + size]
        bad = {index: whole.bad[number] for index, number in enumerate(part.tolist()) if number in whole.bad}
        keys = None if whole.keys is None else [whole.keys[number] for number in part.tolist()]
        found.append(Rows(begin, whole.values[part], bad, whole.times[part], keys, part))
    return found


def refuse_disorder(rows: Rows, source: str) -> None:
    """Raises InputError when the first rows of a recording do not stand in order of time."""
    if not rows.first and rows.times is not None and order_of(rows.times) in ("backward", "shuffled"):
        raise InputError(f"{source}: rows do not stand in order of time, and windows need it; sort them first")
