"""Prometheus metrics of a running service: plain counts on the hot path, families only when scraped."""

from __future__ import annotations

import math
import platform
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

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
from ..scoring.drift import DriftMonitor
from ..scoring.results import OK, STATUSES, Results
from ..session import import_onnxruntime

if TYPE_CHECKING:
    from numpy.typing import NDArray

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
CODES = (200, 400, 408, 413, 415, 500, 503)
"""Every status that POST /score answers with; a fixed set, so that no client can make series."""

_RATIO_BOUNDS = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 100.0)
_SECONDS_BOUNDS = (2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0)
_ROWS_BOUNDS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0)


class Metrics(Collector):
    """Counts of one service. Every series exists from the start, and rows received = scored + flagged + refused.

    Not locked: the thread that scores is the one that is scraped.

    >>> metrics = Metrics(CollectorRegistry())
    >>> metrics.refused(3)
    >>> "vae_detect_rows_received_total 3.0" in metrics.exposition().decode()
    True
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.ready = False
        self._registry = registry
        self._received = self._scored = self._refused = self._anomalies = 0
        self._flagged = dict.fromkeys((status for status in STATUSES if status != OK), 0)
        self._requests = dict.fromkeys(CODES, 0)
        # NaN until a model is there: an alert that compares with it stays silent, with 0 it would fire.
        self._threshold = self._expected = math.nan
        self._model: dict[str, str] | None = None
        self._monitor: DriftMonitor | None = None
        self._build = {
            "version": __version__,
            "onnxruntime": str(import_onnxruntime().__version__),
            "python": platform.python_version(),
        }
        self._ratio = _Histogram(
            "vae_detect_score_threshold_ratio", "Scores divided by the threshold; above 1 is an anomaly.", _RATIO_BOUNDS
        )
        self._seconds = _Histogram(
            "vae_detect_inference_seconds", "Time to score one batch of rows, in seconds.", _SECONDS_BOUNDS
        )
        self._rows = _Histogram("vae_detect_batch_rows", "Rows in one batch.", _ROWS_BOUNDS)
        ProcessCollector(registry=registry)
        registry.register(self)

    def model_loaded(self, detector: Detector, monitor: DriftMonitor) -> None:
        """Takes threshold, promise and identity from a verified detector, with its monitor, and says ready."""
        bundle = detector.bundle
        self._threshold = bundle.calibration.threshold
        self._expected = bundle.calibration.far
        self._model = {
            "export_id": bundle.export_id,
            "recipe": bundle.recipe,
            "kind": bundle.kind,
            "provider": detector.provider,
        }
        self._monitor = monitor
        self.ready = True

    def observe(self, results: Results, seconds: float) -> None:
        """Counts a batch that was answered, and the time that scoring it took (``time.perf_counter``)."""
        scored = results.scores.scored
        n, n_scored = len(scored), int(np.count_nonzero(scored))
        self._received += n
        self._scored += n_scored
        score = results.scores.score
        if n_scored < n:
            score = score[scored]
            for status, count in Counter(results.status).items():
                if status != OK:
                    self._flagged[status] += count
        self._anomalies += int(np.count_nonzero(results.scores.is_anomaly))
        self._seconds.add(seconds)
        self._rows.add(n)
        # In float64, where score / threshold <= 1 exactly when score <= threshold: the bucket at 1 is the verdict.
        self._ratio.add_all(score.astype(np.float64) / max(self._threshold, 1e-12))

    def refused(self, rows: int) -> None:
        """Counts the rows of a request that was refused as a whole."""
        self._received += rows
        self._refused += rows

    def request(self, code: int) -> None:
        """Counts a /score request by its status, one of `CODES`."""
        self._requests[code] += 1

    def exposition(self) -> bytes:
        """Every series of the registry in the Prometheus text format, of type `CONTENT_TYPE`."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """The families, for the registry."""
        yield from self._counters()
        yield from (self._ratio.family(), self._seconds.family(), self._rows.family())
        yield GaugeMetricFamily("vae_detect_threshold", "Scores above this are anomalies.", self._threshold)
        yield GaugeMetricFamily(
            "vae_detect_expected_false_alarm_ratio",
            "Promised share of normal rows that score above the threshold.",
            self._expected,
        )
        yield GaugeMetricFamily(
            "vae_detect_calibration_holds",
            "0 while far more rows are anomalies than promised, for longer than a fault lasts.",
            math.nan if self._monitor is None else int(self._monitor.holds),
        )
        yield GaugeMetricFamily("vae_detect_ready", "1 when a verified model is loaded and admitted.", int(self.ready))
        yield InfoMetricFamily("vae_detect_build", "Versions of what is running.", self._build)
        if self._model is not None:
            yield InfoMetricFamily("vae_detect_model", "The model that is loaded.", self._model)

    def _counters(self) -> Iterator[Metric]:
        yield CounterMetricFamily(
            "vae_detect_rows_received", "Rows of well-formed requests: scored + flagged + refused.", self._received
        )
        yield CounterMetricFamily("vae_detect_rows_scored", "Rows answered with a score.", self._scored)
        flagged = CounterMetricFamily(
            "vae_detect_rows_flagged", "Rows answered without a score, by reason.", labels=["reason"]
        )
        for reason, count in self._flagged.items():
            flagged.add_metric([reason], count)
        yield flagged
        yield CounterMetricFamily(
            "vae_detect_rows_refused", "Rows of requests that were refused as a whole.", self._refused
        )
        yield CounterMetricFamily("vae_detect_anomalies", "Rows that scored above the threshold.", self._anomalies)
        requests = CounterMetricFamily("vae_detect_requests", "Requests to /score by status code.", labels=["code"])
        for code, count in self._requests.items():
            requests.add_metric([str(code)], count)
        yield requests


class _Histogram:
    """Counts in fixed buckets; a batch costs 5 us where prometheus_client's own costs 1 us a value."""

    def __init__(self, name: str, documentation: str, bounds: Sequence[float]) -> None:
        self._name, self._documentation = name, documentation
        self._bounds = tuple(bounds)
        self._bounds_array = np.array(bounds)
        self._counts = np.zeros(len(bounds) + 1, np.int64)
        self._sum = 0.0

    def add(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def add_all(self, values: NDArray[np.float64]) -> None:
        if len(values) == 1:  # half the time of the general way, and the usual case
            self.add(values.item())
            return
        places = np.searchsorted(self._bounds_array, values)  # the first bound that is >= the value
        self._counts += np.bincount(places, minlength=len(self._counts))
        self._sum += float(values.sum())

    def family(self) -> Metric:
        names: list[Any] = [*map(str, self._bounds), "+Inf"]
        cumulated = np.cumsum(self._counts).tolist()
        return HistogramMetricFamily(
            self._name, self._documentation, list(zip(names, cumulated, strict=True)), self._sum
        )
