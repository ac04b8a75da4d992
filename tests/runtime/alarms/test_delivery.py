"""Events to a real server that fails, hangs up, is away, and comes back."""

from __future__ import annotations

import itertools
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from receiving import Receiver, receiving

from vae_detect.runtime.alarms.delivery import GIVE_UP_S, LONGEST_PAUSE_S, Delivery, _pause
from vae_detect.runtime.alarms.event import Change, Event
from vae_detect.runtime.alarms.store import EventStore
from vae_detect.runtime.alarms.webhook import Webhook

_STARTS = itertools.count(1_000_000_000)


def an_event(key: str = "a") -> Event:
    start = float(next(_STARTS))  # two of a key that begin at once would be one
    return Event(model="pump", key=key, start=start, end=start, peak_severity=2.0)


def started(store: EventStore, *events: Event) -> None:
    store.apply([Change(event, "started") for event in events])


def ended(store: EventStore, event: Event) -> None:
    event.state = "ended"
    store.apply([Change(event, "ended")])


class Clock:
    """Seconds that somebody sets forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@contextmanager
def delivering(
    store: EventStore, url: str, said: list[str], clock: Callable[[], float] = time.time
) -> Iterator[Delivery]:
    delivery = Delivery(store, Webhook(url), url, say=said.append, pause=lambda attempts: 0.01, clock=clock).start()
    try:
        yield delivery
    finally:
        delivery.close()


def settled(delivery: Delivery) -> None:
    """Waits until there is nothing to tell."""
    while delivery.waiting:
        time.sleep(0.005)


@pytest.fixture
def store() -> Iterator[EventStore]:
    found = EventStore(None)
    yield found
    found.close()


def test_events_arrive_in_order_whatever_fails(store: EventStore) -> None:
    said = list[str]()
    started(store, an_event())  # before anybody was to be told
    with receiving() as receiver, delivering(store, receiver.url, said) as delivery:
        receiver.answers = [500, 0, 404, 204, 429]
        events = [an_event(key) for key in "abc"]
        for event in events:
            started(store, event)
        receiver.until(3)
        ended(store, events[0])
        receiver.until(4)
        settled(delivery)
        assert receiver.events == [(2, "running"), (3, "running"), (4, "running"), (2, "ended")]
        assert (delivery.delivered, delivery.failures, delivery.left_out) == (4, 4, 0)
    where = receiver.url.rpartition("/hooks")[0]
    assert said == [
        f"events wait: {where}: status 500",
        f"{where}: takes events again, after 3 attempts that failed",
        f"events wait: {where}: status 429",
        f"{where}: takes events again, after 1 attempts that failed",
    ]


def test_a_receiver_that_is_away_gets_events_as_they_are_when_it_is_back(store: EventStore) -> None:
    said, receiver, place = list[str](), Receiver(), socket.socket()
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    place.bind(("127.0.0.1", 0))  # and nobody listens there, nor can take it
    port = int(place.getsockname()[1])
    with place, delivering(store, f"http://127.0.0.1:{port}/", said) as delivery:
        first_event, second = an_event("a"), an_event("b")
        started(store, first_event, second)
        while delivery.failures < 3:
            time.sleep(0.01)
        first_event.peak_severity = 7.0
        ended(store, first_event)
        with receiving(port, receiver=receiver):
            receiver.until(2)
            time.sleep(0.05)
        assert receiver.events == [(1, "ended"), (2, "running")]
        assert json.loads(receiver.taken[0])["peak_severity"] == 7.0


def test_another_start_goes_on_where_this_one_was(tmp_path: Path) -> None:
    path, said = tmp_path / "events.sqlite", list[str]()
    with receiving() as receiver:
        store = EventStore(path)
        with delivering(store, receiver.url, said):
            started(store, an_event())
            receiver.until(1)
            receiver.answers = [503] * 1000
            started(store, an_event("b"))
            receiver.until(3, tries=True)
        store.close()
        receiver.answers = []
        store = EventStore(path)
        started(store, an_event("c"))
        with delivering(store, receiver.url, said):
            receiver.until(3)
        store.close()
    assert receiver.events == [(1, "running"), (2, "running"), (3, "running")]


def test_what_is_not_wanted_holds_nothing_up(store: EventStore) -> None:
    said = list[str]()
    with receiving() as receiver, delivering(store, receiver.url, said) as delivery:
        receiver.answers = [422]
        started(store, an_event("a"), an_event("b"))
        receiver.until(1)
        assert (receiver.events, delivery.left_out) == ([(2, "running")], 1)
    assert said == [
        f"event 1 is not delivered: {receiver.url.rpartition('/hooks')[0]}: does not want this event: status 422"
    ]


def test_after_a_day_an_event_is_given_up(store: EventStore) -> None:
    said, clock = list[str](), Clock()
    with receiving() as receiver, delivering(store, receiver.url, said, clock) as delivery:
        receiver.answers = [503] * 1000
        started(store, an_event())
        receiver.until(2, tries=True)
        clock.ahead = GIVE_UP_S
        while not delivery.left_out:
            time.sleep(0.01)
        receiver.answers = []
        started(store, an_event("b"))
        receiver.until(1)
    assert receiver.events == [(2, "running")]
    assert "event 1 is not delivered" in said[1]


def test_only_what_the_alarm_says_is_news(store: EventStore) -> None:
    with receiving() as receiver, delivering(store, receiver.url, []):
        event = an_event()
        started(store, event)
        receiver.until(1)
        store.label(event.id, "fault")
        event.rows = 9
        store.apply([Change(event, "changed")])
        event.peak_severity = 3.0
        store.apply([Change(event, "changed")])
        receiver.until(2)
        ended(store, event)
        receiver.until(3)
        store.label(event.id, "false-alarm")
        started(store, an_event("b"))
        receiver.until(4)
    assert receiver.events == [(1, "running"), (1, "running"), (1, "ended"), (2, "running")]
    assert json.loads(receiver.taken[2])["label"] == "fault"


def test_after_acknowledging_it_is_quiet(store: EventStore) -> None:
    clock = Clock()
    with receiving() as receiver, delivering(store, receiver.url, [], clock) as delivery:
        first, second, third = an_event(), an_event(), an_event()
        started(store, first)
        receiver.until(1)
        store.ack(first.id)
        first.peak_severity = 5.0
        store.apply([Change(first, "changed")])  # silent
        settled(delivery)
        assert receiver.events == [(1, "running")]
        ended(store, first)  # its end is told
        receiver.until(2)
        started(store, second)  # of the same key: silent, and over before the hour is
        settled(delivery)
        ended(store, second)
        started(store, third)  # silent, and still runs after the hour
        started(store, an_event("b"))  # of another key
        receiver.until(3)
        time.sleep(0.05)
        assert receiver.events == [(1, "running"), (1, "ended"), (4, "running")]
        clock.ahead = 3600
        started(store, an_event("c"))  # which wakes it
        receiver.until(5)
    assert {*receiver.events[3:]} == {(5, "running"), (3, "running")}


def test_what_was_kept_quiet_is_told_by_another_start(store: EventStore) -> None:
    clock = Clock()
    with receiving() as receiver:
        with delivering(store, receiver.url, [], clock) as delivery:
            first = an_event()
            started(store, first)
            settled(delivery)
            store.ack(first.id)
            ended(store, first)
            started(store, an_event(), an_event("b"))
            settled(delivery)
        assert receiver.events == [(1, "running"), (1, "ended"), (3, "running")]
        clock.ahead = 3600
        with delivering(store, receiver.url, [], clock):
            receiver.until(4)
    assert receiver.events[-1] == (2, "running")


def test_two_places_are_told_apart(store: EventStore) -> None:
    with receiving() as one, receiving() as other:
        one.answers = [503] * 1000
        with delivering(store, one.url, []), delivering(store, other.url, []):
            started(store, an_event())
            other.until(1)
            assert one.events == []
            one.answers = []
            one.until(1)


def test_closing_does_not_wait_for_a_receiver(store: EventStore) -> None:
    with receiving() as receiver:
        receiver.answers = [503] * 100
        delivery = Delivery(store, Webhook(receiver.url), receiver.url, say=len, pause=lambda attempts: 60.0).start()
        started(store, an_event())
        receiver.until(1, tries=True)
        begun = time.monotonic()
        delivery.close()
        assert time.monotonic() - begun < 2
        assert delivery.waiting == 1


def test_pauses_grow_to_a_minute_with_chance() -> None:
    for attempts, most in [(1, 1.0), (2, 2.0), (4, 8.0), (7, LONGEST_PAUSE_S), (5000, LONGEST_PAUSE_S)]:
        pauses = [_pause(min(attempts, 1000)) for _ in range(200)]
        assert most / 2 <= min(pauses) < 0.6 * most
        assert 0.9 * most < max(pauses) <= most
