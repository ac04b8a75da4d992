"""What may be asked of the service: one table, which GET / tells in short and the OpenAPI document in full."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from ..bundle import Bundle
from .schemas import (
    Alive,
    EventChange,
    Frame,
    Index,
    IndexEntry,
    InferAnswer,
    Kept,
    Live,
    ModelConfig,
    ModelMetadata,
    ModelReady,
    ModelVersion,
    NormalTime,
    Readiness,
    Ready,
    ScoreAnswer,
    ServerMetadata,
    Statistics,
    ToldEvent,
)

Body = Literal["rows", "tensors", "parameters"] | type[EventChange] | type[NormalTime]
"""What is sent; a type where it is JSON of that and nothing else."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path, names in braces standing for a part of it.

    Parameters
    ----------
    answer : what comes with status 200, a type that is told as JSON; or "document" for an OpenAPI document; or one of
        `openapi.MEDIA_TYPES_OF`
    page : whether a browser gets HTML
    refusals : the statuses of its other answers, beside 400 and 500, which any may have
    queries : what may stand behind the question mark
    """

    method: Literal["GET", "POST"]
    path: str
    summary: str
    answer: Any
    refusals: tuple[int, ...] = ()
    queries: tuple[str, ...] = ()
    body: Body | None = None
    page: bool = False

    @property
    def called(self) -> str:
        """How it is written: POST /score."""
        return f"{self.method} {self.path}"


_BODY_REFUSALS = (408, 413, 415, 503)


def _of_models() -> Iterator[Endpoint]:
    """What is asked of a model, or of one version of it."""
    for which, path in (("a model", "/v2/models/{name}"), ("a version", "/v2/models/{name}/versions/{version}")):
        yield Endpoint("GET", path, f"what {which} takes and gives", ModelMetadata, (404, 503))
        yield Endpoint("GET", f"{path}/ready", f"200 when {which} answers", ModelReady, (404, 503))
        yield Endpoint("GET", f"{path}/config", f"the configuration of {which}", ModelConfig, (404, 503))
        yield Endpoint("GET", f"{path}/stats", f"the statistics of {which}", Statistics, (404, 503))
        yield Endpoint(
            "POST",
            f"{path}/infer",
            f"tensors to tensors, by {which}",
            InferAnswer,
            (404, *_BODY_REFUSALS),
            body="tensors",
        )


def _of_repository() -> Iterator[Endpoint]:
    """What an operator does with the versions of a model."""
    for verb, summary in (
        ("load", "load the model's file as it is now"),
        ("unload", "let the model answer no more"),
        ("promote", "let the shadow of the model take its place"),
        ("rollback", "let the version before answer again"),
    ):
        path = f"/v2/repository/models/{{name}}/{verb}"
        if verb == "load":
            yield Endpoint("POST", path, summary, ModelVersion, (404, *_BODY_REFUSALS), body="parameters")
        else:
            yield Endpoint("POST", path, summary, ModelVersion, (404, 503))


def _of_the_page() -> Iterator[Endpoint]:
    """What the page at / is made of, and asks for."""
    live = "what changes, as server-sent events: all machines, and with model and key that one in full"
    yield Endpoint("GET", "/page/{file}", "what the page is made of", "files", (404,))
    yield Endpoint("GET", "/live", live, "stream", (503,), queries=("model", "key"))
    yield Endpoint(
        *("GET", "/events", "events, the newest first", list[ToldEvent], (503,)), queries=("since", "key", "limit")
    )
    yield Endpoint(
        *("POST", "/events/{id}", "acknowledge an event, or say what it was", ToldEvent, (404, *_BODY_REFUSALS)),
        body=EventChange,
    )
    yield Endpoint(
        *("POST", "/normal", "keep the last minutes of a machine as normal data", Kept, (404, *_BODY_REFUSALS)),
        body=NormalTime,
    )
    yield Endpoint("GET", "/frames", "the last images: the newest, and the newest anomalies", list[Frame])
    yield Endpoint("GET", "/frames/{number}.png", "one of them", "picture", (404,))
    yield Endpoint("GET", "/frames/{number}.heat.png", "its heat map", "picture", (404,))


_SCORE = "score one row or many, or one image; ?explain=1 adds the largest contributions, or a heat map"

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        *("POST", "/score", _SCORE, ScoreAnswer, (404, *_BODY_REFUSALS)),
        queries=("model", "explain", "on_bad_row", "key"),
        body="rows",
    ),
    Endpoint("GET", "/model", "facts about the model", Bundle, (404, 503), queries=("model",)),
    Endpoint("GET", "/healthz", "200 when the process answers", Alive),
    Endpoint("GET", "/readyz", "200 when a verified model is loaded; whether its calibration holds", Readiness, (503,)),
    Endpoint("GET", "/metrics", "Prometheus metrics, unless they have a port of their own", "metrics", (404,)),
    Endpoint("GET", "/", "this list; in a browser the page that shows what all this says now", Index, page=True),
    Endpoint("GET", "/openapi.json", "the OpenAPI document of all these, for the models that are served", "document"),
    Endpoint("GET", "/v2", "the Open Inference Protocol, version 2: what answers", ServerMetadata),
    Endpoint("GET", "/v2/health/live", "200 when the process answers", Live),
    Endpoint("GET", "/v2/health/ready", "200 when a verified model is loaded", Ready, (503,)),
    Endpoint("GET", "/v2/models/stats", "the statistics of all models that answer", Statistics),
    *_of_models(),
    Endpoint("POST", "/v2/repository/index", "all models, and the state of each", list[IndexEntry]),
    *_of_repository(),
    *_of_the_page(),
)
"""All there is."""
