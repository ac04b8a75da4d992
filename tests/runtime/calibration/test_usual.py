"""Hours by hand."""

from __future__ import annotations

import math

import pytest

from vae_detect.runtime.calibration.usual import FEWEST_HOURS, HOURS, Hours, HoursMemory, Usual


def hours_of(*means: float) -> Hours:
    hours = Hours(1200.0)  # 3 rows an hour
    for mean in means:
        for part in (0.5, 1.0, 1.5):
            hours.add(mean * part, 1)
    return hours


def test_median_and_spread_of_the_logarithms() -> None:
    hours = hours_of(*(math.exp(x) for x in (0, 1, 2, 3, 4, 5, 6, 60)))
    # median 3.5; distances 3.5 2.5 1.5 .5 .5 1.5 2.5 56.5, their median 2
    assert hours.usual == pytest.approx(Usual(3.5, 2.0))


def test_too_few_hours_and_such_without_a_severity_say_nothing() -> None:
    assert hours_of(*[1.0] * (FEWEST_HOURS - 1)).usual is None
    assert hours_of(*[1.0] * (FEWEST_HOURS - 1), 0.0).usual is None
    assert hours_of(*[1.0] * FEWEST_HOURS).usual == Usual(0.0, 0.05)


def test_the_oldest_hours_are_forgotten() -> None:
    hours = hours_of(*[1.0] * HOURS, *[math.e] * HOURS)
    assert hours.usual == Usual(1.0, 0.05)


def test_an_hour_is_3600_rows_where_no_period_is_known() -> None:
    hours = Hours(None)
    hours.add(100.0, 3599)
    assert (hours.missing, hours.memory.hours) == (1, b"")
    hours.add(1.0, 1)
    assert (hours.missing, len(hours.memory.hours)) == (3600, 4)


def test_it_goes_on_where_it_was_saved() -> None:
    whole, first = hours_of(1, 2, 3, 4, 5, 6, 7, 8, 9), hours_of(1, 2, 3, 4)
    first.add(2.5, 1)
    again = Hours(1200.0)
    again.recall(first.memory)
    again.add(12.5, 2)
    for mean in (6, 7, 8, 9):
        again.add(3.0 * mean, 3)
    assert again.memory == whole.memory


@pytest.mark.parametrize(
    "memory", [HoursMemory(b"123"), HoursMemory(bytes(4 * 65)), HoursMemory(rows=3), HoursMemory(rows=-1)]
)
def test_a_damaged_memory_is_refused(memory: HoursMemory) -> None:
    with pytest.raises(ValueError, match="size"):
        Hours(1200.0).recall(memory)
