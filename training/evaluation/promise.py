"""The promised false-alarm rate, held against what normal rows did, where that is all that is known too."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from ...runtime.bundle import Bundle, Calibration, Kind
from ...runtime.describe import describe_range
from ...runtime.scoring.drift import DriftMonitor
from .event_figures import Events
from .figures import PromiseCheck
from .labelled import Labelled

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


_SIGNIFICANT = 0.05
"""Probability below which a count of false alarms does not come of a rate that was promised."""

CONFIDENCE = 0.9
"""Of the range in which the rate lies that normal rows realised a share of."""


class NormalOnly(msgspec.Struct, frozen=True):
    """What `evaluate` finds in data that holds nothing anomalous: how often it alarms, and whether that was promised.

    Rows without a score are left out, and counted.
    """

    rows: int
    scored: int
    alarms: int
    false_alarm_rate: float
    """alarms / scored."""
    false_alarm_range: tuple[float, float]
    """Rates that would explain it, with `CONFIDENCE`; see `rate_range`."""
    promised_false_alarm_rate: float
    promised_range: tuple[float, float]
    promise: PromiseCheck
    events: Events | None
    """None for rows without an order."""
    kind: Kind = "rows"
    adaptive: bool = False
    """Whether the verdicts are of a threshold that followed the data."""
    beyond_limits: int = 0
    """Rows that break a limit; they alarm, and count among `alarms` only where their score does so too."""

    def describe(self) -> str:
        """A small table for the terminal."""
        what = "images" if self.kind == "images" else "rows"
        lines = [
            f"{self.rows} {what}, {self.scored} scored, all of them normal",
            "",
            "at a threshold that follows the data" if self.adaptive else "at the shipped threshold",
            f"  false alarms      {self.alarms}",
            f"  false-alarm rate  {self.false_alarm_rate:.4f}   "
            f"{describe_range(*self.false_alarm_range)} by what these {what} are worth ({CONFIDENCE:.0%})",
            f"  promised          {self.promised_false_alarm_rate:.3g}   realised rate "
            f"{describe_range(*self.promised_range)} allowed",
            f"  calibration       {self.promise.describe()}",
            *([f"  beyond limits     {self.beyond_limits}"] if self.beyond_limits else []),
        ]
        if self.events is not None:
            a_day = self.events.false_events_per_day
            told = "" if a_day is None else f", {a_day:.3g} a day"
            lines += ["events", f"  false             {self.events.false_events}{told}"]
        return "\n".join(lines)


def judge_normal(bundle: Bundle, labelled: Labelled, events: Events | None, *, adaptive: bool = False) -> NormalOnly:
    """All that can be said of normal data that has been scored."""
    kept, calibration = labelled.scored, bundle.calibration
    truth, alarm = labelled.truth[kept], labelled.by_score(calibration.threshold)[kept]
    alarms, scored = int(alarm.sum()), len(alarm)
    return NormalOnly(
        rows=len(kept),
        scored=scored,
        alarms=alarms,
        false_alarm_rate=alarms / scored,
        false_alarm_range=rate_range(alarms, scored, calibration),
        promised_false_alarm_rate=calibration.far,
        promised_range=(calibration.far_low, calibration.far_high),
        promise=check_promise(bundle, truth, labelled.score[kept], alarm),
        events=events,
        kind=bundle.kind,
        adaptive=adaptive,
        beyond_limits=int(labelled.limited[kept].sum()),
    )


def check_promise(
    bundle: Bundle, truth: NDArray[np.bool_], score: NDArray[np.float32], alarm: NDArray[np.bool_]
) -> PromiseCheck:
    """The promise on scored inputs in their order: their labels, scores and alarms by the score, all (inputs,)."""
    calibration = bundle.calibration
    whole, normal = (DriftMonitor(calibration, bundle.data.period_s) for _ in range(2))
    over = score > calibration.threshold
    whole.push(over)
    normal.push(over[~truth])
    in_range = is_plausible(int(alarm[~truth].sum()), int((~truth).sum()), calibration)
    return PromiseCheck(in_range, whole.first_report, normal.first_report is not None)


def is_plausible(alarms: int, normal: int, calibration: Calibration) -> bool:
    """Whether so many false alarms among normal inputs may come of a rate in the promised range.

    An exact binomial test against each end of the range, one-sided, at `_SIGNIFICANT`. Inputs of ordered data count as
    many independent ones as those of the calibration did, in proportion, with the same share of alarms.
    """
    from scipy.special import bdtr, bdtrc

    found, rows = _worth(alarms, normal, calibration)
    too_many = found > 0 and bdtrc(math.ceil(found) - 1, rows, calibration.far_high) < _SIGNIFICANT
    too_few = bdtr(math.floor(found), rows, calibration.far_low) < _SIGNIFICANT
    return not bool(too_many or too_few)


def rate_range(alarms: int, normal: int, calibration: Calibration) -> tuple[float, float]:
    """The false-alarm rates that would explain so many alarms among normal inputs, with `CONFIDENCE`.

    The exact interval of Clopper and Pearson (1934), with inputs counted as `is_plausible` does.
    """
    from scipy.special import betaincinv

    found, rows = _worth(alarms, normal, calibration)
    tail = (1 - CONFIDENCE) / 2
    low = float(betaincinv(found, rows - found + 1, tail)) if found > 0 else 0.0
    high = float(betaincinv(found + 1, rows - found, 1 - tail)) if found < rows else 1.0
    return low, high


def _worth(alarms: int, normal: int, calibration: Calibration) -> tuple[float, int]:
    """Alarms and normal inputs as independent ones: of ordered data as many as those of the calibration were worth."""
    independent = min(1.0, calibration.effective_n / calibration.n)
    rows = max(1, round(normal * independent))
    return alarms * rows / normal, rows
