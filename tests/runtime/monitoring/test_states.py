"""What a real Prometheus makes of machines whose state is known."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import httpx
from drawn import filled_in
from watched import program, prometheus

from vae_detect.runtime.monitoring.panels import Query
from vae_detect.runtime.monitoring.states import STATES, count_in, state

START, HOURS, STEP_S = 1_767_592_800, 2, 15

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


def samples() -> str:
    """What Prometheus saw; the machine that is down was seen half an hour ago."""
    lines = []
    for machine, (_, told, share) in MACHINES.items():
        for name, value in (FINE | told).items():
            labels = f'job="vae-detect",instance="{machine}"'
            labels += "" if name in ("up", "vae_detect_ready") else ',model="pump"'
            for step in range(HOURS * 3600 // STEP_S):
                is_early = step < 90 * 60 // STEP_S
                shown = FINE[name] if value is None and is_early else value
                if shown is not None:
                    lines.append(f"{name}{{{labels}}} {shown} {START + step * STEP_S}")
        labels = f'job="vae-detect",instance="{machine}",model="pump"'
        for step in range(HOURS * 3600 // STEP_S):
            rows = step * ROWS_A_STEP
            when = START + step * STEP_S
            lines.append(f"vae_detect_rows_scored_total{{{labels}}} {rows} {when}")
            lines.append(f"vae_detect_anomalies_total{{{labels}}} {rows * share} {when}")
    lines += [f'up{{job="other",instance="of somebody else"}} 0 {START + n * STEP_S}' for n in range(480)]
    return "\n".join([*lines, "# EOF\n"])


def test_each_machine_is_in_its_state_and_counted_once(tmp_path: Path) -> None:
    (tmp_path / "samples.txt").write_text(samples())
    back_fill = [program("promtool"), "tsdb", "create-blocks-from", "openmetrics", "samples.txt", "data"]
    subprocess.run(back_fill, cwd=tmp_path, check=True, capture_output=True, timeout=60)

    def ask(url: str, expr: str) -> list[dict[str, Any]]:
        promql = filled_in(Query(expr=expr, legend="").promql, model=".+", rate_interval="1m", shown="1h")
        at = START + HOURS * 3600 - STEP_S
        answer = httpx.post(f"{url}/api/v1/query", data={"query": promql, "time": at}).json()
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    with prometheus(tmp_path) as url:
        found = {each["metric"]["instance"]: int(each["value"][1]) for each in ask(url, state("job, instance"))}
        assert found == {machine: expected for machine, (expected, _, _) in MACHINES.items()}
        counts = [int(ask(url, count_in(each.value))[0]["value"][1]) for each in STATES]
        assert counts == [3, 1, 1, 1, 1, 1]
