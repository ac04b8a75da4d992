"""Lines of text and of JSON: what they hold, how many there are, and readers that are stuck or gone."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import MODEL, ROOT

from vae_detect.runtime.hosting import logs
from vae_detect.runtime.hosting.health import check
from vae_detect.runtime.hosting.logs import LibraryLines, Log, Sink, request_id_of

ROW = b"[1450,172,1,3,33,19,40,2]"


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


def test_each_of_many_models_is_told_of() -> None:
    lines: list[str] = []
    log = Log(lines.append, json=True, clock=Clock())
    for number in range(12):
        log.event("serving", "serving it", model=f"pump-{number}")
        for _ in range(11):
            log.event("fault", "of ours", level="error")
    assert [line["event"] for line in objects(lines)].count("serving") == 12
    assert [line["event"] for line in objects(lines)].count("fault") == 10


def test_alarms_of_a_large_request_need_not_be_told_one_by_one() -> None:
    lines: list[str] = []
    clock = Clock()
    log = Log(lines.append, alarms=True, json=True, clock=clock)
    for row in range(10):
        log.alarm("pump", row=row, more=90 if row == 9 else 0)
    log.alarm("valve", row=0, more=5)
    clock.now += 1
    log.alarm("pump", row=100)
    assert [line.get("left_out", 0) for line in objects(lines)] == [0] * 11 + [90]
    log.close()
    assert objects(lines)[-1]["left_out"] == 5


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


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("stream", ["full", "stuck", "gone", "closed"])
def test_a_log_that_fails_holds_no_request_up(tmp_path: Path, stream: str, form: str) -> None:
    path = tmp_path / "sock"
    reading, writing = os.pipe()
    if stream == "full":
        os.close(writing)
        writing = os.open("/dev/full", os.O_WRONLY)
    elif stream == "stuck":  # nobody reads, and the pipe is full from the start
        os.set_blocking(writing, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writing, b"x" * 4096)
        os.set_blocking(writing, True)
    elif stream == "gone":
        os.close(reading)
    words = [sys.executable, "-m", "vae_detect", "serve", "--model", str(MODEL), "--unix", str(path)]
    words = [
        "sh",
        "-c",
        'exec "$@" >&- 2>&-' if stream == "closed" else 'exec "$@"',
        "sh",
        *words,
        "--log-format",
        form,
    ]
    env = {"PYTHONPATH": str(ROOT / "src"), "VAE_DETECT_TOKEN": "0123456789abcdef"}
    with subprocess.Popen(words, env=env, stdout=writing, stderr=writing) as running:
        os.close(writing)
        try:
            deadline = time.monotonic() + 10
            while check(f"unix:{path}", "/readyz", 1) is not None:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            waits = []
            with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://x") as client:
                for number in range(300):
                    token = "0123456789abcdef" if number % 2 else "wrong"
                    started = time.monotonic()
                    answer = client.post("/score", content=ROW, headers={"Authorization": f"Bearer {token}"})
                    waits.append(time.monotonic() - started)
                    assert answer.status_code == (200 if number % 2 else 401)
            assert max(waits) < 1
            running.terminate()
            assert running.wait(timeout=10) == 0
        finally:
            running.kill()
            if stream != "gone":
                os.close(reading)


@pytest.mark.parametrize("value", ["a", "A-1_b.c:d", "x" * 64])
def test_a_request_keeps_its_name(value: str) -> None:
    assert request_id_of([(b"host", b"x"), (b"x-request-id", value.encode())]) == value


@pytest.mark.parametrize("value", [b"", b"x" * 65, b"a b", b'a"', b"\xe9", b"a\n"])
def test_a_request_without_a_usable_name_gets_one(value: bytes) -> None:
    names = {request_id_of([(b"x-request-id", value)]) for _ in range(100)}
    assert len(names) == 100
    assert all(re.fullmatch("[0-9a-f]{16}", name) for name in names)
