"""What a column may hold, and what the graph takes for it."""

from __future__ import annotations

import math

import pytest

from vae_detect.runtime.bundle import Column
from vae_detect.runtime.rows.fields import UNKNOWN, Field, as_fields

MODE = Field("mode", texts=("auto", "manual"))
SIZE = Field("size", levels=(0.1, 20.0), optional=True)


def test_a_text_is_its_place_and_nothing_else_is() -> None:
    assert [MODE.number(cell) for cell in ("auto", "manual", "off", "", 0.0, 1.0, None)] == [0, 1] + [None] * 5


def test_a_level_is_itself_whatever_its_precision() -> None:
    assert [SIZE.number(cell) for cell in (0.1, 20.0, 20, 0.10000000149011612)] == [0.1, 20, 20, 0.10000000149011612]
    assert [SIZE.number(cell) for cell in (0.2, -1.0, math.nan, math.inf, 1e39, "20")] == [None] * 6


def test_only_an_optional_column_may_be_unknown() -> None:
    assert (SIZE.number(None), MODE.number(None)) == (UNKNOWN, None)


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (MODE, "one of 'auto', 'manual'"),
        (SIZE, "one of 0.1, 20"),
        (Field("x", texts=tuple("abcde")), "one of 'a', 'b', 'c', 'd', 'e'"),
        (Field("x", texts=tuple("abcdef")), "one of 'a', 'b', 'c', 'd', 'e' and 1 more"),
        (Field("x", texts=("x" * 99,)), "one of '" + "x" * 37 + "...'"),
    ],
)
def test_what_is_expected_is_short(field: Field, expected: str) -> None:
    assert field.expected == expected


def test_fields_of_columns() -> None:
    columns = [
        Column("a", "", 0, 1),
        Column("b", "", 0, 1, "category", levels=(1, 2)),
        Column("c", "", 0, 1, "category", levels=(0, 1), texts=("x", "y")),
        Column("d", "", 0, 1, "class", levels=(1, 2)),
        Column("e", "", 0, 1, "class", levels=(0, 1), texts=("x", "y")),
        Column("f", "", 0, 1, "logit", levels=(0, 1)),
    ]
    assert as_fields(columns) == (
        Field("a"),
        Field("b"),
        Field("c", texts=("x", "y")),
        Field("d", levels=(1, 2), optional=True),
        Field("e", texts=("x", "y"), optional=True),
        Field("f"),
    )
    assert as_fields(["a", MODE]) == (Field("a"), MODE)
    assert [field.is_number for field in as_fields(columns)] == [True, True, False, False, False, True]
