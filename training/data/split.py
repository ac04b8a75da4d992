"""Training, validation and calibration inputs, split before any statistic, and the inputs at given rows."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

from .loading import Table
from .order import memory_rows, within

SHARES = {"calibration": 0.2, "validation": 0.1, "train": 0.7}
"""Share of the inputs that each part of the split gets, in the order in which they follow each other in time."""

_BLOCKS = 10
"""Ordered data is cut into this many blocks and each block is split, so that every part sees the whole recording:
with one cut, slow drift (the day, the season) would all land in the calibration rows."""

_LEAST_WITH_GAP = 4
"""Windows in the validation part of a block from which on there is a gap between the parts."""


_FURTHER = 0.25
"""Share of the calibration rows of a block that may be given up for a distance from what was learnt."""


class Split(NamedTuple):
    """Index of the first row of every input of each part."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    calibration: NDArray[np.int64]


def split(table: Table, *, window: int, stride: int, ordered: bool, seed: int) -> Split:
    """Inputs for training, validation and calibration. None of calibration shares a row with another part.

    Ordered data is split in blocks, with a gap of one window between the parts where blocks are long enough, since
    neighbours are alike and would make validation and calibration too easy. Calibration keeps further off, by the rows
    over which the columns stay alike (`memory_rows`) up to `_FURTHER` of its rows in the block. The last block ends in
    its training part, since what will be scored is most like what was recorded last, and every other block is turned
    round: blocks of whole days would else be calibrated by the same hours of each. A block lies within a recording, or
    holds several whole ones that are too short for their own. Other rows are shuffled.
    """
    rows = len(table.values)
    if not ordered:
        order = np.random.default_rng(seed).permutation(rows)
        first, second = (round(share * rows) for share in (SHARES["train"], SHARES["train"] + SHARES["validation"]))
        return Split(*(np.sort(part) for part in np.split(order, [first, second])))
    blocks = _blocks(np.zeros(rows, np.int64) if table.recording is None else table.recording, window)
    cuts = np.cumsum([0.0, *SHARES.values()])
    memory = memory_rows(within(table))
    parts: dict[str, list[NDArray[np.int64]]] = {name: [] for name in SHARES}
    for number, (low, high, length) in enumerate(blocks, start=1):
        gap = window if SHARES["validation"] * length >= _LEAST_WITH_GAP * window else 0
        further = min(memory - 1, int(_FURTHER * SHARES["calibration"] * length))
        turned = (len(blocks) - number) % 2 == 1
        places = low + np.rint((1 - cuts[::-1] if turned else cuts) * (high - low)).astype(int)
        for name, (begin, end) in zip(reversed(SHARES) if turned else SHARES, pairwise(places), strict=True):
            # An input ends a gap before its part does. Where there is none, validation reaches into the training rows:
            # a tenth of a short recording may hold no window, and nothing is promised from it.
            reach = window - 1 if name == "validation" and not gap else 0
            first, last = (max(begin - reach, low), end) if turned else (begin, min(end + reach, high))
            off = further if name == "calibration" else 0
            parts[name].append(np.arange(first + off * turned, last - window - gap + 1 - off * (not turned)))
    found = {name: _unbroken(np.concatenate(part), table.segment, window) for name, part in parts.items()}
    return Split(found["train"][::stride], found["validation"], found["calibration"])


def _blocks(recording: NDArray[np.int64], window: int) -> list[tuple[int, int, float]]:
    """The first row of each block, the one after its last, and how long those of its recording are on average."""
    rows, least = len(recording), 20 * window
    blocks = list[tuple[int, int, float]]()
    low = 0
    for high in [*(np.flatnonzero(np.diff(recording)) + 1).tolist(), rows]:
        length = high - low
        if length < least and high < rows:
            continue  # too short for a block of its own: it goes with the next
        if length < least and blocks:
            low, length = blocks[-1][0], high - blocks.pop()[0]
        number = max(1, min(round(_BLOCKS * length / rows), length // least))
        edges = np.linspace(low, high, number + 1).astype(int).tolist()
        blocks += [(begin, end, length / number) for begin, end in pairwise(edges)]
        low = high
    return blocks


def _unbroken(starts: NDArray[np.int64], segment: NDArray[np.int64], window: int) -> NDArray[np.int64]:
    """Those of the inputs that lie within one segment."""
    unbroken: NDArray[np.int64] = starts[segment[starts] == segment[starts + window - 1]]
    return unbroken


def covered_rows(starts: NDArray[np.int64], window: int) -> NDArray[np.int64]:
    """The rows that inputs starting at `starts` touch, each once."""
    touched = np.zeros(int(starts.max()) + window, np.bool_)
    for offset in range(window):
        touched[starts + offset] = True
    return np.flatnonzero(touched)
