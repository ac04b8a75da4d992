"""Who looks at the page: server-sent events, for so many at once, each no further behind than one event."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from time import monotonic
from typing import Protocol

from .refusals import RefusedError
from .requests import Exchange

MAX_VIEWERS = 32
"""Who may look at once; beyond it they are asked to come again."""
PERIOD_S, SIGN_OF_LIFE_S = 1.0, 10.0
"""Seconds between two looks at what there is to show, and after which who was told nothing hears that all is well."""

_HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would collect events until they fill a buffer
    (b"x-content-type-options", b"nosniff"),
]
_SIGN_OF_LIFE = b": all is well\n\n"


class Shown(Protocol):
    """What there is to see."""

    def snapshot(self) -> bytes:
        """All machines and models, as JSON."""

    def detail(self, model: str, key: str) -> bytes | None:
        """One machine, as JSON; None where there is no such machine."""


class _Nothing:
    """Of a service that was given nothing to show."""

    def snapshot(self) -> bytes:
        return b'{"time":0,"models":[],"machines":[],"machines_total":0,"change":0}'

    def detail(self, model: str, key: str) -> bytes | None:
        return None


class Viewers:
    """The clients of GET /live. What they see is made once a period, whoever looks, and not while nobody does."""

    def __init__(self) -> None:
        self.live: Shown = _Nothing()
        self._closed = asyncio.Event()
        self._seen: tuple[float, bytes] = float("-inf"), b""
        self.count = 0
        """How many look."""

    def close(self) -> None:
        """Lets all of them go."""
        self._closed.set()

    async def show(self, exchange: Exchange, model: str, key: str | None) -> None:
        """Tells a client what changes until it leaves, or the service stops; with a key that machine in full."""
        if self._closed.is_set() or self.count >= MAX_VIEWERS:
            raise RefusedError(503, f"{MAX_VIEWERS} look at once already; try again", limit="viewers")
        self.count += 1
        try:
            await exchange.begin(_HEADERS)
            if exchange.scope["method"] != "HEAD":
                async for event in self._events(exchange, model, key):
                    await exchange.go_on(event)
            await exchange.end()
        finally:
            self.count -= 1

    async def _events(self, exchange: Exchange, model: str, key: str | None) -> AsyncIterator[bytes]:
        """What this client has not been told yet. While it does not read nothing is made for it, nor kept."""
        told, machine, silent_since = b"", b"", monotonic()
        while not (self._closed.is_set() or exchange.client.gone()):
            event = b""
            snapshot = self._snapshot()
            if _without_time(snapshot) != _without_time(told):
                told, event = snapshot, _event(b"live", snapshot)
            if key is not None:
                detail = self.live.detail(model, key)
                if detail is not None and detail != machine:
                    machine, event = detail, event + _event(b"detail", detail)
            if event or monotonic() - silent_since >= SIGN_OF_LIFE_S:
                silent_since = monotonic()
                yield event or _SIGN_OF_LIFE
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closed.wait(), PERIOD_S)

    def _snapshot(self) -> bytes:
        made, snapshot = self._seen
        if monotonic() - made >= PERIOD_S * 0.9:  # clients' seconds begin at different times
            snapshot = self.live.snapshot()
            self._seen = monotonic(), snapshot
        return snapshot


def _event(name: bytes, data: bytes) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name, data)


def _without_time(snapshot: bytes) -> bytes:
    """A snapshot without when it was made, which it begins with."""
    return snapshot.partition(b",")[2]
