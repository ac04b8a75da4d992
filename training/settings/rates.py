"""Rates as users write them: false alarms per row or per time, rows per time."""

import math
import re

from ...runtime.errors import InputError

_SECONDS = {"ms": 1e-3, "s": 1.0, "sec": 1.0, "second": 1.0, "min": 60.0, "minute": 60.0, "h": 3600.0, "hour": 3600.0}
_SECONDS |= {"d": 86400.0, "day": 86400.0, "week": 604800.0}
_QUANTITY = re.compile(r"(\d*\.?\d+(?:e[-+]?\d+)?)\s*(/?)\s*([a-z%]*)")  # number, per?, unit


def parse_far(text: str, *, rate_hz: float | None) -> float:
    """False alarms per row, from a share ("0.001", "1%") or, at `rate_hz` rows per second, "N/UNIT" ("1/day")."""
    number, per, unit = _quantity(text)
    wanted = f"false-alarm rate {text!r}: expected a share in (0, 0.5) such as 0.001 or 1%, or such as 1/day or 2/hour"
    if per and unit in _SECONDS:
        if rate_hz is None:
            raise InputError(f"false-alarm rate {text!r} needs time stamps or --rate, to know the rows per second")
        if not 0 < rate_hz < math.inf:
            raise InputError(f"rows per second must be positive and finite, got {rate_hz}")
        far = number / (_SECONDS[unit] * rate_hz)
    elif not per and unit in ("", "%"):
        far = number / 100 if unit else number
    else:
        raise InputError(f"cannot read {wanted}")
    if not 0 < far < 0.5:
        raise InputError(f"{far:.3g} per row is out of range for {wanted}")
    return far


def parse_rate(text: str) -> float:
    """Rows per second, from a frequency ("10Hz"), a count per time ("10/s", "6/min") or a period ("100ms", "10s")."""
    number, per, unit = _quantity(text)
    rate = number if unit == "hz" and not per else math.nan
    if unit in _SECONDS and number > 0:
        rate = number / _SECONDS[unit] if per else 1 / (number * _SECONDS[unit])
    if not 0 < rate < math.inf:
        raise InputError(f"cannot read the sampling rate {text!r}: expected such as 10Hz, 10/s, 6/min, 100ms or 10s")
    return rate


def parse_duration(text: str) -> float:
    """Seconds, from a number with a unit ("90s", "10min", "1h") or of seconds."""
    number, per, unit = _quantity(text)
    seconds = number * _SECONDS.get(unit or "s", math.nan)
    if per or not 0 < seconds < math.inf:
        raise InputError(f"cannot read the duration {text!r}: expected such as 90s, 10min or 1h")
    return seconds


def _quantity(text: str) -> tuple[float, bool, str]:
    match = _QUANTITY.fullmatch(text.strip().lower())
    return (float(match[1]), bool(match[2]), match[3]) if match else (math.nan, False, "")
