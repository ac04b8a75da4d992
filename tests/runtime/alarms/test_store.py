"""Events across restarts, processes and accidents."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from vae_detect.runtime.alarms.event import Change, Event
from vae_detect.runtime.alarms.store import EventStore
from vae_detect.runtime.errors import InputError, UnavailableError, VaeDetectError
from vae_detect.runtime.scoring.results import Cause

CAUSES = (Cause("flow", 2.5, 11.0, 10.0), Cause("power", None, None, None))


def an_event(start: float = 1e9, **more: Any) -> Event:
    return Event(model="pump", source="mqtt", key="a", start=start, end=start + 5, columns=CAUSES, **more)


def started(store: EventStore, *events: Event) -> list[int]:
    store.apply([Change(event, "started") for event in events])
    return [event.id for event in events]


@pytest.mark.parametrize("where", ["file", "memory"])
def test_events_come_back_as_they_were(tmp_path: Path, where: str) -> None:
    store = EventStore(tmp_path / "state" / "events.sqlite" if where == "file" else None)
    first = an_event(peak_severity=2.5, peak_score=7.0, rows=3, reason="flow beyond 10")
    second = an_event(2e9)
    assert started(store, first, second) == [1, 2]
    assert store.list() == [second, first]
    assert store.of(1) == first
    assert (store.of(3), store.last_change()) == (None, 2)
    first.state, first.end = "ended", 1e9 + 60
    store.apply([Change(first, "changed"), Change(first, "ended")])
    assert store.changes(2) == [(3, first)]
    assert store.changes(1) == [(2, second), (3, first)]
    store.apply([])
    assert store.last_change() == 3


def test_events_are_found_by_key_and_time() -> None:
    store = EventStore(None)
    old, running, new = an_event(100), an_event(100), an_event(200)
    old.state = new.state = "ended"
    new.key = "b"
    started(store, old, running, new)
    assert store.list(since=150) == [new, running]
    assert store.list(since=150, key="a") == [running]
    assert store.list(limit=1) == [new]
    assert store.list(after_change=1) == [running, new]


def test_what_people_say_outlives_what_the_alarm_says() -> None:
    store, event = EventStore(None), an_event()
    started(store, event)
    assert store.acknowledged_at("pump", "a") is None
    before = time.time()
    assert store.ack(1)
    assert store.label(1, "false-alarm")
    assert store.last_change() == 3
    event.rows = 9
    store.apply([Change(event, "changed")])
    (found,) = store.list()
    assert (found.rows, found.acknowledged, found.label) == (9, True, "false-alarm")
    at = store.acknowledged_at("pump", "a")
    assert at is not None
    assert before <= at <= time.time()
    assert store.acknowledged_at("pump", "b") is None
    store.ack(1, acknowledged=False)
    assert not store.list()[0].acknowledged
    assert not store.ack(2)
    assert not store.label(2, "fault")
    assert store.last_change() == 5


def test_another_start_goes_on(tmp_path: Path) -> None:
    path, running = tmp_path / "events.sqlite", an_event()
    store = EventStore(path)
    started(store, running, an_event(2), an_event(3))
    store.move_cursor("hook", 2)
    store.close()
    store = EventStore(path)
    store.end_others([1], models=["fan"])
    assert store.last_change() == 3
    store.end_others([1], models=["pump"])
    assert [event.state for event in store.list()] == ["ended", "ended", "running"]
    assert (store.cursor("hook"), store.cursor("other")) == (2, None)
    assert started(store, an_event(4)) == [4]
    store.apply([Change(running, "changed")])
    assert [event.id for event in store.list()] == [4, 3, 2, 1]


def test_a_number_of_a_file_that_was_lost_is_not_anothers() -> None:
    store, restored = EventStore(None), an_event(id=1)
    started(store, an_event(5.0))
    store.apply([Change(restored, "ended")])
    assert restored.id == 2
    assert [event.start for event in store.list()] == [1e9, 5.0]


def test_an_event_that_is_told_again_after_an_accident_is_the_same(tmp_path: Path) -> None:
    store = EventStore(tmp_path / "events.sqlite")
    started(store, an_event(), an_event(2e9))
    again = an_event(rows=7)
    again.state = "ended"
    assert started(store, again) == [1]
    assert [(event.id, event.rows, event.state) for event in store.list()] == [(2, 0, "running"), (1, 7, "ended")]


def test_the_oldest_that_have_ended_are_forgotten() -> None:
    store = EventStore(None, most=3)
    running = an_event(0)
    started(store, running)
    for start in range(1, 10):
        started(store, an_event(start, state="ended"))
    assert [event.start for event in store.list()] == [9, 8, 7, 0]
    assert started(store, an_event(10)) == [11]


def test_a_thread_is_woken_by_the_next_change() -> None:
    store, woken = EventStore(None), list[float]()

    def wait() -> None:
        store.wait(0, 30)
        woken.append(time.monotonic())

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.05)
    assert not woken
    started(store, an_event())
    thread.join(5)
    assert woken
    store.wait(0, 30)  # which was long ago
    begun = time.monotonic()
    store.wait(1, 0.05)
    assert time.monotonic() - begun >= 0.04


def test_threads_and_processes_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    command = [sys.executable, "-c", _WRITER, str(path), "30", "1"]
    others = [subprocess.Popen([*command, key], stdout=subprocess.DEVNULL) for key in "ab"]
    store = EventStore(path)

    def write(key: str) -> None:
        for start in range(30):
            event = an_event(start)
            event.key = key
            started(store, event)

    threads = [threading.Thread(target=write, args=("x" * size,)) for size in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [other.wait(60) for other in others] == [0, 0]
    assert sorted(event.id for event in store.list()) == list(range(1, 121))
    assert [change for change, _ in store.changes(0, limit=200)] == list(range(1, 121))


_WRITER = """
import sys
from pathlib import Path
from vae_detect.runtime.alarms.event import Change, Event
from vae_detect.runtime.alarms.store import EventStore
path, rounds, at_once = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
store = EventStore(path)
for number in range(rounds):
    events = [Event(start=number + at / 10, key=sys.argv[4], reason="x" * 3000) for at in range(at_once)]
    store.apply([Change(event, "started") for event in events])
    print(number, flush=True)
"""


def killed_after(seconds: float, path: Path, key: str) -> int:
    """Batches that a writer said are written before it was killed."""
    with subprocess.Popen([sys.executable, "-c", _WRITER, path, "100000", "3", key], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        done = [writer.stdout.readline()]
        time.sleep(seconds)
        writer.send_signal(signal.SIGKILL)
        return len(done + writer.stdout.readlines())


def test_killed_in_the_middle_of_writing_nothing_is_torn(tmp_path: Path) -> None:
    path, chance = tmp_path / "events.sqlite", random.Random(1)
    total = 0
    for number in range(6):
        done = killed_after(0.3 * chance.random(), path, str(number))
        store = EventStore(path)
        total += done
        found = len(store.list(limit=1_000_000))
        # What was told is there, by threes, and at most one three more of each that was killed before it could tell.
        assert found % 3 == 0
        assert total <= found // 3 <= total + 1
        total = found // 3
        assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)
        store.close()


def broken(tmp_path: Path, how: str) -> Path:
    path = tmp_path / "events.sqlite"
    if how == "foreign":
        path.write_text("no database at all, but something that is longer than a page header" * 100)
    elif how == "folder":
        path.mkdir()
    elif how == "newer":
        EventStore(path).close()
        sqlite3.connect(path).execute("PRAGMA user_version = 7").connection.close()
    elif how == "beneath a file":
        (tmp_path / "file").write_text("")
        path = tmp_path / "file" / "events.sqlite"
    return path


@pytest.mark.parametrize("how", ["foreign", "folder", "newer", "beneath a file"])
def test_a_file_that_cannot_be_used_is_one_line_and_memory_will_do(tmp_path: Path, how: str) -> None:
    path, told = broken(tmp_path, how), list[str]()
    with pytest.raises(VaeDetectError) as refused:
        EventStore(path)
    assert str(path if how != "beneath a file" else path.parent) in str(refused.value)
    store = EventStore(path, say=told.append)
    assert told == [f"{refused.value}; events are kept in memory until the next start"]
    assert started(store, an_event()) == [1]
    assert store.ack(1)
    assert len(store.list()) == 1


def test_a_file_that_is_damaged_while_it_is_used(tmp_path: Path) -> None:
    path, told = tmp_path / "events.sqlite", list[str]()
    store = EventStore(path, say=told.append)
    running = an_event()
    started(store, running, *(an_event(float(at), reason="x" * 2000) for at in range(100)))
    sqlite3.connect(path).execute("PRAGMA wal_checkpoint(TRUNCATE)").connection.close()
    content = bytearray(path.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    path.write_bytes(content)
    running.rows = 7
    store.apply([Change(running, "changed")])
    assert len(told) == 1
    assert "is damaged, or no file of events" in told[0]
    assert started(store, an_event(2e9)) == [102]  # a number that nobody has seen
    assert [(event.id, event.rows) for event in store.list()] == [(102, 0), (1, 7)]
    assert store.last_change() > 101


def test_a_full_disk_is_one_line_and_scoring_goes_on(tmp_path: Path) -> None:
    script = f"""
import resource, sys
from pathlib import Path
{_WRITER.replace("EventStore(path)", "EventStore(path, say=lambda text: print(text, file=sys.stderr))")}
"""
    script = script.replace("store = ", "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\nstore = ")
    path = tmp_path / "events.sqlite"
    run = subprocess.run(
        [sys.executable, "-c", script, path, "200", "1", "a"], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout.splitlines()[-1]) == (0, "199")
    (line,) = run.stderr.splitlines()
    assert line.startswith(f"{path}: events cannot be kept there: ")
    assert line.endswith("; events are kept in memory until the next start")
    kept = EventStore(path).list()
    assert 0 < len(kept) < 200


def test_reading_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "state" / "events.sqlite"
    with pytest.raises(InputError, match="no such file"):
        EventStore(path, read_only=True)
    assert not path.parent.exists()
    store = EventStore(path)
    started(store, an_event())
    reader = EventStore(path, read_only=True)
    assert len(reader.list()) == 1
    with pytest.raises(UnavailableError, match="readonly"):
        reader.ack(1)
    started(store, an_event())
    assert reader.last_change() == 2
