"""Tensors of the Open Inference Protocol, version 2, as they come and go: JSON lists or raw bytes, to arrays and back.

https://github.com/kserve/open-inference-protocol and, for the bytes, Triton's binary tensor data extension.
"""

from __future__ import annotations

import math
from struct import error as StructError
from struct import pack
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np

from ..errors import InputError, TooLargeError
from ..rows.pieces import MAX_ROWS, MAX_VALUES
from .json_lists import Span, flat_pieces

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

DTYPES: dict[str, Any] = {
    "BOOL": np.dtype(np.bool_),
    **{f"UINT{bits}": np.dtype(f"<u{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"INT{bits}": np.dtype(f"<i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)},
    "BYTES": np.dtype(object),
}
"""The protocol's names of element types."""

DATATYPES = {
    **{f"tensor({name})": name.upper() for name in ("bool", "uint8", "int8", "int32", "int64")},
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
}
"""The protocol's names of ONNX Runtime's."""

_NAMES = {np.dtype(dtype).newbyteorder("=").str: name for name, dtype in DTYPES.items()}
_INTEGERS = [(kind, bits, bits - (kind == "INT")) for kind in ("INT", "UINT") for bits in (8, 16, 32, 64)]
_RANGES: dict[str, tuple[float, float]] = {
    # Of 64 bits the largest float64 that is one.
    f"{kind}{bits}": (-float(2**power) if kind == "INT" else 0.0, float(2**power - max(1, 2 ** (power - 53))))
    for kind, bits, power in _INTEGERS
} | {"FP16": (-65504.0, 65504.0)}
"""What is looked at as it is read; of larger floats whoever takes them as float32 looks whether they fit."""

MAX_TEXTS = 200_000
"""Texts of a tensor; unlike numbers they are read in one go."""
_MOST_AXES, _MOST_IN_AXIS = 8, 2**31 - 1
_SHAPE = msgspec.Meta(
    extra_json_schema={
        "minItems": 1,
        "maxItems": _MOST_AXES,
        "items": {"type": "integer", "minimum": 1, "maximum": _MOST_IN_AXIS},
    }
)
"""What `Tensor.check` says better."""
_TEXT = 64
"""Bytes of a text in memory, at least."""
_NUMBERS = msgspec.json.Decoder(list[float | None])
_TRUTHS = msgspec.json.Decoder(list[bool])
_TEXTS = msgspec.json.Decoder(list[Any])


class TensorParameters(msgspec.Struct):
    """What is said of a tensor beside its elements."""

    binary_data_size: int | None = None
    """How many bytes behind the JSON are its own."""
    shared_memory_region: str | None = None


class Tensor(msgspec.Struct):
    """A tensor of a request; its elements stand in `data`, or as bytes behind the JSON."""

    name: str
    shape: Annotated[list[int], _SHAPE]
    datatype: Annotated[str, msgspec.Meta(extra_json_schema={"enum": [*DTYPES]})]
    parameters: TensorParameters | None = None
    data: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)

    @property
    def where(self) -> str:
        """What messages call it."""
        return f"input {self.name[:40]!r}"

    @property
    def elements(self) -> int:
        """How many it has."""
        return math.prod(self.shape)

    @property
    def size(self) -> int:
        """Bytes that its array takes in memory, about."""
        return self.elements * (_TEXT if self.datatype == "BYTES" else 8)

    def check(self, length: int | None) -> None:
        """Raises InputError for a type or a shape that cannot be, of elements in so many bytes, in JSON where None."""
        shape = self.shape
        if self.datatype not in DTYPES:
            raise InputError(f"{self.where} has datatype {self.datatype[:20]!r}, expected {', '.join(DTYPES)}")
        if not 1 <= len(shape) <= _MOST_AXES:
            raise InputError(f"{self.where} has a shape of {len(shape)} sizes, expected 1 to {_MOST_AXES}")
        if min(shape) < 1 or max(shape) > _MOST_IN_AXIS:
            raise InputError(f"{self.where} has shape {self.told_shape}, expected sizes of 1 to {_MOST_IN_AXIS}")
        if shape[0] > MAX_ROWS:
            told = f"{self.where} holds {shape[0]} rows, expected at most {MAX_ROWS}"
            raise TooLargeError(told, rows=min(shape[0], MAX_VALUES), limit="rows")
        if length is None or self.datatype == "BYTES":
            most = MAX_TEXTS if self.datatype == "BYTES" else MAX_VALUES
            if self.elements > most:
                told = f"{self.where} holds more than {most} values; send fewer, or numbers in bytes"
                raise TooLargeError(told, limit="values")
        elif length != (takes := self.elements * DTYPES[self.datatype].itemsize):
            told = f"its shape {self.told_shape} of {self.datatype} takes {takes}"
            raise InputError(f"{self.where} has {length} bytes, {told}"[:300])

    @property
    def told_shape(self) -> str:
        """The shape as messages tell it."""
        return f"[{', '.join(str(size)[:20] for size in self.shape)}]"


def from_bytes(tensor: Tensor, content: memoryview) -> NDArray[Any]:
    """The array in these bytes of a tensor that was checked. Raises InputError where they do not hold it."""
    where, elements = tensor.where, tensor.elements
    if tensor.datatype == "BYTES":
        found = np.empty(elements, object)
        count = 0
        for count, text in enumerate(_texts(content, where), 1):
            if count <= elements:
                found[count - 1] = text
        if count != elements:
            raise InputError(f"{where} holds {count} texts, its shape {tensor.told_shape} says {elements}")
        return found.reshape(tensor.shape)
    if tensor.datatype == "BOOL":
        return np.frombuffer(content, np.uint8).reshape(tensor.shape).astype(np.bool_)
    return np.frombuffer(content, DTYPES[tensor.datatype]).reshape(tensor.shape)


def from_json(tensor: Tensor, data: Span) -> NDArray[Any]:
    """The array in a list that may be nested, of a tensor that was checked; null stands for NaN.

    Floats are of float64. Raises InputError for what is no such list.
    """
    try:
        if tensor.datatype == "BYTES":
            return _shaped(_texts_of(data), tensor)
        numbers = _numbers_of(data, tensor)
    except InputError as error:
        raise InputError(f"{tensor.where} {error}") from None
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InputError(f"{tensor.where} is no list of {tensor.datatype}: {error}"[:300]) from None
    if tensor.datatype == "BOOL":
        return _shaped(numbers, tensor)
    if tensor.datatype in _RANGES:
        smallest, largest = _RANGES[tensor.datatype]
        if ((numbers < smallest) | (numbers > largest)).any():
            raise InputError(f"{tensor.where} holds a number beyond {tensor.datatype}")
    if "INT" in tensor.datatype:
        if (numbers != np.floor(numbers)).any():  # nor is NaN
            raise InputError(f"{tensor.where} is of {tensor.datatype} and holds what is no whole number")
        numbers = numbers.astype(DTYPES[tensor.datatype])
    return _shaped(numbers, tensor)


def datatype_of(values: NDArray[Any]) -> str:
    """The protocol's name of an array's element type."""
    return _NAMES[values.dtype.str]


def _numbers_of(data: Span, tensor: Tensor) -> NDArray[Any]:
    read = _truths if tensor.datatype == "BOOL" else _floats
    parts = [read(piece) for piece in flat_pieces(data, tensor.shape)]
    return parts[0] if len(parts) == 1 else np.concatenate([read(b"[]"), *parts])


def _truths(piece: bytes) -> NDArray[Any]:
    return np.array(_TRUTHS.decode(piece), np.bool_)


def _floats(piece: bytes) -> NDArray[Any]:
    numbers = _NUMBERS.decode(piece)
    try:
        return np.frombuffer(pack(f"{len(numbers)}d", *numbers))  # a third of the time of np.array
    except StructError:  # one of them is None
        return np.array(numbers, np.float64)


def _shaped(values: NDArray[Any], tensor: Tensor) -> NDArray[Any]:
    if len(values) != math.prod(tensor.shape):
        told = f"its shape {tensor.told_shape} says {tensor.elements}"
        raise InputError(f"{tensor.where} holds {len(values)} values, {told}"[:200])
    return values.reshape(tensor.shape)


def _texts_of(data: Span) -> NDArray[Any]:
    found = _flat(_TEXTS.decode(memoryview(data.text)[data.first : data.end]))
    if not {*map(type, found)} <= {str}:
        raise InputError("is of BYTES, expected a list of texts")
    texts = np.empty(len(found), object)
    texts[:] = found
    return texts


def _flat(found: list[Any]) -> list[Any]:
    """The elements of a list that may be nested."""
    while any(type(each) is list for each in found):
        found = [value for each in found for value in (each if type(each) is list else [each])]
    return found


def _texts(content: memoryview, where: str) -> Iterator[str]:
    """Texts, each after its length in 4 bytes."""
    place = 0
    while place < len(content):
        size = int.from_bytes(content[place : place + 4], "little")
        text = content[place + 4 : place + 4 + size]
        if len(text) != size or place + 4 > len(content):
            raise InputError(f"{where} ends within a text")
        try:
            yield str(text, "utf-8")
        except UnicodeDecodeError:
            raise InputError(f"{where} holds a text that is not UTF-8") from None
        place += 4 + size
