"""The body of a request, read within limits of size, time and memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Iterable

from .refusals import RefusedError

MAX_BODY = 16 * 1024 * 1024
MAX_BUFFERED = 4 * MAX_BODY
"""Bytes of unfinished bodies held at once; beyond it clients are asked to come again."""
BODY_S, CLOSING_S = 30.0, 3.0
"""Seconds that a body may take, and that it may still take once the service is stopping."""


class BodyReader:
    """Reads the bodies of one service, within limits of size, time and memory."""

    def __init__(self) -> None:
        self._buffered = 0
        self._limit_s = BODY_S
        self._timeouts: set[asyncio.Timeout] = set()

    def close_soon(self) -> None:
        """Bodies on the way get `CLOSING_S` from now."""
        self._limit_s = CLOSING_S
        deadline = asyncio.get_running_loop().time() + CLOSING_S
        for timeout in self._timeouts:
            timeout.reschedule(min(deadline, timeout.when() or deadline))

    async def read(self, headers: Iterable[tuple[bytes, bytes]], stream: AsyncIterable[bytes]) -> bytes:
        """The whole body; raises RefusedError as soon as a limit is passed, before buffering more."""
        for name, value in headers:
            if name == b"content-length" and value.isdigit() and int(value[:20]) > MAX_BODY:
                raise _too_large()
            if name == b"content-encoding" and value.lower() != b"identity":
                raise RefusedError(415, "the body is encoded; send it with Content-Encoding identity, or none")
        chunks: list[bytes] = []
        timeout = asyncio.timeout(self._limit_s)
        self._timeouts.add(timeout)
        try:
            async with timeout:
                await self._collect(stream, chunks)
        except TimeoutError:
            raise RefusedError(408, "the body did not arrive in time") from None
        finally:
            self._timeouts.discard(timeout)
            self._buffered -= sum(map(len, chunks))
        return b"".join(chunks)

    async def _collect(self, stream: AsyncIterable[bytes], chunks: list[bytes]) -> None:
        size = 0
        async for chunk in stream:
            chunks.append(chunk)
            size += len(chunk)
            self._buffered += len(chunk)
            if size > MAX_BODY:
                raise _too_large()
            if self._buffered > MAX_BUFFERED:
                raise RefusedError(503, "too many large requests at once; try again")


def _too_large() -> RefusedError:
    return RefusedError(
        413, f"the body is larger than {MAX_BODY // 1024**2} MiB; send fewer rows at a time, or a smaller image"
    )
