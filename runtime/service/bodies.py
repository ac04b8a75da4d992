"""What requests may hold: bodies read within limits of size and time, and the memory of all of them together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Iterable
from types import TracebackType

from .refusals import RefusedError

MAX_BODY = 16 * 1024 * 1024
MAX_HELD = 4 * MAX_BODY
"""Bytes of bodies, rows and answers held at once, of all requests; beyond it clients are asked to come again."""
_JOINED_AT_ONCE = 1024 * 1024
BODY_S, CLOSING_S = 30.0, 3.0
"""Seconds that a body may take, and that it may still take once the service is stopping."""


class Memory:
    """What all requests of a service hold together, in bytes."""

    def __init__(self) -> None:
        self.held = 0

    def share(self) -> Share:
        """For one request."""
        return Share(self)


class Share:
    """What one request holds of a `Memory`, until the end of its `with` block."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.held = 0

    def hold(self, size: int, *, rows: int = 0) -> None:
        """This request holds so many bytes from now on. Raises RefusedError when all together would be too much."""
        more = size - self.held
        if more > 0 and self._memory.held + more > MAX_HELD:
            raise RefusedError(503, "too many large requests at once; try again", rows=rows)
        self._memory.held += more
        self.held = size

    def __enter__(self) -> Share:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hold(0)


class BodyReader:
    """Reads the bodies of one service, within limits of size, time and memory."""

    def __init__(self) -> None:
        self._limit_s = BODY_S
        self._timeouts: set[asyncio.Timeout] = set()

    def close_soon(self) -> None:
        """Bodies on the way get `CLOSING_S` from now."""
        self._limit_s = CLOSING_S
        deadline = asyncio.get_running_loop().time() + CLOSING_S
        for timeout in self._timeouts:
            timeout.reschedule(min(deadline, timeout.when() or deadline))

    async def read(self, headers: Iterable[tuple[bytes, bytes]], stream: AsyncIterable[bytes], share: Share) -> bytes:
        """The whole body, held by `share`; raises RefusedError as soon as a limit is passed, before buffering more."""
        for name, value in headers:
            if name == b"content-length" and value.isdigit() and int(value[:20]) > MAX_BODY:
                raise _too_large()
            if name == b"content-encoding" and value.lower() != b"identity":
                raise RefusedError(415, "the body is encoded; send it with Content-Encoding identity, or none")
        timeout = asyncio.timeout(self._limit_s)
        self._timeouts.add(timeout)
        try:
            async with timeout:
                return await _collected(stream, share)
        except TimeoutError:
            raise RefusedError(408, "the body did not arrive in time") from None
        finally:
            self._timeouts.discard(timeout)


async def _collected(stream: AsyncIterable[bytes], share: Share) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in stream:
        size += len(chunk)
        if size > MAX_BODY:
            raise _too_large()
        share.hold(size)
        chunks.append(chunk)
    if size < _JOINED_AT_ONCE:
        return b"".join(chunks)
    share.hold(2 * size)  # while the chunks and what they are joined to exist
    body = await asyncio.to_thread(b"".join, chunks)
    chunks.clear()
    share.hold(size)
    return body


def _too_large() -> RefusedError:
    return RefusedError(
        413, f"the body is larger than {MAX_BODY // 1024**2} MiB; send fewer rows at a time, or a smaller image"
    )
