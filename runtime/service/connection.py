"""One connection: uvicorn's protocol with the limits that it lacks, and with clients as they are."""

from __future__ import annotations

import asyncio
import fcntl
import select
import termios
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from ..errors import MissingExtraError
from .bodies import BODY_S, CLOSING_S
from .requests import CLIENT, LINGER_S
from .schemas import Refusal

try:
    import httptools
    from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
except ImportError as error:
    name = str(error.name).partition(".")[0]
    raise MissingExtraError(f"the HTTP service needs {name}: pip install 'vae-detect[serve]'") from None

MAX_HEAD = 64 * 1024
HEAD_S, READ_S = 10.0, 30.0
"""Seconds to send the request line and headers, and to read an answer."""


_TOO_LARGE = f"request line and headers are larger than {MAX_HEAD // 1024} KiB"
_BAD_REQUEST = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
)


class _HeadTooLargeError(Exception):
    """More than `MAX_HEAD`."""


class Connection(HttpToolsProtocol):
    """uvicorn's, with what it lacks: limits for request line, headers and slow readers; clients that close one side.

    It tells the application of the client, see `requests.Client`.
    """

    exceeded: Callable[[str], object] = staticmethod(lambda _: None)
    """Told of each limit that the client exceeds, one of `refusals.LIMITS`."""
    _half_closed = False
    _running: RequestResponseCycle | None = None
    _refused = False
    """Whether nothing that comes is read any more."""
    _overdue: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _held: tuple[RequestResponseCycle, Any] | None = None
    """A request that has not been given to the application yet, since the rest of it may be there too."""
    _endless = False
    """Whether the answer that is given now has no end."""
    _in_head = True
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # of TCP it is one
        super().connection_made(transport)
        self._overdue = self.loop.call_later(HEAD_S, self._too_slow, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel()
        self._all_read()
        if self._running is not None and not self._running.response_complete:  # uvicorn only tells the newest request
            self._give_up(self._running)
        super().connection_lost(exc)

    def gone(self) -> bool:
        """Whether the client of the request that is answered now is known to have left."""
        cycle = self._running
        assert cycle is not None
        # What the event loop sees by itself: not while nothing is read, nor what comes after the client's end.
        unseen = self._half_closed or self.flow.read_paused
        if not cycle.response_complete and (self.transport.is_closing() or (unseen and self._has_left())):
            self._give_up(cycle)
            self.transport.abort()
        return cycle.disconnected

    def has_sent_all(self) -> bool:
        """Whether all of the request that is answered now has come."""
        cycle = self._running
        assert cycle is not None
        return not cycle.more_body

    def gets_no_end(self) -> None:
        """Its answer goes on: who has read what there was of it is not slow."""
        self._endless = True

    def _has_left(self) -> bool:
        """Whether the client has reset the connection or, on a Unix socket, closed it."""
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket").fileno(), 0)
        return bool(poll.poll(0))  # POLLHUP or POLLERR, which are always told; one side that is closed is neither

    def _give_up(self, cycle: RequestResponseCycle) -> None:
        cycle.disconnected = True
        cycle.message_event.set()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        if cycle.scope["method"] == "POST":
            self._held = (cycle, app)
        else:
            self.start_task(cycle, app)

    def start_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Gives a request to the application in a task of its own."""
        super()._start_asgi_task(cycle, app)

    def _offer(self) -> None:
        """Offers the application a request that is there as a whole, see `at_once.AtOnce`; or starts a task for it."""
        if self._held is None:
            return
        (cycle, app), self._held = self._held, None
        whole = not (cycle.more_body or cycle.waiting_for_100_continue or self.flow.write_paused) and cycle.keep_alive
        pending = _Pending(self, cycle, app)
        if whole and app.take(cycle.scope, bytes(cycle.body), pending):
            self.tasks.add(pending)  # type: ignore[arg-type]  # a stop waits for it, or cancels it
        else:
            self.start_task(cycle, app)

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn's own returns nothing, asyncio asks for this
        """Whether to keep the connection: a client that sends no more may wait for the answer to a whole request.

        Under TLS it cannot: asyncio ends both directions at once, and says so in the log when asked for one. Nor can it
        for an answer without end: it has left.
        """
        whole = self._whole()
        if self.scheme == "https" or not whole or self._endless:
            return False
        self._half_closed, whole[-1].keep_alive = True, False
        return True

    def _unanswered(self) -> list[RequestResponseCycle]:
        """The requests that have come, the oldest first."""
        cycles = [self._running, *(cycle for cycle, _ in reversed(self.pipeline))]
        return [cycle for cycle in cycles if cycle is not None and not cycle.response_complete]

    def _whole(self) -> list[RequestResponseCycle]:
        """Those of them of which nothing is missing."""
        return [cycle for cycle in self._unanswered() if not cycle.more_body]

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if self._in_head:
            self._head_bytes += len(data)
        self._unset_keepalive_if_required()
        try:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                self._feed_without_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserUpgrade:
            self.send_400_response("there is no way from here to other servers; CONNECT is for proxies")
        except httptools.HttpParserError as error:
            why = f"the request is no valid HTTP: {error}"
            if isinstance(error.__context__, _HeadTooLargeError):
                self._refuse_head()
            else:
                self.send_400_response(why)
        if self._in_head and self._head_bytes > MAX_HEAD and not self._refused:
            self._refuse_head()
        self._offer()
        self._set_end()

    def _set_end(self) -> None:
        """Sees to it that a connection ends on which all is answered: uvicorn's timer is off once anything comes."""
        if self.cycle is None or not self.cycle.response_complete or self._refused or self.transport.is_closing():
            return
        if not self._in_head and self._overdue is None:  # the rest of a body that nobody reads
            self._overdue = self.loop.call_later(BODY_S, self._too_slow, self.transport.close)
        elif self._in_head and self._overdue is None and self.timeout_keep_alive_task is None:
            after = self.timeout_keep_alive
            self.timeout_keep_alive_task = self.loop.call_later(after, self.timeout_keep_alive_handler)

    def _refuse_head(self) -> None:
        self.exceeded("head")
        self.send_400_response(_TOO_LARGE)

    def _too_slow(self, end: Callable[[], object]) -> None:
        """Ends the connection of a client that took too long."""
        self.exceeded("time")
        end()

    def send_400_response(self, msg: str) -> None:
        """Ends the connection with an error as all others are told; what came whole before gets its answer first."""
        self._refused = True
        self._cancel()
        whole, unanswered = self._whole(), self._unanswered()
        if whole:
            whole[-1].keep_alive = False
            return
        for cycle in unanswered:  # the one whose body is broken off
            self._give_up(cycle)
        if any(cycle.response_started for cycle in unanswered):
            self.transport.close()
            return
        body = msgspec.json.encode(Refusal(msg))
        self.transport.write(_BAD_REQUEST % (len(body), body))
        if self.transport.can_write_eof():
            self.transport.write_eof()  # to close on what the client still sends could take the answer away from it
            self._overdue = self.loop.call_later(LINGER_S, self.transport.close)
        else:  # under TLS
            self.transport.close()

    def _should_upgrade(self) -> bool:
        return True  # so that uvicorn leaves a request that asks for it alone until it is fed again

    def _feed_without_upgrade(self, rest: bytes) -> None:
        """Feeds a request that offers another protocol again, without the offer: as the parser takes it, the body, of
        which `rest` is the beginning, would already be in that protocol."""
        head = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        head += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(b"\r\n".join([*head, b"\r\n"]) + rest)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope[CLIENT] = self  # type: ignore[literal-required]  # a key of ours
        self._cancel()
        self._overdue = self.loop.call_later(HEAD_S, self._too_slow, self.transport.close)

    def on_headers_complete(self) -> None:
        self._cancel()
        self._in_head = False
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > MAX_HEAD:
            raise _HeadTooLargeError  # the parser stops
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_head, self._head_bytes = True, 0
        if self.cycle is not None and self.cycle.response_complete:
            self._cancel()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(READ_S, self._too_slow, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._endless or self.cycle.response_complete:
            self._all_read()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._endless = False
        if self.transport.is_closing() and self._unread is None:
            self._unread = self.loop.call_later(READ_S, self._too_slow, self.transport.abort)
        elif not self.flow.write_paused:
            self._all_read()
        self._offer()
        self._set_end()

    def shutdown(self) -> None:
        """Closes the connection, but not on a request that has begun to come: that one has `CLOSING_S` to go on; and a
        connection on which nothing has come yet has them from when it was opened: its client is about to send."""
        if self._head_bytes or _bytes_waiting(self.transport):
            after = CLOSING_S
        elif self.cycle is None and self._overdue is not None:
            after = self._overdue.when() - HEAD_S + CLOSING_S - self.loop.time()
        else:
            super().shutdown()
            return
        self._cancel()
        self._overdue = self.loop.call_later(after, self.transport.close)

    def timeout_keep_alive_handler(self) -> None:
        self.transport.abort()  # to close would wait for the last answer to be read, for ever

    def _cancel(self) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None

    def _all_read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None


class _Pending:
    """A request that the application has taken, see `requests.Pending`."""

    def __init__(self, connection: Connection, cycle: RequestResponseCycle, app: Any) -> None:
        self._connection, self._cycle, self._app = connection, cycle, app

    def gone(self) -> bool:
        return self._cycle.disconnected or (not self._cycle.response_complete and self._connection.gone())

    def reply(self, headers: list[tuple[bytes, bytes]], parts: Sequence[bytes], *, close: bool) -> None:
        connection, cycle = self._connection, self._cycle
        connection.tasks.discard(self)
        if self.gone():
            return
        close = close or not cycle.keep_alive
        told = [*cycle.default_headers, *headers, (b"content-length", b"%d" % sum(map(len, parts)))]
        if close:
            told.append((b"connection", b"close"))
        lines = [b"%b: %b\r\n" % header for header in told]
        connection.transport.write(b"".join([STATUS_LINE[200], *lines, b"\r\n", *parts]))
        cycle.response_started = cycle.response_complete = True
        if close:
            connection.transport.close()
        cycle.on_response()

    def ask_usually(self) -> None:
        self._connection.tasks.discard(self)
        self._connection.start_task(self._cycle, self._app)

    def cancel(self, msg: str) -> None:
        """What a stop does with tasks that take too long."""


def _bytes_waiting(transport: asyncio.Transport) -> bool:
    """Whether the kernel holds bytes of the client that are not yet read."""
    descriptor = transport.get_extra_info("socket").fileno()
    return descriptor >= 0 and any(fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)))
