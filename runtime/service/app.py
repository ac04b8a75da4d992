"""The HTTP application: which endpoint answers to which path."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from ..errors import MissingExtraError

try:
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.routing import Route
    from starlette.types import ASGIApp, Receive, Scope, Send
except ImportError as error:
    raise MissingExtraError(f"the HTTP service needs {error.name}: pip install 'vae-detect[serve]'") from None

from .access import HEALTH, METRICS_PATH
from .at_once import AtOnce
from .catalogue import ENDPOINTS
from .endpoints import Reply, Service
from .jobs import Job
from .live_page import LivePage
from .operations import Operations
from .refusals import RefusedError
from .requests import Exchange
from .routes import INFER, INFER_PATH, SCORE


class _Scoring:
    """What scores, as an ASGI application: Starlette would take a method for a function of its own requests."""

    def __init__(self, service: Service, route: str, work: Callable[[Exchange, Job], Awaitable[Reply]]) -> None:
        self._service, self._route, self._work = service, route, work

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        return self._service.answer(Exchange(scope, receive, send), self._route, self._work)


class _WithoutQuery:
    """An application that takes nothing behind the question mark."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["query_string"]:
            raise RefusedError(400, "this endpoint takes no query")
        await self._app(scope, receive, send)


_OPEN_TO_QUERIES = {METRICS_PATH, *HEALTH, *(endpoint.path for endpoint in ENDPOINTS if endpoint.queries)}
"""Scrapers and load balancers send queries of their own; others are meant, and refused where they mean nothing."""


class App:
    """The ASGI application around a service. What scores goes past the router, which costs as much as scoring a row."""

    def __init__(self, service: Service, lifespan: Callable[[Starlette], Any] | None = None) -> None:
        self._score, self._infer = _Scoring(service, SCORE, service.score), _Scoring(service, INFER, service.infer)
        routes = [
            Route("/score", self._score, methods=["POST"]),
            Route("/healthz", service.healthz),
            Route("/readyz", service.readyz),
            Route("/metrics", service.scrape),
            Route("/model", service.model),
            Route("/openapi.json", service.openapi),
            Route("/v2/models/{rest:path}/infer", self._infer, methods=["POST"]),
            Route("/v2/models/{rest:path}/infer", service.only_post),
            *Operations(service).routes(),
            *LivePage(service).routes(),
        ]
        for route in routes:
            if route.path not in _OPEN_TO_QUERIES:
                route.app = _WithoutQuery(route.app)
        handlers: dict[Any, Any] = {
            HTTPException: service.http_error,
            RefusedError: service.refused,
            Exception: service.bug,
        }
        self._rest = Starlette(routes=routes, exception_handlers=handlers, lifespan=lifespan)
        self._rest.router.redirect_slashes = False  # /score/ is an unknown path, not a redirect that loses the body

        self.take = AtOnce(service).take
        """Takes small requests past all this, see `at_once.AtOnce`."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            if scope["path"] == "/score":
                return await self._score(scope, receive, send)
            found = INFER_PATH.fullmatch(scope["path"])
            if found is not None:
                scope["path_params"] = found.groupdict()
                return await self._infer(scope, receive, send)
        return await self._rest(scope, receive, send)
