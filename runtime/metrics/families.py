"""What Prometheus is told of models: the table of their metrics, docs/metrics.md in code."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import attrgetter

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

from .. import graph
from .histogram import Histogram
from .model import ModelMetrics

Models = Mapping[str, ModelMetrics]

_Value = Callable[[ModelMetrics], float]
_Values = Callable[[ModelMetrics], Mapping[str, float]]


def families(models: Models) -> Iterator[Metric]:
    """Every family with a label `model`."""
    for name, documentation, value in _COUNTERS:
        yield _one(CounterMetricFamily(name, documentation, labels=["model"]), models, value)
    for name, documentation, label, values in _COUNTERS_BY:
        yield _several(CounterMetricFamily(name, documentation, labels=["model", label]), models, values)
    for name, documentation, value in _GAUGES:
        yield _one(GaugeMetricFamily(name, documentation, labels=["model"]), models, value)
    for name, documentation, label, values in _GAUGES_BY:
        yield _several(GaugeMetricFamily(name, documentation, labels=["model", label]), models, values)
    for name, documentation, histogram in _HISTOGRAMS:
        yield _histogram(name, documentation, ((label, histogram(model)) for label, model in models.items()))
    for term, documentation in _TERMS.items():
        own = ((label, model.terms[term]) for label, model in models.items() if term in model.terms)
        yield _histogram(f"vae_detect_{term}", documentation, own)
    yield _info("vae_detect_model", "The version of the model that is loaded.", models, attrgetter("facts"))
    yield _info("vae_detect_provider", "Where it was asked to run, and where it does.", models, attrgetter("provider"))
    yield from _of_shadows({name: model for name, model in models.items() if model.shadow is not None})


def _of_shadows(models: Models) -> Iterator[Metric]:
    """Those of models that have a shadow, or had one."""
    for name, documentation, value in _SHADOW_COUNTERS:
        yield _one(CounterMetricFamily(name, documentation, labels=["model"]), models, value)
    yield _histogram(
        "vae_detect_shadow_score_ratio",
        "Scores of the shadow divided by those of the model, each over its own threshold.",
        ((name, model.shadow.ratio) for name, model in models.items() if model.shadow is not None),
    )


def _one(family: CounterMetricFamily | GaugeMetricFamily, models: Models, value: _Value) -> Metric:
    for name, model in models.items():
        family.add_metric([name], value(model))
    return family


def _several(family: CounterMetricFamily | GaugeMetricFamily, models: Models, values: _Values) -> Metric:
    for name, model in models.items():
        for label, value in values(model).items():
            family.add_metric([name, label], value)
    return family


def _histogram(name: str, documentation: str, histograms: Iterable[tuple[str, Histogram]]) -> Metric:
    family = HistogramMetricFamily(name, documentation, labels=["model"])
    for label, histogram in histograms:
        family.add_metric([label], *histogram.buckets())
    return family


def _info(name: str, documentation: str, models: Models, facts: Callable[[ModelMetrics], dict[str, str]]) -> Metric:
    family = InfoMetricFamily(name, documentation, labels=["model"])
    for label, model in models.items():
        if facts(model):
            family.add_metric([label], facts(model))
    return family


def _loaded(path: str) -> _Value:
    """What stands there in a model that is loaded; NaN until it is, with which an alert that compares stays silent."""
    first, rest = path.split(".", 1)
    value = attrgetter(rest)
    return lambda model: math.nan if getattr(model, first) is None else float(value(getattr(model, first)))


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
    (
        "vae_detect_events_started",
        "Events that have begun in a stream, and lasted.",
        attrgetter("events_started"),
    ),
    ("vae_detect_keys_forgotten", "Keys forgotten because there were too many.", attrgetter("keys_forgotten")),
)
_SHADOW_COUNTERS: tuple[tuple[str, str, _Value], ...] = (
    ("vae_detect_shadow_rows", "Rows that the shadow scored too.", attrgetter("shadow.rows")),
    ("vae_detect_shadow_disagreements", "Those with another verdict.", attrgetter("shadow.disagreements")),
    ("vae_detect_shadow_skipped_rows", "Rows that came too fast for the shadow.", attrgetter("shadow.skipped")),
)
_COUNTERS_BY: tuple[tuple[str, str, str, _Values], ...] = (
    ("vae_detect_rows_flagged", "Rows answered without a score, by reason.", "reason", attrgetter("flagged")),
    ("vae_detect_model_reloads", "Newer versions that were loaded, by result.", "result", attrgetter("reloads")),
    ("vae_detect_samples", "Messages and lines of a source that were answered.", "source", attrgetter("samples")),
    ("vae_detect_poison_samples", "Those that hold no row that can be read.", "source", attrgetter("poison")),
    ("vae_detect_repeated_samples", "Those that had come before.", "source", attrgetter("repeats")),
    (
        "vae_detect_contribution",
        "Sum over anomalies of the share of the score that a column contributes.",
        "column",
        attrgetter("contributions.totals"),
    ),
)
_GAUGES: tuple[tuple[str, str, _Value], ...] = (
    ("vae_detect_threshold", "Scores above this are anomalies.", _loaded("calibration.threshold")),
    (
        "vae_detect_expected_false_alarm_ratio",
        "Promised share of normal rows that score above the threshold.",
        _loaded("calibration.far"),
    ),
    (
        "vae_detect_expected_false_alarm_ratio_low",
        "Lower end of the share that the promise allows for, 5 % quantile.",
        _loaded("calibration.far_low"),
    ),
    (
        "vae_detect_expected_false_alarm_ratio_high",
        "Upper end of the share that the promise allows for, 95 % quantile.",
        _loaded("calibration.far_high"),
    ),
    (
        "vae_detect_alarm_ratio",
        "Share of recent rows that scored above the threshold.",
        _loaded("monitor.memory.recent"),
    ),
    (
        "vae_detect_calibration_holds",
        "0 while far more rows are anomalies than promised, for longer than a fault lasts.",
        _loaded("monitor.holds"),
    ),
    (
        "vae_detect_drift_evidence",
        "How much speaks against the promise, 0 to 1; at 1 the calibration no longer holds.",
        _loaded("monitor.evidence"),
    ),
    (
        "vae_detect_provider_fell_back",
        "1 when a faster provider was there but could not be used.",
        attrgetter("fell_back"),
    ),
    ("vae_detect_keys", "Keys of which something is remembered.", attrgetter("keys")),
)
_GAUGES_BY: tuple[tuple[str, str, str, _Values], ...] = (
    (
        "vae_detect_machines",
        "Keys, and what comes without one, by how they are: anomaly while an event runs.",
        "state",
        attrgetter("machines"),
    ),
    (
        "vae_detect_last_input_age_seconds",
        "Seconds since a row was received last, or since the model was loaded.",
        "source",
        attrgetter("last_input_ages"),
    ),
    (
        "vae_detect_column_shift",
        "Recent mean less that of training, in standard deviations of training.",
        "column",
        attrgetter("columns.shift"),
    ),
    (
        "vae_detect_column_spread_ratio",
        "Recent standard deviation divided by that of training.",
        "column",
        attrgetter("columns.spread"),
    ),
)
_HISTOGRAMS: tuple[tuple[str, str, Callable[[ModelMetrics], Histogram]], ...] = (
    (
        "vae_detect_score_threshold_ratio",
        "Scores divided by the threshold; above 1 is an anomaly.",
        attrgetter("ratio"),
    ),
    ("vae_detect_inference_seconds", "Time to score one batch of rows, in seconds.", attrgetter("seconds")),
    ("vae_detect_batch_rows", "Rows in one batch.", attrgetter("rows")),
)
_TERMS = {
    graph.RECONSTRUCTION_ERROR: "Reconstruction error of rows, negative log-likelihood in nats.",
    graph.KL: "KL divergence of the posterior of rows from the prior, in nats.",
    graph.ELBO: "ELBO of rows, in nats; lower is worse.",
}
