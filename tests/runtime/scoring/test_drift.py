"""When a broken promise is reported: by hand, by simulation, and whatever the size of the chunks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from vae_detect.runtime.bundle import Calibration
from vae_detect.runtime.scoring.drift import FAULT_BLOCKS, MEAN_BLOCKS, DriftMonitor

Bools = NDArray[np.bool_]


def calibration(far_high: float = 0.02, *, far: float = 0.01, n: int = 999, effective_n: float = 999.0) -> Calibration:
    return Calibration(far, 1.0, n, effective_n, 0.005, far_high, "conformal", 1 / (n + 1), (0.0,), (0.0,))


def monitor(far_high: float = 0.02) -> DriftMonitor:
    return DriftMonitor(calibration(far_high), None)


def blocks(*shares: float, rows: int = 50) -> Bools:
    """Blocks of so many rows, with these shares of alarms at the start of each."""
    return np.concatenate([np.arange(rows) < round(share * rows) for share in shares])


# --- the length of a block -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "period_s", "expected"),
    [
        (calibration(0.2), None, 40),  # 400 rows in 10 blocks
        (calibration(0.02), None, 50),  # one alarm in a block at the rate allowed
        (calibration(0.001, far=0.0005), None, 1000),
        (calibration(0.2, n=990, effective_n=33.0), None, 120),  # 4 x 990 / 33
        (calibration(0.2), 1.0, 360),  # an hour in 10 blocks
        (calibration(0.2), 60.0, 40),  # 400 rows are more than an hour
        (calibration(0.001, far=0.05), None, 40),  # a range that ends below the promise: the promise counts
    ],
)
def test_blocks_hold_an_alarm_outlast_their_memory_and_ten_a_fault(
    made: Calibration, period_s: float | None, expected: int
) -> None:
    assert DriftMonitor(made, period_s).block == expected


# --- the evidence ----------------------------------------------------------------------------------------------------


def test_a_stream_that_alarms_from_its_first_row_is_reported_after_four_blocks() -> None:
    # far_high 0.02, all alarms: u = 50 and e = 1 + 0.25 x 49 = 13.25, more than the fourth root of 10 000, which counts
    watched = monitor()
    watched.push(np.ones(199, np.bool_))
    assert (watched.holds, watched.first_report) == (True, None)
    watched.push(np.ones(1, np.bool_))
    assert (watched.holds, watched.first_report) == (False, 200)


def test_weak_evidence_adds_up_by_its_logarithm() -> None:
    # far_high 0.25, all alarms: u = 4, e = 1 + 0.25 x 3 = 1.75; 1.75^16 = 7739 < 10 000 < 1.75^17
    watched = monitor(0.25)
    watched.push(np.ones(3000, np.bool_))
    assert watched.first_report == 17 * 40


def test_twice_the_rate_allowed_is_reported_in_its_time() -> None:
    # u = 2, e = 1.25: ln 10 000 / ln 1.25 = 41.3
    watched = monitor()
    watched.push(blocks(*[0.04] * 100))
    assert watched.first_report == 42 * 50


def test_after_a_quiet_block_twelve_blocks_of_alarms_are_needed() -> None:
    watched = monitor()
    watched.push(blocks(0.0, *[1.0] * 11))
    assert watched.holds
    watched.push(blocks(1.0))
    assert watched.first_report == 13 * 50


@pytest.mark.parametrize("start", range(50, 101, 7))
def test_a_fault_of_ten_blocks_is_not_reported_wherever_it_begins(start: int) -> None:
    watched = monitor()
    alarm = np.zeros(2000, np.bool_)
    alarm[start : start + FAULT_BLOCKS * watched.block] = True
    watched.push(alarm)
    assert watched.first_report is None


def test_a_fault_now_and_then_is_not_reported() -> None:
    # a full block adds at most ln(10 000) / 12 = 0.77, a quiet one takes ln(0.75) = -0.29 away: one in four is too few
    watched = monitor()
    watched.push(blocks(*[0.0, 0.0, 0.0, 1.0] * 200))
    assert watched.first_report is None


def test_the_report_is_withdrawn_when_the_evidence_is_used_up() -> None:
    # 10 000 x 0.75^n <= 1 from n = 33 on
    watched = monitor()
    watched.push(blocks(*[1.0] * 10))
    watched.push(np.zeros(32 * 50, np.bool_))
    assert not watched.holds
    watched.push(np.zeros(50, np.bool_))
    assert watched.holds
    assert watched.first_report == 200
    watched.push(blocks(*[1.0] * 12))
    assert not watched.holds
    assert watched.first_report == 200  # the first stays the first


def test_the_promised_rate_uses_it_up_too() -> None:
    # u = 0.5, e = 0.875: ln 10 000 / -ln 0.875 = 68.98
    watched = DriftMonitor(calibration(0.04, far=0.02, n=1250, effective_n=100.0), None)
    assert watched.block == 50
    watched.push(blocks(*[1.0] * 20))
    watched.push(blocks(*[0.02] * 68))
    assert not watched.holds
    watched.push(blocks(0.02))
    assert watched.holds


# --- what it says ----------------------------------------------------------------------------------------------------


def test_it_says_what_was_seen_and_what_was_promised() -> None:
    watched = monitor()
    assert watched.describe() == "calibration holds"
    watched.push(blocks(0.0, 0.5, *[1.0] * 11))
    assert watched.describe() == (
        "calibration no longer holds: 0.958 of the last 600 inputs alarmed, promised 0.01, between 0.005 and 0.02; "
        "if the machine is healthy, train again with a newer recording"
    )
    watched.push(np.zeros(50 * 50, np.bool_))
    assert watched.describe() == ("calibration did not hold for a while, as reported after 650 inputs; it holds again")


# --- properties ------------------------------------------------------------------------------------------------------


@given(
    alarms=st.lists(st.tuples(st.booleans(), st.integers(1, 200)), min_size=1, max_size=20),
    sizes=st.lists(st.integers(0, 300), max_size=20),
)
def test_how_rows_are_cut_into_calls_changes_nothing(alarms: list[tuple[bool, int]], sizes: list[int]) -> None:
    alarm = np.concatenate([np.full(length, is_alarm) for is_alarm, length in alarms])
    one_by_one, chunked = monitor(0.1), monitor(0.1)
    for single in alarm:
        one_by_one.push(np.array([single]))
    for part in np.split(alarm, np.minimum(np.cumsum(sizes), len(alarm)).astype(int)):
        chunked.push(part)
    assert vars(one_by_one) == vars(chunked)


# --- by simulation ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("far_high", [0.02, 0.1])
def test_exchangeable_rows_at_the_upper_end_are_falsely_reported_as_rarely_as_stated(far_high: float) -> None:
    generator, streams, length = np.random.default_rng(0), 100, 500
    reported = 0
    for _ in range(streams):
        watched = monitor(far_high)
        watched.push(generator.random(length * watched.block) < far_high)
        reported += watched.first_report is not None
    assert reported <= streams * length / MEAN_BLOCKS  # 5 %


def test_clusters_of_alarms_are_no_drift() -> None:
    """AR(1) with coefficient 0.97, whose alarms at 2 % come in clusters; n / effective_n of `calibrate` is about 20."""
    generator, streams, length = np.random.default_rng(0), 20, 200
    reported = 0
    for _ in range(streams):
        watched = DriftMonitor(calibration(n=2000, effective_n=100.0), None)
        assert watched.block == 80
        value, alarm = generator.standard_normal(), np.empty(length * watched.block, np.bool_)
        for row, step in enumerate(math.sqrt(1 - 0.97**2) * generator.standard_normal(len(alarm))):
            value = 0.97 * value + step
            alarm[row] = value > 2.0537  # the 98 % quantile of the standard normal
        watched.push(alarm)
        reported += watched.first_report is not None
    assert reported <= 1  # streams * length / MEAN_BLOCKS = 0.4


def test_five_times_the_promise_is_found_within_a_hundred_blocks() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        watched = monitor()
        watched.push(generator.random(100 * watched.block) < 0.05)
        assert watched.first_report is not None


# --- what is told before it is reported ------------------------------------------------------------------------------


def test_evidence_is_the_share_of_what_a_report_takes() -> None:
    watched = monitor()
    seen = []
    for _ in range(4):
        seen.append(watched.evidence)
        watched.push(np.ones(50, np.bool_))
    assert seen == pytest.approx([0, 1 / 4, 2 / 4, 3 / 4])
    assert watched.evidence == pytest.approx(1.0)
    assert not watched.holds
    watched.push(blocks(*[0.0] * 40))
    assert (watched.evidence, watched.holds) == (0.0, True)


def test_the_realised_rate_is_a_mean_at_first_and_then_forgets() -> None:
    watched = monitor()
    assert watched.memory.recent == 0
    watched.push(blocks(0.1)[:49])
    assert watched.memory.recent == 0  # the block is not yet full
    watched.push(blocks(0.1)[49:])
    assert watched.memory.recent == pytest.approx(0.1)
    watched.push(blocks(0.0, 0.2))
    assert watched.memory.recent == pytest.approx(0.1)
    watched.push(blocks(*[0.1] * 17, 1.0, 0.0))
    assert watched.memory.recent == pytest.approx((0.1 + 0.9 / 20 - 0.1) * 0.95 + 0.1 * 0.95)
