"""Reloads under load through the command: nothing fails, nothing is mixed, nothing goes back."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from conftest import parse
from numpy.typing import NDArray
from server_process import addresses, command
from versions import copied, version_of

from vae_detect.runtime.detector import Detector

A, B = "a" * 16, "b" * 16
RELOADS = 100 if "SOAK_SECONDS" in os.environ else 24
CLIENTS = 8


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions, and files of which none is sound."""
    folder = tmp_path_factory.mktemp("versions")
    version_of(folder, "a", A, 1.0)
    version_of(folder, "b", B, 2.0)
    for name in ("truncated", "text", "mixed", "nan"):
        copied(folder, name, folder / "a.onnx")
    (folder / "truncated.onnx").write_bytes((folder / "a.onnx").read_bytes()[:20_000])
    (folder / "text.onnx").write_text("no model")
    shutil.copy(folder / "b.encoder.onnx", folder / "mixed.encoder.onnx")
    model = onnx.load(folder / "a.onnx")
    (weight,) = [tensor for tensor in model.graph.initializer if tensor.name == "model.decoder.layers.2.weight"]
    values = onnx.numpy_helper.to_array(weight).copy()
    values[3, 5] = np.nan
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    onnx.save(model, folder / "nan.onnx")
    return folder


def put(made: Path, name: str, pump: Path) -> None:
    """This version is what stands at `pump` now, as the export writes it: aside, then renamed."""
    for part in (".encoder", ".decoder", ""):
        aside = pump.with_name("aside.tmp")
        shutil.copy(made / f"{name}{part}.onnx", aside)
        os.replace(aside, pump.with_name(f"pump{part}.onnx"))  # noqa: PTH105  # over what is there


class Clients:
    """What asks all the time, and holds each answer against what the version that it names gives."""

    def __init__(self, port: int, rows: NDArray[np.float32], expected: dict[str, NDArray[np.float32]]) -> None:
        self._port, self._rows, self._expected = port, rows, expected
        self._stop = threading.Event()
        self.wrong: list[str] = []
        self.scored = self.answers = 0
        self.versions: set[str] = set()
        self._lock = threading.Lock()
        asking = [self._score, self._score, self._score, self._infer] * (CLIENTS // 4)
        works = [*asking, self._watch]
        self._threads = [threading.Thread(target=self._run, args=(work, seed)) for seed, work in enumerate(works)]

    def _run(self, work: Callable[[HTTPConnection, np.random.Generator], None], seed: int) -> None:
        generator = np.random.default_rng(seed)
        try:
            with closing(HTTPConnection("127.0.0.1", self._port, timeout=20)) as connection:
                while not self._stop.is_set():
                    work(connection, generator)
        except Exception as error:
            self.wrong.append(repr(error))

    def _ask(self, connection: HTTPConnection, method: str, path: str, body: Any = None) -> Any:
        connection.request(method, path, None if body is None else json.dumps(body))
        response = connection.getresponse()
        content = response.read()
        if response.status != 200:
            self.wrong.append(f"{path}: {response.status} {content[:200]!r}")
        return content

    def _pick(self, generator: np.random.Generator) -> NDArray[np.int64]:
        size = int(generator.choice([1, 7, 40, 3000], p=[0.9, 0.05, 0.04, 0.01]))
        return generator.integers(0, len(self._rows), size)

    def _check(self, version: str, places: NDArray[np.intp], scores: Any) -> None:
        if version not in self._expected or not np.allclose(scores, self._expected[version][places], rtol=1e-5, atol=0):
            self.wrong.append(f"{version} is said to have given {scores[:3]}")
        with self._lock:
            self.scored += len(places)
            self.answers += 1
            self.versions.add(version)

    def _score(self, connection: HTTPConnection, generator: np.random.Generator) -> None:
        places = self._pick(generator)
        told = json.loads(self._ask(connection, "POST", "/score", self._rows[places].tolist()))
        self._check(told["model"], places, [each["score"] for each in told["results"]])

    def _infer(self, connection: HTTPConnection, generator: np.random.Generator) -> None:
        places = self._pick(generator)
        x = self._rows[places]
        tensor = {"name": "x", "shape": list(x.shape), "datatype": "FP32", "data": x.ravel().tolist()}
        told = json.loads(self._ask(connection, "POST", "/v2/models/pump/infer", {"inputs": [tensor]}))
        (scores,) = [output["data"] for output in told["outputs"] if output["name"] == "score"]
        self._check(told["model_version"], places, scores)

    def _watch(self, connection: HTTPConnection, _: np.random.Generator) -> None:
        """Readiness stays, and no counter goes back."""
        self._ask(connection, "GET", "/readyz")
        now = parse(self._ask(connection, "GET", "/metrics").decode())
        before = getattr(self, "_before", now)
        counters = [name for name in before if name.partition("[")[0].endswith(("_total", "_count", "_bucket"))]
        self.wrong += [f"{name} went back" for name in counters if now[name] < before[name]]
        self._before = now
        time.sleep(0.05)

    @contextmanager
    def asking(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()


def ask(port: int, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
    with closing(HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request(method, path, None if body is None else json.dumps(body))
        response = connection.getresponse()
        return response.status, response.read()


class Operator:
    """Puts files in their place and has them loaded, in one way or another."""

    def __init__(self, made: Path, pump: Path, running: subprocess.Popen[str], port: int) -> None:
        self._made, self._pump, self._running, self._port = made, pump, running, port

    def ask(self, method: str, path: str) -> tuple[int, bytes]:
        return ask(self._port, method, path)

    def counted(self) -> dict[str, float]:
        return parse(self.ask("GET", "/metrics")[1].decode())

    def reloads(self, result: str) -> float:
        return self.counted()[f"vae_detect_model_reloads_total[('model', 'pump'), ('result', '{result}')]"]

    def change(self, name: str, way: str) -> None:
        """Has this version loaded; a bad one fails and is counted, a good one answers."""
        result = "ok" if name in "ab" else "failed"
        before = self.reloads(result)
        put(self._made, name, self._pump)
        if way == "load":
            status, content = self.ask("POST", "/v2/repository/models/pump/load")
            assert status == (200 if result == "ok" else 400), content
        elif way == "signal":
            self._running.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 10
        while self.reloads(result) == before:
            assert time.monotonic() < deadline, (name, way)
            time.sleep(0.01)
        assert self.ask("GET", "/readyz")[0] == 200
        if result == "ok":
            assert json.loads(self.ask("GET", "/model")[1])["export_id"] == {"a": A, "b": B}[name]


def test_reloads_fail_no_request_and_mix_no_answer(
    made: Path, tmp_path: Path, normal_rows: NDArray[np.float32]
) -> None:
    pump = tmp_path / "pump.onnx"
    put(made, "a", pump)
    rows = normal_rows[:64]
    expected = {
        version: Detector.load(made / f"{name}.onnx", provider="cpu").score(rows).score
        for name, version in (("a", A), ("b", B))
    }
    assert np.abs(expected[A] / expected[B] - 1).min() > 0.01  # whose scores they are can be told
    with command("--watch", "--port", "0", model=Path(f"pump={pump}")) as (running, said):
        port = int(addresses(said[-1])[0].rpartition(":")[2])
        clients, operator = Clients(port, rows, expected), Operator(made, pump, running, port)
        with clients.asking():
            bad = ["truncated", "text", "mixed", "nan"] * RELOADS
            for number in range(RELOADS):
                name = "ba"[number // 2 % 2] if number % 2 == 0 else bad[number // 2]
                way = "watch" if number % 25 in (10, 11) else ("load", "signal")[number // 4 % 2]
                operator.change(name, way)
                assert clients.wrong == []
        assert clients.wrong == []
        assert clients.versions == {A, B}
        assert clients.answers > 3 * RELOADS
        found = operator.counted()
        [received, scored, refused] = [
            found[f"vae_detect_rows_{what}_total[('model', 'pump')]"] for what in ("received", "scored", "refused")
        ]
        assert (received, scored, refused) == (clients.scored, clients.scored, 0)
        answered = (f"vae_detect_requests_total[('code', '200'), ('route', '{route}')]" for route in ("score", "infer"))
        assert sum(map(found.__getitem__, answered)) == clients.answers
        assert (operator.reloads("ok"), operator.reloads("failed")) == (RELOADS / 2, RELOADS / 2)
        running.send_signal(signal.SIGTERM)
        _, errors = running.communicate(timeout=10)
        assert running.returncode == 0
        assert "Traceback" not in errors
        assert errors.count("pump is not loaded") >= RELOADS / 8  # up to ten a second


def test_files_overwritten_under_a_running_service_change_nothing(
    made: Path, tmp_path: Path, normal_rows: NDArray[np.float32]
) -> None:
    pump = tmp_path / "pump.onnx"
    put(made, "a", pump)
    x = normal_rows[:5]
    tensor = {"name": "x", "shape": list(x.shape), "datatype": "FP32", "data": x.ravel().tolist()}
    latent = {"name": "latent", "shape": [1, 8], "datatype": "FP32", "data": [0.5] * 8}
    with command("--port", "0", model=pump) as (running, said):
        port = int(addresses(said[-1])[0].rpartition(":")[2])

        def answers() -> list[bytes]:
            asked: list[tuple[str, Any]] = [
                ("/score?explain=1", x.tolist()),
                ("/v2/models/pump/infer", {"inputs": [tensor]}),
                ("/v2/models/pump/encoder/infer", {"inputs": [tensor]}),
                ("/v2/models/pump/decoder/infer", {"inputs": [latent]}),
            ]
            found = [ask(port, "POST", path, body) for path, body in asked]
            assert [status for status, _ in found] == [200] * 4
            return [content for _, content in found]

        before = answers()
        for number in range(20):
            for file in tmp_path.glob("pump*.onnx"):
                with file.open("r+b") as out:  # in place: what maps the file would see it
                    if number % 2:
                        out.truncate(max(0, 5000 - 300 * number))
                    else:
                        out.write(bytes([number]) * 6000)
            assert answers() == before
        for file in tmp_path.glob("pump*.onnx"):
            file.unlink()
        assert answers() == before
        running.send_signal(signal.SIGTERM)
        assert running.wait(10) == 0
