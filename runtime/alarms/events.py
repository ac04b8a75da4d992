"""Events: unbroken runs of anomalous rows of one stream.

A row without a score is not anomalous, so that it ends a run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
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
