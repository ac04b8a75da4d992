"""The process that serves: an address, uvicorn with the limits it lacks, and a stop that cuts nobody off."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from http.client import HTTPException as HTTPClientError
from types import FrameType

from prometheus_client import CollectorRegistry

from ..detector import Detector
from ..errors import InputError, MissingExtraError
from ..images.reading import import_pillow
from .app import Service, create_app
from .metrics import ServiceMetrics
from .models import Served

try:
    import uvicorn
    from starlette.applications import Starlette
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
except ImportError as error:
    raise MissingExtraError(f"the HTTP service needs {error.name}: pip install 'vae-detect[serve]'") from None

MAX_HEAD = 64 * 1024
HEAD_S, KEEP_ALIVE_S = 10.0, 65
"""Seconds to send the request line and headers, and to sit idle between requests."""
DRAIN_S, STOP_S = 0.2, 8
"""After SIGTERM: how long new connections are still taken, and idle ones kept after that; when the rest is cut too."""


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
        for server in self.servers:
            server.close()

    def exit(self) -> None:
        self.should_exit = True


class _Protocol(HttpToolsProtocol):
    """uvicorn's, with the limits that it lacks: `MAX_HEAD` bytes and `HEAD_S` seconds for request line and headers."""

    _overdue: asyncio.TimerHandle | None = None
    _in_head = True
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._overdue = self.loop.call_later(HEAD_S, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > MAX_HEAD:
            self.send_400_response("headers too large")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._cancel()
        self._in_head, self._head_bytes = True, 0
        self._overdue = self.loop.call_later(HEAD_S, self.transport.close)

    def on_headers_complete(self) -> None:
        self._cancel()
        self._in_head = False
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > MAX_HEAD:
            raise ValueError("headers too large")  # the parser stops, and uvicorn answers 400
        super().on_headers_complete()

    def _cancel(self) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None


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
