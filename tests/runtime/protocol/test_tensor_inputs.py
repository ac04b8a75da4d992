"""From tensors to the inputs of every kind of model: as rows of JSON would give them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from vae_detect.runtime.bundle import Bundle, Column
from vae_detect.runtime.detector import Detector
from vae_detect.runtime.errors import InputError
from vae_detect.runtime.protocol.tensor_inputs import Inputs
from vae_detect.runtime.rows.json_rows import RowReader

NAN = np.nan
FLOW, SPEED = Column("flow", "", 0.0, 1.0), Column("speed", "", 0.0, 1.0, missing=(-999.0,))
PUMP = Column("pump", "", 0.0, 1.0, treatment="binary", levels=(0.0, 1.0))
MODE = Column("mode", "", 0.0, 1.0, treatment="category", levels=(0.0, 1.0), texts=("auto", "manual"))
OPEN = Column("open", "", 0.0, 1.0, treatment="category", levels=(0.0, 1.0), texts=("FALSE", "TRUE"))
KIND = Column("kind", "", 0.0, 1.0, treatment="class", levels=(0.0, 2.0))
SORT = Column("sort", "", 0.0, 1.0, treatment="class", levels=(0.0, 1.0), texts=("a", "b"))


def inputs(bundle: Bundle, *columns: Column, most_missing: int = 0, window: int = 1) -> Inputs:
    """For a model like this one, but of these columns."""
    layout = msgspec.structs.replace(bundle.data.layout, most_missing=most_missing)
    data = msgspec.structs.replace(bundle.data, layout=layout)
    kind: Any = "rows" if window == 1 else "windows"
    return Inputs(msgspec.structs.replace(bundle, columns=columns, kind=kind, window=window, data=data))


@pytest.fixture
def bundle(detector: Detector) -> Bundle:
    return detector.bundle


def array(values: Any) -> NDArray[Any]:
    found = np.array(values)
    return found.astype(object) if found.dtype.kind == "U" else found


@pytest.mark.parametrize(
    ("columns", "most", "tensors", "rows"),
    [
        ((FLOW, SPEED), 0, {"flow": [1.5, 2], "speed": [3, 4]}, [[1.5, 3], [2, 4]]),
        ((FLOW, PUMP), 0, {"flow": [1, 2], "pump": [True, False]}, [[1, True], [2, False]]),
        ((FLOW, PUMP), 0, {"flow": [1, 2], "pump": [1, 0]}, [[1, 1], [2, 0]]),
        ((FLOW, MODE), 0, {"flow": [1, 2], "mode": ["manual", "auto"]}, [[1, "manual"], [2, "auto"]]),
        ((FLOW, OPEN), 0, {"flow": [1, 2], "open": [True, False]}, [[1, True], [2, False]]),
        ((FLOW, OPEN), 0, {"flow": [1, 2], "open": ["TRUE", "false"]}, [[1, "TRUE"], [2, "false"]]),
        ((FLOW, KIND), 0, {"flow": [1, 2], "kind": [2, 0]}, [[1, 2], [2, 0]]),
        ((FLOW, KIND), 0, {"flow": [1, 2], "kind": [NAN, 2]}, [[1, None], [2, 2]]),
        ((FLOW, KIND), 0, {"flow": [1, 2]}, [[1, None], [2, None]]),
        ((FLOW, SORT), 0, {"flow": [1, 2], "sort": ["b", ""]}, [[1, "b"], [2, None]]),
        ((FLOW, SORT), 0, {"flow": [1, 2]}, [[1, None], [2, None]]),
        ((FLOW, SPEED), 1, {"flow": [1, 2], "speed": [NAN, 4]}, [[1, None], [2, 4]]),
        ((FLOW, SPEED), 1, {"flow": [1, 2], "speed": [-999, 4]}, [[1, -999], [2, 4]]),
        ((FLOW, SPEED), 1, {"flow": [1, 2]}, [[1, None], [2, None]]),
        ((FLOW, MODE), 1, {"flow": [1, NAN], "mode": ["", "auto"]}, [[1, None], [None, "auto"]]),
        ((FLOW, KIND, SPEED), 1, {"flow": [NAN], "speed": [3]}, [[None, None, 3]]),
    ],
)
def test_columns_mean_what_rows_of_json_mean(
    bundle: Bundle, columns: Sequence[Column], most: int, tensors: Mapping[str, Any], rows: Sequence[Any]
) -> None:
    reader = inputs(bundle, *columns, most_missing=most)
    expected = RowReader(columns, most_missing=most).read(msgspec.json.encode(rows)).values
    found = reader.read({name: array(values) for name, values in tensors.items()})
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.float32
    in_one = reader.read({name: array(values)[:, None] for name, values in tensors.items()})
    np.testing.assert_array_equal(in_one, expected)
    np.testing.assert_array_equal(reader.read({"x": expected}), expected)  # what the graph takes is taken


@pytest.mark.parametrize(
    ("columns", "most", "tensors", "message"),
    [
        ((FLOW, SPEED), 0, {"flow": [1, 2]}, "column 'speed' is missing"),
        ((FLOW, SPEED), 0, {"flow": [1, 2], "speed": [1, 2, 3]}, "input 'speed' has shape [3], expected [2]"),
        ((FLOW, SPEED), 0, {"flow": [1, 2], "speed": [1, NAN]}, "row 1, column 'speed' is not a finite number"),
        ((FLOW, SPEED), 0, {"flow": [1, 1e39], "speed": [1, 2]}, "row 1, column 'flow' is not a finite number"),
        ((FLOW, SPEED), 0, {"flow": [1, 2], "speed": [1, -999]}, "row 1, column 'speed' holds -999, which stands for"),
        ((FLOW, SPEED), 0, {"flow": ["1", "2"], "speed": [1, 2]}, "row 0, column 'flow': expected numbers"),
        ((FLOW, SPEED), 0, {"flow": [True, False], "speed": [1, 2]}, "row 0, column 'flow': expected numbers"),
        (
            (FLOW, SPEED),
            1,
            {"flow": [1, NAN], "speed": [1, NAN]},
            "row 1, misses 2 of 2 cells, at most 1 can be filled",
        ),
        ((FLOW, MODE), 0, {"flow": [1, 2], "mode": ["auto", "off"]}, "row 1, column 'mode': expected one of 'auto'"),
        ((FLOW, MODE), 0, {"flow": [1, 2], "mode": ["auto", ""]}, "row 1, column 'mode': expected one of 'auto'"),
        ((FLOW, MODE), 0, {"flow": [1, 2], "mode": [0, 1]}, "row 0, column 'mode': expected one of 'auto', 'manual'"),
        ((FLOW, MODE), 0, {"x": [[1, 0], [2, 0.5]]}, "row 1, column 'mode': expected one of 'auto', 'manual'"),
        ((FLOW, MODE), 0, {"x": [[1, -1]]}, "row 0, column 'mode': expected one of 'auto', 'manual'"),
        ((FLOW, KIND), 0, {"flow": [1, 2], "kind": [0, 1]}, "row 1, column 'kind': expected one of 0, 2"),
        ((FLOW, KIND), 0, {"x": [[1, 2], [1, 1e300]]}, "row 1, column 'kind': expected one of 0, 2"),
        ((FLOW, SORT), 0, {"flow": [1], "sort": ["c"]}, "row 0, column 'sort': expected one of 'a', 'b'"),
        ((FLOW, SPEED), 0, {"x": [[1, 2]], "flow": [1]}, "input 'flow' stands beside 'x'"),
        ((FLOW, SPEED), 0, {"x": [["1", "2"]]}, "input 'x' is of BYTES, expected numbers"),
        ((FLOW, SPEED), 0, {"x": [[True, False]]}, "input 'x' is of BOOL, expected numbers"),
        ((FLOW, SPEED), 0, {"x": [1, 2]}, "input 'x' has shape [2], expected [n, 2]"),
        ((FLOW, SPEED), 0, {"flow": [1], "speed": [1], "temp": [1]}, "input 'temp' is no column"),
        ((FLOW, SPEED), 0, {}, "the request has no inputs"),
    ],
)
def test_a_message_names_row_and_column(
    bundle: Bundle, columns: Sequence[Column], most: int, tensors: Mapping[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as refused:
        inputs(bundle, *columns, most_missing=most).read({name: array(values) for name, values in tensors.items()})
    assert str(refused.value).startswith(message)
    if message.startswith("row"):
        assert refused.value.rows == len(next(iter(tensors.values())))
        assert refused.value.row == int(message[4])


def test_windows_are_of_rows(bundle: Bundle) -> None:
    reader = inputs(bundle, FLOW, SORT, window=3)
    flow, sort = np.arange(6.0).reshape(2, 3), np.array([["a", "b", "b"], ["", "a", "a"]], object)
    expected = [[[0, 0], [1, 1], [2, 1]], [[3, -1], [4, 0], [5, 0]]]
    assert reader.read({"flow": flow, "sort": sort}).tolist() == expected
    assert reader.read({"flow": flow[..., None], "sort": sort[..., None]}).tolist() == expected
    assert reader.read({"x": np.array(expected, np.int16)}).tolist() == expected
    sort[1, 2] = "c"
    with pytest.raises(InputError, match="row 1, column 'sort'"):
        reader.read({"flow": flow, "sort": sort})
    many = inputs(bundle, FLOW, SPEED, window=3, most_missing=1)
    flow[1, 1] = NAN
    with pytest.raises(InputError, match="row 1, misses 2 of 2 cells"):
        many.read({"flow": flow, "speed": np.full((2, 3), [1.0, NAN, 1.0])})


def test_a_column_may_be_called_x(bundle: Bundle) -> None:
    one, two = Column("x", "", 0.0, 1.0), Column("y", "", 0.0, 1.0)
    assert inputs(bundle, one).read({"x": np.array([1.0, 2.0])}).tolist() == [[1], [2]]
    assert inputs(bundle, one).read({"x": np.array([[1.0], [2.0]])}).tolist() == [[1], [2]]
    reader = inputs(bundle, one, two)
    assert reader.read({"x": np.array([[1.0, 2.0]])}).tolist() == [[1, 2]]
    assert reader.read({"x": np.array([1.0]), "y": np.array([2.0])}).tolist() == [[1, 2]]


def test_what_is_read_is_its_own(bundle: Bundle) -> None:
    body = b"?" + np.array([[1, 2], [3, 4]], np.float32).tobytes()  # at an odd place
    found = inputs(bundle, FLOW, SPEED).read({"x": np.frombuffer(memoryview(body)[1:], np.float32).reshape(2, 2)})
    assert found.flags.aligned
    assert found.flags.writeable
    assert found.tolist() == [[1, 2], [3, 4]]
