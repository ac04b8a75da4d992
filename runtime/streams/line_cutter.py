"""Bytes that come in pieces to lines."""

from __future__ import annotations

from ..rows.csv_text import MAX_LINE_BYTES


class LineCutter:
    r"""Gives the lines of a text that comes in pieces; of one that is too long only its beginning, a byte too much.

    >>> cutter = LineCutter()
    >>> cutter.add(b"a\nb"), cutter.add(b"c\n\n"), cutter.add(b"d"), cutter.end()
    ([b'a'], [b'bc'], [], b'd')
    """

    def __init__(self) -> None:
        self._held = bytearray()

    def add(self, piece: bytes) -> list[bytes]:
        """The lines that are complete now, without their ends; blank ones are left out."""
        *lines, rest = piece.split(b"\n")
        found = []
        for line in lines:
            self._hold(line)
            if (whole := self.end()) is not None:
                found.append(whole)
        self._hold(rest)
        return found

    def end(self) -> bytes | None:
        """The last line, which has no end, and None where it is blank; begins anew."""
        line, self._held = bytes(self._held), bytearray()
        # Where another program cuts a file that is written to, zeros stand for what was cut.
        line = line.lstrip(b"\0")
        return line if line.strip() else None

    def _hold(self, part: bytes) -> None:
        self._held += part[: MAX_LINE_BYTES + 1 - len(self._held)]
