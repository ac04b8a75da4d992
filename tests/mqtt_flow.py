"""Numbered samples through a broker, the installed command and back, whatever happens to both meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from mqtt_broker import Mosquitto
from numpy.typing import NDArray
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

TOPIC, RESULTS = "plant/{key}/sensors", "plant/{key}/verdict"


class Peer(Client):
    """A client that connects for ever, and loses nothing."""

    def __init__(self, broker: Mosquitto, name: str, *wanted: str) -> None:
        super().__init__(CallbackAPIVersion.VERSION2, name, clean_session=False)
        self.max_inflight_messages = 200
        self.reconnect_delay_set(1, 1)
        self.wanted = [(topic, 1) for topic in wanted]
        self.on_connect = self._subscribe
        self.connect_async("127.0.0.1", broker.port)
        self.loop_start()

    def _subscribe(self, _client: Any, _data: Any, _flags: Any, _reason: Any, _properties: Any) -> None:
        if self.wanted:
            self.subscribe(self.wanted)

    def leave(self) -> None:
        self.disconnect()
        self.loop_stop()


class Scorer:
    """`vae-detect stream` as a process."""

    def __init__(self, broker: Mosquitto, model: Path, *options: str, login: str = "") -> None:
        where = f"mqtt://{login}127.0.0.1:{broker.port}"
        self._command = [
            *(sys.executable, "-m", "vae_detect", "stream", "-m", str(model), "--client-id", "scorer"),
            *("--from", f"{where}/{TOPIC}", "--to", f"{where}/{RESULTS}", *options),
        ]
        self.log = broker.folder / "scorer.log"
        self.start()

    def start(self, **env: str) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self._command, stderr=log, env={**os.environ, **env})

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def rss_kb(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))

    def said(self) -> str:
        return self.log.read_text()


class Rig:
    """A broker with somebody who publishes and somebody who collects results."""

    def __init__(self, broker: Mosquitto) -> None:
        self.broker = broker
        self.results: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        self.errors: list[dict[str, Any]] = []
        self.arrived = threading.Condition()
        self.last = 0.0
        """When the newest result came."""
        self.collector = Peer(broker, "collector", "plant/+/verdict", "plant/+/sensors/errors")
        self.collector.on_message = self._collect
        self.publisher = Peer(broker, "publisher")
        wait(lambda: self.collector.is_connected() and self.publisher.is_connected(), 10)

    def await_scorer(self, rows: NDArray[np.float32]) -> None:
        """Until it has subscribed: before, the broker keeps nothing for it."""
        for _ in range(150):
            self.publisher.publish("plant/m0/sensors", json.dumps({"id": "ready", "values": rows[0].tolist()}), qos=1)
            with self.arrived:
                if self.arrived.wait_for(lambda: "ready" in self.results, 0.2):
                    return
        raise AssertionError(f"the scorer does not answer: {self.broker.log()}")

    def _collect(self, _client: Any, _data: Any, message: Any) -> None:
        told = json.loads(message.payload)
        with self.arrived:
            if message.topic.endswith("/errors"):
                self.errors.append(told)
            else:
                self.results[told.get("id")].append(told)
                self.last = time.monotonic()
            self.arrived.notify_all()

    def publish(self, rows: NDArray[np.float32], numbers: Sequence[int], rate: float) -> None:
        """Numbered samples of three machines, so many a second."""
        began = time.monotonic()
        for place, number in enumerate(numbers):
            body = json.dumps({"id": number, "values": rows[number % len(rows)].tolist()})
            self.publisher.publish(f"plant/m{number % 3}/sensors", body, qos=1)
            ahead = began + (place + 1) / rate - time.monotonic()
            if ahead > 0:
                time.sleep(ahead)

    def await_results(self, numbers: Sequence[int], timeout_s: float) -> list[int]:
        """The numbers without a result after so long."""
        with self.arrived:
            self.arrived.wait_for(lambda: all(number in self.results for number in numbers), timeout_s)
            return [number for number in numbers if number not in self.results]

    def check(self, rows: NDArray[np.float32], scores: NDArray[np.float32], numbers: Sequence[int]) -> int:
        """That each number has its score, however often it was told; how many were told more than once."""
        for number in numbers:
            for told in self.results[number]:
                np.testing.assert_allclose(told["score"], scores[number % len(rows)], rtol=1e-5)
                assert told["key"] == f"m{number % 3}"
            assert len({told["score"] for told in self.results[number]}) == 1, self.results[number]
        return sum(len(self.results[number]) > 1 for number in numbers)

    def leave(self) -> None:
        self.publisher.leave()
        self.collector.leave()


@contextmanager
def rig_of(broker: Mosquitto) -> Iterator[Rig]:
    rig = Rig(broker)
    try:
        yield rig
    finally:
        rig.leave()


def wait(condition: Any, timeout_s: float) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.02)


def strike(fault: str, broker: Mosquitto, scorer: Scorer, away_s: float) -> None:
    """Stops what the fault names, and starts it again."""
    if "scorer" in fault:
        scorer.kill()
    if "broker" in fault:
        broker.stop()
    time.sleep(away_s)
    if "broker" in fault:
        broker.start()
    if "scorer" in fault:
        scorer.start()
