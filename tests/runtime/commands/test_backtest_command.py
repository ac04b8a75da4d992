"""A month in a real Prometheus: what a backtest says of it is what the service said while it happened."""

from __future__ import annotations

import csv
import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from command_line import refused
from conftest import MODEL, run_here
from numpy.typing import NDArray
from prometheus_server import backfill, prometheus
from server_process import process, url_of

from vae_detect.runtime.detector import Detector
from vae_detect.runtime.simulation import Fault, Recording, simulate

STEP_S, FIRST_S = 300, 1_767_571_200  # 2026-01-05T00:00:00Z
GAP = slice(4000, 4100)
"""Rows that were never recorded."""
KEYS = ("a", "b")


class Month(NamedTuple):
    where: str
    rows: NDArray[np.int64]
    """The numbers of those that were recorded, as steps from the first."""
    values: NDArray[np.float64]
    columns: tuple[str, ...]

    @property
    def arguments(self) -> list[str]:
        queries = [word for name in self.columns for word in ("--query", f'{name}=pump{{column="{name}",m="a"}}')]
        return [f"prometheus+http://{self.where}/", *queries, "--start", str(FIRST_S), "--end", "2026-02-03T23:59:00Z"]


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory, detector: Detector) -> Iterator[Month]:
    """30 days, a row every 5 minutes, two faults and a gap."""
    faults = [Fault.parse("cavitation@10d+2h"), Fault.parse("leak@20d+3h")]
    recorded: Recording = simulate(duration_s=30 * 86400, period_s=STEP_S, seed=3, faults=faults)
    columns = detector.bundle.names
    rows = np.delete(np.arange(len(recorded.values)), GAP)
    values = recorded.values[rows]
    folder = tmp_path_factory.mktemp("prometheus")
    seconds = (FIRST_S + rows * STEP_S).tolist()
    series = {
        f'pump{{column="{name}",m="{key}"}}': list(zip(seconds, values[:, at].tolist(), strict=True))
        for at, name in enumerate(columns)
        for key in KEYS
    }
    backfill(folder, series)
    with prometheus(folder, "--query.lookback-delta=1m") as where:
        yield Month(where, rows, values, columns)


def alarms_of(events: list[dict[str, object]]) -> list[int]:
    """The rows of events; a run is unbroken."""
    return [
        row
        for event in events
        for row in range(int(str(event["row"])), int(str(event["row"])) + int(str(event["rows"])))
    ]


@pytest.fixture(scope="module")
def model(month: Month, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of windows, trained on all of it, which is enough to alarm now and then."""
    path = tmp_path_factory.mktemp("models") / "pump.onnx"
    training = ["train", *month.arguments, "--step", "5m", "--out", str(path)]
    settings = ["--kind", "windows", "--window", "4", "--recipe", "vae", "epochs=3", "hidden=16"]
    done = run_here(*training, *settings)
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture(scope="module")
def told(month: Month, model: Path) -> dict[str, list[dict[str, object]]]:
    done = run_here("backtest", "--json", "--model", model, month.arguments[0], *month.arguments[-4:])
    assert done.returncode == 0, done.stderr
    assert f"{len(month.rows)} rows of 8 queries" in done.stderr
    found: dict[str, list[dict[str, object]]] = json.loads(done.stdout)
    return found


def live(month: Month, model: Path, piece: int) -> list[int]:
    """The rows that the service called anomalies when they came, one request after the other."""
    found = []
    with process(model) as running:
        connection = http.client.HTTPConnection(url_of(running).removeprefix("http://"), timeout=30)
        for first in range(0, len(month.rows), piece):
            part = slice(first, first + piece)
            body = [
                {"time": FIRST_S + int(row) * STEP_S, **dict(zip(month.columns, values.tolist(), strict=True))}
                for row, values in zip(month.rows[part], month.values[part], strict=True)
            ]
            connection.request("POST", "/score?key=a", json.dumps(body))
            answer = json.loads(connection.getresponse().read())
            found += [first + each["row"] for each in answer["results"] if each["is_anomaly"]]
        connection.close()
    return found


def test_a_backtest_is_what_was_said_live(month: Month, told: dict[str, list[dict[str, object]]], model: Path) -> None:
    alarms = alarms_of(told["events"])
    assert len(alarms) > 50
    assert alarms == live(month, model, 7)


def test_days_add_up_and_the_gap_is_none(month: Month, told: dict[str, list[dict[str, object]]]) -> None:
    days = {str(day["day"]): day for day in told["days"]}
    assert len(days) == 30
    assert sum(int(str(day["rows"])) for day in days.values()) == len(month.rows)
    # rows 4000 to 4099 are missing: 32 of day 13 (rows 3744 to 4031) and 68 of day 14
    assert (days["2026-01-18"]["rows"], days["2026-01-19"]["rows"]) == (256, 220)


def test_the_same_rows_in_a_file_are_scored_the_same(month: Month, model: Path, tmp_path: Path) -> None:
    path, scores = tmp_path / "rows.csv", [tmp_path / "file.csv", tmp_path / "server.csv"]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["time", *month.columns])
        writer.writerows(
            [[FIRST_S + int(row) * STEP_S, *values] for row, values in zip(month.rows, month.values, strict=True)]
        )
    assert run_here("score", path, "--model", model, "--out", scores[0]).returncode == 0
    done = run_here("score", *month.arguments, "--step", "5m", "--model", model, "--out", scores[1])
    assert done.returncode == 0, done.stderr
    assert scores[0].read_text() == scores[1].read_text()


def test_a_model_of_several_keys_remembers_its_queries(month: Month, tmp_path: Path) -> None:
    fleet = tmp_path / "fleet.onnx"
    address, *rest = month.arguments
    queries = [word.replace(',m="a"', "") for word in rest[:-4]]
    training = ["train", address, *queries, "--key", "m", "--start", str(FIRST_S), "--end", "2026-01-14T00:00:00Z"]
    done = run_here(*training, "--step", "5m", "--kind", "rows", "--recipe", "vae", "--out", fleet, "epochs=1")
    assert done.returncode == 0, done.stderr
    inspected = run_here("inspect", fleet).stdout
    assert 'pump{column="flow_m3h"}' in inspected
    assert month.where not in inspected
    done = run_here(
        "score", address, "--model", fleet, "--start", "2026-01-06T00:00:00Z", "--end", "2026-01-06T00:10:00Z"
    )
    assert done.returncode == 0, done.stderr
    lines = list(csv.DictReader(done.stdout.splitlines()))
    assert [(line["time"], line["key"]) for line in lines[:3]] == [
        ("2026-01-06T00:00:00Z", "a"),
        ("2026-01-06T00:00:00Z", "b"),
        ("2026-01-06T00:05:00Z", "a"),
    ]


def test_labels_can_be_a_query_too(month: Month, model: Path) -> None:
    labels = 'label=pump{column="flow_m3h",m="a"} > bool 1e9'
    words = ["evaluate", *month.arguments, "--step", "5m", "--query", labels, "--labels", "label"]
    done = run_here(*words, "--model", model, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == len(month.rows)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["normal.csv", "--start", "-1h"], "are for DATA like prometheus+http"),
        (["prometheus+http://127.0.0.1:9/", "prometheus+http://127.0.0.1:9/", "--start", "-1h"], "read alone"),
        (["prometheus+http://127.0.0.1:9/", "--start", "-1h", "--decimal", ","], "is for files"),
        (["prometheus+http://127.0.0.1:9/"], "--query 'speed_rpm=PROMQL'"),
        (["prometheus+http://127.0.0.1:9/", "--query", "{up}"], "expected NAME=PROMQL"),
        (["prometheus+http://127.0.0.1:9/", "--query", "time=up"], "there is a column 'time' already"),
        (["prometheus+http://me:hidden@127.0.0.1:9/"], "give a token with --token-file"),
    ],
)
def test_what_does_not_fit_is_refused(words: list[str], told: str, own_folder: Path) -> None:
    (own_folder / "normal.csv").write_text("a\n1\n")
    done = run_here("backtest", "--model", MODEL, *words)
    refused(done, 2, told)
    assert "hidden" not in done.stderr
