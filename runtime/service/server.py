"""The process that serves: an address, uvicorn with the limits it lacks, and a stop that cuts nobody off."""

from __future__ import annotations

import asyncio
import ctypes
import ipaddress
import json
import socket
import struct
import sys
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
from .connection import Connection
from .metrics import ServiceMetrics
from .models import Served

try:
    import uvicorn
    from starlette.applications import Starlette
except ImportError as error:
    raise MissingExtraError(f"the HTTP service needs {error.name}: pip install 'vae-detect[serve]'") from None

KEEP_ALIVE_S = 65
"""Seconds that a connection may be idle between requests."""
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
            http=Connection,
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
