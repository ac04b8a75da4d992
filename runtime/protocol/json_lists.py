"""Long lists of numbers cut out of a large JSON text, to be read piece by piece: decoding all of it at once would hold
the event loop for a tenth of a second, also from another thread."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..errors import InputError
from ..rows.pieces import PIECE

_KEY = b'"data"'
_COLON = re.compile(rb"[ \t\r\n]*:[ \t\r\n]*(?=\[)")
_NO_MARKS = bytes({*range(256)} - {*b"[],"})
_BLANKED = bytes.maketrans(b"[]", b"  ")
_AT_ONCE = 1024 * 1024
_MOST_LISTS = 10_000
_ESCAPED = (b"\\u006", b"\\u007")
"""How a small letter begins that is escaped."""
_LONGEST = 512
"""Characters of a number with the blanks around it, where a piece ends."""


class Span(NamedTuple):
    """A list in a JSON text, which is not copied out of it."""

    text: bytes
    first: int
    end: int


def cut_lists(text: bytes) -> tuple[bytes, list[Span]]:
    """The text with `[k]` in place of the list of numbers of its k-th key "data", and these lists.

    They are not checked: what is left is JSON where the text was, and `flat_pieces` checks the lists. Lists of texts
    stay, and so does everything where a letter is escaped, since a key may then be written in other ways.

    >>> cut_lists(b'{"data": [[1, 2], [3, 4]], "id": "a"}')[0]
    b'{"data":[0], "id": "a"}'
    """
    if text.count(_KEY) > _MOST_LISTS:
        return text, []
    rest: list[bytes] = []
    lists: list[Span] = []
    kept = at = 0
    quote = brace = -1
    while (at := text.find(_KEY, at)) >= 0:
        at += len(_KEY)
        colon = _COLON.match(text, at)
        if colon is None:
            continue
        first = colon.end()
        quote = quote if quote >= first else _find(text, b'"', first)
        brace = brace if brace >= first else _find(text, b"}", first)
        end = text.rfind(b"]", first, min(quote, brace)) + 1
        if end:
            rest += [text[kept:at], b":[%d]" % len(lists)]
            lists.append(Span(text, first, end))
            kept = at = end
    left = b"".join([*rest, text[kept:]])
    return (text, []) if any(letter in left for letter in _ESCAPED) else (left, lists)


def _find(text: bytes, what: bytes, first: int) -> int:
    found = text.find(what, first)
    return len(text) if found < 0 else found


def flat_pieces(data: Span, shape: Sequence[int]) -> Iterator[bytes]:
    """A list of numbers, flat or nested as this shape is, as flat lists of JSON.

    >>> [piece.split() for piece in flat_pieces(Span(b"[[1, 2], [3, 4]]", 0, 16), [2, 2])]
    [[b'[', b'1,', b'2', b',', b'3,', b'4', b']']]

    Raises
    ------
    InputError
        where lists are not closed, or nested otherwise, or something stands there that is too long for a number
    """
    text, first, end = data.text, data.first + 1, data.end - 1
    if not (text.startswith(b"[", data.first) and text.endswith(b"]", data.first, data.end)):
        raise InputError("is no list")
    is_nested = text.find(b"[", first, end) >= 0
    if is_nested:
        _check_nesting(data, shape)
    elif end - first <= PIECE:
        yield text[data.first : data.end]
        return
    while first < end:
        comma = text.find(b",", first + PIECE, end)
        last = end if comma < 0 else comma
        if last - first > PIECE + _LONGEST:
            raise InputError(f"has more than {_LONGEST} characters without a comma")
        piece = text[first:last]
        # Blanks, since two numbers with a bracket between them must not become one.
        yield b"[%b]" % (piece.translate(_BLANKED) if is_nested else piece)
        first = last + 1
    if first == end and first > data.first + 1:
        raise InputError("ends with a comma")


def _check_nesting(data: Span, shape: Sequence[int]) -> None:
    slices = range(data.first, data.end, _AT_ONCE)
    found = b"".join([data.text[at : min(at + _AT_ONCE, data.end)].translate(None, _NO_MARKS) for at in slices])
    expected = b"[%b]" % (b"," * (shape[-1] - 1))
    for size in reversed(shape[:-1]):
        expected = b"[%b]" % b",".join([expected] * size)
    if found != expected:
        raise InputError("holds lists that are neither flat nor nested as its shape says")
