"""All that can be read in one turn of the event loop, scored in one run of the graph."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

from ..detector import Detector
from ..scoring.results import Results
from ..scoring.score import score_framed
from ..streams.parts import Part
from .refusals import RefusedError

Settle = Callable[["list[Results] | Exception"], None]
"""Takes the accepted results of the parts of one request, or why there are none."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, and what is to be made of its results: what `judge` raises refuses it."""

    parts: Sequence[Part]
    judge: Callable[[Sequence[Results]], None]
    gone: Callable[[], bool]
    """Whether nobody waits for it any more: it is not scored then."""
    settle: Settle

    @property
    def rows(self) -> int:
        """How many it has."""
        return sum(len(part.numbers) for part in self.parts)


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
        self._waiting = deque[Asked]()

    async def score(
        self, parts: Sequence[Part], judge: Callable[[Sequence[Results]], None], *, gone: Callable[[], bool] = bool
    ) -> list[Results]:
        """Accepted results of the parts of one request, scored with whatever else is there.

        Raises what `judge` does, and RefusedError when the client has left before its turn.
        """
        answer: asyncio.Future[list[Results]] = asyncio.get_running_loop().create_future()

        def settle(found: list[Results] | Exception) -> None:
            if answer.done():  # whoever waited for it has gone
                return
            if isinstance(found, Exception):
                answer.set_exception(found)
            else:
                answer.set_result(found)

        self.ask(parts, judge, settle, gone=gone)
        return await answer

    def ask(
        self,
        parts: Sequence[Part],
        judge: Callable[[Sequence[Results]], None],
        settle: Settle,
        *,
        gone: Callable[[], bool] = bool,
    ) -> None:
        """The same without a future: `settle` is told in the next turn of the event loop."""
        if not self._waiting:
            loop = asyncio.get_running_loop()
            loop.call_soon(self._run, loop)
        self._waiting.append(Asked(parts, judge, gone, settle))

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        turn, size = list[Asked](), 0
        while self._waiting and size < self._most:
            asked = self._waiting.popleft()
            if asked.gone():
                _settle(asked, RefusedError.left(asked.rows), loop)
            else:
                turn.append(asked)
                size += sum(len(part.framed.inputs) for part in asked.parts)
        if self._waiting:
            loop.call_soon(self._run, loop)
        try:
            outcomes = self._outcomes(turn) if turn else []
        except Exception as error:  # a fault of ours is one of each of these requests, and no reason to keep them
            outcomes = [error] * len(turn)
        for asked, outcome in zip(turn, outcomes, strict=True):
            _settle(asked, outcome, loop)

    def _outcomes(self, turn: Sequence[Asked]) -> list[list[Results] | Exception]:
        """Accepted results of each request, or why it is refused."""
        started = perf_counter()
        scored = iter(score_framed(self._detector, [(p.framed, p.rows.values) for asked in turn for p in asked.parts]))
        seconds = perf_counter() - started
        outcomes: list[list[Results] | Exception] = []
        for asked in turn:
            found = [next(scored) for _ in asked.parts]
            try:
                asked.judge(found)
                outcomes.append(found)
            except Exception as error:
                outcomes.append(error)
        good = [(asked, found) for asked, found in zip(turn, outcomes, strict=True) if isinstance(found, list)]
        told = [pair for asked, found in good for pair in zip(asked.parts, found, strict=True)]
        try:
            accepted = iter(self._accept(told, seconds) if told else [])
        except Exception as error:  # as above, but for those that are refused anyway
            return [error if isinstance(outcome, list) else outcome for outcome in outcomes]
        for _, found in good:
            found[:] = [next(accepted) for _ in found]
        return outcomes


def _settle(asked: Asked, outcome: list[Results] | Exception, loop: asyncio.AbstractEventLoop) -> None:
    try:
        asked.settle(outcome)
    except Exception as error:  # of one, and no reason to leave the others without their answers
        loop.call_exception_handler({"message": "an answer could not be given", "exception": error})
