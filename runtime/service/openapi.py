"""The OpenAPI document: what the table of endpoints says, with the types and the models that are served."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import msgspec

from ... import __version__
from ..bundle import Bundle
from ..protocol.inference_protocol import InferRequest
from .access import HEALTH
from .bodies import MAX_BODY
from .catalogue import ENDPOINTS, Endpoint
from .metrics import MEDIA_TYPES
from .models import Served
from .page_files import NAMES
from .queries import EXPECTED, MAX_KEY, MOST_EVENTS, MOST_SINCE
from .refusals import STATUSES
from .row_schemas import NUMBER, TELEGRAF, RowSchema, Schema, body_schema, in_json_lines, infer_example
from .schemas import LoadRequest, Refusal

_JSON, _BYTES = "application/json", "application/octet-stream"
MEDIA_TYPES_OF: dict[str, tuple[str, ...]] = {
    "metrics": MEDIA_TYPES,
    "stream": ("text/event-stream",),
    "files": ("text/css", "text/javascript"),
    "picture": ("image/png",),
}
"""What answers are that are no JSON."""
_BEARER: Any = [{"bearer": []}]
_WHY = STATUSES | {
    400: "a request that cannot be used: what is wrong, where, and what was expected",
    404: "no such model, or no such path",
}
_QUERIES = {
    "model": "Which model; it need not be said where there is only one.",
    "explain": "Adds the largest contributions to each score, or a heat map of an image.",
    "on_bad_row": "Whether a bad row refuses the request, or comes back with the reason.",
    "key": "Whose rows these are: what came before of the same key is remembered.",
    "since": "Those that ended later, in seconds since 1970, or still run.",
    "limit": "How many at most.",
}
_NUMBERS: dict[str, Schema] = {
    "since": {"type": "number", "minimum": 0, "maximum": MOST_SINCE},
    "limit": {"type": "integer", "minimum": 1, "maximum": MOST_EVENTS},
}
"""Queries that are one."""
_HEADERS: dict[int, Schema] = {
    401: {"WWW-Authenticate": {"schema": {"const": "Bearer"}}},
    503: {"Retry-After": {"description": "Seconds.", "schema": {"type": "string"}}},
}


def document(models: Mapping[str, Served | None], *, asks_token: bool) -> bytes:
    """The document as JSON.

    Parameters
    ----------
    models : by name; None for one that does not answer now
    asks_token : whether requests must bear one
    """
    builder = _Builder(models, asks_token)
    paths: dict[str, Schema] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = builder.operation(endpoint)
    told = {
        "openapi": "3.1.0",
        "info": {
            "title": "vae-detect",
            "version": __version__,
            "description": "Anomaly scores, p-values and verdicts for rows and images.",
        },
        "paths": paths,
        "components": builder.components(),
    }
    if asks_token:
        told["security"] = _BEARER
    return msgspec.json.encode(told)


class _Builder:
    """What the operations of one document share."""

    def __init__(self, models: Mapping[str, Served | None], asks_token: bool) -> None:
        self._names, self._asks_token = [*models], asks_token
        self._served = [served for served in models.values() if served is not None]
        bodies = [each.body for each in ENDPOINTS if isinstance(each.body, type)]
        types = [
            InferRequest,
            LoadRequest,
            Refusal,
            *bodies,
            *(each.answer for each in ENDPOINTS if not _is_word(each.answer)),
        ]
        told, self._schemas = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
        self._refs = dict(zip(types, told, strict=True))

    def operation(self, endpoint: Endpoint) -> Schema:
        """What one endpoint takes and gives."""
        is_open = endpoint.path in HEALTH or endpoint.answer == "files"
        refusals = sorted({400, 500, *endpoint.refusals, *([401] if self._asks_token and not is_open else [])})
        operation: Schema = {
            "operationId": "_".join([endpoint.method.lower(), *re.findall(r"\w+", endpoint.path)]),
            "summary": endpoint.summary,
            "parameters": [*self._parameters(endpoint)],
            "responses": {
                "200": self._answer(endpoint),
                **{str(status): {"$ref": f"#/components/responses/{status}"} for status in refusals},
            },
        }
        if endpoint.body is not None:
            operation["requestBody"] = self._body(endpoint)
        if is_open and self._asks_token:
            operation["security"] = []
        return operation

    def components(self) -> Schema:
        """What operations refer to."""
        responses = {
            str(status): {
                "description": why,
                "headers": _HEADERS.get(status, {}),
                "content": {_JSON: {"schema": self._refs[Refusal]}},
            }
            for status, why in sorted(_WHY.items())
            if status != 405 and (status != 401 or self._asks_token)
        }
        schemas = self._schemas | {"Number": NUMBER, "Telegraf": TELEGRAF, "Row": self._row(), "Facts": self._facts()}
        for unseen in ("Bundle", "Golden", "Calibration"):  # they are told in part, see `_facts`
            del schemas[unseen]
        components: Schema = {"schemas": schemas, "responses": responses}
        if self._asks_token:
            components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
        return components

    def _parameters(self, endpoint: Endpoint) -> Iterable[Schema]:
        for name in re.findall(r"{(\w+)}", endpoint.path):
            yield {"name": name, "in": "path", "required": True, **self._named(name, endpoint)}
        for name in endpoint.queries:
            allowed = EXPECTED.get(name) or (self._names if name == "model" else ())
            least = 0 if name == "key" and endpoint.body is None else 1  # rows without a key are shown too
            schema: Schema = {"type": "string", "minLength": least, "maxLength": MAX_KEY}
            yield {
                "name": name,
                "in": "query",
                "description": _QUERIES[name],
                "required": name == "model" and len(self._names) > 1 and endpoint.answer != "stream",
                "schema": {"enum": [*allowed]} if allowed else _NUMBERS.get(name, schema),
            }
        if endpoint.body is not None:
            schema = {"enum": ["gzip", "identity"]}
            yield {
                "name": "Content-Encoding",
                "in": "header",
                "description": "How the body is packed.",
                "schema": schema,
            }
        if endpoint.body == "tensors":
            schema = {"type": "integer", "minimum": 1}
            description = "How many bytes of the body are JSON, where tensors in bytes follow."
            yield {
                "name": "Inference-Header-Content-Length",
                "in": "header",
                "description": description,
                "schema": schema,
            }

    def _named(self, name: str, endpoint: Endpoint) -> Schema:
        if name in ("id", "number"):
            return {"description": "As they are listed.", "schema": {"type": "integer", "minimum": 1}}
        if name == "file":
            return {"description": "A style sheet or a script.", "schema": {"enum": [*NAMES]}}
        if name == "version":
            found = sorted({served.version for served in self._served})
            return {"description": "As answers name it.", "schema": _one_of(found)}
        if endpoint.path.startswith("/v2/repository/"):
            return {"description": "The model.", "schema": _one_of(self._names)}
        parts = [f"{served.name}/{part}" for served in self._served for part in served.parts]
        text = "The model, or its encoder or decoder as NAME/encoder."
        return {"description": text, "schema": _one_of([*self._names, *parts])}

    def _answer(self, endpoint: Endpoint) -> Schema:
        content: Schema
        if endpoint.answer in MEDIA_TYPES_OF:
            content = {kind: {"schema": {"type": "string"}} for kind in MEDIA_TYPES_OF[endpoint.answer]}
        elif endpoint.answer == "document":
            content = {_JSON: {"schema": {"type": "object"}}}
        elif endpoint.answer is Bundle:
            content = {_JSON: {"schema": {"$ref": "#/components/schemas/Facts"}}}
        else:
            content = {_JSON: {"schema": self._refs[endpoint.answer]}}
        if endpoint.page:
            content["text/html"] = {"schema": {"type": "string"}}
        if endpoint.body == "tensors":
            content[_BYTES] = {"schema": {"description": "JSON, and the outputs that were asked for in bytes."}}
        return {"description": "done", "content": content}

    def _body(self, endpoint: Endpoint) -> Schema:
        limit = f"At most {MAX_BODY // 1024**2} MiB."
        if isinstance(endpoint.body, type):
            return {"required": True, "content": {_JSON: {"schema": self._refs[endpoint.body]}}}
        if endpoint.body == "parameters":
            return {"content": {_JSON: {"schema": self._refs[LoadRequest], "example": {}}}}
        if endpoint.body == "rows":
            return {"description": limit, "required": True, "content": self._rows()}
        examples = [infer_example(served.detector.bundle) for served in self._served]
        told = {served.name: {"value": found} for served, found in zip(self._served, examples, strict=True) if found}
        as_json: Schema = {"schema": self._refs[InferRequest], "examples": told}
        as_bytes: Schema = {"schema": {"description": "JSON, and behind it tensors in bytes."}}
        return {"description": limit, "required": True, "content": {_JSON: as_json, _BYTES: as_bytes}}

    def _rows(self) -> Schema:
        content: Schema = {}
        if any(served.detector.bundle.image is None for served in self._served) or not self._served:
            content = {
                _JSON: {"schema": body_schema({"$ref": "#/components/schemas/Row"}), "examples": {}},
                "application/x-ndjson": {"schema": {"type": "string"}, "examples": {}},
                "text/csv": {"schema": {"type": "string"}, "examples": {}},
            }
        for served in self._served:
            if served.detector.bundle.image is None:
                _add_examples(content, served)
            else:
                content["image/*"] = {"schema": {"description": "PNG, JPEG, BMP, TIFF, WebP or GIF."}}
        return content

    def _row(self) -> Schema:
        rows = [RowSchema(each.detector.bundle).schema() for each in self._served if each.detector.bundle.image is None]
        if not rows:
            return {"anyOf": [{"type": "array"}, {"type": "object"}]}
        return rows[0] if len(rows) == 1 else {"anyOf": rows}

    def _facts(self) -> Schema:
        """Of GET /model: a bundle, without what `Bundle.facts_json` leaves out, and the provider."""
        facts: Schema = deepcopy(self._schemas["Bundle"])
        calibration: Schema = deepcopy(self._schemas["Calibration"])
        for schema, unseen in ((facts, ["golden"]), (calibration, ["knot_scores", "knot_log10_p"])):
            for name in unseen:
                del schema["properties"][name]
                schema["required"].remove(name)
        facts["properties"] |= {"calibration": calibration, "provider": {"type": "string"}}
        facts["required"].append("provider")
        return facts


def _add_examples(content: Schema, served: Served) -> None:
    rows = RowSchema(served.detector.bundle)
    examples = rows.examples()
    for form, found in examples.items():
        value = found if len(found) > 1 else found[0]
        content[_JSON]["examples"][f"{served.name}, {form}"] = {"value": value}
    if examples:
        lines, table = in_json_lines(examples["objects"]), rows.in_csv(examples["objects"])
        content["application/x-ndjson"]["examples"][served.name] = {"value": lines}
        content["text/csv"]["examples"][served.name] = {"value": table}


def _one_of(names: Sequence[str]) -> Schema:
    return {"enum": [*names]} if names else {"type": "string"}


def _is_word(answer: Any) -> bool:
    return isinstance(answer, str)
