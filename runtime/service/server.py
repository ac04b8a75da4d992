"""The process that serves: an address, uvicorn with the limits it lacks, and a stop that cuts nobody off."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from types import FrameType
from typing import Any

from prometheus_client import CollectorRegistry

from ..detector import Detector
from ..errors import MissingExtraError
from ..hosting.listening import Listener, Where, listening, told
from ..hosting.logs import Log
from ..hosting.notifier import Notifier
from ..hosting.unix_socket import BACKLOG
from .access import OPEN, Access, doors
from .app import App
from .bodies import CLOSING_S
from .connection import HEAD_S, Connection
from .endpoints import Service
from .live import Live
from .metrics import ServiceMetrics
from .reloading import Plan, Reloader
from .repository import Model, Repository
from .requests import Application
from .upkeep import Upkeep

try:
    import uvicorn
    from starlette.applications import Starlette
except ImportError as error:
    raise MissingExtraError(f"the HTTP service needs {error.name}: pip install 'vae-detect[serve]'") from None

KEEP_ALIVE_S = 65
"""Seconds that a connection may be idle between requests."""
DRAIN_S, STOP_S = 0.2, 8
"""After SIGTERM: how long new connections are still taken, and idle ones kept after that; when the rest is cut too."""

_TURN_S = 0.001
"""Seconds that the event loop waits, several times a request, for a thread that works on a large one; else 5 ms."""


_GARBAGE = (20_000, 50, 100)
"""Objects more than before, at which the collector looks through the young ones; and how seldom through older ones."""


def serve(plan: Plan, *, where: Where, log: Log, access: Access = OPEN) -> None:
    """Serves until SIGTERM or SIGINT, then finishes what was admitted and returns. SIGHUP loads everything again.

    Health is answered at once; models are loaded in threads meanwhile, since a TensorRT engine takes minutes to build.

    Parameters
    ----------
    where : to listen
    log : told what an operator should know
    access : what is asked of clients

    Raises
    ------
    InputError
        when the address cannot be had, or there is no model
    VaeDetectError
        when a model cannot be trusted at the start
    """
    certificate = access.certificate
    with listening(where, encrypted=certificate is not None) as listeners:
        warn_of(listeners, access, log)
        sys.setswitchinterval(_TURN_S)
        run = _Run(plan, listeners=listeners, access=access, log=log)
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

    def __init__(self, plan: Plan, *, listeners: Sequence[Listener], access: Access, log: Log) -> None:
        self.failure: BaseException | None = None
        self._listeners, self._access, self._log, self._watch = listeners, access, log, plan.watch
        metrics = ServiceMetrics(CollectorRegistry())
        keeps = plan.lasting.state is not None
        keeping = replace(plan.keeping, tell=plan.events.apply, state=plan.lasting.state, say=self._say_of_state)
        self._repository = Repository(metrics, plan.load, keeping, max_series=plan.max_series)
        self._upkeep = Upkeep(self._repository, plan.lasting, plan.events, log)
        self._reloader = Reloader(self._repository, plan, self._tell)
        self._service = Service(metrics, self._repository, log)
        self._service.events = plan.events
        self._service.keep_normal = self._upkeep.keep_normal if keeps else None
        self._service.viewers.live = Live(self._repository.all_served, plan.events.last_change)
        self._service.asks_token = access.tokens is not None
        self._tasks: set[asyncio.Task[None]] = set()
        self._notifier = Notifier()
        app = App(self._service, self._lifespan)
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
        split = any(listener.metrics for listener in listeners)
        main_door, metrics_door = doors(app, access, log=log, count=metrics.request, split=split)
        self.server = _Server(
            config,
            [(listener, metrics_door if listener.metrics else main_door) for listener in listeners],
            access.certificate.context if access.certificate else None,
            on_signal=lambda: self._loop.call_soon_threadsafe(self._stop),
            exceeded=metrics.limit_exceeded,
        )

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        self._loop = asyncio.get_running_loop()
        self._begin(self._load())
        self._begin(self._notifier.give_signs_of_life())
        self._begin(self._upkeep.sweep())
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
            self._loop.add_signal_handler(signal.SIGHUP, lambda: self._begin(self._reload()))
        yield
        await self._upkeep.end()
        for task in self._tasks:
            task.cancel()
        self._notifier.close()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _load(self) -> None:
        try:
            await self._reloader.first()
            await self._upkeep.begin()
        except BaseException as error:
            self._failed(error)
            return
        # What is there now stays: to look through it for garbage again and again took a third of the time of a request.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_GARBAGE)
        if self._service.stopping:
            return
        await self.server.open()
        series = self._service.metrics.series()
        for model in self._repository:
            self._tell_served(model, f" with {series} metric series on {told(self._listeners)}")
        self._service.metrics.begin()
        self._notifier.ready(f"{self._summary()} on {told(self._listeners)}")
        self._repository.changed = self._changed
        if self._watch:
            self._begin(self._reloader.watch())

    async def _reload(self) -> None:
        self._notifier.reloading()
        self._access.reload(self._log)
        changed = await self._reloader.again()
        self._notifier.ready(self._summary())
        if not changed:
            self._log.event("unchanged", f"no model has changed, {self._summary()}")

    def _changed(self, model: Model) -> None:
        self._upkeep.changed(model)
        self._notifier.status(self._summary())
        self._tell_served(model)

    def _tell_served(self, model: Model, where: str = "") -> None:
        """Says which version answers."""
        if model.served is None:
            self._tell(f"{model.name} is unloaded")
            return
        detector, bundle = model.served.detector, model.served.detector.bundle
        self._log.event(
            "serving",
            f"serving {self._described(model, detector)}{where}",
            model=model.name,
            version=bundle.export_id,
            recipe=bundle.recipe,
            provider=detector.provider,
        )

    def _summary(self) -> str:
        served = ", ".join(
            self._described(model, model.served.detector) for model in self._repository if model.served is not None
        )
        return f"serving {served}" if served else self._repository.not_ready

    def _described(self, model: Model, detector: Detector) -> str:
        """What answers; and for which model, where there are several."""
        what = f"{detector.bundle.export_id} ({detector.bundle.recipe}, {detector.provider})"
        return f"{model.name}: {what}" if len(self._repository.models) > 1 else what

    def _tell(self, message: str) -> None:
        self._log.event("models", message, level="warning")

    def _say_of_state(self, message: str) -> None:
        self._log.event("state", message, level="warning")

    def _failed(self, error: BaseException) -> None:
        self.failure = error
        self.server.should_exit = True

    def _stop(self) -> None:
        self._notifier.stopping()
        self._upkeep.stop()
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

    def __init__(
        self,
        config: uvicorn.Config,
        listeners: Sequence[tuple[Listener, Application]],
        tls: ssl.SSLContext | None,
        *,
        on_signal: Callable[[], object],
        exceeded: Callable[[str], object],
    ) -> None:
        super().__init__(config)
        self._listeners, self._tls, self._on_signal, self._exceeded = listeners, tls, on_signal, exceeded

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

    def refuse(self) -> None:
        """Takes no new connections."""
        for server, (listener, _) in zip(self.servers, self._listeners, strict=True):
            if listener.inherited:
                server.close()  # what comes now waits for the next who takes the socket from systemd
            else:
                listener.refuse()

    def _connection(self, app: Application) -> Connection:
        connection = Connection(self.config, self.server_state, self.lifespan.state)
        connection.app, connection.exceeded = app, self._exceeded
        return connection

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.started:
            self._on_signal()
        else:
            self.exit()

    def exit(self) -> None:
        self.should_exit = True
