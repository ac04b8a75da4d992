"""A request at work: what it holds of the memory of all, who does its slow part, and whether its client has left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from ..metrics.model import ModelMetrics
from ..scoring.results import Results
from ..streams.parts import Part
from .bodies import Share
from .frames import Frames
from .models import Served
from .refusals import RefusedError

_T = TypeVar("_T")


class Worker:
    """One thread for all that takes longer than 5 ms. Large requests come to it in slices, and so take turns."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "answers")

    async def run(self, function: Callable[..., _T], *arguments: Any) -> _T:
        """What the function returns."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)


@dataclass(slots=True)
class Job:
    """One request: what it holds of the memory of all, who does its slow work, and whether its client has left."""

    share: Share
    worker: Worker
    gone: Callable[[], bool]
    metrics: ModelMetrics | None = None
    """Of the model that is asked, once it is known."""
    tell: Callable[[Served, Sequence[Part], Sequence[Results]], None] | None = None
    """Told what was found in parts of it, where somebody wants to know of every alarm."""

    frames: Frames | None = None
    """Where the last images are kept for people to see."""

    async def run(self, slow: bool, function: Callable[..., _T], *arguments: Any) -> _T:
        """What the function returns; at once, or when its turn has come."""
        return await self.worker.run(function, *arguments) if slow else function(*arguments)

    async def tell_all(
        self, served: Served, parts: Sequence[Sequence[Part]], scored: Sequence[Sequence[Results]]
    ) -> None:
        """Tells what was found in all the parts, where somebody wants to know."""
        if self.tell is not None:
            found = [results for own in scored for results in own]
            await self.run(len(parts) > 1, self.tell, served, [part for own in parts for part in own], found)

    def check(self, rows: int) -> None:
        """Raises RefusedError when nobody waits for the answer any more."""
        if self.gone():
            raise RefusedError.left(rows)
