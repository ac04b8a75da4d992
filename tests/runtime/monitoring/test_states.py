"""What a real Prometheus makes of machines whose state is known."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
from conftest import ROOT
from drawn import filled_in
from watched import Series, back_fill, prometheus

from vae_detect.runtime.monitoring.panels import Query
from vae_detect.runtime.monitoring.states import SILENT_S, STATES, count_in, state

TIMES = [1_767_592_800.0 + step * 15 for step in range(2 * 3600 // 15)]
GONE = TIMES[-1] - 1800

FINE = {
    "up": 1.0,
    "vae_detect_ready": 1.0,
    "vae_detect_last_input_age_seconds": 3.0,
    "vae_detect_calibration_holds": 1.0,
    "vae_detect_expected_false_alarm_ratio": 0.001,
    "vae_detect_expected_false_alarm_ratio_high": 0.002,
}
MACHINES: dict[str, tuple[int, dict[str, float | None], float]] = {
    "fine": (0, {}, 0.002),
    "a few too many": (0, {}, 0.015),
    "anomalous": (1, {}, 0.025),
    "promised nothing high": (0, {"vae_detect_expected_false_alarm_ratio_high": 0.0001}, 0.005),
    "off, and anomalous": (2, {"vae_detect_calibration_holds": 0.0}, 0.5),
    "silent": (3, {"vae_detect_last_input_age_seconds": 601.0}, 0.5),
    "empty": (4, {"vae_detect_ready": 0.0, **dict.fromkeys([*FINE][2:], float("nan"))}, 0.0),
    "down": (5, dict.fromkeys(FINE, None) | {"up": 0.0}, 0.0),
}
"""By the state that is expected: what is not as on a machine that is fine, and the share of rows that are anomalies."""

ROWS_A_STEP = 15


def samples() -> Series:
    """What Prometheus saw; the machine that is down was seen half an hour ago."""
    series: Series = {'up{job="other",instance="of somebody else"}': dict.fromkeys(TIMES, "0")}
    for machine, (_, told, share) in MACHINES.items():
        of_service = f'job="vae-detect",instance="{machine}"'
        of_model = f'{of_service},model="pump"'
        for name, value in (FINE | told).items():
            labels = of_service if name in ("up", "vae_detect_ready") else of_model
            shown = {when: FINE[name] if value is None else value for when in TIMES if value is not None or when < GONE}
            series[f"{name}{{{labels}}}"] = {when: str(number) for when, number in shown.items()}
        rows = {when: ROWS_A_STEP * step for step, when in enumerate(TIMES)}
        series[f"vae_detect_rows_scored_total{{{of_model}}}"] = {when: str(n) for when, n in rows.items()}
        series[f"vae_detect_anomalies_total{{{of_model}}}"] = {when: str(n * share) for when, n in rows.items()}
    return series


def test_each_machine_is_in_its_state_and_counted_once(tmp_path: Path) -> None:
    back_fill(tmp_path, samples())

    def ask(url: str, expr: str) -> list[dict[str, Any]]:
        promql = filled_in(Query(expr=expr, legend="").promql, model=".+", rate_interval="1m", shown="1h")
        answer = httpx.post(f"{url}/api/v1/query", data={"query": promql, "time": TIMES[-1]}).json()
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    with prometheus(tmp_path) as url:
        found = {each["metric"]["instance"]: int(each["value"][1]) for each in ask(url, state("job, instance"))}
        assert found == {machine: expected for machine, (expected, _, _) in MACHINES.items()}
        counts = [int(ask(url, count_in(each.value))[0]["value"][1]) for each in STATES]
        assert counts == [3, 1, 1, 1, 1, 1]


def test_the_lines_are_those_of_the_alerts() -> None:
    rules = (ROOT / "deploy" / "rules.yml").read_text()
    assert f"min without (source) (vae_detect_last_input_age_seconds) > {SILENT_S}\n" in rules
    burst = rules.partition("alert: VaeDetectAnomalyBurst")[2].partition("- alert:")[0]
    for line in (r"clamp_max\(10 \* \S.*, 0\.5\)", r"increase\(vae_detect_anomalies_total\S*\[1h\]\) >= 5"):
        assert re.search(line, burst)
        assert re.search(line, state("instance"))
