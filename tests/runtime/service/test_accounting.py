"""Metrics of the whole service: what is counted closes, series stay as many, and a scrape waits for nobody."""

from __future__ import annotations

import asyncio
import json
import math
import random
import shutil
import statistics
import string
import subprocess
import threading
import time
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from conftest import Client, parse
from numpy.typing import NDArray
from server_process import addresses, command
from versions import version_of

from vae_detect.runtime.detector import Detector

Floats = NDArray[np.float32]


def counts(client: Client, model: str = "pump") -> dict[str, float]:
    """received, scored, refused and flagged rows of a model."""
    series = parse(client.ask("GET", "/metrics").text)
    found = {
        what: series[f"vae_detect_rows_{what}_total[('model', '{model}')]"]
        for what in ("received", "scored", "refused")
    }
    flagged = f"vae_detect_rows_flagged_total[('model', '{model}')"
    return found | {"flagged": sum(value for name, value in series.items() if name.startswith(flagged))}


def test_accounting_closes_over_whatever_is_sent_and_over_a_reload(
    detector: Detector, windows_detector: Detector, normal_rows: Floats
) -> None:
    client, chance = Client(detector), random.Random(1)
    rows = normal_rows[:50].tolist()
    bad, huge = [None] * 8, [3e38] * 8
    tensor = {"name": "x", "shape": [4, 8], "datatype": "FP32", "data": normal_rows[:4].ravel().tolist()}
    spoilt = tensor | {"data": [*tensor["data"][:-1], 3e38]}
    sent: list[tuple[str, Any, int]] = [  # and how many rows of it count
        ("/score", rows[0], 1),
        ("/score", rows[:7], 7),
        ("/score", rows * 40, 2000),
        ("/score", [*rows[:3], bad], 4),
        ("/score", [*rows[:3], huge], 4),
        ("/score", [*rows * 40, huge], 2001),
        ("/score", [*rows * 40, bad], 2001),
        ("/score?on_bad_row=flag", [*rows[:5], bad, huge], 7),
        ("/score?on_bad_row=flag&key=b", [bad, *rows[:3]], 4),
        ("/score?key=a", rows[:6], 6),
        ("/score?key=a", [rows[0], bad], 2),
        ("/score?explain=1", rows[:9], 9),
        ("/score?explain=1", rows * 201, 10_050),
        ("/v2/models/pump/infer", {"inputs": [tensor]}, 4),
        ("/v2/models/pump/infer", {"inputs": [spoilt]}, 4),
        ("/v2/models/pump/encoder/infer", {"inputs": [tensor]}, 0),  # gives codes, and scores nothing
        ("/v2/models/pump/infer", {"inputs": []}, 0),
        ("/score?nothing=1", rows[0], 0),
        ("/score?model=fan", rows[0], 0),
        ("/score", {"rubbish": 1}, 1),
        ("/score", "text", 0),
    ]
    expected = 0.0
    before = counts(client)
    for version in (detector, windows_detector, detector):
        client.use(version)
        for path, body, n in chance.sample(sent, len(sent)):
            if version is windows_detector and path.startswith("/v2"):
                continue
            response = client.ask("POST", path, content=json.dumps(body).encode())
            assert response.status_code in (200, 400, 404, 413), response.text
            expected += n
            now = counts(client)
            assert now["received"] == expected, (path, response.text[:200])
            assert now["received"] == now["scored"] + now["refused"] + now["flagged"]
            assert all(now[name] >= before[name] for name in now)
            before = now
    assert min(before.values()) > 0


def test_nothing_that_a_client_says_makes_a_series(detector: Detector, row: list[float]) -> None:
    client, chance = Client(detector), random.Random(2)
    content = json.dumps(row).encode()

    def word() -> str:
        return "".join(chance.choices(string.ascii_letters + string.digits + "._-", k=chance.randint(1, 60)))

    async def ask(http: httpx.AsyncClient) -> None:
        path = chance.choice(
            ["/score", "/score?key=", "/score?model=", "/v2/models/", "/v2/models/pump/versions/", "/", "/metrics?"]
        )
        method = chance.choice(["POST", "POST", "POST", "GET", "PUT", word().upper().replace(".", "X")[:9]])
        headers = {"x-request-id": word(), f"x-{word()}".replace(".", "").replace("_", ""): word()}
        suffix = "" if path == "/score" else word()
        await http.request(method, f"{path}{suffix}", content=content, headers=headers)

    async def run() -> None:
        transport = httpx.ASGITransport(client.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            for _ in range(100):
                await asyncio.gather(*(ask(http) for _ in range(100)))

    before = client.series()
    assert len(before) <= 200
    asyncio.run(run())
    assert client.series().keys() == before.keys()


def test_promtool_finds_nothing_in_several_models_with_a_shadow(
    tmp_path: Path, detector: Detector, windows_model: Path, row: list[float]
) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian package prometheus)")
    client = Client(detector)
    windows = client.repository.add("a.b-c_d", windows_model)
    asyncio.run(client.repository.load("a.b-c_d"))
    asyncio.run(client.repository.shade("pump", version_of(tmp_path, "b", "b" * 16, 2.0)))
    client.repository.add("later", tmp_path / "none.onnx", awaited=False)  # has no version
    client.results([row] * 3, "?model=pump&key=x")
    client.results([row] * 6, "?model=a.b-c_d")
    assert client.score([row, [None] * 8], "?model=pump").status_code == 400
    found = client.ask("GET", "/metrics").content
    lint = subprocess.run([promtool, "check", "metrics"], input=found, capture_output=True, check=False, timeout=10)
    assert (lint.returncode, lint.stdout, lint.stderr) == (0, b"", b"")
    assert windows.metrics.scored == 3
    assert client.model.shadow is not None
    client.model.shadow.close()


def test_the_wall_clock_may_jump(detector: Detector, row: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """By a day, either way, with every request: no figure but a time stamp follows it."""
    plain, jumping = Client(detector), Client(detector)
    real, jumps = time.time, iter(86400 * sign for sign in [1, -1] * 10_000)
    figures = []
    for client in (plain, jumping):
        if client is jumping:
            monkeypatch.setattr(time, "time", lambda: real() + next(jumps))
            monkeypatch.setattr(time, "time_ns", lambda: int((real() + next(jumps)) * 1e9))
        for n in (1, 5, 3000):
            client.results([row] * n, "?key=a")
        series = client.series()
        assert 0 < series["vae_detect_inference_seconds_sum[]"] < 5
        # A closer look comes to a part of the rows, of which nobody knows how large it is.
        others = ("seconds", "process", "column", "_kl", "_elbo", "reconstruction_error")
        figures.append({name: value for name, value in series.items() if not any(word in name for word in others)})
    same, other = figures
    assert {name for name in same if not (same[name] == other[name] or math.isnan(same[name]))} == set()


def test_a_scrape_waits_for_no_scoring() -> None:
    """Of a service that is as busy as it can be."""
    row = [1450, 172, 1, 3, 33, 19, 40, 2]
    bodies = [json.dumps(row).encode(), json.dumps([row] * 5000).encode(), json.dumps([row] * 100).encode()]
    with command("--port", "0") as (_, said):
        port = int(addresses(said[-1])[0].rpartition(":")[2])
        stop = threading.Event()

        def work(body: bytes) -> None:
            with closing(HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
                while not stop.is_set():
                    connection.request("POST", "/score", body)
                    connection.getresponse().read()

        working = [threading.Thread(target=work, args=(body,)) for body in bodies * 2]
        for thread in working:
            thread.start()
        took = []
        with closing(HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
            for _ in range(60):
                started = time.perf_counter()
                connection.request("GET", "/metrics")
                connection.getresponse().read()
                took.append(time.perf_counter() - started)
                time.sleep(0.02)
        stop.set()
        for thread in working:
            thread.join()
        assert statistics.median(took) < 0.05
