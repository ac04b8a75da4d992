"""What schemathesis cannot know of the service: how lines are sent, and where its checks ask too much."""

from __future__ import annotations

from typing import Any

import schemathesis
from schemathesis import Case, CheckContext, Response, SerializationContext
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

JSON = "application/json"


@schemathesis.serializer("application/x-ndjson", "text/csv", "image/*")
def as_it_stands(_: SerializationContext, value: object) -> bytes:
    """Texts, and bytes, which JSON Schema says nothing of."""
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")


@schemathesis.check
def good_data_is_accepted(ctx: CheckContext, response: Response, case: Case[Any]) -> None:
    """As `positive_data_acceptance` asks, where a schema can say what is good."""
    path = case.operation.path
    if path.endswith(("/promote", "/rollback")):
        return  # 400 where there is no shadow, and no version before: it depends on the model, not on what was sent
    if path == "/normal":
        return  # 400 where nothing is kept, as here
    if path.endswith("/infer"):
        return  # no schema says that a tensor has as many elements as its shape, or how long the JSON in a body is
    if path == "/score" and case.media_type != JSON:
        return  # nor what stands in lines of text, or in an image
    if path == "/score" and isinstance(case.body, dict) and ("metrics" in case.body or "fields" in case.body):
        return  # nor that the columns must be found in some of the metrics of one time
    if path == "/score" and "the score exceeds float32" in response.text:
        return  # a row of numbers whose score is none
    positive_data_acceptance(ctx, response, case)


@schemathesis.check
def bad_data_is_refused(ctx: CheckContext, response: Response, case: Case[Any]) -> None:
    """As `negative_data_rejection` asks, but for bad rows that were to be flagged."""
    if case.operation.path == "/score" and response.status_code == 200:
        if case.media_type != JSON and isinstance(case.body, str):
            return  # every text is one
        if any(result["status"] == "bad" for result in response.json()["results"]):
            return
    negative_data_rejection(ctx, response, case)
