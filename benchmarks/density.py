"""What a thousand machines cost a small box: samples over MQTT at 1 Hz each, windows of 16 rows of 38 columns.

A process publishes, another collects the verdicts; CPU and memory are those of the scorer alone. Memory of a key is the
difference to a run with few keys, which loads the same libraries and the same model.

    python benchmarks/density.py [--keys 1000] [--seconds 60] [--serve]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

COLUMNS, WINDOW = 38, 16
FEW = 10
"""Keys of the run that the others are compared with."""

WARM_S = WINDOW + 8
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


class Measured(NamedTuple):
    """Of one run."""

    cpu: float
    """Share of a core."""
    rss_mb: float
    median_ms: float
    p99_ms: float
    verdicts: int
    missing: int


def rows_of(count: int, seed: int = 1) -> np.ndarray:
    """Columns that follow a few hidden ones, as sensors of a machine do."""
    rng = np.random.default_rng(seed)
    hidden = np.zeros((count, 6))
    for at in range(1, count):
        hidden[at] = 0.95 * hidden[at - 1] + rng.normal(0, 0.3, 6)
    values = hidden @ np.random.default_rng(0).normal(0, 1, (6, COLUMNS)) + rng.normal(0, 0.1, (count, COLUMNS))
    return values.round(4)


def train(folder: Path) -> Path:
    """A small detector of windows."""
    recording, model = folder / "normal.csv", folder / "machine.onnx"
    header = ",".join(f"s{number}" for number in range(COLUMNS))
    np.savetxt(recording, rows_of(20000), "%.4f", ",", header=header, comments="")
    settings = ("--set", "epochs=20", "--set", "hidden=32", "--set", "latent=6")
    command = [
        sys.executable,
        "-m",
        "vae_detect",
        "train",
        str(recording),
        "--kind",
        "windows",
        "--window",
        str(WINDOW),
    ]
    subprocess.run([*command, "--recipe", "vae", "--far", "0.01", *settings, "--out", str(model)], check=True)
    return model


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def broker_in(folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    port = free_port()
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_inflight_messages 100\nmax_queued_messages 0\n"
        f"set_tcp_nodelay true\nuser root\nlog_dest none\n"
    )
    program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    process = subprocess.Popen([program, "-c", config])
    time.sleep(0.5)
    return process, port


def publish(port: int, keys: int, seconds: float) -> None:
    """A sample of each key a second, evenly spread; the time of sending is its id."""
    client = Client(CallbackAPIVersion.VERSION2, "publisher")
    client.max_inflight_messages = 500
    client.connect("127.0.0.1", port)
    client.loop_start()
    rows = [json.dumps(row.tolist()) for row in rows_of(200, seed=2)]
    topics = [f"plant/m{key}/sensors" for key in range(keys)]
    began = time.time()
    for number in range(round(seconds * keys)):
        body = f'{{"id": {time.time():.6f}, "values": {rows[(number // keys) % len(rows)]}}}'
        client.publish(topics[number % keys], body, qos=1)
        ahead = began + (number + 1) / keys - time.time()
        if ahead > 0.001:
            time.sleep(ahead)
    time.sleep(1)
    client.loop_stop()


class Collector:
    """Notes how long each verdict took."""

    def __init__(self, port: int) -> None:
        self.took_ms: list[float] = []
        self.is_counting = False
        self._client = Client(CallbackAPIVersion.VERSION2, "collector")
        self._client.on_message = self._note
        self._client.connect("127.0.0.1", port)
        self._client.subscribe("plant/+/verdict", 0)
        self._thread = threading.Thread(target=self._client.loop_forever, daemon=True)
        self._thread.start()

    def _note(self, _client: object, _data: object, message: MQTTMessage) -> None:
        if self.is_counting:
            sent = float(json.loads(message.payload)["id"])
            self.took_ms.append(1000 * (time.time() - sent))


def cpu_s(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def rss_mb(process: int) -> float:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def measure(model: Path, folder: Path, keys: int, seconds: float, *, serve: bool) -> Measured:
    broker, port = broker_in(folder)
    where = f"mqtt://127.0.0.1:{port}/plant/{{key}}"
    form = ("serve", "--port", str(free_port())) if serve else ("stream",)
    command = [sys.executable, "-m", "vae_detect", *form, "--model", str(model), "--max-keys", "2000"]
    command += ["--from", f"{where}/sensors", "--to", f"{where}/verdict"]
    scorer = subprocess.Popen(command, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        time.sleep(3)
        collector = Collector(port)
        sending = [sys.executable, __file__, "--publish", str(port), "--keys", str(keys)]
        publisher = subprocess.Popen([*sending, "--seconds", str(seconds + WARM_S)])
        time.sleep(WARM_S)
        collector.is_counting, began, before = True, time.monotonic(), cpu_s(scorer.pid)
        time.sleep(seconds - 1)
        collector.is_counting = False
        cpu = (cpu_s(scorer.pid) - before) / (time.monotonic() - began)
        memory = rss_mb(scorer.pid)
        publisher.wait(60)
        took = np.array(collector.took_ms)
        expected = round(keys * (seconds - 1))
        median, p99 = np.percentile(took, [50, 99])
        return Measured(cpu, memory, float(median), float(p99), len(took), max(0, expected - len(took) - keys // 10))
    finally:
        scorer.terminate()
        scorer.wait(20)
        broker.terminate()
        broker.wait(20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keys", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", action="store_true", help="by `serve --from`, with metrics and the page")
    parser.add_argument("--model", type=Path, help="of 38 columns; one is trained otherwise")
    parser.add_argument("--publish", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.publish:
        publish(options.publish, options.keys, options.seconds)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = options.model or train(folder)
        few = measure(model, folder, FEW, 20, serve=options.serve)
        runs = [
            measure(model, folder, options.keys, options.seconds, serve=options.serve) for _ in range(options.rounds)
        ]
    found = Measured._make(statistics.median(values) for values in zip(*runs, strict=True))
    machine = platform.processor() or platform.machine()
    print(f"{machine}, Python {platform.python_version()}, paho-mqtt {version('paho-mqtt')}")
    form = "serve" if options.serve else "stream"
    print(f"{form}: {options.keys} keys x {COLUMNS} columns x windows of {WINDOW} at 1 Hz")
    each = ", ".join(f"{run.cpu:.1%}" for run in runs)
    print(f"CPU {found.cpu:.1%} of a core ({each}); with {FEW} keys {few.cpu:.1%}")
    print(f"RSS {found.rss_mb:.0f} MB, {1024 * (found.rss_mb - few.rss_mb) / (options.keys - FEW):.1f} KB a key")
    print(f"sample to verdict: median {found.median_ms:.0f} ms, p99 {found.p99_ms:.0f} ms; {found.missing} missing")


if __name__ == "__main__":
    main()
