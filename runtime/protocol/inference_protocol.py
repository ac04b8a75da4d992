"""The Open Inference Protocol, version 2: requests of tensors, and answers of tensors.

https://github.com/kserve/open-inference-protocol and Triton's binary tensor data extension, by which the bytes of
tensors stand behind the JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from .. import graph
from ..errors import InputError, TooLargeError
from ..rows.json_problems import MOST_LEVELS, is_deep
from ..rows.pieces import MAX_ROWS, MAX_VALUES
from .json_lists import Span, cut_lists
from .tensors import Tensor, datatype_of, from_bytes, from_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

HEADER = b"inference-header-content-length"
"""How many bytes of the body are JSON, where tensors follow."""

SEVERITY = "severity"
DEFAULT_OUTPUTS = (graph.SCORE, SEVERITY, graph.P_VALUE, graph.IS_ANOMALY)
"""What is answered when nothing is asked for: the verdict."""

MOST_IN_ID = 1000
"""Characters of an id, which is said again in the answer."""
AT_ONCE = 64 * 1024
"""Bytes of JSON that are decoded within about a millisecond."""
_MOST = (
    (b"{", 20_000, "objects"),
    (b"[", 4 * MAX_ROWS, "lists beside those of numbers"),
    (b",", MAX_VALUES, "values beside those of its lists of numbers"),
)
"""What a large body may hold, so that all of it is decoded within some 20 ms."""
_TOO_DEEP = f"the body is nested deeper than {MOST_LEVELS} levels"
_WRITTEN_AT_ONCE = 16 * 1024
"""Numbers that are written within about 5 ms."""


class WantedParameters(msgspec.Struct):
    """How an output is wanted."""

    binary_data: bool | None = None
    classification: int | None = None
    shared_memory_region: str | None = None


class Wanted(msgspec.Struct):
    """An output that is asked for."""

    name: str
    parameters: WantedParameters | None = None


class RequestParameters(msgspec.Struct):
    """What is said of a request as a whole; what others mean by priority, timeout or sequence changes no score."""

    binary_data_output: bool | None = None


class InferRequest(msgspec.Struct):
    """The JSON of POST /v2/models/NAME/infer."""

    inputs: list[Tensor]
    id: str = ""
    parameters: RequestParameters | None = None
    outputs: list[Wanted] = []


_REQUEST = msgspec.json.Decoder(InferRequest)


@dataclass(frozen=True, slots=True)
class Request:
    """A request whose JSON was read, but for its tensors."""

    tensors: Mapping[str, tuple[Tensor, Span | memoryview]]
    """By name, each with its elements: a list in JSON, or its own bytes."""
    outputs: tuple[str, ...]
    binary: frozenset[str]
    """The outputs that are answered in bytes."""
    id: str

    @property
    def size(self) -> int:
        """Bytes that its tensors take in memory, about."""
        return sum(tensor.size for tensor, _ in self.tensors.values())

    def read(self) -> dict[str, NDArray[Any]]:
        """Its tensors. Raises InputError naming the one that is wrong."""
        return {
            name: from_json(tensor, data) if isinstance(data, Span) else from_bytes(tensor, data)
            for name, (tensor, data) in self.tensors.items()
        }


def read_request(body: bytes, header_length: str | None, offered: Sequence[str]) -> Request:
    """A body, of which the first `header_length` bytes are JSON, all where that is None.

    Parameters
    ----------
    offered : outputs that may be asked for; the first ones are the default

    Raises
    ------
    InputError
        for anything that is no request, naming the tensor that is wrong
    """
    size = len(body)
    if header_length is not None:
        if not (header_length.isascii() and header_length.isdigit()) or int(header_length[:20]) > size:
            raise InputError(f"Inference-Header-Content-Length is {header_length[:20]!r}, the body has {size} bytes")
        size = int(header_length[:20])
    asked, lists = _decoded(body[:size])
    if len(asked.id) > MOST_IN_ID:
        raise InputError(f"the id has {len(asked.id)} characters, expected at most {MOST_IN_ID}")
    tensors: dict[str, tuple[Tensor, Span | memoryview]] = {}
    rest = memoryview(body)[size:]
    for tensor in asked.inputs:
        if tensor.name in tensors:
            raise InputError(f"{tensor.where} stands in the request more than once")
        own = _own_bytes(tensor, rest)
        tensor.check(None if own is None else len(own))
        if own is None:
            data = bytes(tensor.data)
            is_cut = lists and data[1:2].isdigit()
            tensors[tensor.name] = tensor, lists[int(data[1:-1])] if is_cut else Span(data, 0, len(data))
        else:
            tensors[tensor.name] = tensor, own
            rest = rest[len(own) :]
    if rest:
        raise InputError(f"{len(rest)} bytes follow the last tensor")
    return Request(tensors, *_outputs(asked, offered), asked.id)


def _decoded(text: bytes) -> tuple[InferRequest, list[Span]]:
    """The JSON of a request, and its lists of numbers where they were cut out of a large one."""
    lists: list[Span] = []
    if len(text) > AT_ONCE:
        text, lists = cut_lists(text)
        for mark, most, what in _MOST:
            if text.count(mark) > most:
                raise TooLargeError(f"the body holds more than {most} {what}", limit="values")
    try:
        asked = _REQUEST.decode(text)
    except RecursionError:
        raise InputError(_TOO_DEEP, limit="depth") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InputError(f"the body is no inference request: {error}"[:300]) from None
    if is_deep(text):  # in what is ignored
        raise InputError(_TOO_DEEP, limit="depth")
    return asked, lists


def _own_bytes(tensor: Tensor, rest: memoryview) -> memoryview | None:
    """The bytes of a tensor at the beginning of those that are left; None where its elements are JSON."""
    said = tensor.parameters
    if said is not None and said.shared_memory_region is not None:
        raise InputError(f"{tensor.where} is in shared memory, which this server does not read; send it in the body")
    length = None if said is None else said.binary_data_size
    has_data = len(memoryview(tensor.data)) > 0
    if (length is None) != has_data:
        raise InputError(f"{tensor.where} needs either data, or the parameter binary_data_size")
    if length is None:
        return None
    if not 0 <= length <= len(rest):
        raise InputError(f"{tensor.where} says binary_data_size {str(length)[:20]}, {len(rest)} bytes are left")
    return rest[:length]


def _outputs(asked: InferRequest, offered: Sequence[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """The outputs that are asked for, and which of them in bytes."""
    all_binary = asked.parameters is not None and bool(asked.parameters.binary_data_output)
    if not asked.outputs:
        names = tuple(name for name in DEFAULT_OUTPUTS if name in offered) or tuple(offered)
        return names, frozenset(names if all_binary else ())
    names = tuple(output.name for output in asked.outputs)
    binary = set[str]()
    for name, output in zip(names, asked.outputs, strict=True):
        if name not in offered:
            raise InputError(f"output {name[:40]!r} is unknown, expected one of {', '.join(offered)}")
        said = output.parameters or WantedParameters()
        if said.classification is not None:
            raise InputError(f"output {name!r} is wanted as classes (classification, class_count), which it has not")
        if said.shared_memory_region is not None:
            raise InputError(f"output {name!r} is wanted in shared memory, which this server does not write")
        if all_binary if said.binary_data is None else said.binary_data:
            binary.add(name)
    if len({*names}) != len(names):
        raise InputError("an output is asked for more than once")
    return names, frozenset(binary)


def write_answer(
    name: str, version: str, request: Request, outputs: Mapping[str, NDArray[Any]]
) -> Iterator[tuple[bytes, bool]]:
    """The parts of an answer, and whether each is of the JSON; `outputs` has every output that was asked for.

    Each part is made within about 5 ms, and the bytes follow the JSON.
    """
    encode = msgspec.json.encode
    said = b',"id":%b' % encode(request.id) if request.id else b""
    text = b'{"model_name":%b,"model_version":%b%b,"outputs":[' % (encode(name), encode(version), said)
    for place, output in enumerate(request.outputs):
        values = outputs[output]
        text += (b"," if place else b"") + _head(output, datatype_of(values), values.shape)
        if output in request.binary:
            text += b'"parameters":{"binary_data_size":%d}}' % values.nbytes
        elif values.size <= _WRITTEN_AT_ONCE:
            text += b'"data":%b}' % encode(values.ravel().tolist())
        else:
            for piece in _written(values.ravel()):
                yield text + piece, True
                text = b""
            text = b"]}"
    yield text + b"]}", True
    for output in request.outputs:
        if output in request.binary:
            yield outputs[output].tobytes(), False


@lru_cache(1000)
def _head(name: str, datatype: str, shape: tuple[int, ...]) -> bytes:
    """What the JSON of an output begins with."""
    encode = msgspec.json.encode
    return b'{"name":%b,"datatype":"%b","shape":%b,' % (encode(name), datatype.encode(), encode(shape))


def _written(values: NDArray[Any]) -> Iterator[bytes]:
    """A list of numbers but for the bracket behind it."""
    before = b'"data":['
    for first in range(0, len(values), _WRITTEN_AT_ONCE):
        yield before + msgspec.json.encode(values[first : first + _WRITTEN_AT_ONCE].tolist())[1:-1]
        before = b","
