"""Whether the promised false-alarm rate still holds, from the alarms alone: a bet against it, block by block.

Nobody labels a live stream, so a fault and a machine that has drifted away from its recording look alike: many alarms.
They differ in how long they last. So the evidence that one block of rows may add is bounded, and a report takes more
blocks of alarms than an ordinary fault lasts.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from ..bundle import Calibration
from ..describe import describe_range

if TYPE_CHECKING:
    from numpy.typing import NDArray

MEAN_BLOCKS = 10_000
"""Blocks between two false reports, at least and on average, while the rate stays in the range."""

FAULT_BLOCKS = 10
"""Blocks: a fault up to so long is not reported by itself, however many of its rows alarm."""

FIRST_BLOCKS = 4
"""Blocks, at least, after which a stream is reported that has alarmed too often in every block from its first row on:
it has shown nothing yet that a fault could have interrupted."""

_STAKE = 0.25  # of the evidence, lost in a block without alarms; 0.1 to 0.5 differ by 2 of 25 drifted recordings
_FAULT_ROWS, _FAULT_S = 400, 3600.0
_MEMORIES = 4  # a block is so many times longer than the memory of the alarms, to be nearly independent of the last

_RECENT_BLOCKS = 20  # with a block of 1 / far_high rows or more, 20 alarms or more at the upper end of the promise

_REPORT = math.log(MEAN_BLOCKS)


class DriftMemory(msgspec.Struct, frozen=True):
    """What a monitor has seen."""

    rows: int = 0
    """Scored rows so far."""
    holds: bool = True
    """False while the promise is reported as broken."""
    first_report: int | None = None
    """Scored rows after which the promise was first reported as broken; None as long as it was not."""
    alarms: int = 0
    """In the block that is being filled."""
    quiet_once: bool = False
    """Whether a block kept the promise."""
    evidence: float = 0.0
    """Its logarithm."""
    recent: float = 0.0
    """Share of alarms in about the last `_RECENT_BLOCKS`; 0 until the first is full."""
    since_rows: int = 0
    """Rows and alarms since the evidence was last at 1."""
    since_alarms: int = 0


class DriftMonitor:
    """Of one stream: whether its alarms are still as rare as the calibration promised.

    With u = share of alarms in a block / `far_high`, the evidence, which never sinks below 1, is multiplied by

        e = min(1 + s (u - 1), c)

    where s is the stake and c bounds what one block adds. While the rate is at most `far_high` E[e] <= 1, whatever the
    distribution: a bet that is fair at best (Waudby-Smith and Ramdas 2024). In a row of such bets the evidence reaches
    A on average after A blocks or later (e-CUSUM: Shin, Ramdas and Rinaldo 2022). A is `MEAN_BLOCKS`; the promise is
    then reported as broken, until the evidence is back at 1.

    Neighbouring rows of a series are not independent, and their alarms come in clusters: a block is `_MEMORIES` times
    as long as n / effective_n, the rows that are worth one independent row.

    Parameters
    ----------
    period_s : seconds between rows, None when unknown

    >>> monitor = DriftMonitor(Calibration(0.1, 1.0, 99, 99.0, 0.05, 0.2, "conformal", 0.01, (0.0,), (0.0,)), None)
    >>> monitor.block
    40
    >>> monitor.push(np.ones(560, np.bool_))
    >>> monitor.holds, monitor.describe()[:63]
    (False, 'calibration no longer holds: 1 of the last 560 inputs alarmed, ')
    """

    def __init__(self, calibration: Calibration, period_s: float | None) -> None:
        self._calibration = calibration
        # A far_high below far can only come of a calibration of hardly one effective row.
        self._allowed = max(calibration.far_high, calibration.far)
        memory = calibration.n / calibration.effective_n
        shortest = max(_FAULT_ROWS, _FAULT_S / period_s if period_s else 0.0) / FAULT_BLOCKS
        self.block = math.ceil(max(shortest, 1 / self._allowed, _MEMORIES * memory))
        """Rows in a block: also enough for one alarm at the rate allowed."""
        self.memory = DriftMemory()

    @property
    def holds(self) -> bool:
        """False while the promise is reported as broken."""
        return self.memory.holds

    @property
    def first_report(self) -> int | None:
        """Scored rows after which the promise was first reported as broken; None as long as it was not."""
        return self.memory.first_report

    @property
    def evidence(self) -> float:
        """What speaks against the promise, as a share of what a report takes: 0 to 1."""
        return self.memory.evidence / _REPORT

    def push(self, alarm: NDArray[np.bool_]) -> None:
        """Takes the verdicts on the next scored rows, (rows,); how they are cut into calls changes nothing."""
        memory = self.memory
        missing = self.block - memory.rows % self.block
        rows = memory.rows + len(alarm)
        if len(alarm) < missing:
            alarms = memory.alarms + int(np.count_nonzero(alarm))
            self.memory = msgspec.structs.replace(memory, rows=rows, alarms=alarms)
            return
        whole = missing + (len(alarm) - missing) // self.block * self.block
        counts = np.add.reduceat(alarm[:whole], [0, *range(missing, whole, self.block)], dtype=np.int64)
        counts[0] += memory.alarms
        memory = msgspec.structs.replace(memory, rows=rows, alarms=int(np.count_nonzero(alarm[whole:])))
        for number, count in enumerate(counts.tolist(), rows // self.block - len(counts) + 1):
            memory = self._bet(memory, number, count)
        self.memory = memory

    def _bet(self, memory: DriftMemory, number: int, alarms: int) -> DriftMemory:
        ratio = alarms / self.block / self._allowed
        quiet_once = memory.quiet_once or ratio <= 1
        # A fault of 10 blocks may begin within one and touch 11, which must add up to less than a report.
        most = _REPORT / (FAULT_BLOCKS + 2 if quiet_once else FIRST_BLOCKS)
        gain = min(math.log1p(_STAKE * (ratio - 1)), most)
        evidence = min(max(memory.evidence + gain, 0.0), _REPORT)
        is_report, is_quiet = evidence > _REPORT * (1 - 1e-9), evidence == 0
        return msgspec.structs.replace(
            memory,
            quiet_once=quiet_once,
            evidence=evidence,
            recent=memory.recent + (alarms / self.block - memory.recent) / min(number, _RECENT_BLOCKS),
            holds=not is_report and (is_quiet or memory.holds),
            first_report=memory.first_report or (number * self.block if is_report else None),
            since_rows=0 if is_quiet else memory.since_rows + self.block,
            since_alarms=0 if is_quiet else memory.since_alarms + alarms,
        )

    def describe(self) -> str:
        """One line: whether the calibration holds, for people."""
        memory = self.memory
        if memory.first_report is None:
            return "calibration holds"
        if memory.holds:
            told = f"as reported after {memory.first_report} inputs"
            return f"calibration did not hold for a while, {told}; it holds again"
        promised, rows = self._calibration, memory.since_rows
        return (
            f"calibration no longer holds: {memory.since_alarms / rows:.3g} of the last {rows} "
            f"inputs alarmed, promised {promised.far:.3g}, {describe_range(promised.far_low, promised.far_high)}; "
            "if the machine is healthy, train again with a newer recording"
        )
