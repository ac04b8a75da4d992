"""Unbroken runs of rows, and the rows of each key."""

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


def by_key(keys: Sequence[str] | None, rows: int) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """The streams of consecutive rows, each with the places of its own; one stream, "", where there are no keys."""
    if keys is None:
        yield "", np.arange(rows)
        return
    names = np.array(keys)
    for key in dict.fromkeys(keys):
        yield key, np.flatnonzero(names == key)
