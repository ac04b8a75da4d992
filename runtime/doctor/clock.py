"""The wall clock, which time stamps of events go by, and the one that measures."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from .findings import Finding
from .system import System

_UNSYNCHRONISED = 0x40
"""STA_UNSYNC of adjtimex."""

_SLACK_S = 86400
"""A file may seem a little younger than now: it was copied from a machine of another time, or time zone."""

_SLOW = ("hpet", "acpi_pm", "pit", "jiffies", "refined-jiffies")
"""Sources of the monotonic clock that cost a system call, or are coarse."""


class _Timex(ctypes.Structure):
    _fields_ = (
        ("modes", ctypes.c_uint),
        *((name, ctypes.c_long) for name in ("offset", "freq", "maxerror", "esterror")),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )


def kernel_status() -> int | None:
    """The status bits of the kernel's clock, None where this process may not ask."""
    timex = _Timex()
    try:
        code = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex))
    except (OSError, AttributeError):
        return None
    return None if code < 0 else timex.status


def check_clock(
    system: System, now: float, written: Mapping[str, float], ask: Callable[[], int | None] = kernel_status
) -> Finding:
    """Whether the wall clock can be right, and whether something keeps it so.

    Parameters
    ----------
    now : seconds since 1970
    written : when files were written that cannot be younger, by what they are called
    """
    shown = f"{datetime.fromtimestamp(now, UTC):%Y-%m-%dT%H:%M:%SZ}"
    kept = _synchronised(system, ask)
    facts: dict[str, object] = {"now": shown, "synchronised": kept}
    younger = next((name for name, time in written.items() if time > now + _SLACK_S), None)
    if younger is not None:
        text = f"{shown}, which is before {younger} was written: it is wrong"
        return Finding("clock", "wrong", text, "timedatectl set-ntp true; or date --set", facts)
    if kept is None:
        return Finding("clock", "unknown", f"{shown}; whether it is synchronised cannot be seen here", facts=facts)
    if not kept:
        advice = "timedatectl set-ntp true, where time stamps are compared with those of other machines"
        return Finding("clock", "look", f"{shown}, not synchronised", advice, facts)
    return Finding("clock", "fine", f"{shown}, synchronised", facts=facts)


def check_timer(system: System) -> Finding:
    """What the monotonic clock counts by."""
    source = system.read("sys/devices/system/clocksource/clocksource0/current_clocksource")
    if not source:
        return Finding("timer", "unknown", "the source of the monotonic clock cannot be read")
    if source in _SLOW:
        advice = "measured times are coarse; the kernel may say why it left the better one: dmesg | grep -i clocksource"
        return Finding("timer", "look", f"counts by {source}, which is slow", advice, {"source": source})
    return Finding("timer", "fine", f"counts by {source}", facts={"source": source})


def _synchronised(system: System, ask: Callable[[], int | None]) -> bool | None:
    status = ask()
    if status is not None:
        return not status & _UNSYNCHRONISED
    # In a container that may not ask the kernel; systemd touches this once it has set the clock.
    return True if system.read("run/systemd/timesync/synchronized") is not None else None
