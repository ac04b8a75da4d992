"""The endpoints of the service, and what they answer when something is wrong."""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from time import perf_counter

import msgspec

from ..errors import MissingExtraError

try:
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import Response
except ImportError as error:
    raise MissingExtraError(f"the HTTP service needs {error.name}: pip install 'vae-detect[serve]'") from None

from ..alarms.store import EventStore
from ..hosting.logs import Log
from ..protocol.inference_protocol import HEADER
from .alarm_lines import tell_alarms
from .answers import answer_rows, read_rows
from .bodies import BodyReader, Memory
from .frames import Frames
from .image_answers import answer_image
from .inference import answer_tensors, read_tensors
from .jobs import Job, Worker
from .metrics import ServiceMetrics
from .openapi import document
from .queries import Query
from .refusals import RefusedError
from .repository import Repository
from .requests import Exchange
from .routes import OTHER, route_of
from .schemas import Alive, Readiness, Refusal
from .viewers import Viewers

MAX_REQUESTS = 256
"""Requests that are worked on at once; beyond it clients are asked to come again."""

JSON = (b"content-type", b"application/json")

_FAULT = msgspec.json.encode(Refusal("internal error"))

Reply = tuple[list[tuple[bytes, bytes]], list[bytes]]
"""Headers and the parts of a body."""


class Service:
    """What the endpoints share: the models, the metrics, and whether the end is near."""

    def __init__(self, metrics: ServiceMetrics, repository: Repository, log: Log | None = None) -> None:
        self.metrics, self.repository = metrics, repository
        self.log = log or Log(lambda _: None)
        self.stopping = False
        self.keep_alive = True
        """Whether clients may send another request on their connection."""
        self._bodies, self._memory, self._worker = BodyReader(), Memory(), Worker()
        self.asks_token = False
        """Whether requests must bear one."""
        self.viewers, self.events = Viewers(), EventStore(None)
        self.frames = Frames(lambda: self.viewers.count > 0)
        """What the page at / shows beside what it is given to show."""
        self.keep_normal: Callable[[str, str, float], Path] | None = None
        """Keeps the last minutes of a model's key as normal data, where there is a place for it; raises InputError."""
        self._document: tuple[object, bytes] = None, b""
        self.requests = 0
        metrics.is_ready = lambda: not self.not_ready
        metrics.in_progress = lambda: self.requests

    @property
    def not_ready(self) -> str:
        """Why the service is not ready; "" when it is."""
        return "the service is stopping" if self.stopping else self.repository.not_ready

    def close(self) -> None:
        """Not ready any more, and unfinished bodies must hurry; requests are still answered."""
        self.stopping = True
        self.viewers.close()
        self._bodies.close_soon()

    async def answer(self, exchange: Exchange, route: str, work: Callable[[Exchange, Job], Awaitable[Reply]]) -> None:
        """Answers a request to score: it counts, and lets go of its memory, when its answer is out."""
        status = 500
        self.requests += 1
        try:
            with self._memory.share() as share:
                job = Job(share, self._worker, exchange.client.gone, frames=self.frames)
                if self.log.alarms:
                    job.tell = partial(tell_alarms, self.log, exchange.request_id)
                try:
                    if self.requests > MAX_REQUESTS:
                        raise RefusedError(503, "too many requests at once; try again", limit="requests")
                    headers, parts = await work(exchange, job)
                    status = 200
                except RefusedError as refusal:
                    status = refusal.status
                    headers, parts = _refused(refusal)
                    if job.metrics is not None:
                        job.metrics.refused(refusal.rows)
                    if refusal.limit:
                        self.metrics.limit_exceeded(refusal.limit)
                    share.hold(0)
                    self.log.refused(status, str(refusal), request_id=exchange.request_id)
                except Exception as error:
                    headers, parts = [JSON], [_FAULT]
                    share.hold(0)
                    trace = "".join(traceback.format_exception(error))
                    self.log.event("fault", trace, level="error", request_id=exchange.request_id)
                headers.append((b"content-length", b"%d" % sum(map(len, parts))))
                took = perf_counter() - exchange.complete
                if exchange.header(b"x-request-id"):
                    headers.append((b"x-request-id", exchange.request_id.encode()))
                if not self.keep_alive:
                    headers.append((b"connection", b"close"))
                await exchange.answer(status, headers, parts)
            if exchange.client.gone():
                status = 400
        finally:
            self.requests -= 1
            if status == 200:
                self.metrics.answered(route, took, exchange.request_id if exchange.header(b"x-request-id") else "")
            else:
                self.metrics.request(route, status)

    async def score(self, exchange: Exchange, job: Job) -> Reply:
        """POST /score."""
        query = Query.parse(exchange.scope["query_string"])
        # Once, before anything is awaited: an answer is of one version of the model.
        served = self.repository.served(query.model)
        job.metrics = served.metrics
        image = served.detector.bundle.image
        if image is not None:
            body = await exchange.body(self._bodies, job.share)
            return [JSON], await answer_image(served, image, body, query.explain, job)
        # The body is no longer there when its answer is made: they are the two largest things in memory.
        content_type = exchange.header(b"content-type") or ""
        rows = await read_rows(served, await exchange.body(self._bodies, job.share), content_type, query, job)
        return [JSON], await answer_rows(served, rows, query, job)

    async def infer(self, exchange: Exchange, job: Job) -> Reply:
        """POST /v2/models/NAME/infer."""
        named = exchange.scope["path_params"]  # none where the name is empty
        asked = self.repository.asked(named.get("name", ""), named.get("version"))
        if asked.part is None:  # rows are what is scored
            job.metrics = asked.served.metrics
        if exchange.scope["query_string"]:
            raise RefusedError(400, "this endpoint takes no query")
        started = perf_counter()
        try:
            # The body is no longer there when its answer is made, as in `score`.
            body = exchange.body(self._bodies, job.share)
            question = await read_tensors(asked, await body, exchange.header(HEADER), job)
            reply = await answer_tensors(asked, question, job)
        except RefusedError:
            asked.times.took("fail", perf_counter() - started)
            raise
        asked.times.answered(question.rows, perf_counter() - started)
        return reply

    async def small_body(self, request: Request) -> bytes:
        """The body of a request that asks for something to be done."""
        with self._memory.share() as share:
            return await self._bodies.read(request.scope["headers"], request.receive, share)

    async def model(self, request: Request) -> Response:
        """GET /model."""
        query = Query.parse(request.scope["query_string"], ("model",))
        return self.reply(self.repository.served(query.model).facts)

    async def healthz(self, _: Request) -> Response:
        """GET /healthz."""
        return self.reply(msgspec.json.encode(Alive()))

    async def readyz(self, _: Request) -> Response:
        """GET /readyz. A calibration that no longer holds is told, and is no reason to send requests elsewhere."""
        if self.not_ready:
            raise RefusedError(503, f"not ready: {self.not_ready}")
        told = {model.name: model.served.watch.monitor.describe() for model in self.repository if model.served}
        names = len(told) > 1
        calibration = "; ".join(f"{name}: {text}" if names else text for name, text in told.items())
        return self.reply(msgspec.json.encode(Readiness("ready", calibration)))

    async def scrape(self, request: Request) -> Response:
        """GET /metrics."""
        body, media_type = self.metrics.exposition(request.headers.get("accept", ""))
        return self.reply(body, media_type=media_type)

    async def openapi(self, _: Request) -> Response:
        """GET /openapi.json, made once for what is served."""
        models = {model.name: model.served for model in self.repository}
        key = {name: served and served.version for name, served in models.items()}
        if self._document[0] != key:
            make = partial(document, models, asks_token=self.asks_token)
            self._document = key, await self._worker.run(make)
        return self.reply(self._document[1])

    async def only_post(self, _: Request) -> Response:
        """What takes tensors takes them by POST."""
        raise HTTPException(405, headers={"Allow": "POST"})

    async def http_error(self, request: Request, error: Exception) -> Response:
        """Unknown paths and wrong methods."""
        assert isinstance(error, HTTPException)
        allowed = (error.headers or {}).get("Allow")
        if allowed and request.method == "OPTIONS":
            return self.reply(b"", 204, headers={"allow": f"{allowed}, OPTIONS"}, media_type=None)
        route = route_of(request.url.path)
        if route != OTHER:
            self.metrics.request(route, error.status_code)
        text = {404: "no such path; GET / lists the endpoints", 405: "this method is not allowed here"}
        body = msgspec.json.encode(Refusal(text.get(error.status_code, error.detail)))
        return self.reply(body, error.status_code, headers=error.headers)

    async def refused(self, _: Request, error: Exception) -> Response:
        """What cannot be had now, or here."""
        assert isinstance(error, RefusedError)
        headers, (body,) = _refused(error)
        return self.reply(body, error.status, headers={name.decode(): value.decode() for name, value in headers})

    async def bug(self, _: Request, __: Exception) -> Response:
        """What should not happen; the traceback goes to the log, never to the client."""
        return self.reply(_FAULT, 500)

    def reply(
        self,
        body: bytes,
        status: int = 200,
        *,
        headers: Mapping[str, str] | None = None,
        media_type: str | None = "application/json",
    ) -> Response:
        """An answer that closes the connection when the service is about to end."""
        response = Response(body, status, headers, media_type)
        if not self.keep_alive:
            response.headers["connection"] = "close"
        return response


_EXTRA: dict[int, list[tuple[bytes, bytes]]] = {503: [(b"retry-after", b"1")], 408: [(b"connection", b"close")]}


def _refused(refusal: RefusedError) -> Reply:
    """Headers and body that say why."""
    return [JSON, *_EXTRA.get(refusal.status, ())], [msgspec.json.encode(Refusal(str(refusal)[:1000]))]
