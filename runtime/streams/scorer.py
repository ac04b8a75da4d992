"""Scores the samples of a source, without a service around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from ..alarms.event import Change
from ..detector import Detector
from ..scoring.score import score_framed
from .intake import Intake
from .keys import Keyed
from .machines import Machine, Watching, Witness
from .parts import parts_by_key
from .samples import Answer, Sample
from .saving import Captured, Snapshot, memory_of


class Scorer:
    """Of one source and one model.

    Parameters
    ----------
    name : of the model
    source : what kind the source is
    tell : takes what is to be told of events
    witness : sees all that is accepted, too
    """

    def __init__(
        self,
        name: str,
        detector: Detector,
        intake: Intake,
        watching: Watching,
        *,
        source: str,
        most_keys: int,
        tell: Callable[[Sequence[Change]], object],
        witness: Witness | None = None,
    ) -> None:
        bundle, watching = detector.bundle, watching.of(detector.bundle)
        self.detector, self.intake, self._tell = detector, intake, tell
        self.machines = Keyed(
            lambda key: Machine(bundle, watching, model=name, source=source, key=key, witness=witness),
            most_keys,
            forget=lambda machine: tell(machine.alarm.end()),
        )

    def take(self, samples: Sequence[Sample]) -> list[Answer]:
        """The answers to the next samples, in their order; all of them are remembered."""
        batch = self.intake.read(samples)
        parts = parts_by_key(batch.rows, self.machines.of, {}, batch.arrived)
        if not parts:
            return self.intake.answers(batch, [], [])
        scored = score_framed(self.detector, [(part.framed, part.rows.values) for part in parts])
        accepted, changes = [], list[Change]()
        for part, results in zip(parts, scored, strict=True):
            assert part.machine is not None
            assert part.after is not None
            assert part.arrived is not None
            accepted.append(part.machine.accept(results, part.after)[0])
            changes += part.machine.see(self.detector, part.framed, part.rows, accepted[-1], part.arrived)
        if changes:
            self._tell(changes)
        return self.intake.answers(batch, parts, accepted)

    def end(self) -> None:
        """No more samples come: what runs has ended."""
        self._tell([change for _, machine in self.machines.items() for change in machine.alarm.end()])

    def capture(self) -> Captured:
        """What is to be saved."""
        machines = [(key, msgspec.msgpack.encode(machine.memory)) for key, machine in self.machines.items()]
        return Captured(self.detector.bundle.export_id, machines, {"": self.intake.taken.memory})

    def recall(self, snapshot: Snapshot) -> None:
        """Goes on from there. Raises InputError when something of it is damaged."""
        for key, content in snapshot.machines:
            self.machines.of(key).recall(memory_of(content))
        self.intake.taken.recall(snapshot.taken.get("", ()))
