"""What requests may hold: bodies read within limits of size and time, and the memory of all of them together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import TracebackType
from typing import Any

from ..errors import InputError
from .refusals import RefusedError
from .unpacking import unpack

MAX_BODY = 16 * 1024 * 1024
MAX_HELD = 4 * MAX_BODY
"""Bytes of bodies, rows and answers held at once, of all requests; beyond it clients are asked to come again."""
_JOINED_AT_ONCE = 1024 * 1024
_UNPACKED_AT_ONCE = 4 * 1024
_MOST_TIMES = 1032
"""How many times its size deflate can hold, https://www.zlib.net/zlib_tech.html: 4 KiB take a few ms at most."""
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
            raise RefusedError(503, "too many large requests at once; try again", rows=rows, limit="memory")
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

    async def read(
        self,
        headers: Iterable[tuple[bytes, bytes]],
        receive: Callable[[], Awaitable[Mapping[str, Any]]],
        share: Share,
        *,
        is_there: bool = False,
    ) -> bytes:
        """The whole body, held by `share`; raises RefusedError as soon as a limit is passed, before buffering more.

        Parameters
        ----------
        receive : gives the next message of ASGI
        is_there : whether all of it has come, so that nobody need look at the clock
        """
        encoding = b""
        for name, value in headers:
            if name == b"content-length" and value.isdigit() and int(value[:20]) > MAX_BODY:
                raise _too_large()
            if name == b"content-encoding":
                encoding = value.lower()
        if encoding not in (b"", b"identity", b"gzip"):
            raise RefusedError(
                415, "the body is encoded; send it with Content-Encoding gzip, identity or none", limit="encoding"
            )
        if is_there:
            body = await _collected(receive, share)
        else:
            body = await self._waited_for(receive, share)
        return await _unpacked(body, share) if encoding == b"gzip" else body

    async def _waited_for(self, receive: Callable[[], Awaitable[Mapping[str, Any]]], share: Share) -> bytes:
        timeout = asyncio.timeout(self._limit_s)
        self._timeouts.add(timeout)
        try:
            async with timeout:
                return await _collected(receive, share)
        except TimeoutError:
            raise RefusedError(408, "the body did not arrive in time", limit="time") from None
        finally:
            self._timeouts.discard(timeout)


async def _collected(receive: Callable[[], Awaitable[Mapping[str, Any]]], share: Share) -> bytes:
    chunks: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RefusedError(400, "the request is incomplete")
        chunk, more = message.get("body", b""), message.get("more_body", False)
        size += len(chunk)
        if size > MAX_BODY:
            raise _too_large()
        share.hold(size)
        chunks.append(chunk)
    if size < _JOINED_AT_ONCE:
        return b"".join(chunks) if len(chunks) > 1 else chunk
    share.hold(2 * size)  # while the chunks and what they are joined to exist
    body = await asyncio.to_thread(b"".join, chunks)
    chunks.clear()
    share.hold(size)
    return body


async def _unpacked(body: bytes, share: Share) -> bytes:
    """What a gzip body holds; all that it may hold counts while it is unpacked."""
    share.hold(len(body) + min(MAX_BODY, _MOST_TIMES * len(body)))
    try:
        if len(body) <= _UNPACKED_AT_ONCE:
            found = unpack(body, MAX_BODY)
        else:
            found = await asyncio.to_thread(unpack, body, MAX_BODY)
    except InputError as error:
        raise RefusedError.of(error) from None
    share.hold(len(found))
    return found


def _too_large() -> RefusedError:
    message = f"the body is larger than {MAX_BODY // 1024**2} MiB; send fewer rows at a time, or a smaller image"
    return RefusedError(413, message, limit="body")
