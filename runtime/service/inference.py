"""From tensors to tensors: a scorer, an encoder or a decoder asked by the Open Inference Protocol."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import graph
from ..arrays import as_indices
from ..errors import InputError
from ..protocol.inference_protocol import AT_ONCE, DEFAULT_OUTPUTS, HEADER, Request, read_request, write_answer
from ..protocol.request_times import RequestTimes
from ..protocol.tensor_inputs import shape_text
from ..protocol.tensors import DATATYPES, DTYPES
from ..rows.cells import FLOAT32_MAX
from ..rows.chunk import Rows
from ..scoring.framing import Framed
from ..scoring.results import OK, Results
from ..session import Session
from ..streams.parts import Part
from .answers import score_parts
from .jobs import Job
from .models import Served
from .queries import PLAIN
from .refusals import RefusedError
from .schemas import ModelConfig, ModelMetadata, TensorConfig, TensorMetadata

if TYPE_CHECKING:
    from numpy.typing import NDArray

PLATFORM = "onnxruntime_onnx"
_RUN_AT_ONCE, _RUN_IN_SLICE = 64, 256
"""Rows whose further outputs are made within about 5 ms, and those of a slice of many."""
_ROW, _NUMBER = 64, 24
"""Bytes, about, that a row takes beside its numbers, and a number as an array and in JSON."""


@dataclass(frozen=True)
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

    @cached_property
    def times(self) -> RequestTimes:
        """Of what it is asked by this protocol."""
        return self.served.metrics.times[self.name]

    @cached_property
    def offered(self) -> tuple[str, ...]:
        """The outputs that may be asked for; the first ones are the default."""
        if self.part is not None:
            return self.session.outputs
        return (*DEFAULT_OUTPUTS, *(name for name in self.session.outputs if name not in DEFAULT_OUTPUTS))

    @cached_property
    def numbers(self) -> dict[str, int]:
        """How many numbers each output has for a row."""
        return {
            name: math.prod(size for size in self.session.output_facts.get(name, ("", []))[1] if isinstance(size, int))
            for name in self.offered
        }


@dataclass(frozen=True, slots=True)
class Question:
    """A request that was read: what goes into the graph, and what is asked of it."""

    request: Request
    feeds: Mapping[str, NDArray[Any]]
    rows: int


async def read_tensors(asked: Asked, body: bytes, header_length: str | None, job: Job) -> Question:
    """What a request to infer asks. Raises RefusedError when it cannot be read."""
    slow = len(body) > AT_ONCE
    started = perf_counter()
    try:
        request = await job.run(slow, read_request, body, header_length, asked.offered)
        job.share.hold(len(body) + request.size)
        feeds = await job.run(slow, _read, asked, request)
    except InputError as error:
        raise RefusedError.of(error) from None
    asked.times.took("compute_input", perf_counter() - started)
    return Question(request, feeds, len(next(iter(feeds.values()))))


def _read(asked: Asked, request: Request) -> dict[str, NDArray[Any]]:
    tensors = request.read()
    if asked.part == "decoder":
        return _decoder_feeds(asked.session, tensors)
    return {graph.X: asked.served.inputs.read(tensors)}


def _decoder_feeds(session: Session, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """What a decoder takes. Raises InputError for anything else."""
    takes = f"this model takes {', '.join(session.inputs)}"
    feeds = {}
    for name, shape in session.inputs.items():
        values = tensors.get(name)
        if values is None:
            raise InputError(f"input {name!r} is missing; {takes}")
        if values.dtype == object or values.shape[1:] != tuple(shape[1:]):
            expected = f"numbers of [n, {', '.join(map(str, shape[1:]))}]"
            raise InputError(f"input {name!r} has shape {shape_text(values.shape)}, expected {expected}")
        if not (np.abs(values.astype(np.float64)) <= FLOAT32_MAX).all():
            raise InputError(f"input {name!r} holds a number that is not finite, or beyond float32 (3.4e38)")
        if name == graph.INDICES:
            feeds[name] = as_indices(values, values.shape)
        else:
            feeds[name] = values.astype(DTYPES[DATATYPES[session.input_types[name]]])
    unknown = next((name for name in tensors if name not in feeds), None)
    if unknown is not None:
        raise InputError(f"input {unknown[:40]!r} is unknown; {takes}")
    if len({len(values) for values in feeds.values()}) > 1:
        raise InputError("the inputs have different numbers of rows")
    return feeds


async def answer_tensors(asked: Asked, question: Question, job: Job) -> tuple[list[tuple[bytes, bytes]], list[bytes]]:
    """Headers and body of the answer to a request to infer. Raises RefusedError when it cannot be answered."""
    request, total = question.request, question.rows
    numbers = sum([asked.numbers[name] for name in request.outputs])
    held = sum([values.nbytes for values in question.feeds.values()]) + total * (_ROW + numbers * _NUMBER)
    job.share.hold(held, rows=total if asked.part is None else 0)
    started = perf_counter()
    if asked.part is None:
        outputs = await _score(asked.served, question, job)
    else:
        outputs = await _run(asked.session.run, question, request.outputs, job)
    scored = perf_counter()
    asked.times.took("compute_infer", scored - started)
    parts = write_answer(asked.name, asked.served.version, request, outputs)
    if held > AT_ONCE:
        written = []
        while (part := await job.worker.run(next, parts, None)) is not None:
            written.append(part)
    else:
        written = [*parts]
    asked.times.took("compute_output", perf_counter() - scored)
    return _headed(request, written)


def _headed(request: Request, written: Sequence[tuple[bytes, bool]]) -> tuple[list[tuple[bytes, bytes]], list[bytes]]:
    """Headers and body of an answer of these parts, each with whether it is JSON."""
    body = [part for part, _ in written]
    if not request.binary:
        return [(b"content-type", b"application/json")], body
    size = b"%d" % sum(len(part) for part, is_json in written if is_json)
    return [(b"content-type", b"application/octet-stream"), (HEADER, size)], body


class SmallQuestion:
    """A request for verdicts that is read, and answered, at once. Raises InputError when it cannot be read."""

    def __init__(self, asked: Asked, body: bytes, header_length: str | None) -> None:
        self._asked, self._started = asked, perf_counter()
        self._request = read_request(body, header_length, asked.offered)
        self.wants_more = any(name not in DEFAULT_OUTPUTS for name in self._request.outputs)
        """Whether it asks for outputs that a verdict does not have."""
        self.part = _part(asked.served, _read(asked, self._request)[graph.X], 0)
        self._read = perf_counter()

    def answer(self, found: Sequence[Results]) -> tuple[list[tuple[bytes, bytes]], list[bytes]]:
        """Headers and body of the answer with these results."""
        times, asked, scored = self._asked.times, self._asked, perf_counter()
        parts = write_answer(asked.name, asked.served.version, self._request, _verdict(found))
        answer = _headed(self._request, [*parts])
        for step, seconds in (
            ("compute_input", self._read - self._started),
            ("compute_infer", scored - self._read),
            ("compute_output", perf_counter() - scored),
        ):
            times.took(step, seconds)
        times.answered(len(self.part.numbers), perf_counter() - self._started)
        return answer


async def _score(served: Served, question: Question, job: Job) -> dict[str, NDArray[Any]]:
    """The outputs of the scorer that are asked for."""
    x, step, total = question.feeds[graph.X], served.at_once, question.rows
    parts = [[_part(served, x[first : first + step], first)] for first in range(0, total, step)]
    scored = await score_parts(served, parts, PLAIN, job)
    await job.tell_all(served, parts, scored)
    found = _verdict([results for own in scored for results in own])
    others = [name for name in question.request.outputs if name not in DEFAULT_OUTPUTS]
    return found | await _run(served.detector.session.run, question, others, job) if others else found


async def _run(
    run: Callable[[Sequence[str], dict[str, Any]], list[NDArray[Any]]],
    question: Question,
    names: Sequence[str],
    job: Job,
) -> dict[str, NDArray[Any]]:
    """Outputs of a graph by name; of many rows slice after slice beside the event loop."""
    total = question.rows
    if total <= _RUN_AT_ONCE:
        return dict(zip(names, run(names, {**question.feeds}), strict=True))
    parts = []
    for first in range(0, total, _RUN_IN_SLICE):
        job.check(0)
        own = {name: values[first : first + _RUN_IN_SLICE] for name, values in question.feeds.items()}
        parts.append(await job.worker.run(run, names, own))
    return {name: np.concatenate(found) for name, found in zip(names, zip(*parts, strict=True), strict=True)}


def _part(served: Served, x: NDArray[Any], first: int) -> Part:
    n = len(x)
    if x.ndim == 2:
        rows = Rows(first, x, {}, None)
        return Part(served.framer.frame(rows)[0], rows, range(first, first + n))
    newest = x[:, -1] if x.ndim == 3 else np.empty((n, 0), np.float32)
    framed = Framed(first, x, np.ones(n, np.bool_), [OK] * n, [""] * n)
    return Part(framed, Rows(first, newest, {}, None), range(first, first + n))


def _verdict(scored: Sequence[Results]) -> dict[str, NDArray[Any]]:
    if len(scored) == 1:
        return dict(zip(DEFAULT_OUTPUTS, scored[0].scores, strict=False))
    return {name: np.concatenate([getattr(one.scores, name) for one in scored]) for name in DEFAULT_OUTPUTS}


def describe(asked: Asked) -> ModelMetadata:
    """The metadata of a model, as the protocol has it; -1 stands for any size."""
    session = asked.session
    inputs = [_described(name, session.input_types[name], shape) for name, shape in session.inputs.items()]
    outputs = [_described(name, *session.output_facts.get(name, ("tensor(float)", [None]))) for name in asked.offered]
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
