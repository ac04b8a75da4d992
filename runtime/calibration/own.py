"""A threshold of a machine's own, learnt from its own quiet first part; until then it is judged by the model's.

One model of many machines promises its rate for all of them together: one alarms all the time, another never. The
scores of a machine's own first days are calibrated as those of a recording are. What must not be learnt is a fault that
is there in this time: see `OwnCalibration._learn`.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import TYPE_CHECKING
from zlib import crc32

import msgspec
import numpy as np

from ..bundle import Bundle, Calibration
from ..describe import describe_range
from ..detector import Scores
from ..errors import InputError
from .calibration import calibrate, event_rows, supports
from .sample import MOST, Sample, SampleMemory
from .stretch import moved, without_bursts, without_runs
from .usual import Hours, HoursMemory, Usual

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..scoring.results import Results

SIZES = (256, 512, 1024, MOST)
"""Scores at which learning is tried, less up to a share of `EARLIER`: a thousand machines that begin together must not
all learn in the same second."""

EARLIER = 0.25
_LEAST_SCORES, _LEAST_AGAIN, _LEAST_ROWS = (int(size * (1 - EARLIER)) for size in (SIZES[0], SIZES[2], SIZES[3]))

_LEARNING_S = 3 * 86_400.0
"""Where the time between rows is known learning goes on for three days, though the first threshold comes sooner, and
for `SIZES[-1]` rows at least: nights are quieter than mornings, and no day is like the other. On the servers of
benchmarks/fleet.py one day left 4 of 8 rates above their range, three days and seven 2."""

_LEAST_RUN = 3
"""Scores in a row above both thresholds, of a sample that has grown thin, that are a fault."""

_MOST_STRIDE = 1024
"""Of a sample that has grown so thin, two million rows, nothing more is hoped for."""


class Alarms(msgspec.Struct, frozen=True):
    """How often two thresholds have alarmed, in a day that goes on."""

    rows: int = 0
    own: int = 0
    model: int = 0


class OwnMemory(msgspec.Struct, frozen=True):
    """What is known of one machine."""

    sample: SampleMemory | None = SampleMemory(b"")
    """None when it has done learning."""
    stagger: float | None = None
    """0 to 1: how much earlier than others it tries to learn; told by its first score."""
    due: int = 1
    """Scores in the sample with which it tries again."""
    calibration: Calibration | None = None
    why: str = ""
    hours: HoursMemory = HoursMemory()
    day: Alarms = Alarms()
    outdated: bool = False
    """Whether its threshold has alarmed too often, and another one is being learnt."""


class OwnCalibration:
    """Of one machine: `judge` gives verdicts by its own threshold, as soon as its scores support the model's rate.

    Costs about 3 us a row, and a few ms at some of the first ones, when it tries to learn; holds 8 KB while it learns.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._promised = bundle.calibration
        self._log10_far = math.log10(bundle.calibration.far)
        self._dependence_rows = event_rows(bundle)
        period_s = bundle.data.period_s
        self._least_rows = max(_LEAST_ROWS, _LEARNING_S / period_s if period_s else 0.0)
        self._sample: Sample | None = Sample()
        self._stagger: float | None = None
        self._due = 1
        self._own: Calibration | None = None
        self._why = ""
        self._period_s = period_s
        self._rows_a_day = max(1, round(86_400 / period_s)) if period_s else _LEAST_ROWS
        self._day, self._outdated = [0, 0, 0], False
        self._hours = Hours(period_s)
        self._hours_by: Calibration | None = None

    @property
    def calibration(self) -> Calibration | None:
        """Its own; None while the model's is in force."""
        return self._own

    @property
    def is_learning(self) -> bool:
        """Whether it still learns what is normal."""
        return self._sample is not None

    @property
    def usual(self) -> Usual | None:
        """What its hours are usually like, by the threshold in force; None before that is known."""
        return self._hours.usual

    def describe(self) -> str:
        """One line for people: whose threshold is in force, and why."""
        own, sample = self._own, self._sample
        learning = (
            f"learning from {len(sample) * sample.stride} rows so far" if sample is not None else "no longer learning"
        )
        if own is None:
            return f"the model's threshold; {learning}" + (f": {self._why}" if self._why else "")
        told = (
            f"own threshold {own.threshold:.6g} from {own.n} scores: promised false-alarm rate {own.far:.3g}, "
            f"{describe_range(own.far_low, own.far_high)}"
        )
        return told if sample is None else f"{told}; {learning}"

    def judge(self, results: Results) -> Results:
        """The next results that were accepted, with verdicts by its own threshold, from which it then learns.

        How rows are cut into calls changes nothing. What breaks a limit stays an anomaly, and is not learnt.
        """
        scores, limited, own = results.scores, results.limited, self._own
        if len(scores.score) != 1:
            return _with(results, self._judged_in_pieces(scores, limited))
        if scores.scored[0] and (limited is None or not limited[0]):
            self._take(scores.score.tolist())
        judged = scores if own is None else self._judged(own, scores, limited)
        self._count(own, judged.severity)
        return results if own is None else _with(results, judged)

    def _judged_in_pieces(self, scores: Scores, limited: NDArray[np.bool_] | None) -> Scores:
        """Cut behind the rows with which it learnt."""
        usable = np.flatnonzero(scores.scored if limited is None else scores.scored & ~limited)
        values, taken, begin, pieces = scores.score[usable].tolist(), 0, 0, list[Scores]()
        while begin < len(scores.score):
            own = self._own
            taken += self._take(values[taken:])
            is_rest = taken == len(values) and self._own is own
            cut = slice(begin, begin := len(scores.score) if is_rest else int(usable[taken - 1]) + 1)
            piece = Scores._make(each[cut] for each in scores)
            if own is not None:
                piece = self._judged(own, piece, None if limited is None else limited[cut])
            self._count(own, piece.severity)
            pieces.append(piece)
        return Scores._make(map(np.concatenate, zip(*pieces, strict=True))) if pieces else scores

    def _judged(self, own: Calibration, scores: Scores, limited: NDArray[np.bool_] | None) -> Scores:
        score, _, _, _, scored = scores
        if len(score) == 1:  # a stream: 2 us, with numpy 15
            one = score.item()
            log10_p = _log10_p(own, one)
            both = np.array((log10_p / self._log10_far, 10.0**log10_p), np.float32)
            is_anomaly = one > own.threshold or (limited is not None and bool(limited[0]))
            return Scores(score, both[:1], both[1:], np.array((is_anomaly,)), scored)
        many = np.interp(score, own.knot_scores, own.knot_log10_p)
        severity, p_value = (many / self._log10_far).astype(np.float32), (10.0**many).astype(np.float32)
        anomalies = score > own.threshold
        return Scores(score, severity, p_value, anomalies if limited is None else anomalies | limited, scored)

    def _count(self, by: Calibration | None, severity: NDArray[np.float32]) -> None:
        """Tells the hours of severities by this threshold; those by another are no measure of them."""
        if by is not self._hours_by:
            self._hours, self._hours_by = Hours(self._period_s), by
        if len(severity) == 1:
            one = severity.item()
            if not math.isnan(one):  # it has a score
                self._hours.add(one, 1)
            return
        known = severity[~np.isnan(severity)].astype(np.float64)
        while len(known):
            part, known = known[: self._hours.missing], known[self._hours.missing :]
            self._hours.add(float(part.sum()), len(part))

    def _take(self, values: list[float]) -> int:
        """How many of these scores it has seen: with the last one it learnt, or they are all."""
        sample = self._sample
        if sample is None:
            return self._see_alarms(values)
        if self._stagger is None and values:
            self._stagger = crc32(np.float32(values[0]).tobytes()) / 2**32
            self._due = self._next(0)
        seen = sample.take(values, self._due)
        if len(sample) >= self._due:
            self._learn(sample)
        return seen

    def _see_alarms(self, values: list[float]) -> int:
        """How many of these scores it has seen, once it has done learning: up to the end of a day, or they are all.

        A day in which its own threshold alarms more often than it promised, and the model's does not, is normal life
        that the first days did not show: it learns anew, and keeps its threshold until then.
        """
        own, day = self._own, self._day
        if own is None:
            return len(values)
        seen = min(len(values), self._rows_a_day - day[0])
        day[0] += seen
        for value in values[:seen]:
            day[1] += value > own.threshold
            day[2] += value > self._promised.threshold
        if day[0] == self._rows_a_day:
            kept, normal = day[1] / day[0] <= _allowed(own), day[2] / day[0] <= _allowed(self._promised)
            if not kept and normal:
                self._sample, self._outdated, self._due = Sample(), True, self._next(0)
            self._day = [0, 0, 0]
        return seen

    def _sizes(self) -> list[int]:
        """`SIZES`, as early as its turn is."""
        return [math.ceil(size * (1 - EARLIER * (self._stagger or 0.0))) for size in SIZES]

    def _next(self, size: int) -> int:
        """Scores with which to try next, after so many."""
        *sizes, most = self._sizes()
        return next((due for due in sizes if due > size * (1 + EARLIER)), most)

    def _learn(self, sample: Sample) -> None:
        """Tries to calibrate by what is quiet of the sample.

        Where the level has moved, the higher part is left out if it alarms by the threshold in force: a fault, before
        or after the part that is quiet. A machine that alarms by the model's threshold from its first row on, and goes
        on as it began, is as normal as it ever is. Moves within what the model calls normal are the machine's life;
        their scores are then worth few independent ones, so that more of them are taken.
        """
        near = math.ceil(self._dependence_rows / sample.stride)
        scores, far = sample.scores, self._promised.far
        if self._outdated and _share(scores, self._promised) > _allowed(self._promised):
            self._sample, self._outdated = None, False  # no normal life after all
            return
        move = moved(scores, near)
        if move is not None:
            parts = scores[: move.place], scores[move.place :]
            quiet, higher = parts if move.upwards else parts[::-1]
            if self._alarms(higher):
                scores = quiet
                sample.keep(scores)
        if self._own is not None:  # then it is known what a fault is
            scores = without_runs(scores, self._threshold, max(_LEAST_RUN, near))
        scores = without_bursts(scores, far, near)
        try:
            least = _LEAST_AGAIN if self._outdated else _LEAST_SCORES
            if len(scores) >= least and supports(scores, far=far, dependence_rows=near):
                self._own, self._why = calibrate(scores, far=far, dependence_rows=near), ""
                self._outdated = False
            else:
                self._why = f"{len(scores)} quiet scores do not yet support a false-alarm rate of {far:.3g}"
        except InputError as error:
            self._why = str(error)
        self._go_on(sample)

    def _alarms(self, scores: NDArray[np.float64]) -> bool:
        """Whether more of them alarm than was promised, by the model's threshold and by its own."""
        return float(np.mean(scores > self._threshold)) > _allowed(self._promised)

    @property
    def _threshold(self) -> float:
        """What alarms by the model and by its own scores."""
        return max(each.threshold for each in (self._promised, self._own) if each is not None)

    def _go_on(self, sample: Sample) -> None:
        learnt = self._own is not None and not self._outdated and len(sample) * sample.stride >= self._least_rows
        is_full = len(sample) >= self._sizes()[-1]
        if learnt or (is_full and sample.stride >= _MOST_STRIDE):
            self._sample = None
            return
        if is_full:
            sample.thin()
        self._due = self._next(len(sample))

    @property
    def memory(self) -> OwnMemory:
        """All that the verdicts on later results depend on."""
        sample = None if self._sample is None else self._sample.memory
        hours = self._hours.memory if self._hours_by is self._own else HoursMemory()
        return OwnMemory(
            sample, self._stagger, self._due, self._own, self._why, hours, Alarms(*self._day), self._outdated
        )

    def recall(self, memory: OwnMemory) -> None:
        """Goes on from there. Raises ValueError when the sample has another size."""
        sample = None
        if memory.sample is not None:
            sample = Sample()
            sample.recall(memory.sample)
        hours = Hours(self._period_s)
        hours.recall(memory.hours)
        self._hours, self._hours_by = hours, memory.calibration
        self._sample, self._stagger, self._due = sample, memory.stagger, memory.due
        self._own, self._why = memory.calibration, memory.why
        day = memory.day
        self._day, self._outdated = [day.rows, day.own, day.model], memory.outdated


def _allowed(promise: Calibration) -> float:
    """The highest rate that a promise allows; a far_high below far can only come of hardly one effective row."""
    return max(promise.far_high, promise.far)


def _share(scores: NDArray[np.float64], by: Calibration) -> float:
    return float(np.mean(scores > by.threshold))


def _with(results: Results, scores: Scores) -> Results:
    return type(results)(results.first, scores, *results[2:])  # half the time of _replace


def _log10_p(own: Calibration, score: float) -> float:
    """Between the knots as the graph has it, linear; held at both ends."""
    knots, log10_p = own.knot_scores, own.knot_log10_p
    after = bisect_right(knots, score)
    if 0 < after < len(knots):
        low, high = knots[after - 1], knots[after]
        return log10_p[after - 1] + (log10_p[after] - log10_p[after - 1]) * ((score - low) / (high - low))
    if math.isnan(score):  # not scored
        return score
    return log10_p[0] if after == 0 else log10_p[-1]
