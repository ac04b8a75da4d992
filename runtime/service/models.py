"""What is served: one version of a model with all that belongs to it, as one value that a request takes once."""

from __future__ import annotations

import asyncio
import json
import math
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ..alarms.event import Change
from ..detector import Detector, Scores
from ..metrics.model import HTTP, ModelMetrics
from ..protocol.tensor_inputs import Inputs
from ..scoring.framing import MOST_KEYS, Framer
from ..scoring.results import Results, joined, parted
from ..scoring.watch import Watch
from ..session import Session
from ..streams.keys import Keyed
from ..streams.machines import Machine, Watching
from ..streams.parts import Part
from ..streams.records import Records
from .request_reader import RequestReader
from .shadow import Shadow
from .turns import Turns

ROWS_AT_ONCE, VALUES_AT_ONCE = 1024, 1 << 14
"""Rows, and numbers in them, that are scored within about 5 ms: longer than that nothing may hold the event loop."""


class Stream:
    """One key; one request of it at a time."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.turn = asyncio.Lock()


@dataclass(frozen=True)
class Keeping:
    """What is remembered of streams, whatever the model."""

    watching: Watching = field(default_factory=Watching)
    most_keys: int = MOST_KEYS
    tell: Callable[[Sequence[Change]], object] = len
    """Takes what is to be told of events."""
    state: Path | None = None
    """The folder where scores and normal data are kept; None for nowhere."""
    say: Callable[[str], object] = len
    """Told in a line what cannot be kept, and why."""


@dataclass(frozen=True)
class Served:
    """One version of a model. A request takes it before its first await, so that no answer mixes two versions."""

    name: str
    """Of the model."""
    detector: Detector
    reader: RequestReader
    framer: Framer
    """Of a recording that begins, as every request without a key does."""
    facts: bytes
    """What GET /model tells, as JSON."""
    unkeyed: Machine
    """What is remembered of all that comes without a key; its watch sees all that this version scores, in the order of
    arrival."""
    keys: Keyed[Stream]
    """What is remembered of each key that requests name."""
    metrics: ModelMetrics
    """Of the model, whatever its version."""
    inputs: Inputs
    """Reads the tensors of a request."""
    parts: Mapping[str, Session]
    """Its encoder and its decoder, where their files are there."""
    keeping: Keeping
    records: Records | None = None
    """What is recorded of what it scores."""
    shadow: Shadow | None = None
    """What scores beside it."""

    @classmethod
    def of(cls, name: str, detector: Detector, metrics: ModelMetrics, keeping: Keeping) -> Served:
        """A verified detector, ready to serve."""
        bundle, watching = detector.bundle, keeping.watching.of(detector.bundle)
        records = None if keeping.state is None else Records(keeping.state, name, bundle, keeping.say)

        def machine(key: str = "") -> Machine:
            seen = None if records is None else records.see
            return Machine(bundle, watching, model=name, source=HTTP, key=key, witness=seen)

        def stream(key: str) -> Stream:
            return Stream(machine(key))

        def forget(stream: Stream) -> None:
            metrics.keys_forgotten += 1
            keeping.tell(stream.machine.alarm.end())

        return cls(
            name,
            detector,
            RequestReader(bundle),
            Framer.of(bundle),
            msgspec.json.encode(model_facts(detector)),
            machine(),
            Keyed(stream, keeping.most_keys, forget=forget),
            metrics,
            Inputs(bundle),
            detector.parts(),
            keeping,
            records,
        )

    @property
    def version(self) -> str:
        """What names it in answers."""
        return self.detector.bundle.export_id

    @cached_property
    def head(self) -> bytes:
        """What an answer of POST /score begins with."""
        return b'{"model":%b,"results":' % msgspec.json.encode(self.version)

    @cached_property
    def at_once(self) -> int:
        """Rows that are scored within about 5 ms."""
        return min(ROWS_AT_ONCE, max(1, VALUES_AT_ONCE // math.prod(self.detector.bundle.input_shape)))

    @cached_property
    def turns(self) -> Turns:
        """Scores what is small enough."""
        # Weakly: an old version in a circle would stay in memory until the garbage is looked through, which is seldom.
        # Who waits for a turn holds the version.
        this = weakref.ref(self)

        def accept(scored: Sequence[tuple[Part, Results]], seconds: float) -> list[Results]:
            served = this()
            assert served is not None
            return served.accept(scored, seconds)

        return Turns(self.detector, accept, self.at_once)

    @property
    def watch(self) -> Watch:
        """Of all that this version scores."""
        return self.unkeyed.state.watch

    def stream(self, key: str, source: str = HTTP) -> Stream:
        """What is remembered of this key, whose rows come from there now."""
        found = self.keys.of(key)
        found.machine.come_from(source)
        return found

    def machines(self) -> Iterator[tuple[str, Machine]]:
        """All that is remembered: "" names what has no key, "=KEY" a key."""
        yield "", self.unkeyed
        for key, stream in self.keys.items():
            yield f"={key}", stream.machine

    def states(self) -> Counter[str]:
        """How many machines that have had a row are in which state."""
        return Counter(machine.state_now for _, machine in self.machines() if machine.has_rows)

    def end_silent(self, now: float) -> None:
        """Ends what runs of machines that have had no row for so long that it cannot go on (``time.monotonic``)."""
        changes = list[Change]()
        for _, machine in self.machines():
            if machine.alarm.event is not None and now - machine.seen > machine.alarm.silence_s:
                changes += machine.alarm.end()
        if changes:
            self.keeping.tell(changes)

    def end(self) -> None:
        """No row comes to this version any more: what runs has ended."""
        self.keeping.tell([change for _, machine in self.machines() for change in machine.alarm.end()])

    def accept(self, scored: Sequence[tuple[Part, Results]], seconds: float, source: str = HTTP) -> list[Results]:
        """Remembers results that clients will get; the results with their verdicts.

        Those of a key get the verdicts of its own stream. Every score counts in the watch of the model.

        Parameters
        ----------
        seconds : that scoring them took
        source : where the rows came from
        """
        without = [results for part, results in scored if part.machine is None]
        if without:
            whole = joined(without)
            judged = self.watch.accept(whole)
            without = without if judged is whole else parted(judged, without)
        own, verdicts, changes, events = iter(without), list[Results](), list[Change](), 0
        now = time.time()
        for part, results in scored:
            machine = part.machine or self.unkeyed
            before = machine.alarm.started
            if part.machine is None:
                verdicts.append(next(own))
            else:
                assert part.after is not None
                judged, over = machine.accept(results, part.after)
                self.watch.see(results, over)
                verdicts.append(judged)
            arrived = now if part.arrived is None else part.arrived
            changes += machine.see(self.detector, part.framed, part.rows, verdicts[-1], arrived)
            events += machine.alarm.started - before
        if changes:
            self.keeping.tell(changes)
        threshold = self.detector.bundle.calibration.threshold
        alarms = self.metrics.observe(joined(verdicts), seconds, threshold, events=events, source=source)
        for (part, _), accepted in zip(scored, verdicts, strict=True):
            self.metrics.look_at(self.detector, part.framed, accepted, has_alarms=alarms > 0)
        if self.shadow is not None:
            self._shade(self.shadow, scored)
        return verdicts

    def _shade(self, shadow: Shadow, scored: Sequence[tuple[Part, Results]]) -> None:
        """Both by the threshold in their file: one that follows its stream would be compared with one that does not."""
        scores = [[each[part.framed.full] for each in found.scores] for part, found in scored]
        inputs = np.concatenate([part.framed.inputs for part, _ in scored])
        joint = Scores(*map(np.concatenate, zip(*scores, strict=True)))
        shadow.compare(inputs, joint, self.detector.bundle.calibration.threshold)


def model_facts(detector: Detector) -> dict[str, Any]:
    """What GET /model tells: the metadata without golden rows and calibration knots, and the provider in use."""
    facts: dict[str, Any] = json.loads(detector.bundle.facts_json())
    return {**facts, "provider": detector.provider}
