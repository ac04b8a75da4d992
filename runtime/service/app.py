"""The HTTP application: its endpoints, and what they answer when something is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from ..errors import MissingExtraError
from .answers import ImageDesk, answer_rows
from .bodies import BodyReader
from .metrics import CONTENT_TYPE, ServiceMetrics
from .models import Served
from .refusals import RefusedError

try:
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import Response
    from starlette.routing import Route
except ImportError as error:
    raise MissingExtraError(f"the HTTP service needs {error.name}: pip install 'vae-detect[serve]'") from None

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
        self._images = ImageDesk()

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

    async def score(self, request: Request) -> Response:
        """POST /score."""
        served, status = self.served, 500  # once, before anything is awaited: an answer is of one version of the model
        try:
            response = self._reply(await self._answer(request, served))
            status = response.status_code
        except RefusedError as refusal:
            status = refusal.status
            if served is not None:
                served.metrics.refused(refusal.rows)
            response = self._error(status, str(refusal))
        except ClientDisconnect:
            status = 400
            raise
        finally:
            self.metrics.request(status)
        return response

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
        if request.url.path == "/score":
            self.metrics.request(error.status_code)
        text = {404: "no such path; GET / lists the endpoints", 405: "this method is not allowed here"}
        return self._error(error.status_code, text.get(error.status_code, error.detail), error.headers)

    async def client_left(self, _: Request, __: Exception) -> Response:
        """A client that went away while it sent; nobody reads this."""
        return self._error(400, "the request is incomplete")

    async def bug(self, _: Request, __: Exception) -> Response:
        """What should not happen; the traceback goes to the log, never to the client."""
        return self._error(500, "internal error")

    async def _answer(self, request: Request, served: Served | None) -> bytes:
        explain = _wants_explanation(request)
        if served is None:
            raise RefusedError(503, f"not ready: {self.not_ready}")
        body = await self._bodies.read(request.scope["headers"], request.stream())
        image = served.detector.bundle.image
        if image is None:
            return await answer_rows(served, body, explain)
        return await self._images.answer(served, image, body, explain)

    def _reply(
        self,
        body: bytes,
        status: int = 200,
        *,
        headers: Mapping[str, str] | None = None,
        media_type: str = "application/json",
    ) -> Response:
        response = Response(body, status, headers, media_type)
        if not self.keep_alive:
            response.headers["connection"] = "close"
        return response

    def _error(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
        extra = {503: {"retry-after": "1"}, 408: {"connection": "close"}}.get(status, {})
        body = msgspec.json.encode({"error": message[:1000]})
        return self._reply(body, status, headers={**(headers or {}), **extra})


def create_app(service: Service, lifespan: Callable[[Starlette], Any] | None = None) -> Starlette:
    """The ASGI application around a service; what runs it calls `Service.use` when a model is ready."""
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


def _wants_explanation(request: Request) -> bool:
    query = request.scope["query_string"]
    if not query:
        return False
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name != "explain" or value not in ("1", "true"):
            raise RefusedError(400, f"query {name[:20]!r} is {value[:20]!r}, expected explain=1 or nothing")
    return True
