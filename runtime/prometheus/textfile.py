"""What a run came to, for the textfile collector of node_exporter."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from ..alarms.recorded import RecordedAlarms
from ..alarms.rule import AlarmRule
from ..bundle import Bundle
from ..output import check_suffix, written_aside
from ..scoring.results import SCORED, STATUSES, Results

METRICS = {
    "rows": "Rows that the run was given.",
    "rows_scored": "Rows that have a score.",
    "rows_flagged": "Rows without a score, by reason.",
    "anomalies": "Rows over the threshold, or beyond a limit.",
    "events": "Unbroken runs of anomalous rows, those without a score passed over.",
    "last_row_timestamp_seconds": "Time of the newest row.",
    "expected_false_alarm_ratio": "Share of normal rows over the threshold that the model promises.",
}
"""Names, behind vae_detect_run_, and what they are; all are gauges, since the next run begins anew."""


class RunCounts:
    """Counts the results of a run as they come."""

    def __init__(self, bundle: Bundle, model: str) -> None:
        self._far, self._model = bundle.calibration.far, model
        self._statuses: Counter[str] = Counter()
        self._anomalies, self._newest = 0, -np.inf
        self._alarms = RecordedAlarms(bundle, AlarmRule())

    def add(self, results: Results) -> None:
        """The next rows."""
        self._statuses.update(results.status)
        self._anomalies += int(results.scores.is_anomaly.sum())
        self._alarms.add(results)
        if results.times is not None and np.isfinite(results.times).any():
            self._newest = max(self._newest, float(np.nanmax(results.times)))

    def exposition(self) -> bytes:
        """In the text format of Prometheus."""
        registry = CollectorRegistry()
        for name, value in {
            "rows": self._statuses.total(),
            "rows_scored": sum(self._statuses[status] for status in SCORED),
            "anomalies": self._anomalies,
            "events": self._alarms.started,
            "last_row_timestamp_seconds": self._newest if np.isfinite(self._newest) else None,
            "expected_false_alarm_ratio": self._far,
        }.items():
            if value is not None:
                _gauge(name, registry).labels(model=self._model).set(value)
        flagged = _gauge("rows_flagged", registry, "reason")
        for status in STATUSES:
            if status not in SCORED:
                flagged.labels(model=self._model, reason=status).set(self._statuses[status])
        return generate_latest(registry)

    def write(self, path: Path) -> None:
        """Writes it aside and renames it, in place of that of the run before; the collector sees a whole file."""
        with written_aside(path, force=True) as out:
            out.write(self.exposition())


def check_textfile(path: Path) -> None:
    """Raises InputError for a name that the collector does not read."""
    check_suffix(path, ".prom")


def _gauge(name: str, registry: CollectorRegistry, *labels: str) -> Gauge:
    return Gauge(f"vae_detect_run_{name}", METRICS[name], ["model", *labels], registry=registry)
