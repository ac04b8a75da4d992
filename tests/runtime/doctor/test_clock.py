from __future__ import annotations

from pathlib import Path

import pytest
from trees import tree

from vae_detect.runtime.doctor.clock import check_clock, check_timer, kernel_status

NOW, DAY = 1_767_600_000.0, 86400.0  # 2026-01-05T08:00:00Z
STATUS = {"synchronised": 0x2001, "not": 0x40}
"""As chrony leaves it (STA_NANO, STA_PLL), and as the kernel starts."""


@pytest.mark.parametrize(
    ("status", "touched", "state", "words"),
    [
        (STATUS["synchronised"], False, "fine", "2026-01-05T08:00:00Z, synchronised"),
        (STATUS["not"], False, "look", "2026-01-05T08:00:00Z, not synchronised"),
        (STATUS["not"], True, "look", "2026-01-05T08:00:00Z, not synchronised"),
        (None, True, "fine", "2026-01-05T08:00:00Z, synchronised"),
        (None, False, "unknown", "2026-01-05T08:00:00Z; whether it is synchronised cannot be seen here"),
    ],
)
def test_whether_something_keeps_it_right(
    status: int | None, touched: bool, state: str, words: str, tmp_path: Path
) -> None:
    system = tree(tmp_path, {"run/systemd/timesync/synchronized": ""} if touched else {})
    finding = check_clock(system, NOW, {"vae-detect": NOW - DAY}, lambda: status)
    assert (finding.state, finding.found) == (state, words)


@pytest.mark.parametrize(("ahead", "state"), [(0.0, "fine"), (0.9 * DAY, "fine"), (1.1 * DAY, "wrong")])
def test_a_clock_before_the_files_is_wrong(ahead: float, state: str, tmp_path: Path) -> None:
    finding = check_clock(tree(tmp_path, {}), NOW, {"vae-detect": NOW - DAY, "the model": NOW + ahead}, lambda: 0)
    assert finding.state == state
    if state == "wrong":
        assert finding.found == "2026-01-05T08:00:00Z, which is before the model was written: it is wrong"


def test_the_kernel_is_asked() -> None:
    status = kernel_status()
    assert status is None or 0 <= status < 1 << 16


@pytest.mark.parametrize(
    ("source", "state", "found"),
    [
        ("tsc", "fine", "counts by tsc"),
        ("arch_sys_counter", "fine", "counts by arch_sys_counter"),
        ("hpet", "look", "counts by hpet, which is slow"),
        ("", "unknown", "the source of the monotonic clock cannot be read"),
    ],
)
def test_the_timer(source: str, state: str, found: str, tmp_path: Path) -> None:
    path = "sys/devices/system/clocksource/clocksource0/current_clocksource"
    finding = check_timer(tree(tmp_path, {path: f"{source}\n"}))
    assert (finding.state, finding.found) == (state, found)


def test_no_timer_is_unknown(tmp_path: Path) -> None:
    assert check_timer(tree(tmp_path, {})).state == "unknown"
