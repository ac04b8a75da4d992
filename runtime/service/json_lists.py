"""Long lists of numbers cut out of a large JSON text, to be read piece by piece: decoding all of it at once would hold
the event loop for a tenth of a second, also from another thread."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..errors import InputError
from ..rows.pieces import PIECE

_KEY = b'"data"'
_COLON = re.compile(rb"[ \t\r\n]*:[ \t\r\n]*(?=\[)")
_NO_BRACKETS = bytes({*range(256)} - {*b"[]"})
_BLANKED = bytes.maketrans(b"[]", b"  ")
_AT_ONCE = 1024 * 1024
_LONGEST = 512
"""Characters of a number with the blanks around it, where a piece ends."""


def cut_lists(text: bytes) -> tuple[bytes, list[bytes]]:
    """The text with `[k]` in place of the list of numbers of its k-th key "data", and these lists.

    They are not checked: what is left is JSON where the text was, and `flat_pieces` checks the lists. Lists of texts
    stay, and so does everything where a text is escaped, since a key may then be written in other ways.

    >>> cut_lists(b'{"data": [[1, 2], [3]], "id": "a"}')
    (b'{"data":[0], "id": "a"}', [b'[[1, 2], [3]]'])
    """
    rest: list[bytes] = []
    lists: list[bytes] = []
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
            lists.append(text[first:end])
            kept = at = end
    left = b"".join([*rest, text[kept:]])
    return (text, []) if b"\\" in left else (left, lists)


def _find(text: bytes, what: bytes, first: int) -> int:
    found = text.find(what, first)
    return len(text) if found < 0 else found


def flat_pieces(data: bytes, levels: int) -> Iterator[bytes]:
    """A list of numbers, which may be nested to so many levels, as flat lists.

    Lists within lists say nothing that a shape does not.

    >>> [piece.split() for piece in flat_pieces(b"[[1, 2], [3]]", 2)]
    [[b'[', b'1,', b'2', b',', b'3', b']']]

    Raises
    ------
    InputError
        where the lists are not closed, or nested more deeply, or something stands there that is too long for a number
    """
    if not (data.startswith(b"[") and data.endswith(b"]")):
        raise InputError("is no list")
    is_nested = data.find(b"[", 1) >= 0
    if is_nested:
        _check_nesting(data, levels)
    first, end = 1, len(data) - 1
    while first < end:
        comma = data.find(b",", first + PIECE, end)
        last = end if comma < 0 else comma
        if last - first > PIECE + _LONGEST:
            raise InputError(f"has more than {_LONGEST} characters without a comma")
        piece = data[first:last]
        # Blanks, since two numbers with a bracket between them must not become one.
        yield b"[%b]" % (piece.translate(_BLANKED) if is_nested else piece)
        first = last + 1
    if first == end:
        raise InputError("ends with a comma")


def _check_nesting(data: bytes, levels: int) -> None:
    slices = range(0, len(data), _AT_ONCE)
    brackets = b"".join([data[at : at + _AT_ONCE].translate(None, _NO_BRACKETS) for at in slices])
    for _ in range(levels - 1):
        if brackets == b"[]":
            break
        brackets = brackets.replace(b"[]", b"")
    if brackets != b"[]":
        raise InputError(f"has lists that are not closed, or nested deeper than the {levels} axes of its shape")
