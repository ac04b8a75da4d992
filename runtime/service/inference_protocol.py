"""The Open Inference Protocol, version 2: requests of tensors to inputs of a detector, and its outputs to answers.

https://github.com/kserve/open-inference-protocol and Triton's binary tensor data extension, by which the bytes of
tensors stand behind the JSON. A model takes one tensor `x`, as its graph does, or one of each column by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from .. import graph
from ..bundle import Bundle
from ..errors import InputError
from ..rows.cells import FLOAT32_MAX, BadCell
from ..rows.fields import UNKNOWN, Absences, Field, as_fields
from .tensors import Tensor, datatype_of, from_bytes, from_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

HEADER = b"inference-header-content-length"
"""How many bytes of the body are JSON, where tensors follow."""

SEVERITY = "severity"
DEFAULT_OUTPUTS = (graph.SCORE, SEVERITY, graph.P_VALUE, graph.IS_ANOMALY)
"""What is answered when nothing is asked for: the verdict."""

_SIZE = "binary_data_size"


class Wanted(msgspec.Struct):
    """An output that is asked for."""

    name: str
    parameters: dict[str, Any] = {}


class InferRequest(msgspec.Struct):
    """The JSON of POST /v2/models/NAME/infer."""

    inputs: list[Tensor]
    id: str = ""
    parameters: dict[str, Any] = {}
    outputs: list[Wanted] = []


class OutputTensor(msgspec.Struct, omit_defaults=True):
    """A tensor of an answer."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, int] = {}
    data: list[Any] | UnsetType = UNSET


class InferAnswer(msgspec.Struct, omit_defaults=True):
    """The answer to POST /v2/models/NAME/infer."""

    model_name: str
    model_version: str
    outputs: list[OutputTensor]
    id: str = ""


_REQUEST = msgspec.json.Decoder(InferRequest)


@dataclass(frozen=True, slots=True)
class Request:
    """A request that was read: its tensors by name, and what is asked of them."""

    tensors: dict[str, NDArray[Any]]
    outputs: tuple[str, ...]
    binary: frozenset[str]
    """The outputs that are answered in bytes."""
    id: str


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
        if not (header_length.isascii() and header_length.isdigit()) or int(header_length[:20]) > len(body):
            raise InputError(f"Inference-Header-Content-Length is {header_length[:20]!r}, the body has {size} bytes")
        size = int(header_length)
    try:
        asked = _REQUEST.decode(body[:size])
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise InputError(f"the body is no inference request: {error}"[:200]) from None
    tensors: dict[str, NDArray[Any]] = {}
    rest = memoryview(body)[size:]
    for tensor in asked.inputs:
        where = f"input {tensor.name[:40]!r}"
        if tensor.name in tensors:
            raise InputError(f"{where} stands in the request more than once")
        length = tensor.parameters.get(_SIZE)
        if (length is None) == isinstance(tensor.data, UnsetType):
            raise InputError(f"{where} needs either data, or the parameter {_SIZE}")
        if length is None:
            tensors[tensor.name] = from_json(tensor, where)
            continue
        if not isinstance(length, int) or not 0 <= length <= len(rest):
            raise InputError(f"{where} says {str(length)[:20]} bytes, {len(rest)} are left in the body")
        tensors[tensor.name], rest = from_bytes(tensor, rest[:length], where), rest[length:]
    if rest:
        raise InputError(f"{len(rest)} bytes follow the last tensor")
    return Request(tensors, *_outputs(asked, offered), asked.id)


def _outputs(asked: InferRequest, offered: Sequence[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """The outputs that are asked for, and which of them in bytes."""
    names = tuple(output.name for output in asked.outputs)
    for name in names:
        if name not in offered:
            raise InputError(f"output {name[:40]!r} is unknown, expected one of {', '.join(offered)}")
    if len({*names}) != len(names):
        raise InputError("an output is asked for more than once")
    if not names:
        names = tuple(name for name in DEFAULT_OUTPUTS if name in offered) or tuple(offered)
    all_binary = bool(asked.parameters.get("binary_data_output"))
    chosen = {output.name: output.parameters.get("binary_data", all_binary) for output in asked.outputs}
    return names, frozenset(name for name in names if chosen.get(name, all_binary))


def write_answer(
    name: str, version: str, request: Request, outputs: Mapping[str, NDArray[Any]]
) -> tuple[bytes, list[bytes]]:
    """The JSON of an answer, and the bytes that follow it; `outputs` has every output that was asked for."""
    told, behind = [], []
    for output in request.outputs:
        values = outputs[output]
        tensor = OutputTensor(output, datatype_of(values), list(values.shape))
        if output in request.binary:
            behind.append(np.ascontiguousarray(values).tobytes())
            tensor.parameters = {_SIZE: len(behind[-1])}
        else:
            tensor.data = values.ravel().tolist()
        told.append(tensor)
    return msgspec.json.encode(InferAnswer(name, version, told, request.id)), behind


class Inputs:
    """Reads the inputs of a scorer, (n, features), (n, window, features) or images, from the tensors of a request."""

    def __init__(self, bundle: Bundle) -> None:
        self._shape, self._names = bundle.input_shape, bundle.names
        self._is_images = bundle.image is not None
        self._fields = as_fields(bundle.columns)
        self._absences = Absences(self._fields, bundle.data.layout.most_missing)

    def read(self, tensors: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Raises InputError, with the number of rows refused, naming the row and the column that is wrong."""
        if graph.X in tensors and (len(tensors) == 1 or self._is_images):
            x = tensors[graph.X]
            if x.shape[1:] != self._shape:
                expected = ", ".join(map(str, self._shape))
                raise InputError(f"input 'x' has shape {list(x.shape)[:5]}, expected [n, {expected}]")
            if x.dtype == object:
                raise InputError("input 'x' is of BYTES, expected numbers")
        elif self._is_images:
            raise InputError(f"this model takes one input 'x' of UINT8, shape [n, {', '.join(map(str, self._shape))}]")
        else:
            x = self._joined(tensors)
        if self._is_images:
            return x
        return self._sound(x.astype(np.float64, copy=False))

    def _joined(self, tensors: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
        """One tensor of each column, (n,) or (n, 1), for windows (n, window), side by side."""
        unknown = [name for name in tensors if name not in self._names]
        if unknown:
            raise InputError(f"input {unknown[0][:40]!r} is no column; expected 'x', or one tensor for each column")
        if not tensors:
            raise InputError("the request has no inputs; expected 'x', or one tensor for each column")
        n = len(next(iter(tensors.values())))
        columns = [self._column(field, tensors.get(field.name), n) for field in self._fields]
        return np.stack(columns, axis=-1)

    def _column(self, field: Field, values: NDArray[Any] | None, n: int) -> NDArray[np.float64]:
        window = self._shape[:-1]
        if values is None:
            if not field.optional and not self._absences.most:
                raise InputError(f"column {field.name!r} is missing", column=field.name)
            return np.full((n, *window), UNKNOWN if field.optional else np.nan)
        if values.shape not in ((n, *window), (n, *window, 1)):
            expected = ", ".join(map(str, (n, *window)))
            raise InputError(f"input {field.name!r} has shape {list(values.shape)[:5]}, expected [{expected}]")
        values = values.reshape((n, *window))
        if field.is_number and values.dtype != object:
            return values.astype(np.float64)
        numbers = [None if field.is_number else field.number(cell) for cell in values.ravel().tolist()]
        if None in numbers:
            raise _refused(numbers.index(None) * n // len(numbers), field, n)
        return np.array(numbers, np.float64).reshape(values.shape)

    def _sound(self, x: NDArray[np.float64]) -> NDArray[np.float32]:
        """The same in float32, where every number is one, or missing where it may be."""
        bad = ~(np.abs(x) <= FLOAT32_MAX)
        if self._absences.most:
            bad &= ~np.isnan(x)
        if bad.any():
            row, *_, place = np.argwhere(bad)[0].tolist()
            name = self._names[place]
            text = "is not a finite number within float32 (3.4e38)"
            raise InputError(f"row {row}, column {name!r} {text}", rows=len(x), row=row, column=name)
        found = x.astype(np.float32)
        missed: dict[int, BadCell] = {}
        self._absences.settle(found.reshape(-1, x.shape[-1]), missed)
        if missed:
            first = min(missed)
            row = first // (x[0].size // x.shape[-1])
            raise InputError(f"row {row}, {missed[first]}", rows=len(x), row=row)
        return found


def _refused(index: int, field: Field, n: int) -> InputError:
    expected = "numbers" if field.is_number else field.expected
    return InputError(f"row {index}, column {field.name!r}: expected {expected}", rows=n, row=index, column=field.name)
