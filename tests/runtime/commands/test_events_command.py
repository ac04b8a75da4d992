"""What `vae-detect events` shows, follows and takes down."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from command_line import refused, run
from conftest import run_here

from vae_detect.runtime.alarms.event import Change, Event
from vae_detect.runtime.alarms.store import EventStore
from vae_detect.runtime.scoring.results import Cause

START = 1_767_592_800.0  # 2026-01-05T06:00:00Z
CAUSES = (Cause("pressure", 2.0, 3.25, 2.0), Cause("flow", 1.0, None, 4.0), Cause("power", 0.5, 1.0, 1.0))


def an_event(key: str, start: float, **more: Any) -> Change:
    event = Event(model="pump", key=key, start=start, end=start + 90, peak_severity=2.5, rows=4, columns=CAUSES, **more)
    return Change(event, "started")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    store = EventStore(tmp_path / "state" / "events.sqlite")
    store.apply([an_event("a", START, state="ended"), an_event("b", START + 3600), an_event("a", time.time())])
    store.close()
    return tmp_path / "state"


def test_events_are_a_table(state: Path) -> None:
    lines = run_here("events", "--state", state).stdout.splitlines()
    assert lines[0].split() == ["event", "start", "lasted", "of", "rows", "peak", "state", "because", "of"]
    told = "pressure 3.25 (expected 2), flow missing (expected 4)"
    assert lines[1] == f"    1  2026-01-05T06:00:00Z   1m30s  pump a     4  2.50  ended    {told}"
    assert len(lines) == 4


def test_events_are_lines_of_json(state: Path) -> None:
    told = [json.loads(line) for line in run_here("events", "--state", state, "--json").stdout.splitlines()]
    assert [event["id"] for event in told] == [1, 2, 3]
    columns = told[0].pop("columns")
    assert columns[0] == {"column": "pressure", "contribution": 2.0, "actual": 3.25, "expected": 2.0}
    assert told[0] == {
        **{"id": 1, "model": "pump", "source": "", "key": "a", "peak_severity": 2.5, "peak_score": None, "rows": 4},
        **{"start": "2026-01-05T06:00:00Z", "end": "2026-01-05T06:01:30Z", "reason": "", "state": "ended"},
        **{"acknowledged": False, "label": ""},
    }


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (["--since", "1h"], [2, 3]),  # the second still runs
        (["--since", "1h", "--key", "a"], [3]),
        (["--since", "2026-01-05T06:01:31Z"], [2, 3]),
        (["--since", "2026-01-05T06:01:30Z"], [1, 2, 3]),
        (["--key", "c"], []),
    ],
)
def test_events_are_chosen(state: Path, asked: list[str], expected: list[int]) -> None:
    told = run_here("events", "--state", state, "--json", *asked).stdout.splitlines()
    assert [json.loads(line)["id"] for line in told] == expected


def test_only_the_newest_are_in_the_table(tmp_path: Path) -> None:
    store = EventStore(tmp_path / "events.sqlite")
    store.apply([an_event("a", START + at) for at in range(60)])
    store.close()
    shown = run_here("events", VAE_DETECT_STATE=f"{tmp_path}:/elsewhere")
    assert len(shown.stdout.splitlines()) == 51
    assert shown.stdout.splitlines()[1].startswith("   11  ")
    assert shown.stderr == "these are the newest 50; --json has all\n"


def test_what_people_say_is_kept(state: Path) -> None:
    assert run_here("events", "--state", state, "--ack", "1").stdout == ""
    said = run_here("events", "--state", state, "--label", "2", "fault", "--label", "1", "false-alarm")
    assert f"{state / 'labels.csv'}: 2 labels; " in said.stderr
    assert "finetune" in said.stderr
    lines = run_here("events", "--state", state).stdout.splitlines()
    assert "ended, acknowledged, false-alarm" in lines[1]
    assert "running, fault" in lines[2]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--ack", "9"), "event 9: there is none with this number in"),
        (("--since", "soon"), "time 'soon'"),
        (("--label", "1", "maybe"), "'maybe' is not one of"),
        (("--state", "none"), "no such file; --state names the folder"),
        (("--state", "broken"), "is damaged, or no file of events"),
    ],
)
def test_wrong_asking_is_one_line(state: Path, own_folder: Path, words: tuple[str, ...], expected: str) -> None:
    Path("broken").mkdir()
    Path("broken/events.sqlite").write_text("nothing of ours" * 500)
    refused(run("events", "--state", state, *words), 2, expected)
    assert not Path("none").exists()


def test_what_changes_is_followed(state: Path) -> None:
    command = [sys.executable, "-m", "vae_detect", "events", "--state", str(state), "--json", "--follow", "--key", "a"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        assert [json.loads(follower.stdout.readline())["id"] for _ in range(2)] == [1, 3]
        store = EventStore(state / "events.sqlite")
        store.apply([an_event("b", START + 1), an_event("a", START + 2)])
        store.ack(1)
        told = [json.loads(follower.stdout.readline()) for _ in range(2)]
        assert [(event["id"], event["acknowledged"]) for event in told] == [(5, False), (1, True)]
        follower.send_signal(signal.SIGINT)
        assert follower.wait(10) == 130
        store.close()
