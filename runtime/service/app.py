"""The HTTP application: scores rows or an image, tells about its model, its health and its metrics."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import msgspec
import numpy as np

from ..bundle import Image
from ..detector import HEAT_WHITE, Detector
from ..errors import InputError, MissingExtraError
from ..images.reading import heat_png, image_format, read_image
from ..rows.json_rows import RefusedError, RowReader
from ..rows.tables import Rows
from ..scoring.results import OVERFLOW, Recording, Results, Watch, score_images
from .bodies import MAX_BUFFERED, BodyReader
from .metrics import CONTENT_TYPE, Metrics

try:
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import Response
    from starlette.routing import Route
except ImportError as error:
    raise MissingExtraError(f"the HTTP service needs {error.name}: pip install 'vae-detect[serve]'") from None

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CHUNK_ROWS = 1024  # between chunks the loop answers others, so that a scrape never waits for 100 000 rows
_LARGEST = 5
_LEAST_WAITING = 1024 * 1024
"""Bytes that an image counts for while it waits to be decoded, at least: a small file may hold 40 megapixels."""
_ENDPOINTS = {
    "POST /score": "score one row or many, or one image; ?explain=1 adds the largest contributions, or a heat map",
    "GET /model": "facts about the model",
    "GET /healthz": "200 when the process answers",
    "GET /readyz": "200 when a verified model is loaded; tells whether its calibration holds",
    "GET /metrics": "Prometheus metrics",
}


class Service:
    """What the endpoints share: the detector, once it is there, the metrics, and whether the end is near.

    All that is scored is one stream in the order of arrival: to one watch, which with `adaptive` has a threshold that
    follows it.
    """

    def __init__(self, metrics: Metrics, *, adaptive: bool = False) -> None:
        self.metrics = metrics
        self._adaptive = adaptive
        self.not_ready = "the model is being loaded"
        """Why the service is not ready; "" when it is."""
        self.stopping = False
        self.keep_alive = True
        """Whether clients may send another request on their connection."""
        self._detector: Detector | None = None
        self._bodies = BodyReader()
        self._waiting = 0  # bytes of images that wait to be decoded

    def use(self, detector: Detector) -> None:
        """Scores with this verified detector from now on."""
        self._reader = RowReader(detector.bundle.columns)
        self._facts = msgspec.json.encode(model_facts(detector))
        self._detector = detector
        self._watch = Watch(detector, adaptive=self._adaptive)
        self.metrics.model_loaded(detector, self._watch.monitor)
        self.not_ready = ""

    def close(self) -> None:
        """Not ready any more, and unfinished bodies must hurry; requests are still answered."""
        self.not_ready, self.stopping = "the service is stopping", True
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
        """GET /readyz. A calibration that no longer holds is told, and is no reason to send requests elsewhere."""
        if self.not_ready:
            return self._error(503, f"not ready: {self.not_ready}")
        told = {"status": "ready", "calibration": self._watch.monitor.describe()}
        return self._reply(msgspec.json.encode(told))

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
        body = await self._bodies.read(request.scope["headers"], request.stream())
        if detector.bundle.image is not None:
            return await self._score_image(detector, detector.bundle.image, body, explain)
        if image_format(body):
            raise RefusedError(415, "the body is an image, and this model scores rows; expected JSON")
        return await self._score_rows(detector, body, explain)

    async def _score_rows(self, detector: Detector, body: bytes, explain: bool) -> Response:
        values = self._reader.read(body)
        recording = Recording(detector, explain=explain, watch=self._watch)
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

    async def _score_image(self, detector: Detector, image: Image, body: bytes, explain: bool) -> Response:
        if body and not image_format(body):
            raise RefusedError(
                415, "the body is no image, and this model scores images; expected PNG, JPEG, BMP, TIFF, WebP or GIF"
            )
        pixels = await self._decode(body, image)
        started = perf_counter()
        results = score_images(detector, 0, [pixels], self._watch)
        seconds = perf_counter() - started
        if OVERFLOW in results.status:
            raise RefusedError(400, "the score of the image exceeds float32", rows=1)
        answer = results.row(0) | (_heat(detector, pixels) if explain else {})
        self.metrics.observe(results, seconds)
        return self._reply(msgspec.json.encode({"model": detector.bundle.export_id, "results": [answer]}))

    async def _decode(self, body: bytes, image: Image) -> NDArray[np.uint8]:
        """The pixels, decoded in a thread, since 40 megapixels take a second in which others want to be answered."""
        cost = max(len(body), _LEAST_WAITING)
        if self._waiting + cost > MAX_BUFFERED:
            raise RefusedError(503, "too many images at once; try again", rows=1)
        self._waiting += cost
        try:
            return await asyncio.to_thread(read_image, body, image)
        except InputError as error:
            raise RefusedError(400, f"the image {error}", rows=1) from None
        finally:
            self._waiting -= cost

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
                    "contribution": _short(contribution[place]),
                    "actual": _short(rows.values[index, place]),
                    "expected": _short(expected[place]),
                }
                for place in largest
            ]
    return msgspec.json.encode(answers)[1:-1]


def _heat(detector: Detector, pixels: NDArray[np.uint8]) -> dict[str, Any]:
    """The heat map as a picture, what white is in it, and where it is largest."""
    heat = detector.heat_map(pixels[None])[0]
    white = HEAT_WHITE * detector.normal_heat
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    return {
        "heat_map": base64.b64encode(heat_png(heat, white)).decode(),
        "heat_map_white": white,
        "largest_error": {"row": int(row), "column": int(column), "nats": _short(heat[row, column])},
    }


def _short(value: np.float32) -> float:
    """The fewest digits that are the same float32, for people: 2.77, not 2.7699999809265137."""
    return float(str(value))
