"""Which machines are unlike their peers: whose last hour stands out from that of the group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from .usual import Usual

FEWEST = 4
"""Machines that make a group: of fewer nobody can tell which is the odd one."""

FEWEST_ROWS = 30
"""Rows of the last hour with which a machine is compared with others: fewer say little of it."""

ODD = 3.5
"""The z from which on a machine is unlike its peers (Iglewicz and Hoaglin 1993)."""

_LEAST_SPREAD = 0.02
"""Of the logarithms, 2 %, where nearly all machines are alike."""


class Hour(NamedTuple):
    """The last hour of a machine."""

    severity: float
    """On average; NaN without rows that were scored."""
    rows: int
    """That were scored."""
    usual: Usual | None = None
    """What its hours are usually like, where that is known."""


def odd_ones(hours: Mapping[str, Hour]) -> dict[str, float]:
    """By machine the modified z-score of its last hour, from `ODD` on unlike its peers; empty where there is no group.

    z = 0.6745 (x - median) / MAD, MAD the median of |x - median| (Iglewicz and Hoaglin 1993, *How to Detect and Handle
    Outliers*). x is the logarithm of the mean severity, since severities of machines differ by factors; where it is
    known what is usual for every machine, in spreads from its own median. What most machines share, a hot day, moves
    the median and nobody's z; a fault of up to half of them does not hide itself. A machine with fewer than
    `FEWEST_ROWS` rows is left out.

    >>> hours = {"a": Hour(0.30, 3600), "b": Hour(0.33, 3600), "c": Hour(0.28, 3600), "d": Hour(0.9, 3600)}
    >>> max((z, key) for key, z in odd_ones(hours).items())[1]
    'd'
    """
    known = {key: hour.severity for key, hour in hours.items() if hour.rows >= FEWEST_ROWS and hour.severity > 0}
    if len(known) < FEWEST:
        return {}
    x = np.log(np.fromiter(known.values(), np.float64, len(known)))
    usual = [each for key in known if (each := hours[key].usual) is not None]
    if len(usual) == len(known):
        median, spread = np.array(usual).T
        x = (x - median) / spread
    away = x - np.median(x)
    deviation = max(float(np.median(np.abs(away))), _LEAST_SPREAD)
    return dict(zip(known, (0.6745 * away / deviation).tolist(), strict=True))
