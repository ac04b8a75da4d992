"""Bodies that come packed: gzip, unpacked within a limit."""

from __future__ import annotations

import zlib

from ..errors import InputError, TooLargeError

MOST_MEMBERS = 100
"""Gzip files one after the other in a body: each costs time, however little it holds."""

_GZIP = 16 + zlib.MAX_WBITS
_CHUNK = 64 * 1024


def unpack(body: bytes, most: int) -> bytes:
    """What a gzip body holds, of one member or several, at most so many bytes; hardly more is ever held in memory.

    >>> import gzip
    >>> unpack(gzip.compress(b"[1, 2]"), 100)
    b'[1, 2]'

    Raises
    ------
    TooLargeError
        when it holds more
    InputError
        when it is no gzip, damaged, cut off, or followed by something else
    """
    found, at, members = bytearray(), 0, 0
    while at < len(body) or not members:
        if not body.startswith(b"\x1f\x8b", at):
            raise InputError("something that is no gzip follows the gzip body" if members else "the body is no gzip")
        members += 1
        if members > MOST_MEMBERS:
            raise InputError(f"the gzip body has more than {MOST_MEMBERS} members, expected one")
        at = _unpack_member(body, at, found, most)
    return bytes(found)


def _unpack_member(body: bytes, at: int, found: bytearray, most: int) -> int:
    """Adds to `found` what the member that begins here holds; where it ends."""
    member = zlib.decompressobj(_GZIP)
    packed = b""
    while not member.eof:
        if not packed:
            packed = body[at : at + _CHUNK]
            at += len(packed)
        try:
            part = member.decompress(packed, _CHUNK)
        except zlib.error as error:
            raise InputError(f"the gzip body is damaged: {error}") from None
        if not (packed or part or member.eof):
            raise InputError("the gzip body is cut off")
        packed = member.unconsumed_tail
        found += part
        if len(found) > most:
            raise TooLargeError(
                f"the body holds more than {most} bytes when it is unpacked; send less at a time", limit="body"
            )
    return at - len(member.unused_data)
