"""All that is remembered of one machine, as one thing: bounded, saved, restored."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import msgspec
import numpy as np

from ..alarms.alarm import Alarm, AlarmMemory
from ..alarms.event import Change
from ..alarms.rule import AlarmRule
from ..bundle import Bundle
from ..calibration.own import OwnCalibration, OwnMemory
from ..detector import Detector
from ..errors import InputError
from ..rows.chunk import Rows
from ..scoring.framing import Framed, Framer
from ..scoring.results import Cause, Results
from ..scoring.score import causes_of
from ..scoring.state import StreamState
from .history import History, HistoryMemory

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_EXPLAINED = 32
"""Rows that are explained of those that come together: it takes as long as ten scores, and one request may begin
thousands of events."""


STALE: Final = "stale"
STALE_PERIODS, LEAST_STALE_S, STALE_S = 10.0, 10.0, 60.0
"""A machine is stale when so many of its periods, and seconds at least, have passed without a row; or so many seconds
where the model knows no period."""

StateNow = Literal["normal", "anomaly", "cannot tell", "stale"]
STATES: tuple[StateNow, ...] = ("normal", "anomaly", "cannot tell", STALE)

Witness = Callable[[str, "NDArray[np.float64]", "NDArray[np.float32]", Results], object]
"""Takes key, times (rows,), rows (rows, features) and results."""


class Watching(msgspec.Struct, frozen=True):
    """How verdicts become alarms: what a user asked for, the same for every machine."""

    rule: AlarmRule = AlarmRule()
    adaptive: bool = False
    """Whether thresholds follow their streams, see `adaptive.AdaptiveThreshold`."""
    fdr: float | None = None
    """The share of false alarms among alarms that thresholds keep, see `fdr.DiscoveryThreshold`."""
    own: bool = False
    """Whether each machine learns a threshold of its own, see `own.OwnCalibration`."""

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
    own: OwnMemory | None = None
    """None where it has no threshold of its own."""


class Machine:
    """Of one key of one version of a model, or of all rows that have none.

    Parameters
    ----------
    model, source, key : whose events these are
    witness : sees all that is accepted, too
    """

    def __init__(
        self,
        bundle: Bundle,
        watching: Watching,
        *,
        model: str = "",
        source: str = "",
        key: str = "",
        witness: Witness | None = None,
    ) -> None:
        self.source, self._witness = source, witness
        self.state = StreamState(bundle, adaptive=watching.adaptive, fdr=watching.fdr)
        self.alarm = Alarm(watching.rule, model=model, source=source, key=key)
        self.own = OwnCalibration(bundle) if watching.own else None
        self.history = History()
        self._far = bundle.calibration.far
        period_s = bundle.data.period_s
        self._stale_s = STALE_S if period_s is None else max(LEAST_STALE_S, STALE_PERIODS * period_s)
        self.newest: Newest | None = None
        self.seen = time.monotonic()
        """When rows were accepted last, or since when it waits for the first."""
        self.newest_time = math.nan
        """Of the newest row, seconds since 1970."""

    def accept(self, results: Results, after: Framer) -> tuple[Results, NDArray[np.bool_] | None]:
        """Remembers what was scored of the next rows; the results with this machine's verdicts, and which of those with
        a score are above a threshold of its own, None where the model's is in force.

        Parameters
        ----------
        after : the windows after these rows
        """
        over = None
        if self.own is not None:
            is_own = self.own.calibration is not None
            results = self.own.judge(results)
            if is_own:
                over = results.scores.p_value[results.scores.scored] < self._far
        return self.state.accept(results, after, over), over

    @property
    def has_rows(self) -> bool:
        """Whether it ever had any, also before a restart."""
        return math.isfinite(self.newest_time)

    @property
    def state_now(self) -> StateNow:
        """How it is."""
        return STALE if time.monotonic() - self.seen > self._stale_s else self.alarm.state

    def come_from(self, source: str) -> None:
        """Its rows come from this source from now on."""
        if source != self.source:
            self.source = self.alarm.source = source

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
        if self._witness is not None:
            self._witness(self.alarm.key, times, rows.values, accepted)
        self.seen = time.monotonic()
        self.newest_time = float(times[-1])
        newest = framed.inputs[-1:].copy() if framed.full[-1] else None
        self.newest = Newest(newest, rows.values[-1].copy(), accepted.status[-1], accepted.reason[-1])
        return changes

    @property
    def memory(self) -> MachineMemory:
        """What to save; it goes on changing where it is not encoded at once."""
        own = None if self.own is None else self.own.memory
        return MachineMemory(self.source, self.state.save(), self.alarm.memory, self.history.memory, own)

    def recall(self, memory: MachineMemory) -> None:
        """Goes on from there. Raises InputError when it is damaged, or of another model."""
        self.state.restore(memory.state)
        try:
            self.history.recall(memory.history)
            if self.own is not None and memory.own is not None:
                self.own.recall(memory.own)
        except ValueError as error:
            raise InputError(f"a saved state of a stream is damaged: {error}") from None
        self.alarm.recall(memory.alarm)
        self.come_from(memory.source)
        recent = self.history.recent()
        self.newest_time = recent[-1][0] if recent else math.nan


def _times(times: NDArray[np.float64] | None, n: int, arrived: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """Times of rows, those that are not known being when they arrived."""
    if times is None:
        if isinstance(arrived, np.ndarray):
            return arrived
        return np.array((arrived,)) if n == 1 else np.full(n, arrived)  # half the time, nearly always
    return np.where(np.isfinite(times), times, arrived)
