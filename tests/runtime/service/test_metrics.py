from __future__ import annotations

import math
import re
import shutil
import subprocess
import threading
from copy import copy
from functools import partial
from timeit import repeat

import numpy as np
import pytest
from conftest import ROOT
from msgspec.structs import replace
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from vae_detect.runtime.detector import Detector, Scores
from vae_detect.runtime.metrics.model import ModelMetrics
from vae_detect.runtime.prometheus import remote_write, textfile
from vae_detect.runtime.scoring.drift import DriftMonitor
from vae_detect.runtime.scoring.results import Results
from vae_detect.runtime.service.metrics import ServiceMetrics
from vae_detect.runtime.service.refusals import CODES, LIMITS

EXPECTED = {
    "vae_detect_rows_received_total",
    "vae_detect_rows_scored_total",
    *(
        f"vae_detect_rows_flagged_total{{{reason}}}"
        for reason in ("warming", "gap", "late", "repeated", "bad", "overflow")
    ),
    "vae_detect_rows_refused_total",
    "vae_detect_anomalies_total",
    *(f"vae_detect_requests_total{{{code},{route}}}" for code in CODES for route in ("score", "infer")),
    "vae_detect_requests_total{401,other}",
    *(f"vae_detect_request_seconds_{what}{{{route}}}" for what in ("count", "sum") for route in ("score", "infer")),
    "vae_detect_requests_in_progress",
    "vae_detect_verdict_cpu_seconds",
    "vae_detect_events_started_total",
    *(f"vae_detect_limits_exceeded_total{{{limit}}}" for limit in LIMITS),
    "vae_detect_score_threshold_ratio_count",
    "vae_detect_score_threshold_ratio_sum",
    "vae_detect_inference_seconds_count",
    "vae_detect_inference_seconds_sum",
    "vae_detect_batch_rows_count",
    "vae_detect_batch_rows_sum",
    *(f"vae_detect_model_reloads_total{{{result}}}" for result in ("ok", "failed")),
    "vae_detect_keys",
    "vae_detect_keys_forgotten_total",
}


def series(metrics: ServiceMetrics, model: str = "pump") -> dict[str, float]:
    """Every sample of the service and of one model, by its name and its other label values."""
    found = {}
    for family in text_string_to_metric_families(metrics.exposition()[0].decode()):
        assert family.documentation
        for sample in family.samples:
            if sample.labels.get("model", model) != model:
                continue
            labels = ",".join(value for name, value in sorted(sample.labels.items()) if name != "model")
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def results(scores: list[float], threshold: float, statuses: list[str] | None = None) -> Results:
    """A batch with these scores, NaN where the status is not ok."""
    score = np.array(scores, np.float32)
    scored = np.isfinite(score)
    statuses = statuses or ["ok"] * len(scores)
    batch = Scores(score, score, score, scored & (score > np.float32(threshold)), scored)
    return Results(0, batch, statuses, [""] * len(scores), None)


@pytest.fixture
def metrics() -> ServiceMetrics:
    return ServiceMetrics(CollectorRegistry())


@pytest.fixture
def model(metrics: ServiceMetrics, detector: Detector) -> ModelMetrics:
    made = metrics.of_model("pump")
    made.show(detector, DriftMonitor(detector.bundle.calibration, None))
    return made


def wide(detector: Detector, columns: int) -> Detector:
    """The same with so many columns, as far as metrics know."""
    bundle, made = detector.bundle, copy(detector)
    made.bundle = replace(bundle, columns=tuple(replace(bundle.columns[0], name=f"c{n}") for n in range(columns)))
    return made


def test_every_series_is_there_at_zero_before_the_first_event() -> None:
    metrics = ServiceMetrics(CollectorRegistry())
    metrics.of_model("pump")
    fresh = series(metrics)
    assert {name: fresh[name] for name in EXPECTED} == dict.fromkeys(EXPECTED, 0.0)
    assert fresh["vae_detect_ready"] == 0
    assert math.isnan(fresh["vae_detect_threshold"])
    assert fresh["process_open_fds"] > 0
    assert not any("shadow" in name for name in fresh)


def test_series_of_a_shadow_are_there_at_zero_from_when_there_is_one() -> None:
    metrics = ServiceMetrics(CollectorRegistry())
    metrics.of_model("pump").of_shadow()
    fresh = {name: value for name, value in series(metrics).items() if "shadow" in name}
    assert {f"vae_detect_shadow_{what}_total" for what in ("rows", "disagreements", "skipped_rows")} < fresh.keys()
    assert set(fresh.values()) == {0.0}


def test_a_loaded_model_shows_its_promise(metrics: ServiceMetrics, model: ModelMetrics, detector: Detector) -> None:
    found = series(metrics)
    bundle = detector.bundle
    assert found["vae_detect_calibration_holds"] == 1
    assert found["vae_detect_threshold"] == bundle.calibration.threshold
    assert found["vae_detect_expected_false_alarm_ratio"] == bundle.calibration.far
    assert found[f"vae_detect_model_info{{{bundle.export_id},rows,cpu,{bundle.recipe}}}"] == 1
    assert any(name.startswith("vae_detect_build_info{") for name in found)


def test_received_is_scored_and_flagged_and_refused(metrics: ServiceMetrics, model: ModelMetrics) -> None:
    model.observe(results([1.0, math.nan, math.nan, 2.0], 9, ["ok", "warming", "gap", "ok"]), 0.25, 9)
    model.observe(results([1.0], 9), 0.5, 9)
    model.refused(7)
    metrics.request("score", 400)
    metrics.answered("infer", 0.02)
    found = series(metrics)
    assert found["vae_detect_rows_received_total"] == 12
    assert found["vae_detect_rows_scored_total"] == 3
    assert found["vae_detect_rows_flagged_total{warming}"] == 1
    assert found["vae_detect_rows_flagged_total{gap}"] == 1
    assert found["vae_detect_rows_refused_total"] == 7
    assert found["vae_detect_requests_total{400,score}"] == 1
    assert found["vae_detect_requests_total{200,infer}"] == 1
    assert found["vae_detect_request_seconds_bucket{0.005,infer}"] == 0
    assert found["vae_detect_request_seconds_bucket{0.025,infer}"] == 1
    assert found["vae_detect_request_seconds_sum{infer}"] == 0.02
    assert found["vae_detect_inference_seconds_sum"] == 0.75
    assert found["vae_detect_batch_rows_sum"] == 5
    assert found["vae_detect_batch_rows_bucket{16.0}"] == 2
    assert found["vae_detect_score_threshold_ratio_count"] == 3


@pytest.mark.parametrize("size", [1, 6])
def test_the_bucket_at_one_is_the_verdict(
    metrics: ServiceMetrics, model: ModelMetrics, detector: Detector, size: int
) -> None:
    threshold = np.float32(detector.bundle.calibration.threshold)
    around = [0.0, threshold / 2, np.nextafter(threshold, np.float32(0)), threshold]
    above = [np.nextafter(threshold, np.float32(1e9)), threshold * 1000]
    scores = [float(score) for score in (*around, *above)]
    for start in range(0, len(scores), size):
        model.observe(results(scores[start : start + size], float(threshold)), 1e-4, float(threshold))
    found = series(metrics)
    assert found["vae_detect_anomalies_total"] == 2
    assert found["vae_detect_score_threshold_ratio_bucket{1.0}"] == 4
    assert found["vae_detect_score_threshold_ratio_bucket{10.0}"] == 5
    assert found["vae_detect_score_threshold_ratio_bucket{+Inf}"] == 6
    assert found["vae_detect_score_threshold_ratio_sum"] == pytest.approx(sum(scores) / float(threshold))


def test_a_status_without_a_series_is_a_bug_not_a_new_series(metrics: ServiceMetrics, model: ModelMetrics) -> None:
    with pytest.raises(KeyError):
        metrics.request("score", 418)


def test_two_services_in_one_process_share_nothing() -> None:
    first, second = ServiceMetrics(CollectorRegistry()), ServiceMetrics(CollectorRegistry())
    first.of_model("pump").refused(1)
    second.of_model("pump")
    assert series(second)["vae_detect_rows_refused_total"] == 0


def test_two_models_of_one_service_are_told_apart_and_keep_their_counts(metrics: ServiceMetrics) -> None:
    metrics.of_model("pump").refused(1)
    metrics.of_model("fan").refused(2)
    metrics.of_model("pump").refused(4)  # of a later version
    assert [series(metrics, name)["vae_detect_rows_refused_total"] for name in ("pump", "fan")] == [5, 2]


def test_a_scrape_from_another_thread_never_sees_half_a_batch(metrics: ServiceMetrics, model: ModelMetrics) -> None:
    batch = results([1.0, math.nan], 9, ["ok", "bad"])
    stop = threading.Event()

    def count() -> None:
        while not stop.is_set():
            model.observe(batch, 1e-4, 9)

    counting = threading.Thread(target=count)
    counting.start()
    try:
        for _ in range(100):
            found = series(metrics)
            parts = found["vae_detect_rows_scored_total"], found["vae_detect_rows_flagged_total{bad}"]
            assert found["vae_detect_rows_received_total"] == sum(parts)
            assert parts[0] == parts[1] == found["vae_detect_inference_seconds_count"]
    finally:
        stop.set()
        counting.join()


def test_a_batch_is_counted_in_much_less_time_than_its_rows_one_by_one(model: ModelMetrics) -> None:
    batch, row = results([1.0] * 1024, 9), results([1.0], 9)
    together, alone = (min(repeat(partial(model.observe, each, 1e-4, 9), number=50)) for each in (batch, row))
    assert together < 0.3 * 1024 * alone


def test_promtool_finds_nothing(metrics: ServiceMetrics, model: ModelMetrics) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian package prometheus)")
    lint = subprocess.run(
        [promtool, "check", "metrics"], input=metrics.exposition()[0], capture_output=True, check=False, timeout=10
    )
    assert (lint.returncode, lint.stdout, lint.stderr) == (0, b"", b"")


def test_series_are_bounded_whatever_the_columns(metrics: ServiceMetrics, detector: Detector) -> None:
    metrics.of_model("pump")
    assert metrics.series_with("pump", wide(detector, 20)) <= 200
    assert metrics.series_with("pump", wide(detector, 5000)) <= 203
    assert metrics.series_with("pump", detector) == metrics.series_with("pump", wide(detector, 8))
    for name in ("pump", "fan"):
        expected = metrics.series_with(name, detector)
        metrics.of_model(name).show(detector, DriftMonitor(detector.bundle.calibration, None))
        assert metrics.series() == expected
    assert 2 * metrics.series("pump") < metrics.series() < 2 * metrics.series("pump") + 65


def test_who_asks_for_open_metrics_gets_exemplars(metrics: ServiceMetrics) -> None:
    metrics.answered("score", 0.02, "from-the-line-3")
    body, media_type = metrics.exposition("application/openmetrics-text; version=1.0.0, text/plain;q=0.5")
    assert media_type.startswith("application/openmetrics-text; version=1.0.0")
    found = [
        sample.exemplar.labels
        for family in openmetrics.text_string_to_metric_families(body.decode())
        for sample in family.samples
        if sample.exemplar
    ]
    assert found == [{"request_id": "from-the-line-3"}]
    plain, media_type = metrics.exposition("*/*")
    assert media_type.startswith("text/plain; version=0.0.4")
    assert b"from-the-line-3" not in plain


def test_a_verdict_costs_the_time_of_the_process_since_it_was_ready(
    metrics: ServiceMetrics, model: ModelMetrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 10.0
    monkeypatch.setattr("vae_detect.runtime.service.metrics.time.process_time", lambda: now)
    metrics.begin()
    assert metrics.verdict_cpu == 0
    model.observe(results([1.0] * 100, 9), 0.01, 9)
    now = 10.5
    assert metrics.verdict_cpu == pytest.approx(0.005)


def test_the_age_of_the_last_input_is_by_a_clock_that_nobody_sets(
    metrics: ServiceMetrics, detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, now = "vae_detect_last_input_age_seconds{http}", 1000.0
    monkeypatch.setattr("vae_detect.runtime.metrics.model.time.monotonic", lambda: now)
    model = metrics.of_model("pump")
    assert math.isnan(series(metrics)[name])
    model.show(detector, DriftMonitor(detector.bundle.calibration, None))
    now = 1007.0
    assert series(metrics)[name] == 7  # nothing has come since it was loaded
    model.observe(results([1.0], 9), 0.01, 9)
    now = 1010.0
    assert series(metrics)[name] == 3
    model.refused(0)  # nothing of which a row could be read
    assert series(metrics)[name] == 3
    model.refused(2)
    assert series(metrics)[name] == 0
    model.show(detector, DriftMonitor(detector.bundle.calibration, None))  # another version: the inputs go on
    now = 1011.0
    assert series(metrics)[name] == 1
    model.hide()
    assert math.isnan(series(metrics)[name])


def test_the_table_of_the_page_is_what_is_told(metrics: ServiceMetrics, model: ModelMetrics) -> None:
    model.of_shadow()
    model.add_source("mqtt")
    told = set()
    for family in metrics.collect():
        kind = {"counter": "_total", "info": "_info"}.get(family.type, "")
        labels = {name for sample in family.samples for name in sample.labels if name != "le"}
        told.add((family.name + kind, family.type, *sorted(labels)))
    page = (ROOT / "docs" / "metrics.md").read_text()
    table, _, of_score = page.partition("\n## Written by score\n")
    names = re.findall(r"^\| `(\w+)`", of_score, re.MULTILINE)
    assert names == [*remote_write.METRICS, *(f"vae_detect_run_{name}" for name in textfile.METRICS)]
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| `vae_detect_")]
    assert told == {(row[0].strip("| `"), row[1], *sorted(re.findall(r"`(\w+)`", row[3]))) for row in rows}
