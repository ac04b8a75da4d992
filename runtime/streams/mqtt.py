"""Answers to an MQTT topic, and events."""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..errors import InputError, UnavailableError
from .addresses import KEY, Broker, check_published
from .home_assistant import announcements
from .login import Login
from .mqtt_client import Message
from .mqtt_link import MOST_IN_FLIGHT, Link
from .samples import Answer, Delivered, Sample

if TYPE_CHECKING:
    from paho.mqtt.client import Client

CLOSING_S = 5.0
_PUBLISHED_S = 10.0
"""For an event to arrive."""

_MOST_KNOWN = 10_000
_NO_LEVEL = re.compile(r"[/+#\0]")

Say = Callable[[str], object]


class _OnItsWay(NamedTuple):
    topic: str
    body: bytes
    samples: list[tuple[Sample, Delivered]]
    """None of an announcement, which the broker retains."""


class MqttSink:
    """Answers to a topic, of which so many are on their way as the broker takes at once.

    Parameters
    ----------
    announced_as : the name of the model, under which Home Assistant is told of each key; "" for not at all
    """

    def __init__(self, broker: Broker, login: Login, *, client_id: str, announced_as: str = "", say: Say) -> None:
        check_published(broker.topic, str(broker))
        self.where = str(broker)
        self._topic, self._announced_as, self._known = broker.topic, announced_as, set[str]()
        self._changed = threading.Condition()
        self._queue: deque[_OnItsWay] = deque()
        self._flight: dict[int, _OnItsWay] = {}
        self._arrived: list[tuple[Sample, Delivered]] = []
        self._limit, self._is_closed = MOST_IN_FLIGHT, False
        self._link = Link(broker, login, self, client_id=client_id, say=say)

    def send(self, answers: Sequence[Answer], delivered: Delivered) -> None:
        """See `samples.Sink`."""
        if not self._link.is_started:
            self._link.start()
        for answer in answers:
            with self._changed:
                self._changed.wait_for(lambda: self.under_way < MOST_IN_FLIGHT or self._is_closed)
                if self._is_closed:
                    return
                self._queue.append(
                    _OnItsWay(self._topic_of(answer.sample.key), answer.body, [(answer.sample, delivered)])
                )
        self._link.wake()

    @property
    def under_way(self) -> int:
        """How many answers have not arrived."""
        return len(self._queue) + len(self._flight)

    def withdraw(self, sample: Sample) -> None:
        """The answer to this sample is not sent, if it is not on its way."""
        with self._changed:
            self._queue = deque(each for each in self._queue if all(one is not sample for one, _ in each.samples))

    def close(self) -> None:
        """See `samples.Sink`."""
        with self._changed:
            self._changed.wait_for(lambda: not self.under_way or not self._link.is_connected, CLOSING_S)
            self._is_closed = True
            self._changed.notify_all()
        self._link.leave()
        self._link.join(CLOSING_S)

    def _topic_of(self, key: str) -> str:
        return self._topic.replace(KEY, _NO_LEVEL.sub("_", key) or "-") if KEY in self._topic else self._topic

    # By the thread of the connection

    def connected(self, client: Client, *, is_known: bool, limit: int) -> None:
        self._limit = limit
        with self._changed:  # what was on its way may have been lost
            self._queue.extendleft(reversed(self._flight.values()))
            self._flight.clear()

    def message(self, message: Message) -> None:
        """Nothing is subscribed to."""

    def published(self, mid: int, problem: str) -> None:
        sent = self._flight.pop(mid, None)
        if sent is None:
            return
        if problem:
            with self._changed:
                self._queue.appendleft(sent)
            self._link.break_off(f"does not take results on {sent.topic}: {problem}")
        else:
            self._arrived += sent.samples

    def turn(self) -> None:
        while self._queue and len(self._flight) < self._limit:
            with self._changed:
                if not self._queue:
                    break
                sent = self._queue.popleft()
            if not sent.body:  # a header: answered by nothing, after the answers before it
                last = next(reversed(self._flight.values()), None)
                (self._arrived if last is None else last.samples).extend(sent.samples)
                continue
            if self._is_unknown(sent):
                self._announce(sent)
                continue
            self._flight[self._link.publish(sent.topic, sent.body, retain=not sent.samples)] = sent
        if self._arrived:
            arrived, self._arrived = self._arrived, []
            for function in dict.fromkeys(delivered for _, delivered in arrived):
                function([sample for sample, delivered in arrived if delivered == function])
            with self._changed:
                self._changed.notify_all()

    def is_full(self) -> bool:
        return len(self._flight) >= self._limit

    def can_read(self) -> bool:
        return True

    def _is_unknown(self, sent: _OnItsWay) -> bool:
        """Whether Home Assistant is to be told whose answer this is."""
        return (
            self._announced_as != ""
            and sent.samples != []
            and sent.topic not in self._known
            and len(self._known) < _MOST_KNOWN
        )

    def _announce(self, sent: _OnItsWay) -> None:
        self._known.add(sent.topic)
        key = sent.samples[0][0].key if KEY in self._topic else ""
        with self._changed:
            self._queue.appendleft(sent)
            self._queue.extendleft(
                _OnItsWay(told.topic, told.payload, []) for told in announcements(self._announced_as, key, sent.topic)
            )


class Publisher:
    """Sends events one by one: a call ends when the broker has taken the event.

    Parameters
    ----------
    broker : whose topic may hold `KEY`
    """

    def __init__(self, broker: Broker, login: Login, *, client_id: str, say: Say) -> None:
        self.where = str(broker)
        self._sink = MqttSink(broker, login, client_id=client_id, say=say)

    def send(self, event: bytes, key: str) -> None:
        """Raises UnavailableError when the event has not arrived within 10 s."""
        if not event:
            raise InputError("an event is empty")
        arrived = threading.Event()
        sample = Sample(event, key)
        self._sink.send([Answer(sample, event)], lambda _: arrived.set())
        if not arrived.wait(_PUBLISHED_S):
            self._sink.withdraw(sample)
            raise UnavailableError(f"{self.where}: the broker has not taken an event within {_PUBLISHED_S:g} s")

    def close(self) -> None:
        """Disconnects."""
        self._sink.close()
