"""Lists of numbers cut out of JSON, and read in pieces."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae_detect.runtime.errors import InputError
from vae_detect.runtime.protocol.json_lists import Span, cut_lists, flat_pieces
from vae_detect.runtime.rows.pieces import PIECE

NUMBERS = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.none(), st.booleans())
LISTS = st.one_of(st.lists(NUMBERS, max_size=3), st.lists(st.lists(NUMBERS, max_size=2), max_size=2))
TEXTS = st.text('"data[]{}:1, \\', max_size=8)
VALUES = st.one_of(LISTS, TEXTS, NUMBERS, st.lists(TEXTS, max_size=2), st.fixed_dictionaries({"data": LISTS}))
KEYS = st.sampled_from(["data", "name", 'data"', '"data', "x:[1]"])
OBJECTS = st.lists(st.dictionaries(KEYS, VALUES, max_size=3), max_size=3)


def filled(found: Any, lists: list[Span]) -> Any:
    """JSON with the lists that were cut out back in their places."""
    if isinstance(found, dict):
        return {
            key: json.loads(lists[value[0]].text[lists[value[0]].first : lists[value[0]].end])
            if is_key(key) and is_mark(value, lists)
            else filled(value, lists)
            for key, value in found.items()
        }
    return [filled(value, lists) for value in found] if isinstance(found, list) else found


def is_key(key: str) -> bool:
    return key.endswith("data")


def is_mark(value: Any, lists: list[Span]) -> bool:
    return isinstance(value, list) and len(value) == 1 and type(value[0]) is int and 0 <= value[0] < len(lists)


@given(OBJECTS, st.sampled_from([None, 1]), st.booleans())
def test_what_is_cut_out_fits_where_it_was(objects: Any, indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(objects, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    left, lists = cut_lists(text)
    assert filled(json.loads(left), lists) == objects


def test_lists_of_numbers_are_cut_and_nothing_else() -> None:
    for value, is_cut in (
        ("[1, 2]", 1),
        (" \n[[1], [2]]", 1),
        ("[]", 1),
        ('["a"]', 0),
        ('[["a"], 1]', 0),
        ("5", 0),
        ('"a"', 0),
    ):
        for key in ('"data":', '"data" \t: '):
            left, lists = cut_lists(f'{{"a": "data", {key}{value}, "b": [1]}}'.encode())
            assert len(lists) == int(is_cut)
            assert (b"[0]" in left) == is_cut
    escaped = b'{"d\\u0061ta": [0], "data": [1, 2]}'
    assert cut_lists(escaped) == (escaped, [])
    many = b'"data":[1]' * 10_001
    assert cut_lists(many) == (many, [])


@given(st.lists(st.lists(NUMBERS, min_size=3, max_size=3), min_size=1, max_size=5), st.sampled_from([None, 1]))
def test_a_list_is_read_flat_or_nested_as_its_shape_says(rows: list[list[Any]], indent: int | None) -> None:
    flat = [value for row in rows for value in row]
    for found in (rows, flat):
        text = b"x" + json.dumps(found, indent=indent).encode() + b"x"
        (piece,) = flat_pieces(Span(text, 1, len(text) - 1), [len(rows), 3])
        assert json.loads(piece) == flat
    with pytest.raises(InputError, match="neither flat nor nested as its shape says"):
        [*flat_pieces(Span(text := json.dumps([flat]).encode(), 0, len(text)), [1, 1, len(flat)])]


def test_a_long_list_comes_in_pieces() -> None:
    numbers = [[number, -1] for number in range(60_000)]
    text = json.dumps(numbers).encode()
    pieces = [*flat_pieces(Span(text, 0, len(text)), [60_000, 2])]
    assert len(pieces) > 5
    assert max(map(len, pieces)) < PIECE + 100
    assert [number for piece in pieces for number in json.loads(piece)] == [one for row in numbers for one in row]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"1", "is no list"),
        (b"[1", "is no list"),
        (b"1]", "is no list"),
        (b"[[1,2],[3]]", "neither flat nor nested"),
        (b"[[1,2],[3,4]", "neither flat nor nested"),
        (b"[" + b" " * 200_000 + b"1]", "more than 512 characters without a comma"),
        (b"[" + b"1" * 200_000 + b"]", "more than 512 characters without a comma"),
        (b"[" + b"1," * 65_537 + b"]", "ends with a comma"),
    ],
)
def test_what_is_no_such_list_is_refused(text: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        [*flat_pieces(Span(text, 0, len(text)), [2, 2])]
