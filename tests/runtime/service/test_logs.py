"""Lines of text and of JSON: what they hold, how many there are, and readers that are stuck or gone."""

from __future__ import annotations

import json
import logging
import os
import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from vae_detect.runtime.service import logs
from vae_detect.runtime.service.logs import LibraryLines, Log, Sink, request_id_of


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def objects(lines: list[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines]


def test_text_is_the_message_alone() -> None:
    lines: list[str] = []
    log = Log(lines.append)
    log.event("serving", "serving it", model="pump")
    log.refused(400, "row 3 is bad")
    log.alarm("pump", row=3)
    assert lines == ["serving it"]


def test_json_is_an_object_a_line() -> None:
    lines: list[str] = []
    log = Log(lines.append, json=True)
    log.event("serving", "serving\nit", model="pump", size=3, level="warning")
    log.refused(503, "busy", request_id="a-1")
    first, second = objects(lines)
    assert "\n" not in lines[0]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first.pop("time"))
    assert first == {"level": "warning", "event": "serving", "message": "serving\nit", "model": "pump", "size": 3}
    assert (second["level"], second["event"], second["status"]) == ("warning", "request_refused", 503)
    assert second["request_id"] == "a-1"


def test_alarms_are_said_where_they_are_wanted() -> None:
    lines: list[str] = []
    Log(lines.append, alarms=True).alarm("pump", row=3, key=None, score=12.3456789, column="flow", request_id="a")
    Log(lines.append, alarms=True, json=True).alarm("pump", row=3, key="B", severity=float("inf"))
    assert lines[0] == "alarm: model pump, row 3, score 12.3457, column flow, request_id a"
    found = json.loads(lines[1])
    assert (found["event"], found["model"], found["row"], found["key"]) == ("alarm", "pump", 3, "B")
    assert found["severity"] is None  # strict JSON has no infinity


def test_ten_lines_of_a_cause_in_any_second() -> None:
    lines: list[str] = []
    clock = Clock()
    log = Log(lines.append, json=True, clock=clock)
    for _ in range(25):
        log.refused(400, "bad")
    log.refused(413, "large")  # another cause
    assert [line["status"] for line in objects(lines)] == [400] * 10 + [413]
    clock.now += 0.999
    log.refused(400, "bad")
    assert len(lines) == 11
    clock.now += 0.001
    log.refused(400, "bad")
    log.refused(400, "bad")
    assert [line.get("left_out") for line in objects(lines)[11:]] == [16, None]
    for _ in range(20):
        log.refused(400, "bad")
    log.close()
    assert objects(lines)[-1]["left_out"] == 12
    text: list[str] = []
    log = Log(text.append, alarms=True, clock=clock)
    for _ in range(12):
        log.alarm("pump", row=1)
    clock.now += 1
    log.alarm("pump", row=2)
    assert text[-1] == "alarm: model pump, row 2 (2 like it were left out)"


def test_what_libraries_log_becomes_a_line() -> None:
    lines: list[str] = []
    logger = logging.Logger("uvicorn.error")
    logger.addHandler(LibraryLines(Log(lines.append, json=True)))
    try:
        raise ValueError("a fault")
    except ValueError:
        logger.exception("Exception in ASGI application")
    logger.info("nothing")
    (found,) = objects(lines)
    assert (found["event"], found["level"], found["logger"]) == ("library", "error", "uvicorn.error")
    assert found["message"].startswith("Exception in ASGI application\nTraceback")
    assert found["message"].endswith("ValueError: a fault")


def test_a_sink_writes_in_order(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        sink = Sink(file.fileno())
        for number in range(500):
            sink.write(f"line {number} é \udcff")
        sink.close()
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines == [f"line {number} é \\udcff" for number in range(500)]


def test_a_full_disk_loses_lines_and_nothing_else() -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    sink = Sink(descriptor)
    for _ in range(10):
        sink.write("lost")
    sink.close()
    os.close(descriptor)
    assert sink.lost == 10


def test_a_reader_who_is_stuck_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "END_S", 0.2)
    reading, writing = os.pipe()
    sink = Sink(writing)
    started = time.monotonic()
    for _ in range(3000):
        sink.write("x" * 1000)  # 3 MB, of which a pipe takes 64 KiB
    assert sink.lost > 1000
    sink.close()
    assert time.monotonic() - started < 2
    os.close(reading)  # so that its thread ends
    deadline = time.monotonic() + 5
    while any(thread.name == "log" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        sink.close()
        time.sleep(0.01)
    os.close(writing)


@pytest.mark.parametrize("value", ["a", "A-1_b.c:d", "x" * 64])
def test_a_request_keeps_its_name(value: str) -> None:
    assert request_id_of([(b"host", b"x"), (b"x-request-id", value.encode())]) == value


@pytest.mark.parametrize("value", [b"", b"x" * 65, b"a b", b'a"', b"\xe9", b"a\n"])
def test_a_request_without_a_usable_name_gets_one(value: bytes) -> None:
    names = {request_id_of([(b"x-request-id", value)]) for _ in range(100)}
    assert len(names) == 100
    assert all(re.fullmatch("[0-9a-f]{16}", name) for name in names)
