"""A steady load, a tenth of it bad, whose every answer is held against what it must be; and what the server takes."""

from __future__ import annotations

import json
import threading
import time
from array import array
from collections import Counter
from collections.abc import Callable, Mapping
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from conftest import MODEL
from numpy.typing import NDArray

from vae_detect.runtime.detector import Detector
from vae_detect.runtime.simulation import simulate

CLIENTS = 8
MINUTE_S = 60.0


class Request(NamedTuple):
    """What is sent, and what must come."""

    path: str
    body: bytes
    status: int
    rows: int
    """That count as received."""
    scores: NDArray[np.float32] | None = None
    headers: Mapping[str, str] = MappingProxyType({})
    method: str = "POST"


def requests_of(rows: NDArray[np.float32]) -> tuple[list[Request], list[Request]]:
    """Good and bad requests."""
    scores = Detector.load(MODEL, provider="cpu").score(rows).score
    good = []
    for at in range(len(rows) - 12):
        one, many = rows[at].tolist(), rows[at : at + 12].tolist()
        tensor = {"name": "x", "shape": [12, 8], "datatype": "FP32", "data": rows[at : at + 12].ravel().tolist()}
        good += [
            Request("/score", dumped(one), 200, 1, scores[at : at + 1]),
            Request(f"/score?key=machine-{at % 50}", dumped(one), 200, 1, scores[at : at + 1]),
            Request("/score?explain=1", dumped(many), 200, 12, scores[at : at + 12]),
            Request("/v2/models/vae/infer", dumped({"inputs": [tensor]}), 200, 12, scores[at : at + 12]),
            Request("/score?on_bad_row=flag", dumped([*many, [None] * 8]), 200, 13, scores[at : at + 12]),
        ]
    one, bad = rows[0].tolist(), [None] * 8
    refused = [
        Request("/score", dumped([one, bad]), 400, 2),
        Request("/score", dumped([3e38] * 8), 400, 1),
        Request("/score", dumped(one[:-1]), 400, 1),
        Request("/score", b"[1, 2", 400, 0),
        Request("/score", b"[NaN, 1, 2, 3, 4, 5, 6, 7]", 400, 1),
        Request("/score", b"", 400, 0),
        Request("/score", b"[" * 100, 400, 0),
        Request("/score?explain=maybe", dumped(one), 400, 0),
        Request("/score?model=other", dumped(one), 404, 0),
        Request("/score", dumped(one), 415, 0, None, {"content-encoding": "br"}),
        Request("/score", dumped(one), 415, 0, None, {"content-type": "application/pdf"}),
        Request("/v2/models/vae/infer", b'{"inputs":[]}', 400, 0),
        Request("/v2/models/none/infer", b"{}", 404, 0),
        Request("/nowhere", b"", 404, 0),
        Request("/score", b"", 405, 0, None, {}, "GET"),
    ]
    return good, refused


def dumped(body: Any) -> bytes:
    return json.dumps(body).encode()


class Load:
    """Clients that send so many requests a second, whatever comes of them."""

    def __init__(self, port: int, per_second: float, seconds: float) -> None:
        rows = simulate(duration_s=3600, period_s=30, seed=7).values.astype(np.float32)
        self._good, self._bad = requests_of(rows)
        self._port, self._period, self._end = port, CLIENTS / per_second, time.monotonic() + seconds
        self._began = time.monotonic()
        self.wrong: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.sent_rows = self.sent = self.late = 0
        self.latencies: dict[int, array[float]] = {}
        """In seconds, by minute."""
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(CLIENTS)]

    def run(self, watch: Callable[[float], object]) -> None:
        """Sends until the end, and calls `watch` with the seconds since the beginning, once a second."""
        for thread in self._threads:
            thread.start()
        while any(thread.is_alive() for thread in self._threads):
            watch(time.monotonic() - self._began)
            time.sleep(1)

    def percentile(self, minute: int, share: float) -> float:
        """Of the latencies of a minute; -1 is the last whole one."""
        minutes = sorted(self.latencies)
        whole = [each for each in minutes if len(self.latencies[each]) > 0.9 * len(self.latencies[minutes[0]])]
        return float(np.quantile(self.latencies[whole[minute]], share))

    def _run(self, number: int) -> None:
        generator = np.random.default_rng(number)
        connection = HTTPConnection("127.0.0.1", self._port, timeout=20)
        due = self._began + self._period * number / CLIENTS
        while due < self._end:
            wait = due - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            kind = self._bad if generator.random() < 0.1 else self._good
            self._ask(connection, kind[generator.integers(len(kind))], late=wait < -1)
            due += self._period
        connection.close()

    def _ask(self, connection: HTTPConnection, request: Request, *, late: bool) -> None:
        started = time.monotonic()
        try:
            connection.request(request.method, request.path, request.body, dict(request.headers))
            response = connection.getresponse()
            status, content = response.status, response.read()
        except (OSError, HTTPException) as error:
            with self._lock:
                self.wrong[f"{request.path}: {error!r}"] += 1
            connection.close()
            return
        took = time.monotonic() - started
        problem = problem_of(request, status, content)
        with self._lock:
            self.sent += 1
            self.late += late
            self.sent_rows += request.rows
            self.statuses[status] += 1
            self.latencies.setdefault(int((started - self._began) / MINUTE_S), array("d")).append(took)
            if problem:
                self.wrong[problem] += 1


def problem_of(request: Request, status: int, content: bytes) -> str:
    """What is wrong with an answer; "" where nothing is."""
    if status != request.status:
        return f"{request.path}: {status} in place of {request.status}: {content[:100]!r}"
    told = json.loads(content)
    if request.scores is None:
        return "" if told["error"] and len(content) < 4096 else f"{request.path}: {content[:100]!r}"
    if "outputs" in told:
        (found,) = [output["data"] for output in told["outputs"] if output["name"] == "score"]
    else:
        found = [each["score"] for each in told["results"] if each["score"] is not None]
    right = len(found) == len(request.scores) and np.allclose(found, request.scores, rtol=1e-5, atol=0)
    return "" if right else f"{request.path}: scores {found[:3]}"


class Taken(NamedTuple):
    """What a process takes at a moment."""

    second: float
    rss_mb: float
    descriptors: int
    threads: int

    @classmethod
    def of(cls, pid: int, second: float) -> Taken:
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        descriptors = len([*Path(f"/proc/{pid}/fd").iterdir()])
        return cls(second, int(status["VmRSS"].split()[0]) / 1024, descriptors, int(status["Threads"]))
