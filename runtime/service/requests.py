"""One request as ASGI brings it: its messages, its body, and the way back to a client that may be slow, or gone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from time import perf_counter
from typing import Protocol

from starlette.types import Message, Receive, Scope, Send

from ..hosting.logs import request_id_of
from .bodies import BodyReader, Share

CLIENT = "vae_detect.client"
"""Where what runs the application puts a `Client` into the scope of a request."""
LINGER_S = 2.0
"""Seconds for which the rest of a refused body is read and thrown away, so that the client can read why."""


Headers = list[tuple[bytes, bytes]]


class Client(Protocol):
    """What is known of who sent a request."""

    def gone(self) -> bool:
        """Whether it is known to have left."""

    def has_sent_all(self) -> bool:
        """Whether all of the request is there, so that nobody need wait for its body."""

    def gets_no_end(self) -> None:
        """Told that its answer has no end: the time to read it begins anew whenever the client has caught up."""


class Pending(Protocol):
    """A request that waits for its answer."""

    def gone(self) -> bool:
        """Whether its client is known to have left."""

    def reply(self, headers: Headers, parts: Sequence[bytes], *, close: bool) -> None:
        """Answers with status 200, and a body of these parts; may close the connection then."""

    def ask_usually(self) -> None:
        """Hands it to the application, as if it had just come."""


class Application(Protocol):
    """An application of ASGI that may take a request past the messages of ASGI."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The usual way."""

    def take(self, scope: Scope, body: bytes, pending: Pending) -> bool:
        """Whether the request, of which this is the whole body, is taken: its answer will come then. If not, nothing
        has been done with it."""


class _Anyone:
    def gone(self) -> bool:
        return False

    def has_sent_all(self) -> bool:
        return False

    def gets_no_end(self) -> None:
        pass


_ANYONE = _Anyone()
"""A client of whom nothing is known never seems to leave."""


class Exchange:
    """A request on its way in, and its answer on the way out."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.client: Client = scope.get(CLIENT, _ANYONE)
        self._receive, self._send = receive, send
        self._has_all = False
        self.complete = perf_counter()
        """When all of the body was there, once it is."""

    @cached_property
    def request_id(self) -> str:
        """What names it in logs."""
        return request_id_of(self.scope["headers"])

    def header(self, name: bytes) -> str | None:
        """The value of a header, None where there is none."""
        return next((value.decode("latin-1") for key, value in self.scope["headers"] if key == name), None)

    async def body(self, reader: BodyReader, share: Share) -> bytes:
        """The whole body; raises RefusedError as soon as a limit is passed."""
        body = await reader.read(self.scope["headers"], self._next, share, is_there=self.client.has_sent_all())
        self.complete = perf_counter()
        return body

    async def answer(self, status: int, headers: Sequence[tuple[bytes, bytes]], parts: Sequence[bytes]) -> None:
        """Sends a body part by part, each when those before have left: a slow reader keeps no second copy waiting."""
        client, send = self.client, self._send
        if client.gone():
            return
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for part in parts:
            if client.gone():  # one that had closed its side may have reset what was sent first
                return
            last = part is parts[-1] and self._has_all
            await send({"type": "http.response.body", "body": part, "more_body": not last})
        if not self._has_all:
            await self._linger()
            if client.gone():
                return
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def begin(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Begins an answer that has no end by itself."""
        self.client.gets_no_end()
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    async def go_on(self, part: bytes) -> None:
        """Sends the next part of it, once the client has read enough of what came before."""
        await self._send({"type": "http.response.body", "body": part, "more_body": True})

    async def end(self) -> None:
        """Ends it."""
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _next(self) -> Message:
        message = await self._receive()
        self._has_all = not message.get("more_body")
        return message

    async def _linger(self) -> None:
        """Throws away what a client still sends: closing on it would reset the connection, and lose the answer."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while not self._has_all:
                    await self._next()
