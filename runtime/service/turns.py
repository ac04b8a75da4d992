"""All that can be read in one turn of the event loop, scored in one run of the graph."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

from ..detector import Detector
from ..rows.chunk import Rows
from ..scoring.framing import Framed, Framer
from ..scoring.results import Results
from ..scoring.score import score_framed
from ..scoring.state import StreamState


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of one recording in a request, on their way to the graph."""

    framed: Framed
    rows: Rows
    numbers: Sequence[int]
    """Of the rows in the request."""
    stream: StreamState | None = None
    """What is remembered of the key that the rows are of; None where they are of none."""
    after: Framer | None = None
    """The windows of that stream after these rows."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, and what is to be made of its results: what `judge` raises refuses it."""

    parts: Sequence[Part]
    judge: Callable[[Sequence[Results]], None]
    answer: asyncio.Future[list[Results]]


Accept = Callable[[Sequence[tuple[Part, Results]], float], list[Results]]
"""Remembers the results of these parts, which took so many seconds to score: the results with their verdicts."""


class Turns:
    """Of one version of a model: small requests that arrive together cost one run of the graph together, and one look
    at watch and metrics.

    A timed window would add to the latency of every request, and find no more: what has arrived is what can be read.

    Parameters
    ----------
    most : inputs in one run, so that it does not hold the event loop for long
    """

    def __init__(self, detector: Detector, accept: Accept, most: int) -> None:
        self._detector, self._accept, self._most = detector, accept, most
        self._waiting: list[Asked] = []

    async def score(self, parts: Sequence[Part], judge: Callable[[Sequence[Results]], None]) -> list[Results]:
        """Accepted results of the parts of one request, scored with whatever else is there; raises as `judge` does."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._run, loop)
        asked = Asked(parts, judge, loop.create_future())
        self._waiting.append(asked)
        return await asked.answer

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        turn, size = 0, 0
        while turn < len(self._waiting) and (not turn or size < self._most):
            size += sum(len(part.framed.inputs) for part in self._waiting[turn].parts)
            turn += 1
        turn_of, self._waiting = self._waiting[:turn], self._waiting[turn:]
        if self._waiting:
            loop.call_soon(self._run, loop)
        try:
            self._answer(turn_of)
        except Exception as error:  # a fault of ours is one of each of these requests, and no reason to keep them
            for asked in turn_of:
                if not asked.answer.done():
                    asked.answer.set_exception(error)

    def _answer(self, turn: Sequence[Asked]) -> None:
        started = perf_counter()
        scored = score_framed(
            self._detector, [(part.framed, part.rows.values) for asked in turn for part in asked.parts]
        )
        seconds = perf_counter() - started
        found = iter(scored)
        good: list[tuple[Asked, list[Results]]] = []
        for asked in turn:
            own = [next(found) for _ in asked.parts]
            try:
                asked.judge(own)
            except Exception as error:
                if not asked.answer.done():
                    asked.answer.set_exception(error)
            else:
                good.append((asked, own))
        told = [pair for asked, own in good for pair in zip(asked.parts, own, strict=True)]
        accepted = iter(self._accept(told, seconds) if told else [])
        for asked, own in good:
            if not asked.answer.done():
                asked.answer.set_result([next(accepted) for _ in own])
