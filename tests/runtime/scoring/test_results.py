"""Results as a table, for every writer."""

from __future__ import annotations

import json

from pieces import Floats, chunks, run

from vae_detect.runtime.detector import Detector
from vae_detect.runtime.rows.writers import records

# --- results ---------------------------------------------------------------------------------------------------------


def test_a_row_is_strict_json(windows_detector: Detector, normal_rows: Floats) -> None:
    values = normal_rows[:12].copy()
    values[9, 3] = 3.4e38
    pieces = chunks(values, [2, 3], bad=(5,))
    lines = [record for each in run(windows_detector, pieces) for record in records(each.table("row"))]
    assert [line["row"] for line in lines] == list(range(12))
    expected = ["warming"] * 3 + ["ok"] * 2 + ["bad"] + ["gap"] * 3 + ["overflow"] * 3
    assert [line["status"] for line in lines] == expected
    for line in lines:
        assert json.loads(json.dumps(line, allow_nan=False)) == line
        assert list(line) == ["row", "score", "severity", "p_value", "is_anomaly", "status", "reason"]
        numbers = (line["score"], line["severity"], line["p_value"], line["is_anomaly"])
        if line["status"] == "ok":
            assert [type(number) for number in numbers] == [float, float, float, bool]
            assert line["reason"] is None
        else:
            assert numbers == (None,) * 4
            assert line["reason"]
    assert lines[5]["reason"] == "column 'flow_m3h' is empty"
    assert lines[9]["reason"] == "the score exceeds float32"


def test_names_stand_for_row_numbers_where_they_are_given(detector: Detector, normal_rows: Floats) -> None:
    [result] = run(detector, chunks(normal_rows[:2], []))
    assert [record["file"] for record in records(result.table("file", ["a.png", "b.png"]))] == ["a.png", "b.png"]
