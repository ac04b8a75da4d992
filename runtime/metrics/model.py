"""Counts of one model: plain numbers on the hot path."""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence, Sized
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from .. import graph
from ..bundle import Bundle, Calibration
from ..detector import Detector
from ..protocol.request_times import RequestTimes
from ..scoring.drift import DriftMonitor
from ..scoring.framing import Framed
from ..scoring.results import FILLED, SCORED, STATUSES, Results
from ..streams.machines import STATES
from .closer_look import CloserLook, Seen
from .column_statistics import ColumnStatistics, Contributions
from .histogram import Histogram

if TYPE_CHECKING:
    from numpy.typing import NDArray

HTTP = "http"
"""The source of what comes by requests."""

RATIO_BOUNDS = (0.5, 0.75, 0.9, 1.0, 1.5, 2.0, 5.0, 10.0)
SECONDS_BOUNDS = (1e-4, 5e-4, 1e-3, 5e-3, 0.025, 0.1, 0.5)
ROWS_BOUNDS = (1.0, 16.0, 256.0)

_COLUMN_BLOCKS = 4
"""Blocks of the drift monitor that the statistics of columns remember."""


class ModelMetrics:
    """Counts of one model, whatever its version: rows received = scored + flagged + refused. They never go back.

    Parameters
    ----------
    lock : held while something is counted, and by whoever reads
    """

    def __init__(self, lock: Lock) -> None:
        self._lock = lock
        self.received = self.scored = self.filled = self.rows_refused = self.anomalies = self.events_started = 0
        self.flagged = dict.fromkeys((status for status in STATUSES if status not in SCORED), 0)
        self.facts: dict[str, str] | None = None
        self.provider: dict[str, str] = {}
        """Asked for, and used."""
        self.fell_back = math.nan
        self.ratio, self.seconds, self.rows = (Histogram(b) for b in (RATIO_BOUNDS, SECONDS_BOUNDS, ROWS_BOUNDS))
        self.terms: dict[str, Histogram] = {}
        """Reconstruction error, KL and ELBO, those that the recipe has."""
        self.columns = ColumnStatistics((), 1)
        self.contributions = Contributions(())
        self.reloads = dict.fromkeys(("ok", "failed"), 0)
        self.keys_forgotten = 0
        self.shadow: ShadowMetrics | None = None
        self.times = defaultdict[str, RequestTimes](RequestTimes)
        """By the name that was asked: the model's, or that of its encoder or decoder."""
        self.monitor: DriftMonitor | None = None
        self.calibration: Calibration | None = None
        # NaN until a model is there: an alert that compares with it stays silent, with 0 it would fire.
        self._last_inputs = {HTTP: math.nan}
        """By source, when rows came last (``time.monotonic``)."""
        self.samples, self.poison, self.repeats = (dict[str, int]() for _ in range(3))
        """By source, what came as samples: all of them, those without a row, those that had come before."""
        self._keys: Sized = ()
        self._states: Callable[[], Mapping[str, int]] = dict
        self._look = CloserLook(self._seen)

    @property
    def keys(self) -> int:
        """Keys of which something is remembered."""
        return len(self._keys)

    @property
    def last_input_ages(self) -> dict[str, float]:
        """By source, seconds since a row was received last, or since there was a model to receive one."""
        now = time.monotonic()
        return {source: now - last for source, last in self._last_inputs.items()}

    @property
    def machines(self) -> dict[str, int]:
        """By state, how many machines are in it: keys, and what comes without one."""
        return {**dict.fromkeys(STATES, 0), **self._states()}

    def show(
        self,
        detector: Detector,
        monitor: DriftMonitor,
        keys: Sized = (),
        states: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        """Tells threshold, promise and identity of this verified detector, what its monitor says, how many keys it
        remembers and in which states machines are, from now on."""
        bundle = detector.bundle
        with self._lock:
            self.calibration, self.monitor, self._keys, self._states = bundle.calibration, monitor, keys, states
            self.facts = {
                "export_id": bundle.export_id,
                "recipe": bundle.recipe,
                "kind": bundle.kind,
                "provider": detector.provider,
            }
            self.provider = {"asked": detector.session.asked_provider, "used": detector.provider}
            self.fell_back = float(detector.session.fell_back)
            now = time.monotonic()
            self._last_inputs = {
                source: now if math.isnan(last) else last for source, last in self._last_inputs.items()
            }
            self._show_columns(bundle, monitor)
        self._look.watch(detector)

    def _show_columns(self, bundle: Bundle, monitor: DriftMonitor) -> None:
        bounds = {name: term_bounds(name, quantiles) for name, quantiles in bundle.terms.items()}
        self.terms = {
            name: self.terms[name].rebinned(own) if name in self.terms else Histogram(own)
            for name, own in bounds.items()
        }
        columns = () if bundle.image is not None else bundle.columns
        self.columns = ColumnStatistics(columns, _COLUMN_BLOCKS * monitor.block)
        self.contributions = self.contributions.going_on([column.name for column in columns])

    def add_source(self, source: str) -> None:
        """Samples come from this source too."""
        with self._lock:
            self._last_inputs.setdefault(source, math.nan if self.facts is None else time.monotonic())
            for counts in (self.samples, self.poison, self.repeats):
                counts.setdefault(source, 0)

    def took(self, source: str, samples: int, *, poison: int, repeats: int) -> None:
        """Counts samples that were answered."""
        with self._lock:
            self.samples[source] += samples
            self.poison[source] += poison
            self.repeats[source] += repeats

    def of_shadow(self) -> ShadowMetrics:
        """The counts of what scores beside it, whatever that is; all at 0 when they are asked for first."""
        with self._lock:
            self.shadow = self.shadow or ShadowMetrics(self._lock)
        return self.shadow

    def hide(self) -> None:
        """No version of the model answers any more; what was counted stays."""
        with self._lock:
            self.facts = self.monitor = self.calibration = None
            self.provider, self._keys, self._states = {}, (), dict
            self.fell_back = math.nan
            self._last_inputs = dict.fromkeys(self._last_inputs, math.nan)
        self._look.watch(None)

    def observe(
        self, results: Results, seconds: float, threshold: float, *, events: int = 0, source: str = HTTP
    ) -> int:
        """Counts results that were accepted; how many of them are anomalies.

        Parameters
        ----------
        seconds : that scoring them took (``time.perf_counter``)
        threshold : of the version that scored them
        events : how many begin in them
        source : where the rows came from
        """
        scored = results.scores.scored
        n, n_scored = len(scored), int(np.count_nonzero(scored))
        score = results.scores.score if n_scored == n else results.scores.score[scored]
        # In float64, where score / threshold <= 1 exactly when score <= threshold: the bucket at 1 is the verdict.
        ratio = score.astype(np.float64) / max(threshold, 1e-12)
        anomalies = int(np.count_nonzero(results.scores.is_anomaly))
        with self._lock:
            self.received += n
            self.scored += n_scored
            self.filled += results.status.count(FILLED)
            if n_scored < n:
                for status, count in Counter(results.status).items():
                    if status not in SCORED:
                        self.flagged[status] += count
            self.anomalies += anomalies
            self.events_started += events
            self.seconds.add(seconds)
            self.rows.add(n)
            self.ratio.add_all(ratio)
            self._last_inputs[source] = time.monotonic()
        return anomalies

    def look_at(self, detector: Detector, framed: Framed, results: Results, *, has_alarms: bool) -> None:
        """Takes inputs that were accepted, and their results, for what is told beyond scores; has_alarms: whether any
        of them may be an anomaly."""
        self._look.offer(detector, framed, results, has_alarms=has_alarms)

    def refused(self, rows: int) -> None:
        """Counts the rows of a request that was refused as a whole."""
        with self._lock:
            self.received += rows
            self.rows_refused += rows
            if rows:
                self._last_inputs[HTTP] = time.monotonic()

    def _seen(self, seen: Seen) -> None:
        with self._lock:
            if self.facts is None or self.facts["export_id"] != seen.detector.bundle.export_id:
                return
            for name, histogram in self.terms.items():
                values = seen.terms[name].astype(np.float64)
                histogram.add_all(values[np.isfinite(values)])  # a row that overflows would spoil the sum for good
            if seen.rows.shape[1]:
                self.columns.add(seen.rows)
            if seen.contribution is not None:
                self.contributions.add(seen.contribution)


class ShadowMetrics:
    """Counts of what scores beside a model.

    Parameters
    ----------
    lock : as of `ModelMetrics`
    """

    def __init__(self, lock: Lock) -> None:
        self._lock = lock
        self.rows = self.disagreements = self.skipped = 0
        self.ratio = Histogram(RATIO_BOUNDS)

    def seen(self, ratio: NDArray[np.float64], different: int) -> None:
        """Counts rows that the shadow scored too.

        Parameters
        ----------
        ratio : of the shadow's score to the model's, each over its own threshold
        different : rows with another verdict
        """
        with self._lock:
            self.rows += len(ratio)
            self.disagreements += different
            self.ratio.add_all(ratio)

    def passed_over(self, rows: int) -> None:
        """Counts rows that came too fast for the shadow."""
        with self._lock:
            self.skipped += rows


def term_bounds(name: str, quantiles: Sequence[float]) -> tuple[float, ...]:
    """Upper ends of buckets for a term of the score, nats, ascending.

    They are quantiles of the calibration inputs on the side of anomalies, and one end three times as far beyond the
    last of the inputs as the median is before it. An ELBO is lower for worse, the others are higher.

    Parameters
    ----------
    quantiles : at `TERM_LEVELS`

    >>> term_bounds("kl", (0, 1, 2, 3, 4, 5, 6)), term_bounds("elbo", (0, 1, 2, 3, 4, 5, 6))
    ((3.0, 4.0, 5.0, 6.0, 15.0), (-9.0, 0.0, 1.0, 2.0, 3.0))
    """
    middle = len(quantiles) // 2
    bounds = list(quantiles[: middle + 1] if name == graph.ELBO else quantiles[middle:])
    worst, median = (bounds[0], bounds[-1]) if name == graph.ELBO else (bounds[-1], bounds[0])
    bounds.append(worst + 3 * (worst - median))
    return tuple(sorted({float(f"{bound:.4g}") for bound in bounds}))
