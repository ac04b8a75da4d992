"""Which of the first scores of a machine are quiet: a level that has not moved, without the bursts on top of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .dependence import Memory
from .distributions import ranks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_MOVED = 1e-3
"""Probability of a move as large as found, where there is none, below which the level has moved."""

_APART = 0.75
"""Probability that a score after a move is on the other side of one before it: less is no move worth beginning anew."""

_LEAST_PART = 1 / 8  # of the scores, before and after a move
_EDGE = 8  # scores beside a move that may belong to its other side
_BURST_PART = 1 / 8  # of the scores, which a burst may last
_BURST_SHARE = 0.75  # of the highest scores, which lie in one burst
_LEAST_HIGHEST = 8  # so many at least: of independent scores 6 lie so close in one of a few hundred recordings
_MOST_BURSTS = 2
_HIGH = 0.95
_GAP = 3  # scores, of which the next one of a burst is one: it has dips


class Move(NamedTuple):
    """A move of the level."""

    place: int
    """The first score after it."""
    upwards: bool


def moved(scores: Floats, dependence_rows: int) -> Move | None:
    """Where the level of scores in time order moves, None where it stays.

    Pettitt 1979, *A Non-Parametric Approach to the Change-Point Problem*: with K the largest |U_t|,
    U_t = 2 sum_(i <= t) rank_i - t (n + 1), the probability of K without a move is 2 exp(-6 K^2 / (n^3 + n^2)).
    Dependent scores make the variance of U as many times larger as a score has neighbours like it; how many is told
    from the scores with the move taken out, or the move itself would be taken for dependence.
    """
    n = scores.size
    order = ranks(scores)
    t = np.arange(1, n + 1)
    u = 2 * np.cumsum(order) - t * (n + 1)
    least = math.ceil(_LEAST_PART * n)
    place = least + int(np.argmax(np.abs(u[least - 1 : n - least])))
    before, after = order[:place], order[place:]
    level = np.concatenate([before - before.mean(), after - after.mean()])
    neighbours = 1 + 2 * float(Memory.of(level, dependence_rows).correlation.sum()) if dependence_rows else 1.0
    extreme = float(u[place - 1])
    probability = 2 * math.exp(-6 * extreme**2 / ((n**3 + n**2) * neighbours))
    # U_t / (t (n - t)) is P(before > after) - P(before < after)
    apart = (1 + abs(extreme) / (place * (n - place))) / 2
    if probability >= _MOVED or apart < _APART:
        return None
    upwards = extreme < 0
    return Move(_edge(scores, place, upwards=upwards), upwards)


def _edge(scores: Floats, place: int, *, upwards: bool) -> int:
    """The same place, but for rows beside it on the lower side that belong to the higher one.

    The extreme of U may lie a few rows off, and these few would be the highest of the lower part.
    """
    middle = (float(np.median(scores[:place])) + float(np.median(scores[place:]))) / 2
    near = min(_EDGE, place)
    if upwards:
        over = np.flatnonzero(scores[place - near : place] > middle)
        return place - near + int(over[0]) if over.size else place
    over = np.flatnonzero(scores[place : place + near] > middle)
    return place + int(over[-1]) + 1 if over.size else place


def without_runs(scores: Floats, threshold: float, length: int) -> Floats:
    """The scores without runs of `length` or more of them above a threshold."""
    over = np.concatenate([[False], scores > threshold, [False]])
    edges = np.flatnonzero(np.diff(over))
    keep = np.ones(scores.size, np.bool_)
    for begin, end in edges.reshape(-1, 2).tolist():
        keep[begin:end] = end - begin < length
    return scores[keep]


def without_bursts(scores: Floats, far: float, dependence_rows: int) -> Floats:
    """The scores without the stretches that hold nearly all of the highest: a fault, not the tail of what is normal.

    In a recording for which `calibrate` takes a rate the highest scores are independent of each other, so they lie all
    over it; a normal event that comes again does so too, once it has come twice.
    """
    for _ in range(_MOST_BURSTS):
        n = scores.size
        highest = np.sort(np.argsort(scores)[n - max(_LEAST_HIGHEST, math.ceil(2 * far * n)) :])
        span, needed = math.floor(_BURST_PART * n), math.ceil(_BURST_SHARE * highest.size)
        width = highest[needed - 1 :] - highest[: highest.size - needed + 1]
        first = int(np.argmin(width))
        if width[first] >= span:
            break
        begin, end = _whole(scores, int(highest[first]), int(highest[first + needed - 1]) + 1, span)
        # Its neighbours, too, which rose and sank with it.
        scores = np.concatenate([scores[: max(begin - dependence_rows, 0)], scores[end + dependence_rows :]])
    return scores


def _whole(scores: Floats, begin: int, end: int, span: int) -> tuple[int, int]:
    """A burst of which the highest scores are known, as far as scores are high for the rest of the recording."""
    rest = np.concatenate([scores[: max(begin - span, 0)], scores[end + span :]])
    high = scores > np.quantile(rest, _HIGH)
    while (over := np.flatnonzero(high[max(begin - _GAP, 0) : begin])).size:
        begin = max(begin - _GAP, 0) + int(over[0])
    while (over := np.flatnonzero(high[end : end + _GAP])).size:
        end += int(over[-1]) + 1
    return begin, end
