"""The HTTP application: its endpoints, and what they answer when something is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from ..errors import MissingExtraError
from .answers import Job, Worker, answer_image, answer_rows, read_rows
from .bodies import BodyReader, Memory
from .metrics import CONTENT_TYPE, ServiceMetrics
from .models import Served
from .refusals import RefusedError

try:
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import Response
    from starlette.routing import Route
    from starlette.types import Message, Receive, Scope, Send
except ImportError as error:
    raise MissingExtraError(f"the HTTP service needs {error.name}: pip install 'vae-detect[serve]'") from None

GONE = "vae_detect.gone"
"""Where what runs the application puts a function into the scope of a request: whether its client is known to have
left. Without it nobody seems to leave."""
LINGER_S = 2.0
"""Seconds for which the rest of a refused body is read and thrown away, so that the client can read why."""

_ENDPOINTS = {
    "POST /score": "score one row or many, or one image; ?explain=1 adds the largest contributions, or a heat map",
    "GET /model": "facts about the model",
    "GET /healthz": "200 when the process answers",
    "GET /readyz": "200 when a verified model is loaded; tells whether its calibration holds",
    "GET /metrics": "Prometheus metrics",
}


class Service:
    """What the endpoints share: what is served, once it is there, the metrics, and whether the end is near."""

    def __init__(self, metrics: ServiceMetrics) -> None:
        self.metrics = metrics
        self.served: Served | None = None
        self.not_ready = "the model is being loaded"
        """Why the service is not ready; "" when it is."""
        self.stopping = False
        self.keep_alive = True
        """Whether clients may send another request on their connection."""
        self._bodies = BodyReader()
        self._memory = Memory()
        self._worker = Worker()

    def use(self, served: Served) -> None:
        """Scores with this version of the model from now on."""
        served.metrics.show(served.detector, served.watch.monitor)
        self.served = served
        self.not_ready = ""
        self.metrics.ready = True

    def close(self) -> None:
        """Not ready any more, and unfinished bodies must hurry; requests are still answered."""
        self.not_ready, self.stopping = "the service is stopping", True
        self.metrics.ready = False
        self._bodies.close_soon()

    async def score(self, scope: Scope, receive: Receive, send: Send) -> None:
        """POST /score, as an ASGI application: a request counts, and lets go of its memory, when its answer is out."""
        served, status = self.served, 500  # once, before anything is awaited: an answer is of one version of the model
        incoming, gone = _Incoming(receive), scope.get(GONE, bool)
        try:
            with self._memory.share() as share:
                try:
                    parts = await self._answer(Request(scope, incoming), served, Job(share, self._worker, gone))
                    status, response = 200, self._answered(parts)
                except RefusedError as refusal:
                    status, response = refusal.status, self._error(refusal.status, str(refusal))
                    if served is not None:
                        served.metrics.refused(refusal.rows)
                    parts = [bytes(response.body)]
                    share.hold(0)
                await _send(response, parts, incoming, send, gone)
            if gone():
                status = 400
        finally:
            self.metrics.request(status)

    async def model(self, _: Request) -> Response:
        """GET /model."""
        return self._reply(self.served.facts) if self.served else self._error(503, f"not ready: {self.not_ready}")

    async def healthz(self, _: Request) -> Response:
        """GET /healthz."""
        return self._reply(b'{"status":"ok"}')

    async def readyz(self, _: Request) -> Response:
        """GET /readyz. A calibration that no longer holds is told, and is no reason to send requests elsewhere."""
        if self.not_ready or self.served is None:
            return self._error(503, f"not ready: {self.not_ready}")
        told = {"status": "ready", "calibration": self.served.watch.monitor.describe()}
        return self._reply(msgspec.json.encode(told))

    async def scrape(self, _: Request) -> Response:
        """GET /metrics."""
        return self._reply(self.metrics.exposition(), media_type=CONTENT_TYPE)

    async def index(self, _: Request) -> Response:
        """GET /."""
        return self._reply(msgspec.json.encode({"endpoints": _ENDPOINTS}))

    async def http_error(self, request: Request, error: Exception) -> Response:
        """Unknown paths and wrong methods."""
        assert isinstance(error, HTTPException)
        allowed = (error.headers or {}).get("Allow")
        if allowed and request.method == "OPTIONS":
            return self._reply(b"", 204, headers={"allow": f"{allowed}, OPTIONS"}, media_type=None)
        if request.url.path == "/score":
            self.metrics.request(error.status_code)
        text = {404: "no such path; GET / lists the endpoints", 405: "this method is not allowed here"}
        return self._error(error.status_code, text.get(error.status_code, error.detail), error.headers)

    async def bug(self, _: Request, __: Exception) -> Response:
        """What should not happen; the traceback goes to the log, never to the client."""
        return self._error(500, "internal error")

    async def _answer(self, request: Request, served: Served | None, job: Job) -> list[bytes]:
        explain = _wants_explanation(request)
        if served is None:
            raise RefusedError(503, f"not ready: {self.not_ready}")
        image = served.detector.bundle.image
        if image is not None:
            return await answer_image(served, image, await self._body(request, job), explain, job)
        # The body is no longer there when its answer is made: they are the two largest things in memory.
        values = await read_rows(served, await self._body(request, job), explain, job)
        return await answer_rows(served, values, explain, job)

    async def _body(self, request: Request, job: Job) -> bytes:
        try:
            return await self._bodies.read(request.scope["headers"], request.stream(), job.share)
        except ClientDisconnect:
            raise RefusedError(400, "the request is incomplete") from None

    def _answered(self, parts: list[bytes]) -> Response:
        if len(parts) == 1:
            return self._reply(parts[0])
        return self._reply(b"", headers={"content-length": str(sum(map(len, parts)))})

    def _reply(
        self,
        body: bytes,
        status: int = 200,
        *,
        headers: Mapping[str, str] | None = None,
        media_type: str | None = "application/json",
    ) -> Response:
        response = Response(body, status, headers, media_type)
        if not self.keep_alive:
            response.headers["connection"] = "close"
        return response

    def _error(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
        extra = {503: {"retry-after": "1"}, 408: {"connection": "close"}}.get(status, {})
        body = msgspec.json.encode({"error": message[:1000]})
        return self._reply(body, status, headers={**(headers or {}), **extra})


class _Scoring:
    """`Service.score`; Starlette would take the method itself for a function of a request."""

    def __init__(self, service: Service) -> None:
        self._score = service.score

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        return self._score(scope, receive, send)


class _Incoming:
    """The messages of a request, and whether all of it has come."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.complete = False

    async def __call__(self) -> Message:
        message = await self._receive()
        self.complete = not message.get("more_body")
        return message

    async def linger(self) -> None:
        """Throws away what a client still sends: closing on it would reset the connection, and lose the answer."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while not self.complete:
                    await self()


async def _send(
    response: Response, parts: list[bytes], incoming: _Incoming, send: Send, gone: Callable[[], bool]
) -> None:
    """Sends a body part by part, each when those before have left: a slow reader keeps no second copy of it waiting."""
    if gone():
        return
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    for part in parts:
        if gone():  # a client that had closed its side may have reset what was sent first
            return
        last = part is parts[-1] and incoming.complete
        await send({"type": "http.response.body", "body": part, "more_body": not last})
    if not incoming.complete:
        await incoming.linger()
        if gone():
            return
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def create_app(service: Service, lifespan: Callable[[Starlette], Any] | None = None) -> Starlette:
    """The ASGI application around a service; what runs it calls `Service.use` when a model is ready."""
    app = Starlette(
        routes=[
            Route("/score", _Scoring(service), methods=["POST"]),
            Route("/healthz", service.healthz),
            Route("/readyz", service.readyz),
            Route("/metrics", service.scrape),
            Route("/model", service.model),
            Route("/", service.index),
        ],
        exception_handlers={HTTPException: service.http_error, Exception: service.bug},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # /score/ is an unknown path, not a redirect that loses the body
    return app


def _wants_explanation(request: Request) -> bool:
    query = request.scope["query_string"]
    if not query:
        return False
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name != "explain" or value not in ("1", "true"):
            raise RefusedError(400, f"query {name[:20]!r} is {value[:20]!r}, expected explain=1 or nothing")
    return True
