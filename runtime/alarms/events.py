"""Events: unbroken runs of anomalous rows of one stream.

A row without a score is not anomalous, so that it ends a run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray


def runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First row and end of each unbroken run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


def starts(is_anomaly: NDArray[np.bool_], *, running: bool) -> tuple[int, bool]:
    """How many events start in these rows of one stream, and whether one still runs after them.

    So a stream can be counted in pieces: what the last piece gave as `running` goes with the next.

    Parameters
    ----------
    is_anomaly : (rows,), in the order of the stream
    running : whether an event ran when these rows came
    """
    if not is_anomaly.any():  # nearly always
        return 0, running and not len(is_anomaly)
    begun = np.count_nonzero(is_anomaly[1:] & ~is_anomaly[:-1]) + int(is_anomaly[0] and not running)
    return int(begun), bool(is_anomaly[-1])


def by_key(keys: Sequence[str] | None, rows: int) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """The streams of consecutive rows, each with the places of its own; one stream, "", where there are no keys."""
    if keys is None:
        yield "", np.arange(rows)
        return
    names = np.array(keys)
    for key in dict.fromkeys(keys):
        yield key, np.flatnonzero(names == key)


class EventCount:
    """Counts the events of streams as their rows come."""

    def __init__(self) -> None:
        self.started = 0
        self._running = set[str]()

    def begin(self) -> None:
        """The next rows are of another recording."""
        self._running.clear()

    def add(self, is_anomaly: NDArray[np.bool_], keys: Sequence[str] | None = None) -> None:
        """The next rows, (rows,), and whose they are."""
        for key, index in by_key(keys, len(is_anomaly)):
            begun, running = starts(is_anomaly[index], running=key in self._running)
            self.started += begun
            (self._running.add if running else self._running.discard)(key)
