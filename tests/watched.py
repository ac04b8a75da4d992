"""A real Prometheus that has watched a served detector for an hour and a half, run in seconds.

The service is real, and so are its metrics; only time is not. After each `STEP_S` seconds of a simulated station its
rows are posted and /metrics is read, and what was read is written into Prometheus' storage at the simulated time.

    with watched_prometheus(tmp_path) as history:
        history.query("sum by (model) (increase(vae_detect_anomalies_total[10m]))", history.fault_end)

Times that the service measures itself, like how long a request took or how old the last input is, are real seconds.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import socket
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from conftest import MODEL
from server_process import addresses, command

from vae_detect.runtime.simulation import Fault, csv_lines, simulate

MODELS: dict[str, str | None] = {"pump": "cavitation@70m+10m", "booster": None}
"""Two stations and the fault of each, both served by one process with the detector of exported/."""

LABELS = {"job": "vae-detect", "instance": "box:8000"}
"""What Prometheus adds to every series that it scrapes."""

STEP_S, PERIOD_S = 15, 1
"""Simulated seconds between two scrapes, and between two rows."""

_START = datetime(2026, 1, 5, 6)
_LENGTH_S, _FAULT_START_S, _FAULT_END_S = 100 * 60, 70 * 60, 80 * 60
_UNSOUND_STEPS = 40
"""Every so many steps a row lacks a value, and a request is no JSON: no plant is without it, and no alert is due."""


class Scrape(NamedTuple):
    """What /metrics showed."""

    time: float
    """Simulated, in seconds since 1970."""
    exposition: str
    """Empty if the service could not be reached."""


Series = dict[str, dict[float, str]]
"""Samples: series, as it is written in PromQL, to time to value."""


@dataclass(frozen=True)
class History:
    """What Prometheus at `url` knows. Simulated times in seconds since 1970; normal but from `fault_start` on to
    `fault_end`, when the station of the model `pump` cavitates."""

    url: str
    start: float
    fault_start: float
    fault_end: float
    end: float
    series: Series
    """Every sample, as it was read."""

    def query(self, promql: str, at: float) -> list[dict[str, Any]]:
        """What Prometheus answers at a time: samples, each with `metric` and `value`."""
        return self._ask("query", query=promql, time=at)

    def query_range(self, promql: str, start: float, end: float, step: float = STEP_S) -> list[dict[str, Any]]:
        """What Prometheus answers for a period: series, each with `metric` and `values`."""
        return self._ask("query_range", query=promql, start=start, end=end, step=step)

    def _ask(self, what: str, **options: str | float) -> list[dict[str, Any]]:
        answer = httpx.post(f"{self.url}/api/v1/{what}", data=options, timeout=30).json()
        assert answer["status"] == "success", answer
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found


@contextlib.contextmanager
def watched_prometheus(folder: Path) -> Iterator[History]:
    """A Prometheus that has seen it all, on 127.0.0.1, until the block ends; its files lie in this empty folder."""
    program("promtool")
    program("prometheus")
    series = by_series(_watch(), LABELS)
    back_fill(folder, series)
    start = _START.replace(tzinfo=UTC).timestamp()
    with prometheus(folder) as url:
        yield History(url, start, start + _FAULT_START_S, start + _FAULT_END_S, start + _LENGTH_S, series)


def back_fill(folder: Path, series: Series) -> None:
    """Writes these samples into folder/data, the storage of a Prometheus that does not run yet."""
    lines = [f"{name} {value} {when}" for name, of in series.items() for when, value in of.items()]
    (folder / "samples.txt").write_text("\n".join([*lines, "# EOF\n"]))
    words = [program("promtool"), "tsdb", "create-blocks-from", "openmetrics", "samples.txt", "data"]
    subprocess.run(words, cwd=folder, check=True, capture_output=True, timeout=120)


@contextlib.contextmanager
def prometheus(folder: Path, config: str = "") -> Iterator[str]:
    """A Prometheus with this configuration over the storage in folder/data; where it answers, until the block ends."""
    (folder / "prometheus.yml").write_text(config)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    words = [program("prometheus"), "--config.file=prometheus.yml", "--storage.tsdb.path=data"]
    words += ["--storage.tsdb.retention.time=100y", f"--web.listen-address={address}"]
    with (folder / "prometheus.log").open("w") as log, subprocess.Popen(words, cwd=folder, stderr=log) as running:
        try:
            deadline = time.monotonic() + 30
            while not _is_ready(f"http://{address}/-/ready"):
                is_starting = running.poll() is None and time.monotonic() < deadline
                assert is_starting, (folder / "prometheus.log").read_text()
                time.sleep(0.05)
            yield f"http://{address}"
        finally:
            running.kill()


def program(name: str) -> str:
    """Where this program of Prometheus is; a test that needs it is skipped where it is not."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed (Debian package prometheus)")
    return path


def _is_ready(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(url).status_code == 200
    return False


def _watch() -> Iterator[Scrape]:
    """Serves the models, feeds them, and reads the metrics once at the start and after each step."""
    start = _START.replace(tzinfo=UTC).timestamp()
    lines = {model: [*_rows(seed, fault)] for seed, (model, fault) in enumerate(MODELS.items(), 100)}
    rows_a_step = STEP_S // PERIOD_S
    first, *others = (f"{name}={MODEL}" for name in MODELS)
    options = [word for other in others for word in ("--model", other)]
    with command("--port", "0", *options, model=Path(first)) as (_, said):
        (url,) = addresses(said[-1])
        with httpx.Client(base_url=url) as client:
            yield Scrape(start, client.get("/metrics").text)
            for step in range(_LENGTH_S // STEP_S):
                for model, (header, *rows) in lines.items():
                    piece = rows[step * rows_a_step : (step + 1) * rows_a_step]
                    _post(client, model, [header, *piece], is_sound=step % _UNSOUND_STEPS != _UNSOUND_STEPS - 1)
                yield Scrape(start + (step + 1) * STEP_S, client.get("/metrics").text)


def _rows(seed: int, fault: str | None) -> Iterator[str]:
    """Lines of CSV, header first."""
    faults = [] if fault is None else [Fault.parse(fault)]
    return csv_lines(simulate(duration_s=_LENGTH_S, period_s=PERIOD_S, seed=seed, faults=faults, start=_START))


def _post(client: httpx.Client, model: str, lines: list[str], *, is_sound: bool) -> None:
    path = f"/score?model={model}&on_bad_row=flag"
    if not is_sound:
        assert client.post(path, content="no rows").status_code == 400
        lines = [*lines[:-1], re.sub(r",[^,]*$", ",\n", lines[-1])]
    answer = client.post(path, content="".join(lines), headers={"Content-Type": "text/csv"})
    assert answer.status_code == 200, answer.text


def by_series(scrapes: Iterable[Scrape], labels: Mapping[str, str]) -> Series:
    """Every sample with the labels that Prometheus adds, and `up`."""
    series: Series = defaultdict(dict)
    added = ",".join(f"{label}={json.dumps(value)}" for label, value in labels.items())
    for when, exposition in scrapes:
        series[f"up{{{added}}}"][when] = "1" if exposition else "0"
        for line in exposition.splitlines():
            if sample := re.fullmatch(r"([^#]\w*)(?:\{(.*)\})? (\S+)", line):
                name, own, value = sample.groups()
                series[f"{name}{{{f'{added},{own}' if own else added}}}"][when] = value
    return series
