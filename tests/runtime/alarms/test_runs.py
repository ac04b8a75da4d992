"""Runs, and the rows of keys, by hand."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from vae_detect.runtime.alarms.runs import by_key, runs


def flags(text: str) -> NDArray[np.bool_]:
    return np.array([letter == "x" for letter in text], np.bool_)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("...", []),
        ("xxx", [(0, 3)]),
        (".xx.x", [(1, 3), (4, 5)]),
        ("x..xx", [(0, 1), (3, 5)]),
    ],
)
def test_runs_by_hand(text: str, expected: list[tuple[int, int]]) -> None:
    assert runs(flags(text)) == expected


@given(st.lists(st.booleans(), max_size=60))
def test_runs_are_apart_and_hold_every_true(values: list[bool]) -> None:
    found = runs(np.array(values, np.bool_))
    assert [at for start, end in found for at in range(start, end)] == [at for at, value in enumerate(values) if value]
    assert all(end < start for (_, end), (start, _) in pairwise(found))


def test_each_key_has_its_own_rows() -> None:
    found = {key: index.tolist() for key, index in by_key(["b", "a", "b"], 3)}
    assert found == {"b": [0, 2], "a": [1]}
    assert [(key, index.tolist()) for key, index in by_key(None, 2)] == [("", [0, 1])]
