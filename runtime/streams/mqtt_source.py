"""Samples of an MQTT topic, each acknowledged only when its answer has arrived."""

from __future__ import annotations

import re
import socket
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from .addresses import Broker, check_published
from .login import Login
from .mqtt_client import Message
from .mqtt_link import MOST_IN_FLIGHT, Link
from .samples import IDLE_S, MOST_AT_ONCE, Sample

if TYPE_CHECKING:
    from paho.mqtt.client import Client

SESSION_S = 7 * 86400
"""How long a broker keeps what comes for us while we are away."""

GATHER_S = 0.025
"""Samples that come within this time are scored together."""

MOST_WAITING = 1000
"""Samples that nobody waits to have acknowledged, of QoS 0 or of a session that the broker forgot; more are lost."""

CLOSING_S = 5.0

_SHOWN = 256
"""Bytes of a payload that the error topic repeats."""

Say = Callable[[str], object]


def default_client_id(model: str, broker: Broker, what: str = "") -> str:
    """A name that stays the same for a machine, a model and a topic, and that no other has.

    >>> default_client_id("pump", Broker("box", 1883, "a"), "results").endswith("-results")
    True
    """
    parts = ["vae-detect", socket.gethostname(), model, f"{zlib.crc32(broker.topic.encode()):08x}", what]
    return re.sub(r"[^A-Za-z0-9_.-]", "-", "-".join(filter(None, parts)))


class _Token(NamedTuple):
    generation: int
    """Of the connection that the sample came over: another one knows other numbers."""
    mid: int
    """0 where nobody waits for an acknowledgement."""
    topic: str


class MqttSource:
    """Samples of a topic, each at least once: what is not acknowledged comes again.

    Parameters
    ----------
    error_topic : where poison is told; "" for the sample's own topic with /errors
    """

    name = "mqtt"

    def __init__(
        self,
        broker: Broker,
        login: Login,
        *,
        client_id: str,
        error_topic: str = "",
        say: Say,
        gather_s: float = GATHER_S,
    ) -> None:
        self.where = str(broker)
        self._broker, self._error_topic, self._say = broker, error_topic, say
        if error_topic:
            check_published(error_topic, error_topic)
        self._ready = threading.Condition()
        self._waiting: deque[Sample] = deque()
        self._fresh: list[Sample] = []
        self._done: deque[_Token] = deque()
        self._refused: deque[tuple[Sample, str]] = deque()
        self._told: dict[int, _Token] = {}
        self._generation = self._held = 0
        self._limit = MOST_IN_FLIGHT
        self._closed_at: float | None = None
        self._said_error = False
        self.lost = 0
        """Samples that were lost since nobody could take them; none of QoS 1."""
        self._link = Link(broker, login, self, client_id=client_id, session_s=SESSION_S, gather_s=gather_s, say=say)

    @property
    def is_connected(self) -> bool:
        """Whether the broker is there."""
        return self._link.is_connected

    def batches(self) -> Iterator[list[Sample]]:
        """See `samples.Source`."""
        self._link.start()
        while self._closed_at is None:
            with self._ready:
                self._ready.wait_for(lambda: self._waiting or self._closed_at is not None, IDLE_S)
                found = [self._waiting.popleft() for _ in range(min(len(self._waiting), MOST_AT_ONCE))]
            yield found

    def done(self, samples: Sequence[Sample]) -> None:
        """See `samples.Source`."""
        self._done.extend(sample.token for sample in samples if isinstance(sample.token, _Token))
        self._link.wake()

    def refuse(self, sample: Sample, why: str) -> None:
        """Tells the error topic why a sample is none, and then acknowledges it."""
        self._refused.append((sample, why))
        while len(self._refused) > MOST_WAITING:
            self._refused.popleft()
            self.lost += 1
        self._link.wake()

    def close(self) -> None:
        """No more samples; called again, waits until those that were given are acknowledged, for 5 s at most."""
        is_first, self._closed_at = self._closed_at is None, self._closed_at or time.monotonic()
        with self._ready:
            self._ready.notify_all()
        self._link.wake()
        if not is_first:
            if not (self._held and self._link.is_connected):
                self._link.leave()
            self._link.join(CLOSING_S)

    # By the thread of the connection

    def connected(self, client: Client, *, is_known: bool, limit: int) -> None:
        from paho.mqtt.subscribeoptions import SubscribeOptions

        self._generation += 1
        self._held, self._limit = 0, limit
        self._told.clear()  # of samples that come again
        with self._ready:
            if is_known:  # all that is not acknowledged comes again
                self._waiting.clear()
        is_shared = self._broker.topic.startswith("$share/")  # of which there is nothing but others' messages
        options = SubscribeOptions(qos=1, noLocal=not is_shared, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB)
        client.subscribe([(self._broker.filter, options)])

    def message(self, message: Message) -> None:
        topic = message.topic.decode(errors="replace")
        self._held += message.mid > 0
        token = _Token(self._generation, message.mid, topic)
        sample = Sample(message.payload, self._broker.key_of(topic), time.time(), message.repeated, token)
        if message.retained:
            self._refused.append((sample, "is retained by the broker, from a time that is not known"))
        else:
            self._fresh.append(sample)

    def published(self, mid: int, problem: str) -> None:
        token = self._told.pop(mid, None)
        if token is not None:
            self._done.append(token)
        if problem and not self._said_error:
            self._said_error = True
            self._say(f"{self._broker.server}: does not take what is told of poison: {problem}")

    def turn(self) -> None:
        if self._fresh:
            with self._ready:
                self._waiting += self._fresh
                while len(self._waiting) > MOST_WAITING:
                    self._waiting.popleft()
                    self.lost += 1
                self._ready.notify()
            self._fresh = []
        while self._refused and len(self._told) < self._limit:
            sample, why = self._refused.popleft()
            assert isinstance(sample.token, _Token)
            topic = self._error_topic or f"{sample.token.topic or 'vae-detect'}/errors"
            self._told[self._link.publish(topic, _error(sample, why))] = sample.token
        if self._done:
            tokens = [self._done.popleft() for _ in range(len(self._done))]
            mids = [token.mid for token in tokens if token.mid and token.generation == self._generation]
            self._link.acknowledge(mids)
            self._held -= len(mids)
        if self._closed_at is not None and (not self._held or time.monotonic() > self._closed_at + CLOSING_S):
            self._link.leave()

    def is_full(self) -> bool:
        return self._held >= self._limit

    def can_read(self) -> bool:  # of those that are refused, the broker's word may come after other samples
        return self._held - len(self._told) - len(self._refused) < MOST_IN_FLIGHT


def _error(sample: Sample, why: str) -> bytes:
    assert isinstance(sample.token, _Token)
    shown = sample.payload[:_SHOWN].decode(errors="replace")
    told: dict[str, Any] = {"reason": why, "topic": sample.token.topic, "time": sample.arrived}
    return msgspec.json.encode(told | {"payload": shown, "bytes": len(sample.payload)})
