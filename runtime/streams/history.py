"""How bad it was lately: an hour of severities in slots, and the newest rows one by one; its size does not grow."""

from __future__ import annotations

import math
from array import array
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from ..scoring.results import STATUSES, Results

if TYPE_CHECKING:
    from numpy.typing import NDArray

SLOT_S = 10
"""Seconds in a slot."""
SLOTS = 360
"""An hour of them."""
RECENT = 300
"""Rows that are remembered one by one."""

_PLACES = {status: place for place, status in enumerate(STATUSES)}
_ONE_BY_ONE = 16
"""Rows up to which a loop is faster than numpy."""


class Slot(NamedTuple):
    """What was seen in `SLOT_S` seconds."""

    time: float
    """At its beginning, seconds since 1970."""
    largest: float
    """Severity."""
    mean: float


class HistoryMemory(msgspec.Struct, frozen=True):
    """What a history has seen: its arrays as bytes."""

    newest: int
    rows: int
    arrays: tuple[bytes, bytes, bytes, bytes, bytes, bytes]


class History:
    """Of one key. What is more than an hour older than its newest row is forgotten, and not taken when it comes late.

    >>> history = History()
    >>> history.worst, history.slots()
    (nan, [])
    """

    def __init__(self) -> None:
        self._newest = 0
        """The number of the newest slot, seconds since 1970 / `SLOT_S`."""
        self._rows = 0
        self._largest, self._total = array("f", [math.nan]) * SLOTS, array("f", [0.0]) * SLOTS
        self._count = array("I", [0]) * SLOTS
        self._times, self._severities = array("d", [math.nan]) * RECENT, array("f", [math.nan]) * RECENT
        self._statuses = array("B", [0]) * RECENT

    def add(self, times: NDArray[np.float64], results: Results) -> None:
        """The next rows, at these times (rows,), seconds since 1970."""
        severity = results.scores.severity
        if len(times) > _ONE_BY_ONE:
            self._add_many(times, severity, results.status)
            return
        for time, worse, status in zip(times.tolist(), severity.tolist(), results.status, strict=True):
            place = self._rows % RECENT
            self._rows += 1
            self._times[place], self._severities[place] = time, worse
            self._statuses[place] = _PLACES[status]
            if math.isnan(worse):  # it has no score
                continue
            slot = int(time // SLOT_S)
            if slot > self._newest:
                self._open(slot)
            elif slot <= self._newest - SLOTS:
                continue
            place = slot % SLOTS
            self._total[place] += worse
            self._count[place] += 1
            if not self._largest[place] >= worse:  # it may be NaN
                self._largest[place] = worse

    def _open(self, slot: int) -> None:
        """Makes this the newest slot; those between it and the one before are empty."""
        for each in range(max(self._newest, slot - SLOTS) + 1, slot + 1):
            place = each % SLOTS
            self._largest[place], self._total[place], self._count[place] = math.nan, 0.0, 0
        self._newest = slot

    def _add_many(self, times: NDArray[np.float64], severity: NDArray[np.float32], status: list[str]) -> None:
        n = min(len(times), RECENT)
        places = (self._rows + len(times) - n + np.arange(n)) % RECENT
        self._rows += len(times)
        np.frombuffer(self._times)[places] = times[-n:]
        np.frombuffer(self._severities, np.float32)[places] = severity[-n:]
        np.frombuffer(self._statuses, np.uint8)[places] = np.fromiter(
            map(_PLACES.__getitem__, status[-n:]), np.uint8, n
        )
        scored = np.isfinite(severity)
        if not scored.all():
            times, severity = times[scored], severity[scored]
        slots = (times // SLOT_S).astype(np.int64)
        if not len(slots):
            return
        first, last = int(slots.min()), int(slots.max())
        if last > self._newest:
            self._open(last)
        if first == last:  # of a request without times
            if first > self._newest - SLOTS:
                place = first % SLOTS
                self._total[place] += float(severity.sum())
                self._count[place] += len(slots)
                self._largest[place] = np.fmax(self._largest[place], severity.max())
            return
        known = slots > self._newest - SLOTS
        at = slots[known] % SLOTS
        np.add.at(np.frombuffer(self._total, np.float32), at, severity[known])
        np.add.at(np.frombuffer(self._count, np.uint32), at, 1)
        np.fmax.at(np.frombuffer(self._largest, np.float32), at, severity[known])

    def slots(self) -> list[Slot]:
        """Those of the last hour that have a score, the oldest first."""
        return [
            Slot(float(each * SLOT_S), self._largest[place], self._total[place] / self._count[place])
            for each in range(self._newest - SLOTS + 1, self._newest + 1)
            if self._count[place := each % SLOTS]
        ]

    def recent(self) -> list[tuple[float, float, str]]:
        """Time, severity (NaN without a score) and status of the newest rows, the oldest first."""
        first = max(0, self._rows - RECENT)
        return [
            (self._times[place], self._severities[place], STATUSES[self._statuses[place]])
            for place in (row % RECENT for row in range(first, self._rows))
        ]

    @property
    def worst(self) -> float:
        """The largest severity of the newest slot, NaN without any."""
        return self._largest[self._newest % SLOTS]

    @property
    def mean(self) -> tuple[float, int]:
        """Severity of the last hour on average, and of how many rows; NaN of none."""
        rows = sum(self._count)
        return (sum(self._total) / rows if rows else math.nan), rows

    @property
    def memory(self) -> HistoryMemory:
        """All of it."""
        return HistoryMemory(self._newest, self._rows, tuple(each.tobytes() for each in self._arrays))  # type: ignore[arg-type]

    def recall(self, memory: HistoryMemory) -> None:
        """Goes on from there. Raises ValueError when the arrays have another size."""
        for own, kept in zip(self._arrays, memory.arrays, strict=True):
            place = memoryview(own).cast("B")
            if len(place) != len(kept):
                raise ValueError("a history has another size")
            place[:] = kept
        self._newest, self._rows = memory.newest, memory.rows

    @property
    def _arrays(self) -> tuple[array[float] | array[int], ...]:
        return self._largest, self._total, self._count, self._times, self._severities, self._statuses
