"""Tensors of the Open Inference Protocol, version 2, as they come and go: JSON lists or raw bytes, to arrays and back.

https://github.com/kserve/open-inference-protocol and, for the bytes, Triton's binary tensor data extension.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from ..errors import InputError, TooLargeError
from ..rows.pieces import MAX_VALUES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

DTYPES: dict[str, Any] = {
    "BOOL": np.bool_,
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
_PIECE = 128 * 1024
"""Bytes of a JSON list that are read at once: about 2 ms."""
_NUMBERS = msgspec.json.Decoder(list[float])
_TRUTHS = msgspec.json.Decoder(list[bool])
_TEXTS = msgspec.json.Decoder(list[str])
_ANY = msgspec.json.Decoder(list[Any])


class Tensor(msgspec.Struct):
    """A tensor of a request; its elements stand in `data`, or as bytes behind the JSON."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = {}
    data: msgspec.Raw | UnsetType = UNSET

    def check(self, where: str) -> int:
        """How many elements it has; raises InputError, `where` it stands, for a type or a shape that cannot be."""
        if self.datatype not in DTYPES:
            raise InputError(f"{where} has datatype {self.datatype[:20]!r}, expected {', '.join(DTYPES)}")
        if not self.shape or min(self.shape) < 0:
            raise InputError(f"{where} has shape {self.shape[:5]}, expected one or more sizes")
        elements = math.prod(self.shape)
        if elements > MAX_VALUES and self.datatype != "UINT8":
            raise TooLargeError(f"{where} holds {elements} values, expected at most {MAX_VALUES}")
        return elements


def from_bytes(tensor: Tensor, content: memoryview, where: str) -> NDArray[Any]:
    """The array in these bytes, in the shape that it says. Raises InputError when it does not fit."""
    elements = tensor.check(where)
    dtype = DTYPES[tensor.datatype]
    if tensor.datatype == "BYTES":
        texts = list(_texts(content, where))
        if len(texts) != elements:
            raise InputError(f"{where} holds {len(texts)} texts, its shape says {elements}")
        return np.array(texts, object).reshape(tensor.shape)
    if len(content) != elements * np.dtype(dtype).itemsize:
        raise InputError(f"{where} has {len(content)} bytes, its shape says {elements} of {tensor.datatype}")
    return np.frombuffer(content, dtype).reshape(tensor.shape)


def from_json(tensor: Tensor, where: str) -> NDArray[Any]:
    """The array in `data`, a list that may be nested, in the shape that it says. Raises InputError when it does not
    fit."""
    tensor.check(where)
    assert not isinstance(tensor.data, UnsetType)
    try:
        if tensor.datatype == "BYTES":
            texts = np.array(_flat(_ANY.decode(tensor.data)), object)
            if not all(isinstance(text, str) for text in texts):
                raise InputError(f"{where} is of BYTES, expected a list of texts")
            return _shaped(texts, tensor, where)
        decoder = _TRUTHS if tensor.datatype == "BOOL" else _NUMBERS
        found: list[float] = []
        for piece in _pieces(bytes(tensor.data)):
            found += decoder.decode(piece)
    except msgspec.MsgspecError as error:
        raise InputError(f"{where} is no list of {tensor.datatype}: {error}"[:200]) from None
    # In float64 whatever it says: a number beyond float32 must not become infinity unseen.
    numbers = np.array(found, np.bool_ if tensor.datatype == "BOOL" else np.float64)
    if "INT" in tensor.datatype and (numbers != np.floor(numbers)).any():
        raise InputError(f"{where} is of {tensor.datatype} and holds a number that is not whole")
    return _shaped(numbers, tensor, where)


def datatype_of(values: NDArray[Any]) -> str:
    """The protocol's name of an array's element type."""
    return _NAMES[values.dtype.str]


def _shaped(values: NDArray[Any], tensor: Tensor, where: str) -> NDArray[Any]:
    if len(values) != math.prod(tensor.shape):
        raise InputError(f"{where} holds {len(values)} values, its shape says {math.prod(tensor.shape)}")
    return values.reshape(tensor.shape)


def _pieces(data: bytes) -> Iterator[bytes]:
    """A list of numbers, which may be nested, as flat lists; lists within lists say nothing that the shape does not."""
    if not data.startswith(b"["):
        raise msgspec.ValidationError("Expected `array`")
    flat = data.translate(None, b"[] \t\r\n")
    first = 0
    while first < len(flat):
        end = flat.find(b",", first + _PIECE)
        end = len(flat) if end < 0 else end
        yield b"[" + flat[first:end] + b"]"
        first = end + 1


def _flat(found: Any) -> list[Any]:
    """The elements of a list that may be nested."""
    return [value for each in found for value in (_flat(each) if isinstance(each, list) else [each])]


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
