"""The newest rows of a Prometheus as samples, asked for as time goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence

import msgspec

from ..errors import InputError, VaeDetectError
from ..rows.times import write_time
from ..streams.backoff import Backoff
from ..streams.samples import IDLE_S, MOST_AT_ONCE, Sample
from .moments import Grid
from .range_reader import RangeReader, Row

LAG_S = 2.0
"""How long after a time it is asked for: what is scraped then must have been stored."""

MOST_BEHIND = 240
"""Steps that are asked for afterwards where the server was away; what is older is left out."""


class LiveSource:
    """The rows of a grid of time, each as soon as it is past.

    Parameters
    ----------
    time_column : as the model calls its time stamps
    say : tells an operator what happens
    clock : seconds since 1970
    """

    name = "prometheus"

    def __init__(
        self,
        reader: RangeReader,
        step_ms: int,
        *,
        time_column: str,
        say: Callable[[str], object],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.where = f"prometheus+{reader.client.address}"
        self._reader, self._step_ms, self._time = reader, step_ms, time_column
        self._say, self._clock = say, clock
        self._closed = threading.Event()
        self._backoff = Backoff(self._closed)
        self._last_ms = self._now_ms()
        self._told = ""
        self._again_at = 0.0
        """Of `time.monotonic`, when a server that was away is asked again."""

    def batches(self) -> Iterator[list[Sample]]:
        """See `samples.Source`."""
        while not self._closed.is_set():
            now = self._now_ms()
            pause = max((self._last_ms + self._step_ms - now) / 1000, self._again_at - time.monotonic())
            if pause > 0:
                yield []
                self._closed.wait(min(IDLE_S, pause))
                continue
            first = max(self._last_ms + self._step_ms, now - (MOST_BEHIND - 1) * self._step_ms)
            try:
                rows = list(self._reader.rows(Grid.between(first, now, self._step_ms)))
            except InputError as error:
                self._tell(error)
                self._last_ms = now  # who refuses these steps refuses them again
            except VaeDetectError as error:
                self._tell(error)
                self._again_at = time.monotonic() + self._backoff.next_s()
            else:
                self._told, self._last_ms = "", now
                self._backoff.reset()
                samples = [self._sample(row) for row in rows]
                for begin in range(0, len(samples), MOST_AT_ONCE):
                    yield samples[begin : begin + MOST_AT_ONCE]

    def done(self, samples: Sequence[Sample]) -> None:
        """A server gives what it has."""

    def refuse(self, sample: Sample, why: str) -> None:
        """Who scrapes cannot be told."""

    def close(self) -> None:
        """See `samples.Source`."""
        self._closed.set()

    def _now_ms(self) -> int:
        """The newest time of the grid that is past."""
        now = round((self._clock() - LAG_S) * 1000)
        return now - now % self._step_ms

    def _sample(self, row: Row) -> Sample:
        cells = {name: _number(cell) for name, cell in zip(self._reader.queries, row.cells, strict=True)}
        told = {self._time: write_time(row.time_ms / 1000), "values": cells}
        return Sample(msgspec.json.encode(told), row.key, self._clock())

    def _tell(self, error: Exception) -> None:
        if str(error) != self._told:
            self._told = str(error)
            self._say(f"{error}; trying again")


def _number(cell: str) -> float | None:
    """None for what is no finite number, which is a bad cell, or one that is missing."""
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if abs(number) < float("inf") else None
