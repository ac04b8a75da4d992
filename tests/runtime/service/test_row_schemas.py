"""The rows that a model takes, as a schema says them, beside what is read of a request."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import msgspec
import numpy as np
from conftest import Client

from vae_detect.runtime.bundle import Bundle, Column
from vae_detect.runtime.detector import Detector
from vae_detect.runtime.service.request_reader import RequestReader
from vae_detect.runtime.service.row_schemas import (
    NUMBER,
    TELEGRAF,
    RowSchema,
    body_schema,
    in_json_lines,
    infer_example,
)

replace = msgspec.structs.replace


def validator(schema: dict[str, Any]) -> Any:
    return jsonschema_rs.Draft202012Validator(
        schema | {"components": {"schemas": {"Number": NUMBER, "Telegraf": TELEGRAF}}}
    )


def odd(bundle: Bundle) -> Bundle:
    """One with columns of every kind, and one golden row."""
    columns = (
        Column("mode", "", 0, 1, "category", levels=(0, 1), texts=("auto", "manual")),
        Column("on", "", 0, 1, "binary", levels=(0, 1)),
        Column("kind", "", 0, 1, "class", levels=(1, 2)),
        Column("flow", "", 0, 1, missing=(-999,)),
    )
    golden = replace(bundle.golden, x=[[1, 0, -1, 2.5]], score=[1], p_value=[1], is_anomaly=[False])
    return replace(bundle, columns=columns, golden=golden)


def test_a_row_of_numbers_has_all_of_them(client: Client, row: list[float], detector: Detector) -> None:
    schema = validator(RowSchema(detector.bundle).schema())
    there = dict(zip(detector.bundle.names, row, strict=True))
    assert schema.is_valid(row)
    assert schema.is_valid(there | {"note": "ignored"})
    del there["flow_m3h"]
    for bad in (there, row[:-1], [*row, 1], ["1", *row[1:]], [None, *row[1:]], [True, *row[1:]], [1e39, *row[1:]], 3):
        assert not schema.is_valid(bad)
        assert client.score([bad]).status_code == 400


def test_texts_classes_and_truths_are_in_the_schema(detector: Detector) -> None:
    bundle = odd(detector.bundle)
    schema, reader = validator(RowSchema(bundle).schema()), RequestReader(bundle)
    for good in (
        ["auto", 1, 2, 3],
        ["manual", True, None, 3],
        {"mode": "auto", "on": 0, "flow": 1},
        {"mode": "auto", "on": False, "kind": 1, "flow": 1},
    ):
        assert schema.is_valid(good), good
        assert not reader.read(json.dumps(good).encode()).bad
    for bad in (["off", 1, 2, 3], [0, 1, 2, 3], ["auto", 1, 3, 3], ["auto", 1, 2, -999], ["auto", 1, 2, None]):
        assert not schema.is_valid(bad), bad
        assert reader.read(json.dumps(bad).encode(), flag_bad=True).bad


def test_examples_are_written_as_clients_write_them(detector: Detector) -> None:
    rows = RowSchema(odd(detector.bundle))
    examples = rows.examples()
    there = {"mode": "manual", "on": 0.0, "kind": None, "flow": 2.5}
    assert examples == {"lists": [["manual", 0.0, None, 2.5]], "objects": [there]}
    assert rows.in_csv(examples["objects"]) == "mode,on,kind,flow\nmanual,0.0,,2.5\n"
    assert in_json_lines(examples["objects"] * 2) == '{"mode":"manual","on":0.0,"kind":null,"flow":2.5}\n' * 2


def test_a_key_and_a_decimal_comma_are_in_the_examples(detector: Detector) -> None:
    layout = detector.bundle.data.layout
    written = replace(layout.format, delimiter=";", decimal=",")
    layout = replace(layout, key="machine", format=written, most_missing=2)
    bundle = replace(detector.bundle, data=replace(detector.bundle.data, layout=layout))
    rows = RowSchema(bundle)
    examples = rows.examples()
    assert list(examples) == ["objects"]  # a list cannot say its key
    table = rows.in_csv(examples["objects"])
    assert table.startswith("machine;speed_rpm;flow_m3h;")
    assert "\nmachine-1;1239,0;132,6;" in table
    assert RequestReader(bundle).read(table.encode(), "text/csv").keys == ["machine-1"]
    assert validator(rows.schema()).is_valid([None] * 8)  # how many may be missing cannot be said there


def test_no_example_is_an_anomaly_or_incomplete(detector: Detector) -> None:
    golden = detector.bundle.golden
    holed = [[None, *row[1:]] for row in golden.x]
    assert RowSchema(replace(detector.bundle, golden=replace(golden, x=holed))).examples() == {}
    alarms = replace(golden, is_anomaly=[True] * len(golden.x))
    assert RowSchema(replace(detector.bundle, golden=alarms)).examples() == {}
    assert infer_example(replace(detector.bundle, golden=replace(golden, x=holed))) is None


def test_a_golden_window_is_the_rows_of_a_recording(windows_detector: Detector) -> None:
    bundle = windows_detector.bundle
    (rows,) = {json.dumps(rows) for form, rows in RowSchema(bundle).examples().items() if form == "lists"}
    place = bundle.golden.is_anomaly.index(False)
    np.testing.assert_array_equal(np.array(json.loads(rows), np.float32), np.array(bundle.golden.x[place], np.float32))
    told = infer_example(bundle)
    assert told is not None
    assert told["inputs"][0]["shape"] == [1, *bundle.input_shape]


def test_a_body_is_a_row_or_rows_or_metrics() -> None:
    schema = validator(body_schema({"type": "array", "items": NUMBER, "minItems": 2}))
    metric = {"name": "pump", "fields": {"flow": 1}, "tags": {"host": "a"}, "timestamp": 1}
    for good in ([1, 2], [[1, 2], [3, 4]], metric, {"metrics": [metric]}):
        assert schema.is_valid(good)
    bad: Any
    for bad in ([], [1], [[]], {"metrics": []}, {"metrics": [{"name": "pump"}]}, {"name": "pump"}, "1,2"):
        assert not schema.is_valid(bad)
