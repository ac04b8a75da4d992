"""Pauses between attempts: doubled, bounded, shorter by chance, and over as soon as the port is open."""

from __future__ import annotations

import threading
import time

import pytest

from vae_detect.runtime.streams import backoff as module
from vae_detect.runtime.streams.backoff import Backoff, port_is_open


def test_pauses_double_up_to_a_minute_and_begin_anew() -> None:
    backoff = Backoff(threading.Event())
    for longest in (1, 2, 4, 8, 16, 32, 60, 60, 60):
        assert longest / 2 <= backoff.next_s() <= longest
    backoff.reset()
    assert 0.5 <= backoff.next_s() <= 1


def test_two_do_not_come_at_once() -> None:
    assert len({Backoff(threading.Event()).next_s() for _ in range(20)}) > 15


def test_a_closed_port_is_looked_at_and_the_pause_ends_when_it_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROBE_S", (0.05, 0.1))
    looks: list[float] = []

    def is_open(host: str, port: int) -> bool:
        assert (host, port) == ("box", 1883)
        looks.append(time.monotonic())
        return len(looks) == 3

    backoff = Backoff(threading.Event(), is_open=is_open)
    for _ in range(6):
        backoff.next_s()
    began = time.monotonic()
    backoff.wait("box", 1883)
    assert time.monotonic() - began < 5
    assert len(looks) == 3
    assert backoff.next_s() <= 1  # as after a success


def test_stopping_ends_a_pause() -> None:
    stopped = threading.Event()
    backoff = Backoff(stopped)
    for _ in range(6):
        backoff.next_s()
    threading.Timer(0.1, stopped.set).start()
    began = time.monotonic()
    backoff.wait()
    assert time.monotonic() - began < 2


def test_a_port_without_anybody_is_closed() -> None:
    assert not port_is_open("127.0.0.1", 1)
