"""From tensors to tensors: a scorer, an encoder or a decoder asked by the Open Inference Protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import graph
from ..errors import InputError
from ..rows.cells import FLOAT32_MAX
from ..rows.chunk import Rows
from ..scoring.framing import Framed
from ..scoring.results import OK, Results
from ..session import Session
from .answers import Job, judged, score_slowly
from .inference_protocol import DEFAULT_OUTPUTS, HEADER, SEVERITY, Request, read_request, write_answer
from .models import Served
from .queries import PLAIN
from .refusals import RefusedError
from .schemas import ModelConfig, ModelMetadata, TensorConfig, TensorMetadata
from .tensors import DATATYPES, DTYPES
from .turns import Part

if TYPE_CHECKING:
    from numpy.typing import NDArray

_READ_AT_ONCE = 64 * 1024
PLATFORM = "onnxruntime_onnx"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request to infer names: a version of a model, and its part."""

    name: str
    """As it was asked for: NAME, NAME/encoder or NAME/decoder."""
    model: str
    served: Served
    part: str | None
    """encoder or decoder; None for the scorer."""

    @property
    def session(self) -> Session:
        """The graph."""
        return self.served.detector.session if self.part is None else self.served.parts[self.part]

    def offered(self) -> tuple[str, ...]:
        """The outputs that may be asked for; the first ones are the default."""
        if self.part is not None:
            return self.session.outputs
        return (*DEFAULT_OUTPUTS, *(name for name in self.session.outputs if name not in DEFAULT_OUTPUTS))


async def answer_tensors(
    asked: Asked, body: bytes, header_length: str | None, job: Job
) -> tuple[list[tuple[bytes, bytes]], list[bytes]]:
    """Headers and body of the answer to a request to infer. Raises RefusedError when it cannot be answered."""
    slow = len(body) > _READ_AT_ONCE
    try:
        request = await job.run(slow, read_request, body, header_length, asked.offered())
        if asked.part is None:
            outputs = await _score(asked.served, request, job)
        else:
            outputs = await job.run(slow, _run_part, asked.served.parts[asked.part], request)
    except InputError as error:
        raise RefusedError.of(error) from None
    text, behind = await job.run(slow, write_answer, asked.name, asked.served.version, request, outputs)
    if not behind:
        return [(b"content-type", b"application/json")], [text]
    size = str(len(text)).encode()
    return [(b"content-type", b"application/octet-stream"), (HEADER, size)], [text, *behind]


async def _score(served: Served, request: Request, job: Job) -> dict[str, NDArray[Any]]:
    """The outputs of the scorer that are asked for."""
    detector, step = served.detector, served.at_once
    slow = sum(tensor.size for tensor in request.tensors.values()) > step * 16
    x = await job.run(slow, served.inputs.read, request.tensors)
    total = len(x)
    job.share.hold(x.nbytes * 2 + total * 64, rows=total)
    if not total:
        raise RefusedError(400, "the inputs are empty, expected one or more rows")
    parts = [[_part(x[first : first + step], first)] for first in range(0, total, step)]
    if len(parts) == 1:
        scored = [await served.turns.score(parts[0], judged(detector, parts[0], PLAIN, job))]
    else:
        scored = await score_slowly(served, parts, PLAIN, job)
    found = _verdict([results for own in scored for results in own])
    others = [name for name in request.outputs if name not in DEFAULT_OUTPUTS]
    if others:
        found |= await job.run(slow or total > 128, detector.outputs, x, others)
    return found


def _part(x: NDArray[Any], first: int) -> Part:
    n = len(x)
    newest = x if x.ndim == 2 else x[:, -1] if x.ndim == 3 else np.empty((n, 0), np.float32)
    framed = Framed(first, x, np.ones(n, np.bool_), [OK] * n, [""] * n)
    return Part(framed, Rows(first, newest, {}, None), range(first, first + n))


def _verdict(scored: Sequence[Results]) -> dict[str, NDArray[Any]]:
    scores = [results.scores for results in scored]
    columns = (
        (graph.SCORE, [one.score for one in scores]),
        (SEVERITY, [one.severity for one in scores]),
        (graph.P_VALUE, [one.p_value for one in scores]),
        (graph.IS_ANOMALY, [one.is_anomaly for one in scores]),
    )
    return {name: values[0] if len(values) == 1 else np.concatenate(values) for name, values in columns}


def _run_part(session: Session, request: Request) -> dict[str, NDArray[Any]]:
    """The outputs of an encoder or a decoder. Raises InputError for inputs that it does not take."""
    feeds = {}
    for name, shape in session.inputs.items():
        values = request.tensors.get(name)
        if values is None:
            raise InputError(f"input {name!r} is missing; this model takes {', '.join(session.inputs)}")
        if values.dtype == object or values.shape[1:] != tuple(shape[1:]):
            expected = ", ".join(map(str, shape[1:]))
            raise InputError(f"input {name!r} has shape {list(values.shape)[:5]}, expected numbers of [n, {expected}]")
        if not (np.abs(values) <= FLOAT32_MAX).all():
            raise InputError(f"input {name!r} holds a number that is not finite, or beyond float32 (3.4e38)")
        feeds[name] = values.astype(DTYPES[DATATYPES[session.input_types[name]]])
    unknown = [name for name in request.tensors if name not in feeds]
    if unknown:
        raise InputError(f"input {unknown[0][:40]!r} is unknown; this model takes {', '.join(session.inputs)}")
    if len({len(values) for values in feeds.values()}) > 1:
        raise InputError("the inputs have different numbers of rows")
    return dict(zip(request.outputs, session.run(request.outputs, feeds), strict=True))


def describe(asked: Asked) -> ModelMetadata:
    """The metadata of a model, as the protocol has it; -1 stands for any size."""
    session = asked.session
    inputs = [_described(name, session.input_types[name], shape) for name, shape in session.inputs.items()]
    outputs = [_described(name, *session.output_facts.get(name, ("tensor(float)", [None]))) for name in asked.offered()]
    return ModelMetadata(asked.name, [asked.served.version], PLATFORM, inputs, outputs)


def _described(name: str, kind: str, shape: Sequence[int | str | None]) -> TensorMetadata:
    return TensorMetadata(name, DATATYPES[kind], [size if isinstance(size, int) else -1 for size in shape])


def configure(asked: Asked) -> ModelConfig:
    """The model's configuration, as clients of Triton ask for it."""
    told = describe(asked)
    return ModelConfig(
        name=asked.name,
        platform=PLATFORM,
        backend="onnxruntime",
        max_batch_size=0,  # the first axis is part of the shapes
        input=list(map(_configured, told.inputs)),
        output=list(map(_configured, told.outputs)),
    )


def _configured(told: TensorMetadata) -> TensorConfig:
    return TensorConfig(told.name, f"TYPE_{_CONFIGURED.get(told.datatype, told.datatype)}", told.shape)


_CONFIGURED = {"BYTES": "STRING"}
