"""Odd ones by hand."""

import math

import pytest

from vae_detect.runtime.calibration.peers import FEWEST_ROWS, ODD, Hour, odd_ones
from vae_detect.runtime.calibration.usual import Usual


def hours(**severity: float) -> dict[str, Hour]:
    return {key: Hour(value, 3600) for key, value in severity.items()}


def test_z_is_told_of_each_machine_by_median_and_deviation() -> None:
    # logarithms 0, 1, 2, 3, 10: median 2, distances 2 1 0 1 8, their median 1
    found = odd_ones(hours(**{key: math.exp(x) for key, x in zip("abcde", (0, 1, 2, 3, 10), strict=True)}))
    expected = {"a": -1.349, "b": -0.6745, "c": 0.0, "d": 0.6745, "e": 5.396}
    assert found == pytest.approx(expected, abs=1e-12)
    assert [key for key, z in found.items() if z >= ODD] == ["e"]


def test_what_all_machines_share_makes_none_odd() -> None:
    quiet = {"a": 0.20, "b": 0.22, "c": 0.25, "d": 0.21, "e": 0.60}
    hot = {key: 4 * value for key, value in quiet.items()}
    assert odd_ones(hours(**hot)) == pytest.approx(odd_ones(hours(**quiet)))


def test_machines_that_are_alike_to_the_digit_are_not_odd_for_a_digit() -> None:
    found = odd_ones(hours(a=0.25, b=0.25, c=0.25, d=0.25, e=0.26))
    assert 0 < found["e"] < ODD
    assert odd_ones(hours(a=0.25, b=0.25, c=0.25, d=0.25, e=0.5))["e"] > ODD


def test_where_it_is_known_a_machine_is_held_against_what_is_usual_for_it() -> None:
    usual = {
        "a": Usual(0.0, 1.0),
        "b": Usual(1.0, 1.0),
        "c": Usual(2.0, 0.5),
        "d": Usual(5.0, 0.1),
        "e": Usual(0.0, 1.0),
    }
    # in spreads: 0, 1, 2, 3, 10
    x = {"a": 0.0, "b": 2.0, "c": 3.0, "d": 5.3, "e": 10.0}
    known = {key: Hour(math.exp(x[key]), 3600, usual[key]) for key in x}
    expected = {"a": -1.349, "b": -0.6745, "c": 0.0, "d": 0.6745, "e": 5.396}
    assert odd_ones(known) == pytest.approx(expected, abs=1e-9)
    # One of which it is not known: all by themselves
    known["a"] = known["a"]._replace(usual=None)
    assert odd_ones(known) == pytest.approx(odd_ones({key: hour._replace(usual=None) for key, hour in known.items()}))


def test_three_machines_and_machines_without_rows_make_no_group() -> None:
    three = hours(a=0.2, b=0.3, c=9.0)
    assert odd_ones(three) == {}
    assert odd_ones(three | {"d": Hour(math.nan, 0)}) == {}
    assert odd_ones(three | {"d": Hour(0.3, FEWEST_ROWS - 1)}) == {}
    assert set(odd_ones(three | {"d": Hour(0.3, FEWEST_ROWS), "e": Hour(9.0, 1)})) == {"a", "b", "c", "d"}
