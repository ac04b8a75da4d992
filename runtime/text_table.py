"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def text_table(header: Sequence[str], rows: Iterable[Sequence[str]], *, texts: Sequence[int]) -> list[str]:
    """Lines of columns, those at the places `texts` to the left and numbers to the right.

    >>> text_table(["day", "rows"], [["monday", "3"], ["tuesday", "1440"]], texts=[0])
    ['day      rows', 'monday      3', 'tuesday  1440']
    """
    table = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place in texts else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]
