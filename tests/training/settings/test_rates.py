"""Rates as users write them, read right or refused."""

import pytest

from vae_detect.runtime.errors import InputError
from vae_detect.training.settings.rates import parse_duration, parse_far, parse_rate


@pytest.mark.parametrize(
    ("text", "rate_hz", "expected"),
    [
        ("0.001", None, 0.001),
        (" 1e-3 ", None, 0.001),
        (".01", None, 0.01),
        ("1%", None, 0.01),
        ("0.5 %", None, 0.005),
        ("1/day", 1.0, 1 / 86400),
        ("2/hour", 10.0, 2 / 36000),
        ("3/week", 0.1, 3 / 60480),
        ("1 / Minute", 1.0, 1 / 60),
    ],
)
def test_parse_far(text: str, rate_hz: float | None, expected: float) -> None:
    assert parse_far(text, rate_hz=rate_hz) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    "text", ["", "often", "0", "0.5", "-0.1", "50%", "1/0", "1/fortnight", "1/%", "2day", "nan", "1e999"]
)
def test_parse_far_refuses(text: str) -> None:
    with pytest.raises(InputError, match=r"false-alarm rate .*1/day"):
        parse_far(text, rate_hz=1.0)


def test_parse_far_per_time_needs_a_rate() -> None:
    with pytest.raises(InputError, match=r"'1/day' needs time stamps or --rate"):
        parse_far("1/day", rate_hz=None)
    with pytest.raises(InputError, match="rows per second"):
        parse_far("1/day", rate_hz=0.0)
    with pytest.raises(InputError, match="out of range"):
        parse_far("1/s", rate_hz=1.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("10Hz", 10), ("0.1 hz", 0.1), ("10/s", 10), ("6/min", 0.1), ("100ms", 10), ("10s", 0.1), ("1h", 1 / 3600)],
)
def test_parse_rate(text: str, expected: float) -> None:
    assert parse_rate(text) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("text", ["", "10", "fast", "0Hz", "0s", "0/s", "-1Hz", "10/hz", "5%", "1e999Hz"])
def test_parse_rate_refuses(text: str) -> None:
    with pytest.raises(InputError, match="10Hz"):
        parse_rate(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10min", 600), ("1.5 h", 5400), ("42", 42), ("1day", 86400)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0s", "-1s", "soon", "10Hz", "1/s", "5%", "1e400s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="cannot read the duration"):
        parse_duration(text)
