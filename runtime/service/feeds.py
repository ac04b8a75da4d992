"""Sources of samples beside the requests: each in a thread of its own, scored on the event loop as requests are."""

from __future__ import annotations

import asyncio
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from time import perf_counter

from ..errors import VaeDetectError
from ..hosting.logs import Log
from ..scoring.results import Results
from ..scoring.score import score_framed
from ..streams.flow import Flow, Nowhere
from ..streams.intake import Batch, Intake
from ..streams.parts import Part, parts_by_key
from ..streams.payloads import Payloads
from ..streams.samples import Answer, Sample, Sink, Source
from ..streams.saving import Saving
from ..streams.taken import Taken
from .jobs import Worker
from .models import Served
from .refusals import RefusedError
from .repository import Repository

_AGAIN_S = 1.0
"""Seconds until a model that does not answer is asked again."""

Read = Callable[[Served], Payloads]
"""Makes the reader of samples for a version of a model."""


@dataclass(frozen=True)
class Feed:
    """Where samples of a model come from, and where their answers go."""

    model: str | None
    """Its name; None where there is only one."""
    open: Callable[[Served], tuple[Source, Sink | None]]
    """Called once, with the version that is served first; None for answers that nobody wants to be told."""
    payloads: Read


class Feeding:
    """One feed at work.

    Parameters
    ----------
    source, sink : that it has opened
    label : of the source in metrics and events, another for each of a model
    taken : what was answered lately
    """

    def __init__(
        self,
        feed: Feed,
        source: Source,
        sink: Sink | None,
        repository: Repository,
        log: Log,
        *,
        label: str,
        taken: Taken,
        worker: Worker,
    ) -> None:
        self._feed, self._source, self._is_told = feed, source, sink is not None
        self._repository, self._log, self._taken, self._worker = repository, log, taken, worker
        self.model, self.label = repository.find(feed.model).name, label
        self.saving: Saving | None = None
        """Keeps the samples until their model is saved; None where nothing is kept."""
        self._served: Served | None = None
        self._intake: Intake | None = None
        self._stopped = threading.Event()
        self._flow = Flow(source, self._answers, sink or Nowhere())
        self._thread = threading.Thread(target=self._run, name=label, daemon=True)
        repository.find(feed.model).metrics.add_source(label)

    def start(self) -> None:
        """Takes samples from now on; called on the event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def stop(self) -> None:
        """No more samples. Closed again, sources wait for what is under way, which the thread does."""
        if not self._stopped.is_set():
            self._stopped.set()
            self._source.close()

    def join(self, seconds: float) -> None:
        """Waits until what was taken is answered."""
        self._thread.join(seconds)

    def _run(self) -> None:
        try:
            self._flow.run()
            if not self._stopped.is_set():
                self._log.event("source", f"{self._source.where}: no more samples")
        except VaeDetectError as error:
            self._log.event("source", str(error), level="error")
        except Exception as error:  # the service goes on, and last_input_age_seconds tells
            self._log.event("fault", "".join(traceback.format_exception(error)), level="error")
        finally:
            self._flow.close()

    def take_again(self, served: Served, samples: Sequence[Sample]) -> None:
        """Takes samples of the journal, while nothing else works on the model."""
        intake = self._intake_of(served)
        batch = intake.read(samples)
        parts = parts_by_key(batch.rows, lambda key: served.stream(key, self.label).machine, {}, batch.arrived)
        scored = score_framed(served.detector, [(part.framed, part.rows.values) for part in parts]) if parts else []
        accepted = served.accept(list(zip(parts, scored, strict=True)), 0.0, self.label) if parts else []
        intake.answers(batch, parts, accepted)

    def _intake_of(self, served: Served) -> Intake:
        if self._intake is None or served is not self._served:
            self._served = served
            self._intake = Intake(served.detector, self._feed.payloads(served), self._taken)
        return self._intake

    def _answers(self, samples: Sequence[Sample]) -> list[Answer]:
        """The answers to samples, which are in the journal then; none when the service stops before."""
        while not self._stopped.is_set():
            try:
                served = self._repository.served(self._feed.model)
            except RefusedError:  # not loaded: the samples wait
                self._stopped.wait(_AGAIN_S)
                continue
            found = self._taken_by(served, samples)
            if found is not None:
                return found
        return []

    def _taken_by(self, served: Served, samples: Sequence[Sample]) -> list[Answer] | None:
        """By this version; None where it is another by now."""
        intake = self._intake_of(served)
        repeats = self._taken.repeats
        batch = intake.read(samples)
        with self.saving.lock if self.saving is not None else threading.Lock():
            scored = asyncio.run_coroutine_threadsafe(self._score(served, batch), self._loop).result()
            if scored is None:
                return None
            answers = intake.answers(batch, *scored, blame=self._is_told)
            if self.saving is not None:
                self.saving.taken(self.label, samples)
        poison = sum(bool(answer.poison) for answer in answers)
        served.metrics.took(self.label, len(samples), poison=poison, repeats=self._taken.repeats - repeats)
        return answers

    async def _score(self, served: Served, batch: Batch) -> tuple[list[Part], list[Results]] | None:
        """Parts of the rows and their accepted results; None where another version answers by now."""
        async with AsyncExitStack() as stack:
            streams = {}
            for key in batch.keys:
                streams[key] = served.stream(key, self.label)
                await stack.enter_async_context(streams[key].turn)
            if self._repository.find(self._feed.model).served is not served:
                return None
            parts = parts_by_key(batch.rows, lambda key: streams[key].machine, {}, batch.arrived)
            if not parts:
                return [], []
            asked = [(part.framed, part.rows.values) for part in parts]
            started = perf_counter()
            if len(batch.rows.values) <= served.at_once:
                results = score_framed(served.detector, asked)
            else:
                results = await self._worker.run(score_framed, served.detector, asked)
            seconds = perf_counter() - started
            pairs = list(zip(parts, results, strict=True))
            return parts, served.accept(pairs, seconds, self.label)
