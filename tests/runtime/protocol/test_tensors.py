"""Tensors from JSON and from bytes, against numpy and against Triton's own serialisation."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from tritonclient.utils import serialize_byte_tensor

from vae_detect.runtime.errors import InputError, TooLargeError
from vae_detect.runtime.protocol.json_lists import Span
from vae_detect.runtime.protocol.tensors import DTYPES, Tensor, datatype_of, from_bytes, from_json

NUMBERS = {name: dtype for name, dtype in DTYPES.items() if name != "BYTES"}


def of_json(shape: Any, datatype: Any, data: Any) -> NDArray[Any]:
    tensor = Tensor("x", shape, datatype)
    tensor.check(None)
    text = data if isinstance(data, bytes) else json.dumps(data).encode()
    return from_json(tensor, Span(text, 0, len(text)))


def of_bytes(shape: Any, datatype: Any, content: bytes) -> NDArray[Any]:
    tensor = Tensor("x", shape, datatype)
    tensor.check(len(content))
    return from_bytes(tensor, memoryview(content))


@pytest.mark.parametrize("datatype", NUMBERS)
@given(data=st.data())
def test_an_array_comes_back_as_it_was(datatype: str, data: st.DataObject) -> None:
    shape = array_shapes(max_dims=3, max_side=4)
    elements: dict[str, Any] = {"allow_nan": False, "allow_infinity": False} if "FP" in datatype else {}
    if datatype.endswith("INT64"):  # JSON is read as float64
        elements = {"min_value": 0 if datatype[0] == "U" else -(2**53), "max_value": 2**53}
    values = data.draw(arrays(NUMBERS[datatype], shape, elements=elements or None))
    for found in (
        of_bytes([*values.shape], datatype, values.tobytes()),
        of_json([*values.shape], datatype, values.tolist()),
        of_json([*values.shape], datatype, values.ravel().tolist()),
    ):
        assert found.astype(values.dtype).tolist() == values.tolist()
        assert found.shape == values.shape
    assert datatype_of(values) == datatype


@given(arrays(object, array_shapes(max_dims=2, max_side=4), elements=st.text()))
def test_texts_come_back_as_they_were(values: NDArray[Any]) -> None:
    content = serialize_byte_tensor(values).item()
    for found in (
        of_bytes([*values.shape], "BYTES", content),
        of_json([*values.shape], "BYTES", values.tolist()),
        of_json([*values.shape], "BYTES", values.ravel().tolist()),
    ):
        assert found.tolist() == values.tolist()


@given(st.binary(max_size=60))
def test_bytes_that_are_no_texts_are_refused_or_are_texts(content: bytes) -> None:
    for count in (1, 2, 3):
        try:
            found = of_bytes([count], "BYTES", content)
        except InputError:
            continue
        assert serialize_byte_tensor(np.array([text.encode() for text in found], object)).item() == content


def test_bytes_are_little_endian() -> None:
    assert of_bytes([2], "INT16", b"\x01\x00\x00\x01").tolist() == [1, 256]
    assert of_bytes([1], "FP32", b"\x00\x00\x80\x3f").tolist() == [1.0]
    assert of_bytes([3], "BOOL", b"\x00\x01\x07").tolist() == [False, True, True]


def test_null_stands_for_nothing() -> None:
    assert np.isnan(of_json([2], "FP32", [None, 1])).tolist() == [True, False]


def test_floats_are_not_rounded_before_anybody_looks() -> None:
    assert of_json([2], "FP32", [3.5e38, 0.1]).tolist() == [3.5e38, 0.1]


@pytest.mark.parametrize(
    ("shape", "datatype", "data", "message"),
    [
        ([2], "INT8", [1, 128], "input 'x' holds a number beyond INT8"),
        ([1], "INT64", [2**63], "input 'x' holds a number beyond INT64"),
        ([1], "UINT64", [2**64], "input 'x' holds a number beyond UINT64"),
        ([1], "UINT16", [-1], "input 'x' holds a number beyond UINT16"),
        ([1], "FP16", [65520], "input 'x' holds a number beyond FP16"),
        ([1], "INT32", [0.5], "input 'x' is of INT32 and holds what is no whole number"),
        ([1], "INT32", [None], "input 'x' is of INT32 and holds what is no whole number"),
        ([1], "BOOL", [1], "input 'x' is no list of BOOL: Expected `bool`"),
        ([1], "FP32", ["1"], "input 'x' is no list of FP32: Expected `float | null`, got `str`"),
        ([1], "BYTES", [1], "input 'x' is of BYTES, expected a list of texts"),
        ([2], "FP32", [1], "input 'x' holds 1 values, its shape [2] says 2"),
        ([2, 2], "FP32", [[1, 2, 3], [4]], "input 'x' holds lists that are neither flat nor nested as its shape says"),
        ([1], "FP32", b"7", "input 'x' is no list"),
        ([1], "FP32", b"[NaN]", "input 'x' is no list of FP32: JSON is malformed"),
    ],
)
def test_a_message_says_what_a_list_is_not(shape: Any, datatype: str, data: Any, message: str) -> None:
    with pytest.raises(InputError) as refused:
        of_json(shape, datatype, data)
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize(
    ("shape", "datatype", "content", "message"),
    [
        ([2], "FP32", b"1234567", "input 'x' has 7 bytes, its shape [2] of FP32 takes 8"),
        ([2**31 - 1] * 8, "FP32", b"", "input 'x' holds 2147483647 rows, expected at most 100000"),
        ([1, *[2**31 - 1] * 7], "FP32", b"", "input 'x' has 0 bytes, its shape [1, 2147483647"),
        ([1], "BYTES", b"\x02\0\0\0a", "input 'x' ends within a text"),
        ([1], "BYTES", b"\x02\0", "input 'x' ends within a text"),
        ([1], "BYTES", b"\x01\0\0\0\xff", "input 'x' holds a text that is not UTF-8"),
        ([2], "BYTES", b"\x01\0\0\0a", "input 'x' holds 1 texts, its shape [2] says 2"),
        ([1], "BYTES", b"\0\0\0\0" * 3, "input 'x' holds 3 texts, its shape [1] says 1"),
    ],
)
def test_a_message_says_what_bytes_are_not(shape: Any, datatype: str, content: bytes, message: str) -> None:
    with pytest.raises(InputError) as refused:
        of_bytes(shape, datatype, content)
    assert str(refused.value).startswith(message)


def test_too_much_is_told_before_it_is_read() -> None:
    for shape, length in (([100_001], 400_004), ([100_001], None), ([10, 100_001], None)):
        with pytest.raises(TooLargeError):
            Tensor("x", shape, "FP32").check(length)
    with pytest.raises(TooLargeError, match="holds more than 200000 values"):
        Tensor("x", [100_000, 3], "BYTES").check(5)
    Tensor("x", [100_000, 41], "FP32").check(16_400_000)
    assert Tensor("x", [10, 2], "FP32").size == 160


def test_a_tensor_without_elements_has_none() -> None:
    found = msgspec.json.decode(b'{"name": "x", "shape": [1], "datatype": "FP32"}', type=Tensor)
    assert bytes(found.data) == b""
