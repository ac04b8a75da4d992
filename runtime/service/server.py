"""The process that serves: an address, uvicorn with the limits it lacks, and a stop that cuts nobody off."""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import ipaddress
import json
import socket
import struct
import sys
import termios
import threading
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from http.client import HTTPException as HTTPClientError
from types import FrameType
from typing import Any

from prometheus_client import CollectorRegistry

from ..detector import Detector
from ..errors import InputError, MissingExtraError
from ..images.reading import import_pillow
from .app import GONE, Service, create_app
from .bodies import CLOSING_S
from .metrics import ServiceMetrics
from .models import Served

try:
    import httptools
    import uvicorn
    from starlette.applications import Starlette
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
except ImportError as error:
    raise MissingExtraError(f"the HTTP service needs {error.name}: pip install 'vae-detect[serve]'") from None

MAX_HEAD = 64 * 1024
HEAD_S, READ_S, KEEP_ALIVE_S = 10.0, 30.0, 65
"""Seconds to send the request line and headers, to read an answer, and to sit idle between requests."""
DRAIN_S, STOP_S = 0.2, 8
"""After SIGTERM: how long new connections are still taken, and idle ones kept after that; when the rest is cut too."""

_SO_ATTACH_FILTER = 26  # Linux; the socket module does not know it
_STEPS = ((0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))
_FILTER = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in _STEPS))
_NO_SYN = struct.pack("HP", len(_STEPS), ctypes.addressof(_FILTER))
"""A packet filter (BPF) for a listening socket: load the flags of TCP; where SYN is set, drop; else let pass."""

_TURN_S = 0.001
"""Seconds that the event loop waits, several times a request, for a thread that works on a large one; else 5 ms."""


def serve(
    load: Callable[[], Detector],
    *,
    name: str,
    host: str,
    port: int,
    announce: Callable[[str], None],
    adaptive: bool = False,
) -> None:
    """Serves until SIGTERM or SIGINT, then finishes what was admitted and returns.

    Health is answered at once; `load` runs in a thread meanwhile, since a TensorRT engine takes minutes to build.

    Parameters
    ----------
    load : makes the verified detector; what it raises stops the service and is raised here
    name : of the model, in metrics
    host, port : where to listen; port 0 takes a free one
    announce : told, in one line each, what an operator should know
    adaptive : whether the threshold follows the stream, see `adaptive.AdaptiveThreshold`

    Raises
    ------
    InputError
        when the address cannot be had
    """
    with _bind(host, port) as listener:
        address, number = listener.getsockname()[:2]
        if not ipaddress.ip_address(address.partition("%")[0]).is_loopback:
            announce(f"warning: {address} can be reached from other machines, and this service asks for no password")
        sys.setswitchinterval(_TURN_S)
        metrics = ServiceMetrics(CollectorRegistry())
        model = metrics.of_model(name)
        shown = f"[{host}]" if ":" in host else host

        def load_served() -> Served:
            return Served.of(load(), model, adaptive=adaptive)

        run = _Run(Service(metrics), load_served, lambda text: announce(f"serving {text} on http://{shown}:{number}"))
        run.server.run(sockets=[listener])
    if run.failure is not None:
        raise run.failure


def check(url: str, timeout_s: float) -> str | None:
    """Why the service at this address, like http://127.0.0.1:8000/readyz, is unhealthy; None when it is well."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a health check never goes through a proxy
    try:
        with opener.open(url, timeout=timeout_s) as reply:
            return None if reply.status == 200 else f"{url}: status {reply.status}"
    except urllib.error.HTTPError as error:
        with error, suppress(ValueError, TypeError, KeyError):
            return f"{url}: {json.loads(error.read(4096))['error']}"
        return f"{url}: status {error.code}"
    except (OSError, ValueError, HTTPClientError) as error:
        return f"{url}: {getattr(error, 'reason', None) or error}"


class _Run:
    """One life of the server: starts the loading, takes its outcome, and stops on a signal."""

    def __init__(self, service: Service, load: Callable[[], Served], announce: Callable[[str], None]) -> None:
        self.failure: BaseException | None = None
        self._service, self._load, self._announce = service, load, announce
        config = uvicorn.Config(
            create_app(service, self._lifespan),
            http=_Protocol,
            ws="none",
            lifespan="on",
            log_config=None,
            log_level="error",  # a line for every malformed request would let any client fill the log
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=STOP_S,
        )
        self.server = _Server(config, lambda: self._loop.call_soon_threadsafe(self._stop))

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        self._loop = asyncio.get_running_loop()
        # A daemon thread, because a signal must end the process even while an engine is being built.
        threading.Thread(target=self._load_in_thread, name="load", daemon=True).start()
        yield

    def _load_in_thread(self) -> None:
        outcome: Callable[[], None]
        try:
            served = self._load()
            if served.detector.bundle.image is not None:
                import_pillow()  # now, rather than at the first request
            outcome = partial(self._loaded, served)
        except BaseException as error:
            outcome = partial(self._failed, error)
        with suppress(RuntimeError):  # the loop is closed: the service was stopped before
            self._loop.call_soon_threadsafe(outcome)

    def _loaded(self, served: Served) -> None:
        if self._service.stopping:
            return
        self._service.use(served)
        detector, bundle = served.detector, served.detector.bundle
        with suppress(OSError):  # nobody reads the log any more; that is no reason to stop
            self._announce(f"{bundle.export_id} ({bundle.recipe}, {detector.provider})")

    def _failed(self, error: BaseException) -> None:
        self.failure = error
        self.server.should_exit = True

    def _stop(self) -> None:
        self._service.close()
        self._loop.call_later(DRAIN_S, self._refuse)
        self._loop.call_later(2 * DRAIN_S, self.server.exit)

    def _refuse(self) -> None:
        self.server.refuse()
        # Not sooner: clients that are told to close come back at once, and would be in the queue that is closed here.
        self._service.keep_alive = False


class _Server(uvicorn.Server):
    """uvicorn's, that ends in steps: no new connections, replies that close theirs, idle ones cut.

    uvicorn itself takes all steps at once, which cut off 3 of 4 clients that were sending; and it raises the signal
    again at the end, which would make the exit code -15.
    """

    def __init__(self, config: uvicorn.Config, on_signal: Callable[[], object]) -> None:
        super().__init__(config)
        self._on_signal = on_signal

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.started:
            self._on_signal()
        else:
            self.exit()

    def refuse(self) -> None:
        """Takes no new connections. To close the socket would reset those that wait to be accepted, so until `exit` it
        only drops packets that ask for one: clients ask again after a second, and then are refused."""
        for listener in (listener for server in self.servers for listener in server.sockets):
            with suppress(OSError):  # without the filter a few may be reset
                listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, _NO_SYN)

    def exit(self) -> None:
        self.should_exit = True


class _Protocol(HttpToolsProtocol):
    """uvicorn's, with what it lacks: limits for request line, headers and slow readers; clients that close one side.

    It tells the application whether a client has left, see `app.GONE`.
    """

    _half_closed = False
    _running: RequestResponseCycle | None = None
    _overdue: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _in_head = True
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._overdue = self.loop.call_later(HEAD_S, transport.close)

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
        if not cycle.response_complete and (self.transport.is_closing() or (self._half_closed and self._was_reset())):
            self._give_up(cycle)
            self.transport.abort()
        return cycle.disconnected

    def _was_reset(self) -> bool:
        """Whether a client that had closed its side has reset the connection since: nothing is read any more."""
        return bool(self.transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def _give_up(self, cycle: RequestResponseCycle) -> None:
        cycle.disconnected = True
        cycle.message_event.set()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Whether to keep the connection: a client that sends no more may wait for the answer to a whole request."""
        if self.cycle is None or self.cycle.response_complete or self.cycle.more_body:
            return False
        self._half_closed, self.cycle.keep_alive = True, False
        return True

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(data)
        self._unset_keepalive_if_required()
        try:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                self._feed_without_upgrade(data[upgrade.args[0] :])
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.send_400_response("Invalid HTTP request received.")
            return
        if self._in_head and self._head_bytes > MAX_HEAD:
            self.send_400_response("headers too large")

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
        self.scope[GONE] = self.gone  # type: ignore[literal-required]
        self._cancel()
        self._overdue = self.loop.call_later(HEAD_S, self.transport.close)

    def on_headers_complete(self) -> None:
        self._cancel()
        self._in_head = False
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > MAX_HEAD:
            raise ValueError("headers too large")  # the parser stops, and uvicorn answers 400
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_head, self._head_bytes = True, 0

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(READ_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.cycle.response_complete:
            self._all_read()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing() and self._unread is None:
            self._unread = self.loop.call_later(READ_S, self.transport.abort)
        elif not self.flow.write_paused:
            self._all_read()

    def shutdown(self) -> None:
        """Closes the connection, but not on a request that has begun to come: that one has `CLOSING_S` to go on."""
        if self._head_bytes or _bytes_waiting(self.transport):
            self._cancel()
            self._overdue = self.loop.call_later(CLOSING_S, self.transport.close)
        else:
            super().shutdown()

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


def _bytes_waiting(transport: asyncio.Transport) -> bool:
    """Whether the kernel holds bytes of the client that are not yet read."""
    descriptor = transport.get_extra_info("socket").fileno()
    return descriptor >= 0 and any(fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)))


def _bind(host: str, port: int) -> socket.socket:
    """A listening socket; listening, because two sockets may be bound to one port until one of them listens."""
    if not 0 <= port <= 65535:
        raise InputError(f"port is {port}, expected 0 to 65535")
    listener = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except (OSError, UnicodeError) as error:
        if listener is not None:
            listener.close()
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot listen on {host} port {port}: {reason}; choose another host or port") from None
    return listener
