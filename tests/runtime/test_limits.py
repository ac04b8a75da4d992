"""Which readings break a limit, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from vae_detect.runtime.bundle import Limit, Operator
from vae_detect.runtime.limits import breaks_any, broken_limits, describe_broken

BELOW, ABOVE = (np.nextafter(np.float32(8), np.float32(end)) for end in (0, 9))
NAMES = ("flow", "Temp, (°C)")


@pytest.mark.parametrize(
    ("operator", "broken"),
    [
        ("<", [False, True, True]),
        ("<=", [False, False, True]),
        (">", [True, True, False]),
        (">=", [True, False, False]),
    ],
)
def test_a_limit_at_its_value_and_one_step_of_float32_beside_it(operator: Operator, broken: list[bool]) -> None:
    x = np.array([[BELOW, 0], [8, 0], [ABOVE, 0], [np.nan, 0]], np.float32)
    found = broken_limits(x, [Limit("flow", operator, 8.0)], NAMES)
    assert found.tolist() == [*([each] for each in broken), [False]]  # NaN breaks none


def test_values_are_compared_as_float32() -> None:
    x = np.array([[0.1, 0]], np.float32)  # 0.100000001490116, above 0.1 as it is typed
    assert not breaks_any(x, [Limit("flow", "<=", 0.1)], NAMES).any()
    assert breaks_any(x, [Limit("flow", "<", 0.1)], NAMES).all()


def test_only_the_newest_row_of_a_window_counts() -> None:
    x = np.array([[[9, 0], [1, 0]], [[1, 0], [9, 0]]], np.float32)
    assert breaks_any(x, [Limit("flow", "<", 8.0)], NAMES).tolist() == [False, True]


def test_without_limits_nothing_is_broken_whatever_the_input() -> None:
    assert breaks_any(np.zeros((2, 3, 3, 1), np.uint8), (), ("grey",)).tolist() == [False, False]


def test_a_reason_names_each_limit_that_is_broken() -> None:
    limits = (Limit("flow", "<", 8.0), Limit("flow", ">=", -1.5), Limit("Temp, (°C)", "<=", 101325.25))
    row = np.array([9.2, 101325.26], np.float32)
    (broken,) = broken_limits(row[None], limits, NAMES)
    assert broken.tolist() == [True, False, True]
    assert (
        describe_broken(row, broken, limits, NAMES)
        == "flow is 9.2, limit < 8; Temp, (°C) is 101325.26, limit <= 101325.25"
    )
