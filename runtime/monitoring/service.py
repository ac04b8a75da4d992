"""The dashboard of the services: how fast they answer, what they refuse, what they run on and what it costs."""

from __future__ import annotations

from dataclasses import replace

from .panels import INSTANCE, JOB, Dashboard, Name, Panel, Query, Row, Step, Unit, quantiles

SERVICE = "vae-detect-service"

MOST_IN_PROGRESS = 256
"""Requests at once, beyond which the service refuses."""

_OURS = "and on (job, instance) vae_detect_ready{@service}"
"""Every program that Prometheus watches may have metrics of its process; these are those of our services."""

_CPU = f"(rate(process_cpu_seconds_total{{@service}}[$__rate_interval]) {_OURS})"
_PLAIN = (Step(None, "blue"),)


def service() -> Dashboard:
    """The dashboard."""
    return Dashboard(
        uid=SERVICE,
        title="vae-detect: service",
        description="The service itself: latency, throughput, refusals, providers, reloads, and what a verdict costs.",
        variables=(JOB, INSTANCE),
        rows=(
            Row("", (*_headlines(), _latency(), _throughput(), _answers(), _limits())),
            Row("Load and reloads", (_in_progress(), _rows(), _reloads())),
            Row("What it costs", (_cost(), _processors(), _memory())),
            Row("What it runs on", (_providers(), _builds()), folded=True),
        ),
        hours=1,
    )


def _headlines() -> tuple[Panel, ...]:
    requests = 'sum(rate(vae_detect_requests_total{@service, route!="other"}[$__rate_interval]))'
    refused = 'sum(rate(vae_detect_requests_total{@service, route!="other", code!="200"}[$__rate_interval]))'
    slow = "sum by (le) (rate(vae_detect_request_seconds_bucket{@service}[$__rate_interval]))"
    return (
        _number(
            "Not ready",
            "Services that answer but have no model to answer with.",
            "number",
            "sum(1 - vae_detect_ready{@service})",
            Step(None, "green"),
            Step(1, "yellow"),
        ),
        _number("Requests", "Requests to score a second, answered or refused.", "requests/s", requests),
        _number(
            "Refused",
            "The share of requests to score that were not answered with 200.",
            "ratio",
            f"{refused} / {requests}",
            Step(None, "green"),
            Step(0.01, "yellow"),
            Step(0.1, "red"),
        ),
        _number(
            "Slowest 1 %",
            "99 % of the requests that were answered took less, from the moment all of a request was there.",
            "seconds",
            f"histogram_quantile(0.99, {slow})",
            Step(None, "green"),
            Step(0.1, "yellow"),
            Step(0.5, "red"),
        ),
        _number(
            "A verdict costs",
            "CPU time of the process for each verdict, since it became ready; of the dearest service.",
            "seconds",
            "max(vae_detect_verdict_cpu_seconds{@service})",
            *_PLAIN,
        ),
        _number(
            "Memory",
            "Resident memory of the largest service.",
            "bytes",
            f"max(process_resident_memory_bytes{{@service}} {_OURS})",
            *_PLAIN,
        ),
    )


def _number(title: str, description: str, unit: Unit, expr: str, *steps: Step) -> Panel:
    return Panel(
        title=title,
        description=description,
        kind="number",
        unit=unit,
        queries=(Query(expr=expr, legend=title.lower()),),
        steps=steps or _PLAIN,
        width=4,
        height=4,
    )


def _latency() -> Panel:
    shares = {0.99: "99 % of {{route}}", 0.9: "90 % of {{route}}", 0.5: "half of {{route}}"}
    found = quantiles("vae_detect_request_seconds", shares, by=", route", of="@service")
    return Panel(
        title="Latency",
        description="From the moment all of a request was there to its answer, of those answered with 200. "
        "Points are requests with a header X-Request-Id, where Prometheus keeps exemplars.",
        kind="lines",
        unit="seconds",
        least=0,
        # Without what is NaN: a route that nobody uses has no curve.
        queries=tuple(replace(each, expr=f"{each.expr} >= 0", exemplars=each is found[0]) for each in found),
        width=12,
        height=8,
    )


def _throughput() -> Panel:
    return Panel(
        title="Throughput",
        description="Rows that get a score, a second, by model.",
        kind="bars",
        unit="rows/s",
        least=0,
        queries=(
            Query(
                expr="sum by (model) (rate(vae_detect_rows_scored_total{@service}[$__rate_interval]))",
                legend="{{model}}",
            ),
        ),
        width=12,
        height=8,
    )


def _answers() -> Panel:
    return Panel(
        title="Refusals",
        description="Requests, whatever they asked for, that were refused, a second, by the HTTP status. 4xx are the "
        "client's, 503 is no model yet or too much at once, 500 is a fault of ours.",
        kind="bars",
        unit="requests/s",
        least=0,
        legend_table=True,
        queries=(
            Query(
                expr='sum by (code) (rate(vae_detect_requests_total{@service, code!="200"}[$__rate_interval]))',
                legend="{{code}}",
            ),
        ),
        width=12,
        height=8,
    )


def _limits() -> Panel:
    return Panel(
        title="Limits exceeded",
        description="Requests and connections that were stopped at a limit of size, time, memory or number, a second, "
        "by limit.",
        kind="bars",
        unit="requests/s",
        least=0,
        legend_table=True,
        queries=(
            Query(
                expr="sum by (limit) (rate(vae_detect_limits_exceeded_total{@service}[$__rate_interval]))",
                legend="{{limit}}",
            ),
        ),
        width=12,
        height=8,
    )


def _in_progress() -> Panel:
    return Panel(
        title="Requests in progress",
        description=f"Worked on or waiting. At {MOST_IN_PROGRESS} the service refuses.",
        kind="lines",
        unit="number",
        least=0,
        queries=(Query(expr="max by (instance) (vae_detect_requests_in_progress{@service})", legend="{{instance}}"),),
        width=8,
        height=7,
    )


def _rows() -> Panel:
    return Panel(
        title="Rows in a batch",
        description="Rows that were scored in one run of the model: many small batches cost more than few large ones.",
        kind="lines",
        unit="number",
        least=0,
        queries=(
            Query(
                expr="sum by (model) (rate(vae_detect_batch_rows_sum{@service}[$__rate_interval]))"
                " / sum by (model) (rate(vae_detect_batch_rows_count{@service}[$__rate_interval]))",
                legend="{{model}}, mean",
            ),
        ),
        width=8,
        height=7,
    )


def _reloads() -> Panel:
    def of(result: str) -> str:
        series = f'vae_detect_model_reloads_total{{@service, result="{result}"}}'
        return f"sum by (model) (increase({series}[$__rate_interval]))"

    return Panel(
        title="Reloads",
        description="Newer versions of models that were loaded, and those that could not be: the version before goes "
        "on answering.",
        kind="bars",
        unit="number",
        least=0,
        queries=(
            Query(expr=of("ok"), legend="{{model}} loaded", colour="blue"),
            Query(expr=of("failed"), legend="{{model}} failed", colour="red"),
        ),
        width=8,
        height=7,
    )


def _cost() -> Panel:
    scored = "sum by (instance) (rate(vae_detect_rows_scored_total{@service}[$__rate_interval]))"
    return Panel(
        title="CPU time of a verdict",
        description="CPU time of the process for each scored row: of late, and since the service became ready "
        "(dashed). Higher when there is little to do, since the process never quite sleeps.",
        kind="lines",
        unit="seconds",
        least=0,
        queries=(
            Query(expr=f"sum by (instance) ({_CPU}) / {scored}", legend="{{instance}}"),
            Query(
                expr="max by (instance) (vae_detect_verdict_cpu_seconds{@service})",
                legend="{{instance}}, since its start",
                dashed=True,
            ),
        ),
        width=8,
        height=8,
    )


def _processors() -> Panel:
    return Panel(
        title="Processors in use",
        description="CPU seconds a second of each service: 1 is one core.",
        kind="lines",
        unit="cores",
        least=0,
        queries=(Query(expr=f"sum by (instance) ({_CPU})", legend="{{instance}}"),),
        width=8,
        height=8,
    )


def _memory() -> Panel:
    return Panel(
        title="Memory over time",
        description="Resident memory of each service. It does not grow with time; if it does, please report it.",
        kind="lines",
        unit="bytes",
        least=0,
        queries=(
            Query(
                expr=f"max by (instance) (process_resident_memory_bytes{{@service}} {_OURS})",
                legend="{{instance}}",
            ),
        ),
        width=8,
        height=8,
    )


def _providers() -> Panel:
    return Panel(
        title="Providers",
        description="Which execution provider was asked for and which is used. Fell back: a faster one was there for "
        "auto but could not be used; the log says why.",
        kind="table",
        unit="number",
        labels=(("instance", "Instance"), ("model", "Model"), ("asked", "Asked for"), ("used", "Used")),
        queries=(
            Query(
                expr="max by (instance, model, asked, used) (vae_detect_provider_info{@service}"
                " * on (job, instance, model) group_left () vae_detect_provider_fell_back{@service})",
                legend="Fell back",
                unit="state",
                names=(Name(0, "no", "green"), Name(1, "yes", "red")),
            ),
        ),
        width=12,
        height=7,
    )


def _builds() -> Panel:
    return Panel(
        title="Versions",
        description="What runs where, and for how long already.",
        kind="table",
        unit="number",
        labels=(
            ("instance", "Instance"),
            ("version", "vae-detect"),
            ("onnxruntime", "ONNX Runtime"),
            ("python", "Python"),
        ),
        queries=(
            Query(
                expr="max by (instance, version, onnxruntime, python) (vae_detect_build_info{@service}"
                " * on (job, instance) group_left () (time() - process_start_time_seconds{@service}))",
                legend="Running for",
                unit="seconds",
            ),
        ),
        width=12,
        height=7,
    )
