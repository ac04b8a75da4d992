"""What outlives a request, and a restart: state on the disk, events, and the sources that feed models."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from ..alarms.store import EventStore
from ..hosting.logs import Log
from ..streams.samples import Sample
from ..streams.saving import Captured, Saving, Snapshot, memory_of
from ..streams.taken import Taken
from .feeds import Feed, Feeding
from .jobs import Worker
from .models import Served
from .repository import Model, Repository, aside

_AT_ONCE = 100
"""Machines that are saved within about 5 ms."""

SWEEP_S = 5.0
"""Seconds between two looks for events of machines that fell silent."""

_END_S = 5.0
"""Seconds in which feeds must have answered what they took."""


@dataclass(frozen=True)
class Lasting:
    """What is kept, and where samples come from."""

    state: Path | None = None
    """The folder of the state; None where nothing is kept."""
    feeds: Sequence[Feed] = ()


class Upkeep:
    """Of a service; begins when its models are there.

    Parameters
    ----------
    events : those of all models
    """

    def __init__(self, repository: Repository, lasting: Lasting, events: EventStore, log: Log) -> None:
        self._repository, self._lasting, self._events, self._log = repository, lasting, events, log
        self._saving: dict[str, Saving] = {}
        self._taken: dict[str, dict[str, Taken]] = {}
        """By model and source."""
        self._feeds: list[Feeding] = []
        self._worker = Worker()

    async def begin(self) -> None:
        """Goes on where the last start ended, and takes samples from now on.

        Raises VaeDetectError when the folder of the state cannot be used.
        """
        self._loop = asyncio.get_running_loop()
        for model in self._repository:
            self._taken[model.name] = {}
        for feed in self._lasting.feeds:
            self._feeds.append(await aside(partial(self._open, feed)))
        if self._lasting.state is not None:
            for model in self._repository:
                if model.served is not None:
                    await aside(partial(self._restore, self._lasting.state, model.name, model.served))
        machines = [machine for model in self._repository if model.served for machine in model.served.machines()]
        running = [machine.alarm.event.id for _, machine in machines if machine.alarm.event is not None]
        self._events.end_others(running, models=[model.name for model in self._repository])
        for feeding in self._feeds:
            feeding.start()

    def keep_normal(self, name: str, key: str, minutes: float) -> Path:
        """Writes the last minutes of a machine as normal data.

        Raises InputError when there are none, UnavailableError when they cannot be written.
        """
        served = self._repository.served(name)
        assert served.records is not None
        return served.records.keep_normal(key, minutes)

    def _open(self, feed: Feed) -> Feeding:
        served = self._repository.served(feed.model)
        source, sink = feed.open(served)
        known = self._taken[served.name]
        label = source.name if source.name not in known else f"{source.name}-{len(known) + 1}"
        known[label] = Taken()
        return Feeding(
            feed, source, sink, self._repository, self._log, label=label, taken=known[label], worker=self._worker
        )

    def changed(self, model: Model) -> None:
        """Another version of the model answers, whose state is another."""
        if model.name in self._saving:
            self._saving[model.name].due()

    def stop(self) -> None:
        """No more samples are taken."""
        for feeding in self._feeds:
            feeding.stop()

    async def sweep(self) -> None:
        """Ends the events of machines that fell silent, and writes what is held back, for ever."""
        while True:
            await asyncio.sleep(SWEEP_S)
            now = time.monotonic()
            for model in self._repository:
                if model.served is not None:
                    model.served.end_silent(now)
                    if model.served.records is not None:
                        await asyncio.to_thread(model.served.records.flush)

    async def end(self) -> None:
        """Waits for what was taken, and saves."""
        self.stop()
        for feeding in self._feeds:
            await asyncio.to_thread(feeding.join, _END_S)
        for saving in self._saving.values():
            await asyncio.to_thread(saving.close)
        for served in self._repository.all_served():
            if served.records is not None:
                served.records.flush()

    def _restore(self, folder: Path, name: str, served: Served) -> None:
        """Nothing else works on the model yet."""
        saving = Saving(
            folder, name, partial(self._capture_from_thread, name), lambda text: self._log.event("state", text)
        )
        feeds = {feeding.label: feeding for feeding in self._feeds if feeding.model == name}

        def take(source: str, samples: list[Sample]) -> None:
            if source in feeds:
                feeds[source].take_again(served, samples)

        told = saving.restore(served.version, partial(self._recall, name, served), take)
        if told:
            self._log.event("state", told, level="warning")
        saving.begin()
        self._saving[name] = saving
        for feeding in feeds.values():
            feeding.saving = saving

    def _recall(self, name: str, served: Served, snapshot: Snapshot) -> None:
        for key, content in snapshot.machines:
            machine = served.stream(key[1:]).machine if key else served.unkeyed
            machine.recall(memory_of(content))
        for source, taken in self._taken[name].items():
            taken.recall(snapshot.taken.get(source, ()))

    def _capture_from_thread(self, name: str) -> Captured:
        return asyncio.run_coroutine_threadsafe(self._capture(name), self._loop).result()

    async def _capture(self, name: str) -> Captured:
        """A hundred machines at a time; feeds wait meanwhile, requests do not."""
        served = self._repository.find(name).served
        if served is None:
            return Captured("", [], {})
        machines = []
        for number, (key, machine) in enumerate(list(served.machines())):
            machines.append((key, msgspec.msgpack.encode(machine.memory)))
            if number % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)
        return Captured(served.version, machines, self._taken_of(name))

    def _taken_of(self, name: str) -> dict[str, list[tuple[bytes, bytes, str, bool]]]:
        return {source: taken.memory for source, taken in self._taken[name].items()}
