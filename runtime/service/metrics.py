"""Prometheus metrics of a running service: plain counts on the hot path, families only when scraped."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator
from threading import Lock

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
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
from ..metrics.families import families
from ..metrics.histogram import Histogram
from ..metrics.model import ModelMetrics
from ..scoring.drift import DriftMonitor
from ..session import import_onnxruntime
from .refusals import CODES, LIMITS
from .routes import INFER, OTHER, SCORE

MEDIA_TYPES = ("text/plain", "application/openmetrics-text")
"""What an exposition may be, as the header Accept asks for it."""

_SECONDS_BOUNDS = (1e-3, 5e-3, 0.025, 0.1, 0.5, 2.5)


class ServiceMetrics(Collector):
    """Counts of one service and of its models. Every series exists from the start, and counts never go back.

    Safe to read from another thread while the service counts.

    >>> metrics = ServiceMetrics(CollectorRegistry())
    >>> metrics.of_model("pump").refused(3)
    >>> 'vae_detect_rows_received_total{model="pump"} 3.0' in metrics.exposition()[0].decode()
    True
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.is_ready: Callable[[], bool] = bool
        self.in_progress: Callable[[], int] = int
        self._registry = registry
        self._lock = Lock()
        self._requests = {(route, code): 0 for route in (SCORE, INFER) for code in CODES} | {(OTHER, 401): 0}
        self._seconds = {route: Histogram(_SECONDS_BOUNDS) for route in (SCORE, INFER)}
        self._limits = dict.fromkeys(LIMITS, 0)
        self._models: dict[str, ModelMetrics] = {}
        self._cpu_before = time.process_time()
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

    def request(self, route: str, code: int) -> None:
        """Counts a request to score, or one without a token, by its status, one of `CODES`."""
        with self._lock:
            self._requests[route, code] += 1

    def answered(self, route: str, seconds: float, request_id: str = "") -> None:
        """Counts a request that was answered with 200, so many seconds after all of it was there; of one that has named
        itself the name is told with the bucket it falls into."""
        with self._lock:
            self._requests[route, 200] += 1
            self._seconds[route].add(seconds, request_id)

    def limit_exceeded(self, limit: str) -> None:
        """Counts what exceeded one of `LIMITS`."""
        with self._lock:
            self._limits[limit] += 1

    def begin(self) -> None:
        """From now on CPU time is that of verdicts: what loading took is not."""
        self._cpu_before = time.process_time()

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """Every series of the registry, and the media type: the text format, or OpenMetrics with exemplars where this
        header Accept asks for it."""
        encode, media_type = choose_encoder(accept)
        return encode(self._registry), media_type

    def series(self, model: str | None = None) -> int:
        """How many series there are, of all or of one model."""
        samples = (sample for family in self._registry.collect() for sample in family.samples)
        return sum(model is None or sample.labels.get("model") == model for sample in samples)

    def series_with(self, name: str, detector: Detector) -> int:
        """How many there would be if this detector answered to the name."""
        tried = ModelMetrics(Lock())
        tried.show(detector, DriftMonitor(detector.bundle.calibration, detector.bundle.data.period_s))
        if name in self._models and self._models[name].shadow is not None:
            tried.of_shadow()
        own = sum(len(family.samples) for family in families({name: tried}))
        return self.series() - self.series(name) + own

    def collect(self) -> Iterator[Metric]:
        """The families, for the registry."""
        with self._lock:
            found = [*self._of_service(), *families(self._models)]
        yield from (family for family in found if family.samples)

    @property
    def verdict_cpu(self) -> float:
        """Seconds of CPU time that a verdict has cost the process so far; 0 before the first."""
        verdicts = sum(model.scored for model in self._models.values())
        return (time.process_time() - self._cpu_before) / verdicts if verdicts else 0.0

    def _of_service(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "vae_detect_requests", "Requests to score by route and status code.", labels=["route", "code"]
        )
        for (route, code), count in self._requests.items():
            requests.add_metric([route, str(code)], count)
        yield requests
        seconds = HistogramMetricFamily(
            "vae_detect_request_seconds",
            "Seconds from a whole request to its answer, of those answered with 200.",
            labels=["route"],
        )
        for route, histogram in self._seconds.items():
            seconds.add_metric([route], *histogram.buckets())
        yield seconds
        limits = CounterMetricFamily(
            "vae_detect_limits_exceeded", "Requests and connections that exceeded a limit, by limit.", labels=["limit"]
        )
        for limit, count in self._limits.items():
            limits.add_metric([limit], count)
        yield limits
        for name, documentation, value in (
            ("requests_in_progress", "Requests that are worked on, or wait.", self.in_progress()),
            ("verdict_cpu_seconds", "CPU time of the process per verdict, since it was ready.", self.verdict_cpu),
            ("ready", "1 when a verified model is loaded and admitted.", int(self.is_ready())),
        ):
            yield GaugeMetricFamily(f"vae_detect_{name}", documentation, value)
        yield InfoMetricFamily("vae_detect_build", "Versions of what is running.", self._build)
