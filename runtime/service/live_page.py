"""The page at /, and what it asks for: what happens now, events, normal times, images."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from ..alarms.event import Event, told
from ..alarms.event_labels import write_labels
from ..errors import InputError, UnavailableError, VaeDetectError
from .catalogue import ENDPOINTS
from .endpoints import Service
from .frames import Pictures
from .page_files import DATA_HEADERS, FOLDER, HTML, NAMES, PAGE_HEADERS, content_of, media_type, wants_page
from .queries import MOST_EVENTS, MOST_SINCE, number, pairs
from .refusals import RefusedError
from .requests import Exchange
from .schemas import EventChange, Index, Kept, NormalTime
from .sites import refuse_forms, refuse_other_sites

_T = TypeVar("_T")

_INDEX = msgspec.json.encode(Index({endpoint.called: endpoint.summary for endpoint in ENDPOINTS}))
_USUALLY, _LARGEST_ID = 100, 2**63 - 1
"""Events that are told where nobody says how many, and the largest number that one may have."""


class LivePage:
    """What browsers ask for. It holds nothing: what there is to see is the service's."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def routes(self) -> list[Route]:
        """Where it is asked for."""
        return [
            Route("/", self.index),
            Route(f"{FOLDER}{{file}}", self.file),
            Route("/live", _Stream(self._service), methods=["GET"]),
            Route("/events", self.events),
            Route("/events/{id:int}", self.change, methods=["POST"]),
            Route("/normal", self.normal, methods=["POST"]),
            Route("/frames", self.frames),
            Route("/frames/{number:int}.png", self.picture),
            Route("/frames/{number:int}.heat.png", self.heat),
        ]

    async def index(self, request: Request) -> Response:
        """GET /: the page for a browser, else the list of endpoints."""
        if not wants_page(request.scope["headers"]):
            return self._service.reply(_INDEX, headers={"vary": "accept"})
        page = content_of("index.html")
        if self._service.asks_token:
            page = page.replace(b'data-token="no"', b'data-token="yes"', 1)
        return self._service.reply(page, headers=PAGE_HEADERS | {"vary": "accept"}, media_type=HTML)

    async def file(self, request: Request) -> Response:
        """GET /page/NAME."""
        name = request.path_params["file"]
        if name not in NAMES:
            raise RefusedError(404, "no such path; GET / lists the endpoints")
        return self._service.reply(content_of(name), headers=PAGE_HEADERS, media_type=media_type(name))

    async def events(self, request: Request) -> Response:
        """GET /events: the newest first."""
        found = pairs(request.scope["query_string"], {"since": (), "key": (), "limit": ()}, empty=("key",))
        since = number(found, "since", 0, 0, MOST_SINCE) if "since" in found else None
        limit = int(number(found, "limit", _USUALLY, 1, MOST_EVENTS))
        listed = partial(self._service.events.list, since=since, key=found.get("key"), limit=limit)
        return self._told([told(event) for event in await _aside(listed)])

    async def change(self, request: Request) -> Response:
        """POST /events/ID."""
        wanted = await self._sent(request, EventChange)
        return self._told(told(await _aside(partial(self._changed, request.path_params["id"], wanted))))

    def _changed(self, event_id: int, wanted: EventChange) -> Event:
        store = self._service.events
        event = store.of(event_id) if event_id <= _LARGEST_ID else None
        if event is None:
            raise RefusedError(404, "no such event; GET /events lists them")
        if wanted.acknowledged is not UNSET:
            store.ack(event_id, acknowledged=wanted.acknowledged)
        if wanted.label is not UNSET:
            store.label(event_id, wanted.label)
            if store.path is not None:
                with suppress(VaeDetectError):  # the label is kept, and the file is written whole with the next one
                    write_labels(store.path.parent, store)
        return store.of(event_id) or event

    async def normal(self, request: Request) -> Response:
        """POST /normal: the last minutes of a machine go into a file of normal data."""
        wanted = await self._sent(request, NormalTime)
        served = self._service.repository.served(wanted.model)
        keep = self._service.keep_normal
        if keep is None:
            raise RefusedError(400, "nothing is kept on this machine; start serve with --state DIR")
        path = await _aside(partial(keep, served.name, wanted.key, wanted.minutes))
        return self._told(Kept(path.name))

    async def frames(self, _: Request) -> Response:
        """GET /frames."""
        return self._told(self._service.frames.listed())

    async def picture(self, request: Request) -> Response:
        """GET /frames/NUMBER.png."""
        return self._picture(self._pictures(request).image)

    async def heat(self, request: Request) -> Response:
        """GET /frames/NUMBER.heat.png."""
        return self._picture(self._pictures(request).heat)

    def _pictures(self, request: Request) -> Pictures:
        found = self._service.frames.find(request.path_params["number"])
        if found is None:
            raise RefusedError(404, "no such frame any more; GET /frames lists them")
        return found

    def _picture(self, content: bytes) -> Response:
        return self._service.reply(content, headers=DATA_HEADERS, media_type="image/png")

    async def _sent(self, request: Request, kind: type[_T]) -> _T:
        """What is asked for, from nobody but who may."""
        refuse_other_sites(request.scope["headers"])
        refuse_forms(request.scope["headers"])
        content = await self._service.small_body(request)
        try:
            return msgspec.json.decode(content, type=kind)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise RefusedError(400, f"the body is not what this endpoint takes: {error}") from None

    def _told(self, what: Any) -> Response:
        return self._service.reply(msgspec.json.encode(what), headers=DATA_HEADERS)


async def _aside(work: Callable[[], _T]) -> _T:
    """What the work returns, which may wait for a disk; RefusedError when it cannot be done."""
    try:
        return await asyncio.to_thread(work)
    except InputError as error:
        raise RefusedError(400, str(error)) from None
    except UnavailableError as error:
        raise RefusedError(503, str(error)) from None


class _Stream:
    """GET /live, as an ASGI application: its answer has no end."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refuse_other_sites(scope["headers"])
        found = pairs(scope["query_string"], {"model": (), "key": ()}, empty=("key",))
        exchange = Exchange(scope, receive, send)
        try:
            await self._service.viewers.show(exchange, found.get("model", ""), found.get("key"))
        except RefusedError as refusal:
            if refusal.limit:
                self._service.metrics.limit_exceeded(refusal.limit)
            raise
