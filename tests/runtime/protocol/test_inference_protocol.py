"""Requests to infer and their answers without a socket: all that may be wrong with them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from conftest import Client, strict
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from vae_detect.runtime.detector import Detector
from vae_detect.runtime.errors import InputError
from vae_detect.runtime.protocol.inference_protocol import MOST_IN_ID, Request, read_request, write_answer
from vae_detect.runtime.service.bodies import MAX_BODY

ROW = [1450, 172.1, 0.33, 3.3, 33.1, 19.4, 40.2, 1.9]
OFFERED = ("score", "severity", "p_value", "is_anomaly", "elbo")


def tensor(**changes: Any) -> dict[str, Any]:
    found = {"name": "x", "shape": [1, 8], "datatype": "FP32", "data": ROW, **changes}
    return {key: value for key, value in found.items() if value is not ...}


def request(*inputs: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"inputs": list(inputs) or [tensor()], **more}).encode()


def sized(size: Any, **changes: Any) -> dict[str, Any]:
    return tensor(data=..., parameters={"binary_data_size": size}, **changes)


def ask(client: Client, body: bytes, header: str | None = None, model: str = "pump") -> Any:
    headers = {} if header is None else {"inference-header-content-length": header.encode("latin-1")}
    return client.ask("POST", f"/v2/models/{model}/infer", content=body, headers=headers)


Case = tuple[str, bytes, str | None]


def odd_shapes() -> Iterator[Case]:
    huge = 2**62
    shapes: list[Any] = [
        *([], [8], [1], [1, 7], [1, 9], [8, 1], [2, 4], [1, 1, 8], [0, 8], [1, 0], [-1, 8], [1, -8], [-1, -8]),
        *([huge, 8], [1, huge], [huge, huge], [huge, 4, huge], [2**63, 8], [2**64, 2**64], [10**30, 8], [0, huge]),
        *([1] * 9, [1] * 3000, [1.5, 8], ["1", 8], [None, 8], [[1], 8], "1,8", 8, None, {}, [True, 8], [1e400, 8]),
        *([4, 2**31 - 1], [65536, 65536, 65536, 65536], [10**4000, 8]),
    ]
    for shape in shapes:
        yield f"shape {str(shape)[:30]}", request(tensor(shape=shape)), None
        body = request(sized(32, shape=shape))
        yield f"shape {str(shape)[:30]} of bytes", body + b"\0" * 32, str(len(body))


def odd_data() -> Iterator[Case]:
    datas: list[Any] = [
        *(None, 5, "text", {}, [], [1] * 7, [1] * 9, ["1"] * 8, [None] * 8, [[1] * 8] * 2, [[[ROW]]], [[1] * 7, [1]]),
        *([True] * 8, [*ROW[:7], "x"], [*ROW[:7], {}], [*ROW[:7], [[1]]], [*ROW[:7], 1e39], [*ROW[:7], -1e300]),
        *([*ROW[:7], float("nan")], [*ROW[:7], float("inf")], [*ROW[:7], 10**400], [[*ROW, 1]], [[], ROW, [[]]]),
    ]
    for data in datas:
        for datatype in ("FP32", "FP64"):
            yield f"{datatype} {str(data)[:40]}", request(tensor(data=data, datatype=datatype)), None
    for raw in (
        "[1,2,3,4,5,6,7,]",
        "[1,,2]",
        "[01,2,3,4,5,6,7,8]",
        "[1 2,3]",
        "[[1]2]",
        "[1]]",
        "[[1]",
        "[1",
        "1]",
        "[1e999]",
    ):
        yield raw, b'{"inputs":[{"name":"x","shape":[1,8],"datatype":"FP32","data":%b}]}' % raw.encode(), None
    for datatype, data in TYPES:
        yield f"{str(datatype)[:20]} {str(data)[:30]}", request(tensor(datatype=datatype, data=data)), None


TYPES: list[tuple[Any, list[Any]]] = [
    ("INT32", [*ROW[:7], 1.5]),
    ("INT8", [300] * 8),
    ("UINT8", [-1] * 8),
    ("UINT64", [-1] * 8),
    ("FP16", [7e4] * 8),
    ("INT64", [2**63] * 8),
    ("UINT64", [2**64] * 8),
    ("INT64", [None] * 8),
    ("BOOL", [1] * 8),
    ("BOOL", [True] * 8),
    ("BYTES", ["a"] * 8),
    ("BYTES", [1] * 8),
    ("BYTES", ["1450"] * 8),
    ("BYTES", ["a", ["b", {}]]),
    ("BYTES", [None] * 8),
    ("BF16", ROW),
    ("fp32", ROW),
    ("", ROW),
    ("STRING", ROW),
    ("FP32" * 9999, ROW),
    (None, ROW),
    (32, ROW),
]


def odd_bytes() -> Iterator[Case]:
    good = np.array([ROW], np.float32).tobytes()
    sizes: list[Any] = [31, 33, 0, -1, -32, 32.5, "32", None, [], 2**70, True, 10**400]
    for size in sizes:
        body = request(sized(size))
        yield f"size {str(size)[:20]}", body + good, str(len(body))
    body = request(sized(32))
    for behind in (b"", good[:31], good + b"x", good * 2):
        yield f"{len(behind)} bytes", body + behind, str(len(body))
    for header in (
        "-1",
        "999999",
        "1e3",
        "",
        " ",
        "x",
        "0",
        "1",
        "0x10",
        "\u00b2",
        "9" * 400,
        "9" * 5000,
        str(len(body) - 1),
    ):
        yield f"header {header[:10]}", body + good, header
    yield "header of nothing", request(), ""
    yield "no header", body + good, None
    yield "header over all", body + good, str(len(body) + 32)
    both = request(tensor(parameters={"binary_data_size": 32}))
    yield "both", both + good, str(len(both))
    yield "neither", request(tensor(data=...)), None
    for value in (np.nan, np.inf, -np.inf):
        for dtype, datatype in ((np.float32, "FP32"), (np.float64, "FP64"), (np.float16, "FP16")):
            values = np.array([[*np.array(ROW[:7]), value]], dtype)
            body = request(sized(values.nbytes, datatype=datatype))
            yield f"{value} {datatype}", body + values.tobytes(), str(len(body))
    for texts in (
        b"\x01",
        b"\x05\0\0\0abc",
        b"\xff\xff\xff\xff",
        b"\x01\0\0\0\xff" * 8,
        b"\x01\0\0\0a" * 9,
        b"\0\0\0\0" * 7,
    ):
        body = request(sized(len(texts), datatype="BYTES"))
        yield f"texts {texts[:8]!r}", body + texts, str(len(body))


def odd_requests() -> Iterator[Case]:
    for name in ("y", "", "x" * 9999, "\u00e9", "score", "\x00", "'\"", "pressure"):
        yield f"name {name[:9]}", request(tensor(name=name)), None
        yield f"output {name[:9]}", request(outputs=[{"name": f"{name}!"}]), None
    yield "twice", request(tensor(), tensor()), None
    yield "beside", request(tensor(), tensor(name="y")), None
    yield "output twice", request(outputs=[{"name": "score"}] * 2), None
    yield "classes", request(outputs=[{"name": "score", "parameters": {"classification": 2}}]), None
    for key in ("shared_memory_region",):
        yield "memory in", request(tensor(parameters={key: "a"})), None
        yield "memory out", request(outputs=[{"name": "score", "parameters": {key: "a"}}]), None
    for key, value in itertools.product(
        ("inputs", "outputs", "parameters", "id"), (5, "text", [5], [[]], {"a": 1}, True, [None])
    ):
        if (key, value) not in (("parameters", {"a": 1}), ("id", "text")):
            yield f"{key} {value}", request(**{key: value}), None
    yield "id too long", request(id="x" * (MOST_IN_ID + 1)), None
    yield "huge id", request(id="x" * 10**6), None
    yield "half a surrogate", request(id="\ud800"), None
    for levels in (64, 65, 999, 10**5, 10**6):
        for begin, end in (("[", "]"), ('{"a":', "}")):
            deep = begin * levels + "1" + end * levels
            yield f"{levels} deep", b'{"inputs":[],"x":%b}' % deep.encode(), None
            yield (
                f"{levels} deep data",
                request(tensor(data=0)).replace(b'"data": 0', b'"data":%b' % deep.encode()),
                None,
            )
    for text in (
        b"",
        b" ",
        b"{",
        b"[]",
        b"null",
        b"5",
        b"{}",
        b'{"inputs":null}',
        b'{"inputs":[]}',
        b"\xff\xfe",
        b"\0",
    ):
        yield f"text {text!r}", text, None
    yield "a row", json.dumps(ROW).encode(), None
    yield "trailing", request() + b"x", None
    yield "17 MiB", b" " * (17 * 1024**2), None
    yield "rows", request(tensor(shape=[100_001, 8], data=ROW * 100_001)), None
    yield (
        "rows by bytes",
        (body := request(sized(32 * 100_001, shape=[100_001, 8]))) + b"\0" * 32 * 100_001,
        str(len(body)),
    )
    yield "values", request(tensor(shape=[100_000, 11], data=[1] * 1_100_000)), None
    many = [tensor(name=f"y{number}", shape=[1], data=[1]) for number in range(20_000)]
    yield "20 000 tensors", request(*many), None


HOSTILE = [*odd_shapes(), *odd_data(), *odd_bytes(), *odd_requests()]


def test_whatever_is_wrong_is_told_and_changes_nothing(client: Client) -> None:
    before = ask(client, request()).content
    assert len(HOSTILE) > 250
    for model, (name, body, header) in itertools.product(("pump", "pump/encoder", "pump/decoder"), HOSTILE):
        found = ask(client, body, header, model)
        assert 400 <= found.status_code < 500, (name, model, found.status_code, found.content[:500])
        assert [*found.json()] == ["error"], name
        assert len(found.content) < 4096, name
    assert ask(client, request()).content == before
    series = client.series()
    assert series["vae_detect_rows_received_total[]"] == 2 + series["vae_detect_rows_refused_total[]"]
    assert series["vae_detect_rows_scored_total[]"] == 2
    assert series["vae_detect_requests_total[('code', '500'), ('route', 'infer')]"] == 0


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (request(tensor(shape=[0, 8], data=[])), "input 'x' has shape [0, 8], expected sizes of 1 to 2147483647"),
        (request(tensor(shape=[1] * 9)), "input 'x' has a shape of 9 sizes, expected 1 to 8"),
        (request(tensor(data=ROW[:7])), "input 'x' holds 7 values, its shape [1, 8] says 8"),
        (
            request(tensor(data=[*ROW[:7], None])),
            "row 0, column 'vibration_mm_s' is not a finite number within float32",
        ),
        (request(sized(5)), "input 'x' says binary_data_size 5, 0 bytes are left"),
        (request(tensor(datatype="BF16")), "input 'x' has datatype 'BF16', expected BOOL, UINT8"),
        (request(tensor(datatype="BYTES")), "input 'x' is of BYTES, expected a list of texts"),
        (request(x=json.loads("[" * 65 + "]" * 65)), "the body is nested deeper than 64 levels"),
        (request(id="x" * 1001), "the id has 1001 characters, expected at most 1000"),
        (request(tensor(data=...)), "input 'x' needs either data, or the parameter binary_data_size"),
        (request(outputs=[{"name": "scores"}]), "output 'scores' is unknown, expected one of score, severity, p_value"),
    ],
)
def test_a_message_says_what_is_wrong_where(client: Client, body: bytes, message: str) -> None:
    assert ask(client, body).json()["error"].startswith(message)


def as_request(*outputs: str, binary: bool = False, id: str = "") -> Request:
    return Request({}, outputs, frozenset(outputs if binary else ()), id)


def whole(parts: Iterator[tuple[bytes, bool]]) -> tuple[dict[str, Any], bytes]:
    """The JSON of an answer, and the bytes behind it."""
    found = [*parts]
    assert [is_json for _, is_json in found] == sorted((is_json for _, is_json in found), reverse=True)
    text = b"".join(part for part, is_json in found if is_json)
    return strict(text.decode()), b"".join(part for part, is_json in found if not is_json)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1), st.text(max_size=9))
def test_numbers_are_written_so_that_they_are_read_back_equal(numbers: list[float], id: str) -> None:
    values = np.array(numbers, np.float32)
    told, behind = whole(write_answer("pump", "1", as_request("score", id=id), {"score": values}))
    assert told["outputs"][0]["data"] == values.tolist()
    assert (told.get("id", ""), behind) == (id, b"")
    told, behind = whole(write_answer("pump", "1", as_request("score", binary=True), {"score": values}))
    assert told["outputs"] == [
        {"name": "score", "datatype": "FP32", "shape": [len(numbers)], "parameters": {"binary_data_size": len(behind)}}
    ]
    assert behind == values.tobytes()


def test_a_long_answer_is_written_in_parts() -> None:
    values = np.arange(100_000, dtype=np.float32).reshape(-1, 2)
    flags = values[:, 0] > 7
    outputs = {"score": values, "is_anomaly": flags, "p_value": values[:3]}
    told, _ = whole(write_answer("pump", "1", as_request(*outputs), outputs))
    assert [len(part) < 200_000 for part, _ in write_answer("pump", "1", as_request(*outputs), outputs)] == [True] * 12
    assert [output["shape"] for output in told["outputs"]] == [[50_000, 2], [50_000], [3, 2]]
    assert [output["datatype"] for output in told["outputs"]] == ["FP32", "BOOL", "FP32"]
    assert [output["data"] for output in told["outputs"]] == [one.ravel().tolist() for one in outputs.values()]
    some = Request({}, tuple(outputs), frozenset(["score"]), "")
    told, behind = whole(write_answer("pump", "1", some, outputs))
    assert behind == values.tobytes()
    assert told["outputs"][1]["data"] == flags.tolist()


def test_large_requests_are_read_as_small_ones_are(normal_rows: NDArray[np.float32]) -> None:
    rows = np.tile(normal_rows, (10, 1))
    more = {"id": "\u00b5", "outputs": [{"name": "score"}]}
    for data in (rows.tolist(), rows.ravel().tolist()):
        body = request(tensor(shape=[7200, 8], data=data), tensor(name="y", shape=[2], data=[1, 2]), **more)
        for text in (body, json.dumps(json.loads(body), ensure_ascii=False, indent=1).encode()):
            found = read_request(text, None, OFFERED)
            tensors = found.read()
            assert tensors["x"].tolist() == rows.tolist()
            assert tensors["y"].tolist() == [1, 2]
            assert (found.outputs, found.id) == (("score",), "\u00b5")


def test_a_key_that_is_written_otherwise_is_still_one(normal_rows: NDArray[np.float32]) -> None:
    rows = np.tile(normal_rows, (10, 1))
    body = request(tensor(shape=[7200, 8], data=rows.tolist()), tensor(name="y", shape=[1], data=[0]))
    body = body[::-1].replace(b"atad", b"ata4600u\\", 1)[::-1]
    assert b'"\\u0064ata": [0]' in body
    assert read_request(body, None, OFFERED).read()["y"].tolist() == [0]


@pytest.mark.parametrize(
    "data", ["[[1,2],[3]", "[1,2]]", "[[1 2],[3,4]]", "[[1]2,[3,4]]", "[1,2,3,]", "[1,2,3", "[1,,2,3]"]
)
def test_what_is_no_list_is_refused_in_a_large_request_too(data: str) -> None:
    body = b'{"inputs":[{"name":"x","shape":[2,2],"datatype":"FP32","data":%b}]%b}' % (data.encode(), b" " * 2**17)
    with pytest.raises(InputError, match=r"input 'x' (is no|holds)|no inference request"):
        read_request(body, None, OFFERED).read()


@pytest.mark.parametrize("size", [0, 1, 10**6, MAX_BODY])
def test_blanks_change_nothing(size: int) -> None:
    body = request()
    padded = body[:-1] + b" " * max(0, size - len(body)) + b"}"
    assert read_request(padded, None, OFFERED).read()["x"].tolist() == [ROW]


def test_the_default_is_the_verdict_and_binary_is_for_all_or_one() -> None:
    for more, names, binary in (
        ({}, OFFERED[:4], ()),
        ({"parameters": {"binary_data_output": True}}, OFFERED[:4], OFFERED[:4]),
        ({"outputs": [{"name": "elbo"}]}, ("elbo",), ()),
        ({"outputs": [{"name": "elbo"}], "parameters": {"binary_data_output": True}}, ("elbo",), ("elbo",)),
        (
            {
                "outputs": [{"name": "elbo", "parameters": {"binary_data": False}}, {"name": "score"}],
                "parameters": {"binary_data_output": True},
            },
            ("elbo", "score"),
            ("score",),
        ),
    ):
        found = read_request(request(**more), None, OFFERED)
        assert (found.outputs, found.binary) == (names, frozenset(binary))


def test_scores_are_those_of_score(client: Client, detector: Detector, normal_rows: NDArray[np.float32]) -> None:
    for adaptive in (False, True):
        one, other = Client(detector, adaptive=adaptive), Client(detector, adaptive=adaptive)
        for first in range(0, 720, 80):
            rows = normal_rows[first : first + 80].tolist()
            results = one.results(rows)
            outputs = ask(other, request(tensor(shape=[80, 8], data=rows))).json()["outputs"]
            for output in outputs:
                assert output["data"] == [result[output["name"]] for result in results]
        same = [name for name in one.series() if "rows_" in name or "anomalies" in name or "ratio" in name]
        assert [one.series()[name] for name in same] == [other.series()[name] for name in same]
