"""The rules of deploy/: what promtool says of them, what the runbook says, and what they do in real metrics."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from conftest import ROOT
from watched import STEP_S, History, program

RULES, RUNBOOK = ROOT / "deploy" / "rules.yml", ROOT / "docs" / "runbook.md"
ALL = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in ALL if "alert" in rule}
FIRES_WITHIN_S = 180
"""After the beginning of a fault that shows in most rows; docs/runbook.md says so."""


def promtool(*arguments: str | Path) -> str:
    done = subprocess.run([program("promtool"), *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_promtool_accepts_the_rules() -> None:
    assert f"SUCCESS: {len(ALL)} rules found" in promtool("check", "rules", "--lint=all", "--lint-fatal", RULES)


def test_each_alert_fires_where_it_should_and_nowhere_else() -> None:
    promtool("test", "rules", ROOT / "deploy" / "rules.test.yml")


def test_each_alert_has_a_test_firing_and_silent() -> None:
    tests = yaml.safe_load((ROOT / "deploy" / "rules.test.yml").read_text())["tests"]
    cases = [case for test in tests for case in test.get("alert_rule_test", ())]
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == set(ALERTS)
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == set(ALERTS)


def test_each_alert_has_a_section_in_the_runbook_and_names_it() -> None:
    sections = re.findall(r"^## (VaeDetect\w+)$", RUNBOOK.read_text(), re.MULTILINE)
    assert sorted(sections) == sorted(ALERTS)
    for name, rule in ALERTS.items():
        assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}, name
        assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{name.lower()}"
        assert rule["labels"]["severity"] in {"critical", "warning"}


def test_rules_and_runbook_name_metrics_that_exist() -> None:
    table = (ROOT / "docs" / "metrics.md").read_text()
    known = set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE))
    recorded = {rule["record"] for rule in ALL if "record" in rule}
    named = set(re.findall(r"[a-z_]+:vae_detect_\w+:\w+", RULES.read_text()))
    assert named == recorded  # each is defined, and used
    text = re.sub(r"[a-z_]+:vae_detect_\w+:\w+", "", RULES.read_text() + RUNBOOK.read_text())
    metrics = {re.sub("_(bucket|count|sum)$", "", name) for name in re.findall(r"vae_detect_\w+", text)}
    assert metrics - known == set()


def test_every_panel_that_the_runbook_names_is_drawn() -> None:
    dashboards = "".join(path.read_text() for path in (ROOT / "deploy" / "grafana" / "v1").glob("*.json"))
    titles = set(re.findall(r'"title": "([^"]+)"', dashboards))
    named = set(re.findall(r"panel\s+\*([^*]+)\*", RUNBOOK.read_text()))
    assert len(named) > 10
    assert named - titles == set()


def test_prometheus_answers_every_query_of_the_runbook(history: History) -> None:
    queries = re.findall(r"^```promql\n(.*?)^```", RUNBOOK.read_text(), re.MULTILINE | re.DOTALL)
    assert len(queries) > len(ALERTS)
    assert [query for query in queries if not history.query(query, history.fault_end)] == []


def test_the_burst_fires_on_the_fault_and_a_normal_hour_is_silent(history: History, tmp_path: Path) -> None:
    (tmp_path / "real.test.yml").write_text(yaml.safe_dump(replayed(history)))
    promtool("test", "rules", tmp_path / "real.test.yml")


def replayed(history: History) -> dict[str, Any]:
    """A test of the rules whose series are what was scraped, of the metrics that they read."""
    read = set(re.findall(r"\w+", RULES.read_text()))
    times = [history.start + step * STEP_S for step in range(round((history.end - history.start) / STEP_S) + 1)]
    series = [
        {"series": name, "values": " ".join(values.get(when, "_") for when in times)}
        for name, values in history.series.items()
        if name.partition("{")[0] in read
    ]
    return {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "group_eval_order": ["vae-detect", "vae-detect-slow"],
        "tests": [{"interval": f"{STEP_S}s", "input_series": series, "promql_expr_test": [*expected(history)]}],
    }


def expected(history: History) -> Iterator[dict[str, Any]]:
    """What fires, minute by minute."""

    def at(when: float, which: str, *found: str) -> dict[str, Any]:
        samples = [{"labels": labels, "value": 1} for labels in found]
        expr = f'ALERTS{{alertstate="firing", {which}}}'
        return {"expr": expr, "eval_time": f"{round(when - history.start)}s", "exp_samples": samples}

    burst = 'alertname="VaeDetectAnomalyBurst"'
    for when in range(round(history.start), round(history.fault_start) + 1, 60):
        yield at(when, "")
    for when in range(round(history.fault_start), round(history.end) + 1, 60):
        yield at(when, 'model!="pump"')
    labels = 'job="vae-detect", instance="box:8000", model="pump", severity="critical"'
    firing = f'ALERTS{{alertstate="firing", {burst}, {labels}}}'
    for when in range(round(history.fault_start) + FIRES_WITHIN_S, round(history.fault_end) + 1, 60):
        yield at(when, burst, firing)
    yield at(history.end, burst)
