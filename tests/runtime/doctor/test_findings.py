from __future__ import annotations

import json

from vae_detect.runtime.doctor.findings import Finding, as_json, as_text, guarded

FINE = Finding("disk", "fine", "1 GiB free", facts={"free_bytes": 1 << 30})
LOOK = Finding("processor", "look", "no AVX2", "give it another CPU type", {"features": []})
WRONG = Finding("clock", "wrong", "1970-01-01T00:00:05Z", "date --set")


def test_a_line_for_each_check_with_its_advice_below() -> None:
    assert as_text([FINE, LOOK, WRONG]).splitlines() == [
        "fine     disk       1 GiB free",
        "look     processor  no AVX2",
        "                    -> give it another CPU type",
        "wrong    clock      1970-01-01T00:00:05Z",
        "                    -> date --set",
        "",
        "1 wrong, 1 worth a look",
    ]
    assert as_text([FINE]).splitlines()[-1] == "nothing wrong, nothing worth a look"


def test_long_lines_go_on_below_and_stay_aligned() -> None:
    lines = as_text([Finding("disk", "fine", "word " * 40)]).splitlines()[:3]
    assert lines[0].startswith("fine     disk  ")
    assert [line.startswith(" " * 15 + "word") for line in lines[1:]] == [True, True]
    assert max(map(len, lines)) <= 110


def test_the_same_as_one_json_object() -> None:
    answer = json.loads(as_json([FINE, LOOK]))
    assert answer == {
        "state": "look",
        "checks": {
            "disk": {"state": "fine", "found": "1 GiB free", "advice": None, "free_bytes": 1073741824},
            "processor": {
                "state": "look",
                "found": "no AVX2",
                "advice": "give it another CPU type",
                "features": [],
            },
        },
    }
    assert [json.loads(as_json(some))["state"] for some in ([FINE], [FINE, WRONG, LOOK])] == ["fine", "wrong"]


def test_a_check_that_fails_is_one_finding() -> None:
    def fail() -> Finding:
        raise ZeroDivisionError("division by zero")

    assert guarded("disk", fail) == [
        Finding("disk", "unknown", "could not be looked at: ZeroDivisionError: division by zero")
    ]
    assert guarded("disk", lambda: FINE) == guarded("disk", lambda: [FINE]) == [FINE]
    assert guarded("disk", lambda: None) == []
