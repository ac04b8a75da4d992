"""Prometheus metrics of a running service: plain counts on the hot path, families only when scraped."""

from __future__ import annotations

import math
import platform
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from operator import attrgetter
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from ... import __version__
from ..detector import Detector
from ..protocol.request_times import RequestTimes
from ..scoring.drift import DriftMonitor
from ..scoring.results import FILLED, SCORED, STATUSES, Results
from ..session import import_onnxruntime
from .refusals import CODES, LIMITS

if TYPE_CHECKING:
    from numpy.typing import NDArray

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_RATIO_BOUNDS = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 100.0)
_SECONDS_BOUNDS = (2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0)
_ROWS_BOUNDS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0)


class ServiceMetrics(Collector):
    """Counts of one service and of its models. Every series exists from the start, and counts never go back.

    Safe to read from another thread while the service counts.

    >>> metrics = ServiceMetrics(CollectorRegistry())
    >>> metrics.of_model("pump").refused(3)
    >>> 'vae_detect_rows_received_total{model="pump"} 3.0' in metrics.exposition().decode()
    True
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.is_ready: Callable[[], bool] = bool
        self._registry = registry
        self._lock = Lock()
        self._requests = dict.fromkeys(CODES, 0)
        self._limits = dict.fromkeys(LIMITS, 0)
        self._models: dict[str, ModelMetrics] = {}
        self._build = {
            "version": __version__,
            "onnxruntime": str(import_onnxruntime().__version__),
            "python": platform.python_version(),
        }
        ProcessCollector(registry=registry)
        registry.register(self)

    def of_model(self, name: str) -> ModelMetrics:
        """The counts of a model, whatever its version; all at 0 when it is asked for first."""
        return self._models.setdefault(name, ModelMetrics(self._lock))

    def request(self, code: int) -> None:
        """Counts a request to score, or one without a token, by its status, one of `CODES`."""
        with self._lock:
            self._requests[code] += 1

    def limit_exceeded(self, limit: str) -> None:
        """Counts what exceeded one of `LIMITS`."""
        with self._lock:
            self._limits[limit] += 1

    def exposition(self) -> bytes:
        """Every series of the registry in the Prometheus text format, of type `CONTENT_TYPE`."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """The families, for the registry."""
        with self._lock:
            families = [*self._of_service(), *_of_models(self._models)]
        yield from families

    def _of_service(self) -> Iterator[Metric]:
        requests = CounterMetricFamily("vae_detect_requests", "Requests to /score by status code.", labels=["code"])
        for code, count in self._requests.items():
            requests.add_metric([str(code)], count)
        yield requests
        limits = CounterMetricFamily(
            "vae_detect_limits_exceeded", "Requests and connections that exceeded a limit, by limit.", labels=["limit"]
        )
        for limit, count in self._limits.items():
            limits.add_metric([limit], count)
        yield limits
        yield GaugeMetricFamily(
            "vae_detect_ready", "1 when a verified model is loaded and admitted.", int(self.is_ready())
        )
        yield InfoMetricFamily("vae_detect_build", "Versions of what is running.", self._build)


class ModelMetrics:
    """Counts of one model: rows received = scored + flagged + refused. Made by `ServiceMetrics.of_model`."""

    def __init__(self, lock: Lock) -> None:
        self._lock = lock
        self.received = self.scored = self.filled = self.rows_refused = self.anomalies = 0
        self.flagged = dict.fromkeys((status for status in STATUSES if status not in SCORED), 0)
        # NaN until a model is there: an alert that compares with it stays silent, with 0 it would fire.
        self.threshold = self.far = math.nan
        self.facts: dict[str, str] | None = None
        self.ratio, self.seconds, self.rows = (_Histogram(b) for b in (_RATIO_BOUNDS, _SECONDS_BOUNDS, _ROWS_BOUNDS))
        self.reloads = dict.fromkeys(("ok", "failed"), 0)
        self.keys_forgotten = 0
        self.shadow_rows = self.shadow_disagreements = self.shadow_skipped = 0
        self.shadow_ratio = _Histogram(_RATIO_BOUNDS)
        self.times = defaultdict[str, RequestTimes](RequestTimes)
        """By the name that was asked: the model's, or that of its encoder or decoder."""
        self._monitor: DriftMonitor | None = None
        self._keys: Sized = ()

    @property
    def keys(self) -> int:
        """Keys of which something is remembered."""
        return len(self._keys)

    @property
    def holds(self) -> float:
        """1 while the calibration holds, 0 while it does not, NaN until a model is there."""
        return math.nan if self._monitor is None else float(self._monitor.holds)

    def show(self, detector: Detector, monitor: DriftMonitor, keys: Sized = ()) -> None:
        """Tells threshold, promise and identity of this verified detector, what its monitor says and how many keys it
        remembers, from now on."""
        bundle = detector.bundle
        with self._lock:
            self.threshold, self.far = bundle.calibration.threshold, bundle.calibration.far
            self.facts = {
                "export_id": bundle.export_id,
                "recipe": bundle.recipe,
                "kind": bundle.kind,
                "provider": detector.provider,
            }
            self._monitor, self._keys = monitor, keys

    def hide(self) -> None:
        """No version of the model answers any more; what was counted stays."""
        with self._lock:
            self.threshold = self.far = math.nan
            self.facts = self._monitor = None
            self._keys = ()

    def observe(self, results: Results, seconds: float, threshold: float) -> None:
        """Counts results that were accepted.

        Parameters
        ----------
        seconds : that scoring them took (``time.perf_counter``)
        threshold : of the version that scored them
        """
        scored = results.scores.scored
        n, n_scored = len(scored), int(np.count_nonzero(scored))
        score = results.scores.score if n_scored == n else results.scores.score[scored]
        # In float64, where score / threshold <= 1 exactly when score <= threshold: the bucket at 1 is the verdict.
        ratio = score.astype(np.float64) / max(threshold, 1e-12)
        with self._lock:
            self.received += n
            self.scored += n_scored
            self.filled += results.status.count(FILLED)
            if n_scored < n:
                for status, count in Counter(results.status).items():
                    if status not in SCORED:
                        self.flagged[status] += count
            self.anomalies += int(np.count_nonzero(results.scores.is_anomaly))
            self.seconds.add(seconds)
            self.rows.add(n)
            self.ratio.add_all(ratio)

    def refused(self, rows: int) -> None:
        """Counts the rows of a request that was refused as a whole."""
        with self._lock:
            self.received += rows
            self.rows_refused += rows

    def shadow_seen(self, ratio: NDArray[np.float64], different: int) -> None:
        """Counts rows that the shadow scored too.

        Parameters
        ----------
        ratio : of the shadow's score to the model's, each over its own threshold
        different : rows with another verdict
        """
        with self._lock:
            self.shadow_rows += len(ratio)
            self.shadow_disagreements += different
            self.shadow_ratio.add_all(ratio)

    def shadow_passed_over(self, rows: int) -> None:
        """Counts rows that came too fast for the shadow."""
        with self._lock:
            self.shadow_skipped += rows


def _of_models(models: Mapping[str, ModelMetrics]) -> Iterator[Metric]:
    """The families with a label `model`."""
    for name, documentation, value in _COUNTERS:
        yield _family(CounterMetricFamily(name, documentation, labels=["model"]), models, value)
    for name, documentation, label, counts in _COUNTERS_BY:
        counter = CounterMetricFamily(name, documentation, labels=["model", label])
        for model_name, model in models.items():
            for value_of_label, count in counts(model).items():
                counter.add_metric([model_name, value_of_label], count)
        yield counter
    for name, documentation, histogram in _HISTOGRAMS:
        family = HistogramMetricFamily(name, documentation, labels=["model"])
        for label, model in models.items():
            family.add_metric([label], *histogram(model).buckets())
        yield family
    for name, documentation, value in _GAUGES:
        yield _family(GaugeMetricFamily(name, documentation, labels=["model"]), models, value)
    info = InfoMetricFamily("vae_detect_model", "The version of the model that is loaded.", labels=["model"])
    for name, model in models.items():
        if model.facts is not None:
            info.add_metric([name], model.facts)
    yield info


def _family(
    family: CounterMetricFamily | GaugeMetricFamily,
    models: Mapping[str, ModelMetrics],
    value: Callable[[ModelMetrics], float],
) -> Metric:
    for name, model in models.items():
        family.add_metric([name], value(model))
    return family


_Value = Callable[[ModelMetrics], float]
_COUNTERS: tuple[tuple[str, str, _Value], ...] = (
    (
        "vae_detect_rows_received",
        "Rows of well-formed requests: scored + flagged + refused.",
        attrgetter("received"),
    ),
    ("vae_detect_rows_scored", "Rows answered with a score.", attrgetter("scored")),
    ("vae_detect_rows_filled", "Rows scored with filled cells where some were missing.", attrgetter("filled")),
    ("vae_detect_rows_refused", "Rows of requests that were refused as a whole.", attrgetter("rows_refused")),
    ("vae_detect_anomalies", "Rows that scored above the threshold, or broke a limit.", attrgetter("anomalies")),
    ("vae_detect_keys_forgotten", "Keys forgotten because there were too many.", attrgetter("keys_forgotten")),
    ("vae_detect_shadow_rows", "Rows that the shadow scored too.", attrgetter("shadow_rows")),
    ("vae_detect_shadow_disagreements", "Those with another verdict.", attrgetter("shadow_disagreements")),
    ("vae_detect_shadow_skipped_rows", "Rows that came too fast for the shadow.", attrgetter("shadow_skipped")),
)
_COUNTERS_BY: tuple[tuple[str, str, str, Callable[[ModelMetrics], Mapping[str, int]]], ...] = (
    ("vae_detect_rows_flagged", "Rows answered without a score, by reason.", "reason", attrgetter("flagged")),
    ("vae_detect_model_reloads", "Newer versions that were loaded, by result.", "result", attrgetter("reloads")),
)
_GAUGES: tuple[tuple[str, str, _Value], ...] = (
    ("vae_detect_threshold", "Scores above this are anomalies.", attrgetter("threshold")),
    (
        "vae_detect_expected_false_alarm_ratio",
        "Promised share of normal rows that score above the threshold.",
        attrgetter("far"),
    ),
    (
        "vae_detect_calibration_holds",
        "0 while far more rows are anomalies than promised, for longer than a fault lasts.",
        attrgetter("holds"),
    ),
    ("vae_detect_keys", "Keys of which something is remembered.", attrgetter("keys")),
)


class _Histogram:
    """Counts in fixed buckets; a batch costs 5 us where prometheus_client's own costs 1 us a value."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._bounds_array = np.array(bounds)
        self._counts = np.zeros(len(bounds) + 1, np.int64)
        self.sum = 0.0

    def add(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    def add_all(self, values: NDArray[np.float64]) -> None:
        if len(values) == 1:  # half the time of the general way, and the usual case
            self.add(values.item())
            return
        places = np.searchsorted(self._bounds_array, values)  # the first bound that is >= the value
        self._counts += np.bincount(places, minlength=len(self._counts))
        self.sum += float(values.sum())

    @property
    def count(self) -> int:
        """How many values there were."""
        return int(self._counts.sum())

    def buckets(self) -> tuple[list[tuple[str, float]], float]:
        """Cumulated counts by upper bound, and the sum."""
        names = [*map(str, self._bounds), "+Inf"]
        return list(zip(names, np.cumsum(self._counts).tolist(), strict=True)), self.sum


_HISTOGRAMS: tuple[tuple[str, str, Callable[[ModelMetrics], _Histogram]], ...] = (
    (
        "vae_detect_score_threshold_ratio",
        "Scores divided by the threshold; above 1 is an anomaly.",
        attrgetter("ratio"),
    ),
    ("vae_detect_inference_seconds", "Time to score one batch of rows, in seconds.", attrgetter("seconds")),
    ("vae_detect_batch_rows", "Rows in one batch.", attrgetter("rows")),
    (
        "vae_detect_shadow_score_ratio",
        "Scores of the shadow divided by those of the model, each over its own threshold.",
        attrgetter("shadow_ratio"),
    ),
)
