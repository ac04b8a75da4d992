"""CPU time of serving over HTTP, beside MLServer with the same graph, and beside a uvicorn that does nothing.

Every server runs in a process of its own, all in one run. Every round loads each of them once, in turn, by clients
that send the next request when they have the last answer. Counted is the CPU time of the server's processes, user and
system, over the requests that it answered. Prints Markdown tables of medians and ratios; --raw writes every round.

    make bench-serving        or        python benchmarks/serving.py [--rounds 5] [--seconds 2]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import uvloop

from vae_detect.runtime.detector import Detector

ROOT = Path(__file__).resolve().parent.parent
MLSERVER = ROOT / ".venv-mlserver" / "bin"
CONNECTIONS, ROWS = (1, 16, 64), (1, 256)
_TICKS = os.sysconf("SC_CLK_TCK")

NO_OP = """
import sys, uvicorn
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"15")]})
    await send({"type": "http.response.body", "body": b'{"status":"ok"}'})
uvicorn.run(app, port=int(sys.argv[1]), log_level="error", access_log=False, server_header=False, lifespan="off")
"""

SCORER = """
import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse

OUTPUTS = ["score", "p_value", "is_anomaly"]

class Scorer(MLModel):
    async def load(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        path = self.settings.parameters.uri
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return True

    async def predict(self, payload):
        x = self.decode(payload.inputs[0], default_codec=NumpyCodec).astype("float32", copy=False)
        found = self.session.run(OUTPUTS, {"x": x})
        outputs = [NumpyCodec.encode_output(name, values) for name, values in zip(OUTPUTS, found)]
        return InferenceResponse(model_name=self.name, outputs=outputs)
"""


@dataclass(frozen=True)
class Server:
    """A process that serves, and what it cost to start."""

    pid: int
    port: int
    ready_s: float

    def cpu_s(self) -> float:
        """CPU seconds of the process and its children so far."""
        found, total = [self.pid], 0
        for pid in found:
            stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(stat[11]) + int(stat[12])
            for thread in Path(f"/proc/{pid}/task").iterdir():
                found += map(int, (thread / "children").read_text().split())
        return total / _TICKS

    def resident_mb(self) -> float:
        """Resident memory, MB."""
        line = next(line for line in Path(f"/proc/{self.pid}/status").read_text().splitlines() if "VmRSS" in line)
        return int(line.split()[1]) / 1024


@dataclass(frozen=True)
class Contender:
    """A server, and a request to it."""

    name: str
    server: str
    rows: int
    request: bytes


class Client(asyncio.Protocol):
    """One connection: asks again when it has an answer."""

    answered = 0
    """By all of them."""

    def __init__(self, request: bytes) -> None:
        self._request, self._received = request, b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # of TCP it is one
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        if len(body) >= int(length.partition(b":")[2]):
            if b" 200 " not in head[:20]:
                raise RuntimeError(self._received[:500].decode())
            Client.answered += 1
            self._received = b""
            self._transport.write(self._request)


async def load(server: Server, request: bytes, connections: int, seconds: float) -> tuple[float, float]:
    """CPU microseconds for each request, and requests in a second."""
    loop = asyncio.get_running_loop()
    made = [await loop.create_connection(lambda: Client(request), "127.0.0.1", server.port) for _ in range(connections)]
    await asyncio.sleep(0.3)
    answered, cpu, started = Client.answered, server.cpu_s(), time.perf_counter()
    await asyncio.sleep(seconds)
    answered, cpu = Client.answered - answered, server.cpu_s() - cpu
    passed = time.perf_counter() - started
    for transport, _ in made:
        transport.abort()
    return cpu / answered * 1e6, answered / passed


def post(path: str, body: bytes, *headers: str) -> bytes:
    """A request as it goes over the wire."""
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "\r\n"]).encode() + body


def requests(model: Path) -> list[Contender]:
    """What is asked, of all servers the same rows."""
    x = Detector.load(model, provider="cpu").sample(max(ROWS), seed=1)
    as_json = "Content-Type: application/json"
    found = [
        Contender("uvicorn that does nothing", "no-op", 1, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        Contender("vae-detect /healthz", "vae-detect", 1, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"),
    ]
    for n in ROWS:
        rows, shape = x[:n].tolist(), [n, x.shape[1]]
        tensor = {"name": "x", "shape": shape, "datatype": "FP32"}
        infer = json.dumps({"inputs": [tensor | {"data": x[:n].ravel().tolist()}]}).encode()
        content = x[:n].astype("<f4").tobytes()
        head = json.dumps(
            {
                "inputs": [tensor | {"parameters": {"binary_data_size": len(content)}}],
                "parameters": {"binary_data_output": True},
            }
        ).encode()
        length = f"Inference-Header-Content-Length: {len(head)}"
        path = "/v2/models/pump/infer"
        score = json.dumps(rows[0] if n == 1 else rows).encode()
        found += [
            Contender("MLServer, JSON", "MLServer", n, post(path, infer, as_json)),
            Contender("vae-detect /v2, JSON", "vae-detect", n, post(path, infer, as_json)),
            Contender("vae-detect /v2, binary", "vae-detect", n, post(path, head + content, length)),
            Contender("vae-detect /score, JSON", "vae-detect", n, post("/score", score, as_json)),
        ]
    return found


@contextmanager
def running(command: list[str], port: int, path: str, folder: str) -> Iterator[Server]:
    """A server in a process of its own, once it answers this path."""
    started = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": folder, "OMP_NUM_THREADS": "1"}
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=quiet, stderr=quiet) as process:
        try:
            while True:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=1).read()
                    break
                except OSError:
                    if process.poll() is not None or time.perf_counter() - started > 60:
                        raise
                    time.sleep(0.01)
            yield Server(process.pid, port, time.perf_counter() - started)
        finally:
            process.kill()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def servers(stack: ExitStack, model: Path, folder: str) -> dict[str, Server]:
    """All that are compared, by name."""
    ports = [free_port() for _ in range(5)]
    Path(folder, "scorer.py").write_text(SCORER)
    about = {"name": "pump", "implementation": "scorer.Scorer", "parameters": {"uri": str(model)}}
    Path(folder, "model-settings.json").write_text(json.dumps(about))
    settings = {"http_port": ports[0], "grpc_port": ports[1], "metrics_port": ports[2]}
    Path(folder, "settings.json").write_text(json.dumps({**settings, "parallel_workers": 0, "debug": False}))
    ours = [sys.executable, "-m", "vae_detect", "serve", "--model", f"pump={model}", "--port", str(ports[4])]
    commands = {
        "no-op": ([sys.executable, "-c", NO_OP, str(ports[3])], ports[3], "/"),
        "MLServer": ([str(MLSERVER / "mlserver"), "start", folder], ports[0], "/v2/health/ready"),
        "vae-detect": (ours, ports[4], "/readyz"),
    }
    source = str(ROOT / "src")
    return {
        name: stack.enter_context(running(command, port, path, folder if name == "MLServer" else source))
        for name, (command, port, path) in commands.items()
    }


def table(contenders: list[Contender], found: dict[tuple[int, int], list[tuple[float, float]]]) -> None:
    """Prints the medians, and the ratios to MLServer with as many rows and connections."""
    print("| request | rows | " + " | ".join(f"{n} conn: us" for n in CONNECTIONS) + " | requests/s | of MLServer |")
    print("|---|---|" + "---|" * (len(CONNECTIONS) + 2))
    medians = {key: statistics.median(cpu for cpu, _ in rounds) for key, rounds in found.items()}
    peers = {one.rows: place for place, one in enumerate(contenders) if one.server == "MLServer"}
    for place, one in enumerate(contenders):
        cpu = [medians[place, n] for n in CONNECTIONS]
        ratios = [mine / medians[peers[one.rows], n] for mine, n in zip(cpu, CONNECTIONS, strict=True)]
        speed = statistics.median(rate for _, rate in found[place, CONNECTIONS[-1]])
        cells = [one.name, str(one.rows), *(f"{each:.0f}" for each in cpu), f"{speed:.0f}"]
        print("| " + " | ".join([*cells, ", ".join(f"1/{1 / ratio:.1f}" for ratio in ratios)]) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--model", type=Path, default=ROOT / "exported" / "vae.onnx")
    parser.add_argument("--raw", type=Path, help="where to write every round, as JSON")
    options = parser.parse_args()
    contenders = requests(options.model)
    found: dict[tuple[int, int], list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        all_servers = servers(stack, options.model.resolve(), folder)
        for _ in range(options.rounds):
            for connections in CONNECTIONS:
                for place, one in enumerate(contenders):
                    once = load(all_servers[one.server], one.request, connections, options.seconds)
                    found.setdefault((place, connections), []).append(uvloop.run(once))
        sizes = {name: (server.ready_s, server.resident_mb()) for name, server in all_servers.items()}
    if options.raw:
        told = [
            {"request": contenders[place].name, "rows": contenders[place].rows, "connections": n, "rounds": rounds}
            for (place, n), rounds in found.items()
        ]
        options.raw.write_text(json.dumps(told, indent=1))
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"uvicorn {version('uvicorn')}, onnxruntime {version('onnxruntime')}, numpy {np.__version__}; "
        f"medians of {options.rounds} rounds of {options.seconds:g} s, CPU microseconds for each request\n"
    )
    table(contenders, found)
    print("\n| | ready after s | resident MB after the load |\n|---|---|---|")
    for name, (ready_s, resident_mb) in sizes.items():
        print(f"| {name} | {ready_s:.2f} | {resident_mb:.0f} |")


if __name__ == "__main__":
    main()
