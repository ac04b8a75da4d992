"""The endpoints of the Open Inference Protocol beside infer: what there is, and which version of it."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ... import __version__
from ..errors import VaeDetectError
from ..protocol.request_times import STEPS
from .endpoints import Service
from .inference import configure, describe
from .refusals import RefusedError
from .repository import Model, without_folder
from .schemas import (
    BatchStatistics,
    IndexEntry,
    IndexRequest,
    InferenceStatistics,
    Live,
    LoadRequest,
    ModelReady,
    ModelStatistics,
    ModelVersion,
    Ready,
    ServerMetadata,
    Statistics,
    Took,
)

_MODEL = re.compile(r"(?P<name>.+?)(?:/versions/(?P<version>[^/]+))?(?:/(?P<what>ready|stats|config))?")


class Operations:
    """What clients of Triton and of KServe ask for, and what an operator does with versions."""

    def __init__(self, service: Service) -> None:
        self._service, self._repository = service, service.repository

    def routes(self) -> list[Route]:
        """Where it is asked for."""
        return [
            Route("/v2", self.server),
            Route("/v2/health/live", self.live),
            Route("/v2/health/ready", self.ready),
            Route("/v2/models/stats", self.all_statistics),
            Route("/v2/models/{rest:path}", self.model),
            Route("/v2/repository/index", self.index, methods=["POST"]),
            Route("/v2/repository/models/{name}/load", self.load, methods=["POST"]),
            Route("/v2/repository/models/{name}/unload", self.unload, methods=["POST"]),
            Route("/v2/repository/models/{name}/promote", self.promote, methods=["POST"]),
            Route("/v2/repository/models/{name}/rollback", self.roll_back, methods=["POST"]),
        ]

    async def server(self, _: Request) -> Response:
        """GET /v2."""
        extensions = ["binary_tensor_data", "model_configuration", "model_repository", "statistics"]
        return self._told(ServerMetadata("vae-detect", __version__, extensions))

    async def live(self, _: Request) -> Response:
        """GET /v2/health/live."""
        return self._told(Live())

    async def ready(self, _: Request) -> Response:
        """GET /v2/health/ready."""
        if self._service.not_ready:
            raise RefusedError(503, f"not ready: {self._service.not_ready}")
        return self._told(Ready())

    async def model(self, request: Request) -> Response:
        """GET /v2/models/NAME, .../versions/VERSION, and /ready, /stats or /config of these."""
        found = _MODEL.fullmatch(request.path_params["rest"])
        if found is None:
            raise RefusedError(404, "no such path; GET / lists the endpoints")
        asked = self._repository.asked(found["name"], found["version"])
        if found["what"] == "stats":
            return self._told(Statistics([_statistics(asked.name, self._repository.find(asked.model))]))
        if found["what"] == "ready":
            return self._told(ModelReady(asked.name))
        return self._told(configure(asked) if found["what"] == "config" else describe(asked))

    async def all_statistics(self, _: Request) -> Response:
        """GET /v2/models/stats."""
        served = [(model, model.served) for model in self._repository if model.served]
        return self._told(
            Statistics(
                [
                    _statistics(name, model)
                    for model, version in served
                    for name in (model.name, *(f"{model.name}/{part}" for part in version.parts))
                ]
            )
        )

    async def index(self, request: Request) -> Response:
        """POST /v2/repository/index: all models, or those that answer."""
        content = await self._service.small_body(request)
        try:
            only_ready = msgspec.json.decode(content.strip() or b"{}", type=IndexRequest).ready
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            raise RefusedError(
                400, 'the index takes no parameters but {"ready": true}, for models that answer'
            ) from None
        return self._told(
            [
                IndexEntry(model.name, _version(model), model.state, model.reason)
                for model in self._repository
                if model.served or not only_ready
            ]
        )

    async def load(self, request: Request) -> Response:
        """POST /v2/repository/models/NAME/load: the model's file as it is now."""
        content = await self._service.small_body(request)
        try:
            msgspec.json.decode(content.strip() or b"{}", type=LoadRequest)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            raise RefusedError(
                400, "load takes no parameters; a model is loaded from the file that it was started with"
            ) from None
        name = request.path_params["name"]
        model = self._repository.find(name)
        try:
            await self._repository.load(name)
        except VaeDetectError as error:
            kept = f"; {_version(model)} goes on" if model.served else ""
            raise RefusedError(400, without_folder(error, model.path) + kept) from None
        return self._changed(model)

    async def unload(self, request: Request) -> Response:
        """POST /v2/repository/models/NAME/unload."""
        name = request.path_params["name"]
        await self._repository.unload(name)
        return self._changed(self._repository.find(name))

    async def promote(self, request: Request) -> Response:
        """POST /v2/repository/models/NAME/promote: its shadow takes its place."""
        name = request.path_params["name"]
        await self._repository.promote(name)
        return self._changed(self._repository.find(name))

    async def roll_back(self, request: Request) -> Response:
        """POST /v2/repository/models/NAME/rollback: the version before answers again."""
        name = request.path_params["name"]
        await self._repository.roll_back(name)
        return self._changed(self._repository.find(name))

    def _changed(self, model: Model) -> Response:
        return self._told(ModelVersion(model.name, _version(model), model.state))

    def _told(self, told: Any) -> Response:
        return self._service.reply(msgspec.json.encode(told))


def _version(model: Model) -> str:
    return model.served.version if model.served else ""


def _statistics(name: str, model: Model) -> ModelStatistics:
    """What Triton's clients know of a model, its encoder or its decoder since it was started; inferences are rows."""
    found = model.metrics.times[name]
    took = {step: Took(found.counts[step], round(found.seconds[step] * 1e9)) for step in STEPS}
    computed = {step: took[step] for step in ("compute_input", "compute_infer", "compute_output")}
    runs = took["compute_infer"].count
    return ModelStatistics(
        name=name,
        version=_version(model),
        last_inference=found.last_ms,
        inference_count=found.rows,
        execution_count=runs,
        inference_stats=InferenceStatistics(**took),
        batch_stats=[BatchStatistics(1, **computed)] if runs else [],  # of any size, for a model without batches
    )
