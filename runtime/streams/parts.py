"""Rows on their way to the graph, each with what is remembered of its key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..rows.chunk import Rows
from ..scoring.framing import Framed, Framer
from .machines import Machine

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of one recording."""

    framed: Framed
    rows: Rows
    numbers: Sequence[int]
    """Of the rows in what they came with."""
    machine: Machine | None = None
    """What is remembered of the key that the rows are of; None where they are of none."""
    after: Framer | None = None
    """The windows of that key after these rows."""
    arrived: NDArray[np.float64] | None = None
    """When each row did, (rows,), seconds since 1970; None for now."""


def parts_by_key(
    rows: Rows,
    machines: Callable[[str], Machine],
    framers: dict[str, Framer],
    arrived: NDArray[np.float64] | None = None,
) -> list[Part]:
    """The parts of rows with keys.

    Parameters
    ----------
    framers : go on to those of the next rows, and begin as those of the machines
    arrived : as in `Part`
    """
    parts = []
    for key, (index, own) in rows.by_key().items():
        machine = machines(key)
        framed, framers[key] = framers.get(key, machine.state.framer).frame(own)
        told = own._replace(keys=[key] * len(index))
        own_arrived = None if arrived is None else arrived[index]
        parts.append(Part(framed, told, (index + rows.first).tolist(), machine, framers[key], own_arrived))
    return parts
