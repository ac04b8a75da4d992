"""From the start to the end of the command: ready soon, not ready first when it stops, nobody cut off."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from http.client import HTTPConnection
from typing import Any

import pytest
from conftest import MODEL, ROOT
from server_process import addresses, command, connect

ROW = [1450, 172, 1, 3, 33, 19, 40, 2]
STOPS = 20 if "SOAK_SECONDS" in os.environ else 2


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def ask(port: int, path: str) -> tuple[int, Any]:
    with closing(HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, json.loads(response.read())


def test_it_is_live_then_ready_within_three_seconds() -> None:
    """Polled from the start: never ready before a row can be scored."""
    port = free_port()
    words = [sys.executable, "-m", "vae_detect", "serve", "--model", str(MODEL), "--port", str(port)]
    started, live, seen = time.monotonic(), 0.0, set[int]()
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env={"PYTHONPATH": str(ROOT / "src")}) as running:
        try:
            while True:
                assert time.monotonic() - started < 15
                with suppress(ConnectionError):
                    assert ask(port, "/healthz") == (200, {"status": "ok"})
                    live = live or time.monotonic() - started
                    status, told = ask(port, "/readyz")
                    seen.add(status)
                    if status == 200:
                        break
                    assert (status, told["error"]) == (503, "not ready: the model is being loaded")
                time.sleep(0.005)
            ready = time.monotonic() - started
            with closing(HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
                connection.request("POST", "/score", json.dumps(ROW))
                assert connection.getresponse().status == 200
        finally:
            running.kill()
            running.communicate()
    assert live <= ready < 3 * max(1, os.getloadavg()[0] / (os.cpu_count() or 1))


BODIES: list[tuple[str, Any]] = [
    ("/score", ROW),
    ("/score", [ROW] * 40),
    ("/score?key=a", [ROW] * 5),
    ("/score?explain=1", [ROW] * 200),
    ("/score", [ROW] * 4000),
    (
        "/v2/models/vae/infer",
        {"inputs": [{"name": "x", "shape": [2, 8], "datatype": "FP32", "data": [*ROW, *ROW]}]},
    ),
]


def work(port: int, number: int) -> tuple[int, str]:
    """Scores until it is told to close: how many were answered, and what went wrong."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        for answered in range(100_000):
            path, body = BODIES[(answered + number) % len(BODIES)]
            try:
                connection.request("POST", path, json.dumps(body))
                response = connection.getresponse()
                content = response.read()
            except OSError as error:
                return answered, repr(error)
            if response.status != 200:
                return answered, f"{response.status} {content[:200]!r}"
            if response.headers.get("connection") == "close":
                return answered, ""
    raise AssertionError("the server does not stop")


@pytest.mark.parametrize("number", range(STOPS))
def test_a_stop_under_load_cuts_nobody_off(number: int) -> None:
    """With batches of all sizes on the way, idle connections and half of a request that never comes whole."""
    stop = signal.SIGTERM if number % 2 else signal.SIGINT
    with command("--port", "0") as (running, said), ThreadPoolExecutor(4) as pool, ExitStack() as held:
        (url,) = addresses(said[-1])
        port = int(url.rpartition(":")[2])
        for begun in (b"", b"POST /score HT", b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n[1,"):
            held.enter_context(connect(url)).sendall(begun)
        working = [pool.submit(work, port, client) for client in range(4)]
        time.sleep(0.2 + 0.05 * (number % 7))
        running.send_signal(stop)
        started = time.monotonic()
        assert [one.result(timeout=15)[1] for one in working] == [""] * 4
        assert sum(one.result()[0] for one in working) > 4
        assert running.wait(10) == 0
        assert time.monotonic() - started < 10
        assert running.communicate()[1] == ""


def test_it_says_that_it_is_not_ready_before_it_takes_no_more() -> None:
    with command("--port", "0") as (running, said):
        port = int(addresses(said[-1])[0].rpartition(":")[2])
        with closing(HTTPConnection("127.0.0.1", port, timeout=5)) as kept:
            kept.request("GET", "/readyz")
            assert kept.getresponse().read()
            running.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + 5
            while True:
                assert time.monotonic() < deadline
                kept.request("GET", "/readyz")
                response = kept.getresponse()
                told = json.loads(response.read())
                if response.status == 503:
                    break
            assert told == {"error": "not ready: the service is stopping"}
            kept.request("POST", "/score", json.dumps(ROW))  # and still it answers
            response = kept.getresponse()
            assert (response.status, len(json.loads(response.read())["results"])) == (200, 1)
        assert running.wait(10) == 0
