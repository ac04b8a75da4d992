"""Gates and rules by hand."""

from __future__ import annotations

import msgspec
import pytest

from vae_detect.runtime.alarms.rule import SILENCE_S, AlarmRule, Gate
from vae_detect.runtime.detector import Detector
from vae_detect.runtime.errors import InputError
from vae_detect.runtime.scoring.results import Cause


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pressure>", Gate("pressure", ">")),
        (" pressure < ", Gate("pressure", "<")),
        ("pressure>0.5", Gate("pressure", ">", 0.5)),
        ("pressure>+0.5", Gate("pressure", ">", 0.5)),
        ("pressure<-0.5", Gate("pressure", "<", 0.5)),
        ("flow rate~1e-3", Gate("flow rate", "~", 0.001)),
        ("pressure>5%", Gate("pressure", ">", 5.0, is_share=True)),
        ("a>b>2", Gate("a>b", ">", 2.0)),
    ],
)
def test_gates_are_read(text: str, expected: Gate) -> None:
    assert Gate.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "pressure", ">", "pressure>x", "pressure>-1", "pressure<+1", "pressure~", "pressure~0", "pressure~-1"),
        *("pressure>%", "pressure>1e999", "pressure>e", "pressure>5%%"),
    ],
)
def test_what_is_no_gate_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"^gate "):
        Gate.parse(text)


@pytest.mark.parametrize(
    ("text", "actual", "expected", "passes"),
    [
        ("p>", 11, 10, True),
        ("p>", 10, 10, False),
        ("p>", 9, 10, False),
        ("p<", 9, 10, True),
        ("p>0.5", 10.5, 10, True),
        ("p>0.5", 10.4, 10, False),
        ("p<0.5", 9.5, 10, True),
        ("p~0.5", 9.5, 10, True),
        ("p~0.5", 10.25, 10, False),
        ("p>5%", 10.5, 10, True),
        ("p>5%", 10.25, 10, False),
        ("p<5%", -10.5, -10, True),  # 5 % of 10 below -10
        ("p<5%", -10.25, -10, False),
        ("p>5%", 0.1, 0, True),  # any deviation is more than 5 % of nothing
        ("p>", None, 10, True),  # nobody knows, so somebody is told
        ("p>", 11, None, True),
    ],
)
def test_gates_let_through(text: str, actual: float | None, expected: float | None, passes: bool) -> None:
    assert Gate.parse(text).passes(Cause("p", 1.0, actual, expected)) is passes


def test_one_of_the_gates_of_a_column_is_enough() -> None:
    rule = AlarmRule(gates=(Gate.parse("p>5"), Gate.parse("p<1")))
    assert [rule.passes((Cause("p", 1.0, 10 + by, 10.0),)) for by in (6.0, 2.0, -2.0)] == [True, False, True]
    assert rule.passes(())
    assert rule.passes((Cause("q", 1.0, 10.0, 10.0),))  # which has no gates


@pytest.mark.parametrize(
    "wrong",
    [{"k": 2}, {"k": 0}, {"n": 1001}, {"clear": 0.0}, {"clear": 1.1}, {"min_duration_s": -1.0}, {"most_an_hour": 0}],
)
def test_rules_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError):
        AlarmRule(**wrong)  # type: ignore[arg-type]


def test_a_rule_is_fitted_to_a_model(detector: Detector, images_detector: Detector) -> None:
    assert detector.bundle.data.period_s == 30
    assert AlarmRule().of(detector.bundle).silence_s == 300  # ten rows; windows are of one
    windows = msgspec.structs.replace(detector.bundle, window=16)
    assert AlarmRule().of(windows).silence_s == 3 * 16 * 30
    assert AlarmRule().of(images_detector.bundle).silence_s == SILENCE_S
    AlarmRule(gates=(Gate("power_kw", ">"),)).of(detector.bundle)
    with pytest.raises(InputError, match=r"^gate of 'presure': no such column; this model has speed_rpm"):
        AlarmRule(gates=(Gate("presure", ">"),)).of(detector.bundle)
