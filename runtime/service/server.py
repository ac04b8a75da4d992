"""The process that serves: an address, uvicorn with the limits it lacks, and a stop that cuts nobody off."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from types import FrameType

from prometheus_client import CollectorRegistry

from ..detector import Detector
from ..errors import MissingExtraError
from ..images.reading import import_pillow
from .access import OPEN, Access, doors
from .app import Service, create_app
from .bodies import CLOSING_S
from .connection import HEAD_S, Connection
from .listening import Listener, Where, listening, told
from .logs import Log
from .metrics import ServiceMetrics
from .models import Served
from .notifier import Notifier
from .unix_socket import BACKLOG

try:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.types import ASGIApp
except ImportError as error:
    raise MissingExtraError(f"the HTTP service needs {error.name}: pip install 'vae-detect[serve]'") from None

KEEP_ALIVE_S = 65
"""Seconds that a connection may be idle between requests."""
DRAIN_S, STOP_S = 0.2, 8
"""After SIGTERM: how long new connections are still taken, and idle ones kept after that; when the rest is cut too."""

_TURN_S = 0.001
"""Seconds that the event loop waits, several times a request, for a thread that works on a large one; else 5 ms."""


def serve(
    load: Callable[[], Detector],
    *,
    name: str,
    where: Where,
    log: Log,
    access: Access = OPEN,
    adaptive: bool = False,
) -> None:
    """Serves until SIGTERM or SIGINT, then finishes what was admitted and returns.

    Health is answered at once; `load` runs in a thread meanwhile, since a TensorRT engine takes minutes to build.

    Parameters
    ----------
    load : makes the verified detector; what it raises stops the service and is raised here
    name : of the model, in metrics
    where : to listen
    log : told what an operator should know
    access : what is asked of clients
    adaptive : whether the threshold follows the stream, see `adaptive.AdaptiveThreshold`

    Raises
    ------
    InputError
        when the address cannot be had
    """
    certificate = access.certificate
    with listening(where, encrypted=certificate is not None) as listeners:
        warn_of(listeners, access, log)
        sys.setswitchinterval(_TURN_S)
        metrics = ServiceMetrics(CollectorRegistry())
        model = metrics.of_model(name)
        run = _Run(
            Service(metrics),
            lambda: Served.of(load(), model, adaptive=adaptive),
            listeners=listeners,
            access=access,
            log=log,
        )
        run.server.run(sockets=[listener.socket for listener in listeners])
    if run.failure is not None:
        raise run.failure


def warn_of(listeners: Sequence[Listener], access: Access, log: Log) -> None:
    """Says what is missing where other machines may reach the service."""
    for listener in listeners:
        if listener.exposed and not listener.metrics and access.missing():
            address = listener.socket.getsockname()[0]
            message = f"warning: {address} can be reached from other machines, and {access.missing()}"
            log.event("exposed", message, level="warning", address=address)


class _Run:
    """One life of the server: starts the loading, takes its outcome, and stops on a signal."""

    def __init__(
        self,
        service: Service,
        load: Callable[[], Served],
        *,
        listeners: Sequence[Listener],
        access: Access,
        log: Log,
    ) -> None:
        self.failure: BaseException | None = None
        self._service, self._load, self._listeners, self._log = service, load, listeners, log
        self._notifier = Notifier()
        app = create_app(service, self._lifespan)
        config = uvicorn.Config(
            app,
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
        main, metrics = doors(app, access, log, split=any(listener.metrics for listener in listeners))
        self.server = _Server(
            config,
            [(listener, metrics if listener.metrics else main) for listener in listeners],
            access.certificate.context if access.certificate else None,
            on_signal=lambda: self._loop.call_soon_threadsafe(self._stop),
        )

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        self._loop = asyncio.get_running_loop()
        # A daemon thread, because a signal must end the process even while an engine is being built.
        threading.Thread(target=self._load_in_thread, name="load", daemon=True).start()
        alive = asyncio.create_task(self._notifier.give_signs_of_life())
        yield
        alive.cancel()
        self._notifier.close()

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
        message = f"serving {bundle.export_id} ({bundle.recipe}, {detector.provider}) on {told(self._listeners)}"
        self._opening = asyncio.create_task(self.server.open())
        self._notifier.ready(message)
        self._log.event("serving", message, version=bundle.export_id, recipe=bundle.recipe, provider=detector.provider)

    def _failed(self, error: BaseException) -> None:
        self.failure = error
        self.server.should_exit = True

    def _stop(self) -> None:
        self._notifier.stopping()
        self._service.close()
        self._loop.call_later(DRAIN_S, self._refuse)
        self._loop.call_later(2 * DRAIN_S, self.server.exit)

    def _refuse(self) -> None:
        for listener in self._listeners:
            listener.refuse()
        # Not sooner: clients that are told to close come back at once, and would be in the queue that is closed here.
        self._service.keep_alive = False


class _Server(uvicorn.Server):
    """uvicorn's, that ends in steps: no new connections, replies that close theirs, idle ones cut.

    uvicorn itself takes all steps at once, which cut off 3 of 4 clients that were sending; and it raises the signal
    again at the end, which would make the exit code -15.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        listeners: Sequence[tuple[Listener, ASGIApp]],
        tls: ssl.SSLContext | None,
        *,
        on_signal: Callable[[], object],
    ) -> None:
        super().__init__(config)
        self._listeners, self._tls, self._on_signal = listeners, tls, on_signal

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, which gives all sockets one application, and a TLS handshake a minute."""
        await self.lifespan.startup()
        loop = asyncio.get_running_loop()
        self.servers = [
            await loop.create_server(
                partial(self._connection, app),
                sock=listener.socket,
                backlog=BACKLOG,
                ssl=self._tls,
                ssl_handshake_timeout=HEAD_S if self._tls else None,
                ssl_shutdown_timeout=CLOSING_S if self._tls else None,
                start_serving=not listener.waits,
            )
            for listener, app in self._listeners
        ]
        self.started = True

    async def open(self) -> None:
        """Takes what has waited for the model."""
        for server in self.servers:
            await server.start_serving()

    def _connection(self, app: ASGIApp) -> Connection:
        connection = Connection(self.config, self.server_state, self.lifespan.state)
        connection.app = app
        return connection

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.started:
            self._on_signal()
        else:
            self.exit()

    def exit(self) -> None:
        self.should_exit = True
