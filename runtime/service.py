"""The HTTP service: scores rows, tells about its model, its health and its metrics."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from http.client import HTTPException as HTTPClientError
from time import perf_counter
from types import FrameType
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import numpy as np
from prometheus_client import CollectorRegistry

from .detector import Detector
from .errors import InputError, MissingExtraError
from .metrics import CONTENT_TYPE, Metrics
from .recordings import OVERFLOW, Recording, Results
from .requests import BodyReader, RefusedError, RowReader
from .tables import Rows

try:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import Response
    from starlette.routing import Route
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
except ImportError as error:
    raise MissingExtraError(f"the HTTP service needs {error.name}: pip install 'vae-detect[serve]'") from None

MAX_HEAD = 64 * 1024
HEAD_S, KEEP_ALIVE_S = 10.0, 65
"""Seconds to send the request line and headers, and to sit idle between requests."""
DRAIN_S, STOP_S = 0.3, 8
"""After SIGTERM: how long replies ask clients to close before idle connections are cut; when the rest is cut too."""

_CHUNK_ROWS = 1024  # between chunks the loop answers others, so that a scrape never waits for 100 000 rows
_LARGEST = 5
_ENDPOINTS = {
    "POST /score": "score one row or many; ?explain=1 adds the largest contributions",
    "GET /model": "facts about the model",
    "GET /healthz": "200 when the process answers",
    "GET /readyz": "200 when a verified model is loaded",
    "GET /metrics": "Prometheus metrics",
}


class Service:
    """What the endpoints share: the detector, once it is there, the metrics, and whether the end is near."""

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics
        self.not_ready = "the model is being loaded"
        """Why the service is not ready; "" when it is."""
        self.closing = False
        self._detector: Detector | None = None
        self._bodies = BodyReader()

    def use(self, detector: Detector) -> None:
        """Scores with this verified detector from now on."""
        self._reader = RowReader(detector.bundle.names)
        self._facts = msgspec.json.encode(model_facts(detector))
        self._detector = detector
        self.metrics.model_loaded(detector)
        self.not_ready = ""

    def close(self) -> None:
        """Not ready any more; replies ask clients to close, and unfinished bodies must hurry."""
        self.not_ready, self.closing = "the service is stopping", True
        self.metrics.ready = False
        self._bodies.close_soon()

    async def score(self, request: Request) -> Response:
        """POST /score."""
        try:
            response = await self._score(request)
        except RefusedError as refused:
            self.metrics.refused(refused.rows)
            response = self._error(refused.status, str(refused))
        except Exception:
            self.metrics.request(500)
            raise
        self.metrics.request(response.status_code)
        return response

    async def model(self, _: Request) -> Response:
        """GET /model."""
        return self._reply(self._facts) if self._detector else self._error(503, f"not ready: {self.not_ready}")

    async def healthz(self, _: Request) -> Response:
        """GET /healthz."""
        return self._reply(b'{"status":"ok"}')

    async def readyz(self, _: Request) -> Response:
        """GET /readyz."""
        return (
            self._error(503, f"not ready: {self.not_ready}") if self.not_ready else self._reply(b'{"status":"ready"}')
        )

    async def scrape(self, _: Request) -> Response:
        """GET /metrics."""
        return self._reply(self.metrics.exposition(), media_type=CONTENT_TYPE)

    async def index(self, _: Request) -> Response:
        """GET /."""
        return self._reply(msgspec.json.encode({"endpoints": _ENDPOINTS}))

    async def http_error(self, _: Request, error: Exception) -> Response:
        """Unknown paths and wrong methods."""
        assert isinstance(error, HTTPException)
        text = {404: "no such path; GET / lists the endpoints", 405: "this method is not allowed here"}
        return self._error(error.status_code, text.get(error.status_code, error.detail), error.headers)

    async def client_left(self, _: Request, __: Exception) -> Response:
        """A client that went away while it sent; nobody reads this."""
        return self._error(400, "the request is incomplete")

    async def bug(self, _: Request, __: Exception) -> Response:
        """What should not happen; the traceback goes to the log, never to the client."""
        return self._error(500, "internal error")

    async def _score(self, request: Request) -> Response:
        explain = _wants_explanation(request)
        detector = self._detector
        if detector is None:
            return self._error(503, f"not ready: {self.not_ready}")
        values = self._reader.read(await self._bodies.read(request.scope["headers"], request.stream()))
        recording = Recording(detector, explain=explain)
        parts = [b'{"model":', msgspec.json.encode(detector.bundle.export_id), b',"results":[']
        measured: list[tuple[Results, float]] = []
        for first in range(0, len(values), _CHUNK_ROWS):
            if first:
                parts.append(b",")
                await asyncio.sleep(0)
            rows = Rows(first, values[first : first + _CHUNK_ROWS], {}, None)
            started = perf_counter()
            results = recording.push(rows)
            measured.append((results, perf_counter() - started))
            if OVERFLOW in results.status:
                raise _overflow(results, rows, detector.bundle.names, len(values))
            parts.append(_encode(results, rows, detector.bundle.names))
        for results, seconds in measured:
            self.metrics.observe(results, seconds)
        return self._reply(b"".join((*parts, b"]}")))

    def _reply(
        self,
        body: bytes,
        status: int = 200,
        *,
        headers: Mapping[str, str] | None = None,
        media_type: str = "application/json",
    ) -> Response:
        response = Response(body, status, headers, media_type)
        if self.closing:
            response.headers["connection"] = "close"
        return response

    def _error(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
        extra = {503: {"retry-after": "1"}, 408: {"connection": "close"}}.get(status, {})
        body = msgspec.json.encode({"error": message[:1000]})
        return self._reply(body, status, headers={**(headers or {}), **extra})


def create_app(service: Service, lifespan: Callable[[Starlette], Any] | None = None) -> Starlette:
    """The ASGI application around a service; what runs it calls `Service.use` when a detector is ready."""
    app = Starlette(
        routes=[
            Route("/score", service.score, methods=["POST"]),
            Route("/healthz", service.healthz),
            Route("/readyz", service.readyz),
            Route("/metrics", service.scrape),
            Route("/model", service.model),
            Route("/", service.index),
        ],
        exception_handlers={
            HTTPException: service.http_error,
            ClientDisconnect: service.client_left,
            Exception: service.bug,
        },
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # /score/ is an unknown path, not a redirect that loses the body
    return app


def model_facts(detector: Detector) -> dict[str, Any]:
    """What GET /model tells: the metadata without golden rows and calibration knots, and the provider in use."""
    facts: dict[str, Any] = json.loads(detector.bundle.facts_json())
    return {**facts, "provider": detector.provider}


def serve(load: Callable[[], Detector], *, host: str, port: int, announce: Callable[[str], None]) -> None:
    """Serves until SIGTERM or SIGINT, then finishes what was admitted and returns.

    Health is answered at once; `load` runs in a thread meanwhile, since a TensorRT engine takes minutes to build.

    Parameters
    ----------
    load : makes the verified detector; what it raises stops the service and is raised here
    host, port : where to listen; port 0 takes a free one
    announce : told, in one line each, what an operator should know

    Raises
    ------
    InputError
        when the address cannot be had
    """
    with _bind(host, port) as listener:
        address, number = listener.getsockname()[:2]
        if not ipaddress.ip_address(address.partition("%")[0]).is_loopback:
            announce(f"warning: {address} can be reached from other machines, and this service asks for no password")
        service = Service(Metrics(CollectorRegistry()))
        shown = f"[{host}]" if ":" in host else host
        run = _Run(service, load, lambda text: announce(f"serving {text} on http://{shown}:{number}"))
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

    def __init__(self, service: Service, load: Callable[[], Detector], announce: Callable[[str], None]) -> None:
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
            outcome = partial(self._loaded, self._load())
        except BaseException as error:
            outcome = partial(self._failed, error)
        with suppress(RuntimeError):  # the loop is closed: the service was stopped before
            self._loop.call_soon_threadsafe(outcome)

    def _loaded(self, detector: Detector) -> None:
        if self._service.closing:
            return
        self._service.use(detector)
        bundle = detector.bundle
        with suppress(OSError):  # nobody reads the log any more; that is no reason to stop
            self._announce(f"{bundle.export_id} ({bundle.recipe}, {detector.provider})")

    def _failed(self, error: BaseException) -> None:
        self.failure = error
        self.server.should_exit = True

    def _stop(self) -> None:
        self._service.close()
        self._loop.call_later(DRAIN_S, self.server.exit)


class _Server(uvicorn.Server):
    """uvicorn's, with a pause between the signal and the end of idle connections.

    uvicorn's own handler cuts idle connections at once, and with them the requests that clients are just sending on
    them; and it raises the signal again at the end, which would make the exit code -15.
    """

    def __init__(self, config: uvicorn.Config, on_signal: Callable[[], object]) -> None:
        super().__init__(config)
        self._on_signal = on_signal

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.started:
            self._on_signal()
        else:
            self.exit()

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


def _wants_explanation(request: Request) -> bool:
    query = request.scope["query_string"]
    if not query:
        return False
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name != "explain" or value not in ("1", "true"):
            raise RefusedError(400, f"query {name[:20]!r} is {value[:20]!r}, expected explain=1 or nothing")
    return True


def _overflow(results: Results, rows: Rows, names: tuple[str, ...], total: int) -> RefusedError:
    index = results.status.index(OVERFLOW)
    column = names[int(np.abs(rows.values[index]).argmax())]
    return RefusedError(
        400,
        f"row {rows.first + index}, column {column!r}: the score exceeds float32; expected smaller values",
        rows=total,
    )


def _encode(results: Results, rows: Rows, names: tuple[str, ...]) -> bytes:
    """The results as JSON without the brackets around them. msgspec writes a float32 so that it is read back equal."""
    answers = [results.row(index) for index in range(len(results.status))]
    if results.explanation is not None:
        for index in np.flatnonzero(results.scores.scored).tolist():
            contribution, expected = (values[index] for values in results.explanation)
            largest = np.argsort(-contribution, kind="stable")[:_LARGEST].tolist()
            answers[index]["contributions"] = [
                {
                    "column": names[place],
                    "contribution": contribution[place].item(),
                    "actual": rows.values[index, place].item(),
                    "expected": expected[place].item(),
                }
                for place in largest
            ]
    return msgspec.json.encode(answers)[1:-1]
