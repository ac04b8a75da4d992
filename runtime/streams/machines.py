"""All that is remembered of one machine, as one thing: bounded, saved, restored."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from ..alarms.alarm import Alarm, AlarmMemory
from ..alarms.event import Change
from ..alarms.rule import AlarmRule
from ..bundle import Bundle
from ..detector import Detector
from ..errors import InputError
from ..rows.chunk import Rows
from ..scoring.framing import Framed
from ..scoring.results import Cause, Results
from ..scoring.score import causes_of
from ..scoring.state import StreamState
from .history import History, HistoryMemory

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_EXPLAINED = 32
"""Rows that are explained of those that come together: it takes as long as ten scores, and one request may begin
thousands of events."""


class Watching(msgspec.Struct, frozen=True):
    """How verdicts become alarms: what a user asked for, the same for every machine."""

    rule: AlarmRule = AlarmRule()
    adaptive: bool = False
    """Whether thresholds follow their streams, see `adaptive.AdaptiveThreshold`."""

    def of(self, bundle: Bundle) -> Watching:
        """The same for the machines of a model. Raises InputError where it names what the model does not know."""
        return msgspec.structs.replace(self, rule=self.rule.of(bundle))


class Newest(NamedTuple):
    """The newest row, for whoever wants to know more of it."""

    input: NDArray[Any] | None
    """(1, ...) as the graph takes it; None where it has none."""
    row: NDArray[np.float32]
    """(features,)"""
    status: str
    reason: str


class MachineMemory(msgspec.Struct, frozen=True):
    """What is saved of a machine."""

    source: str
    state: bytes
    """As `StreamState.save` writes it."""
    alarm: AlarmMemory
    history: HistoryMemory


class Machine:
    """Of one key of one version of a model, or of all rows that have none.

    Parameters
    ----------
    model, source, key : whose events these are
    """

    def __init__(self, bundle: Bundle, watching: Watching, *, model: str = "", source: str = "", key: str = "") -> None:
        self.source = source
        self.state = StreamState(bundle, adaptive=watching.adaptive)
        self.alarm = Alarm(watching.rule, model=model, source=source, key=key)
        self.history = History()
        self.newest: Newest | None = None
        self.seen = time.monotonic()
        """When rows were accepted last, or since when it waits for the first."""
        self.newest_time = np.nan
        """Of the newest row, seconds since 1970."""

    def see(
        self, detector: Detector, framed: Framed, rows: Rows, accepted: Results, arrived: float | NDArray[np.float64]
    ) -> list[Change]:
        """Takes rows whose verdicts are settled; what is to be told of its events.

        Parameters
        ----------
        arrived : seconds since 1970, of all or of each, (rows,): the time of rows that do not tell theirs
        """
        n = len(accepted.status)
        if n == 0:
            return []
        times = _times(rows.times, n, arrived)
        left = MOST_EXPLAINED

        def explain(index: int) -> tuple[Cause, ...]:
            nonlocal left
            if left == 0:
                return ()
            left -= 1
            return causes_of(detector, framed, rows.values, accepted, np.array([index]))[0]

        changes = self.alarm.see(accepted, times, explain)
        self.history.add(times, accepted)
        self.seen = time.monotonic()
        self.newest_time = float(times[-1])
        newest = framed.inputs[-1:].copy() if framed.full[-1] else None
        self.newest = Newest(newest, rows.values[-1].copy(), accepted.status[-1], accepted.reason[-1])
        return changes

    @property
    def memory(self) -> MachineMemory:
        """What to save; it goes on changing where it is not encoded at once."""
        return MachineMemory(self.source, self.state.save(), self.alarm.memory, self.history.memory)

    def recall(self, memory: MachineMemory) -> None:
        """Goes on from there. Raises InputError when it is damaged, or of another model."""
        self.state.restore(memory.state)
        try:
            self.history.recall(memory.history)
        except ValueError as error:
            raise InputError(f"a saved state of a stream is damaged: {error}") from None
        self.alarm.recall(memory.alarm)
        recent = self.history.recent()
        self.newest_time = recent[-1][0] if recent else np.nan


def _times(times: NDArray[np.float64] | None, n: int, arrived: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """Times of rows, those that are not known being when they arrived."""
    if times is None:
        return np.full(n, arrived)
    return np.where(np.isfinite(times), times, arrived)
