"""Small requests that are there as a whole, answered without a task, a future and three messages for each.

These cost more than scoring a row. A request that is odd in any way is left to the usual way, which says what is odd.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter

from starlette.types import Scope

from ..protocol.inference_protocol import HEADER
from ..scoring.results import Results
from ..streams.parts import Part
from .answers import encoded, refuse_overflow, unkeyed
from .endpoints import JSON, MAX_REQUESTS, Service
from .inference import SmallQuestion
from .models import Served
from .request_reader import reads_at_once
from .requests import Headers, Pending
from .routes import INFER, INFER_PATH, SCORE

Encode = Callable[[Sequence[Results]], tuple[Headers, list[bytes]]]

_UNUSUAL = frozenset({b"content-encoding", b"x-request-id"})
"""Headers that only the usual way knows."""


class AtOnce:
    """Takes requests to score of which nothing is missing."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def take(self, scope: Scope, body: bytes, pending: Pending) -> bool:
        """As `requests.Application` has it."""
        service = self._service
        if not reads_at_once(body) or scope["query_string"] or service.requests >= MAX_REQUESTS or service.log.alarms:
            return False
        content_type, length = "", None
        for name, value in scope["headers"]:
            if name == b"content-type":
                content_type = value.decode("latin-1")
            elif name == HEADER:
                length = value.decode("latin-1")
            elif name in _UNUSUAL:
                return False
        try:
            score = scope["path"] == "/score"
            asked = self._rows(body, content_type) if score else self._tensors(scope["path"], body, length)
        except Exception:  # refused, or a fault of ours: the usual way meets it again, and tells what it is
            return False
        if asked is None or len(asked[1].numbers) > asked[0].at_once:
            return False
        self._ask(SCORE if score else INFER, *asked, pending)
        return True

    def _rows(self, body: bytes, content_type: str) -> tuple[Served, Part, Encode] | None:
        served = self._service.repository.served(None)
        if served.detector.bundle.image is not None:
            return None
        rows = served.reader.read(body, content_type)
        part = unkeyed(served.framer, rows)
        return (served, part, lambda found: ([JSON], [encoded(served, [part], found)])) if rows.keys is None else None

    def _tensors(self, path: str, body: bytes, length: str | None) -> tuple[Served, Part, Encode] | None:
        named = INFER_PATH.fullmatch(path)
        asked = self._service.repository.asked(named["name"], named["version"]) if named else None
        if asked is None or asked.part is not None:
            return None
        question = SmallQuestion(asked, body, length)
        return None if question.wants_more else (asked.served, question.part, question.answer)

    def _ask(self, route: str, served: Served, part: Part, encode: Encode, pending: Pending) -> None:
        service = self._service
        service.requests += 1
        started = perf_counter()

        def settle(found: list[Results] | Exception) -> None:
            service.requests -= 1
            if isinstance(found, Exception):
                pending.ask_usually()
                return
            try:
                answer = encode(found)
            except Exception:  # as above
                pending.ask_usually()
                return
            pending.reply(*answer, close=not service.keep_alive)
            if pending.gone():
                service.metrics.request(route, 400)
            else:
                service.metrics.answered(route, perf_counter() - started)

        served.turns.ask([part], partial(refuse_overflow, served.detector, [part]), settle, gone=pending.gone)
