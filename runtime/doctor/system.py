"""The files in which Linux tells about itself."""

from __future__ import annotations

import math
from pathlib import Path


class System:
    """Reads files below a root, "/" but in tests; what cannot be read is None."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root

    def read(self, path: str) -> str | None:
        """The text of a file, stripped of the space and the zero bytes around it."""
        try:
            return (self.root / path).read_text(encoding="utf-8", errors="replace").strip(" \t\n\0")
        except (OSError, ValueError):
            return None

    def lines(self, path: str) -> list[str]:
        return (self.read(path) or "").splitlines()

    def number(self, path: str) -> int | None:
        """The whole number that a file holds."""
        return whole(self.read(path))

    def table(self, path: str, separator: str | None = None) -> dict[str, str]:
        """What a file of lines `name value` or `name: value` says; the first of lines with one name."""
        found: dict[str, str] = {}
        for line in self.lines(path):
            name, *value = line.split(separator, 1)
            found.setdefault(name.strip(), value[0].strip() if value else "")
        return found

    def count(self, folder: str) -> int | None:
        """How many entries a folder has."""
        try:
            return sum(1 for _ in (self.root / folder).iterdir())
        except OSError:
            return None


def whole(text: str | None) -> int | None:
    """A whole number as the kernel writes it, or None."""
    return int(text) if text is not None and text.removeprefix("-").isdecimal() else None


def in_bytes(count: float) -> str:
    """A number of bytes for people.

    >>> in_bytes(1536 * 2**20)
    '1.5 GiB'
    """
    units = ("B", "KiB", "MiB", "GiB", "TiB")
    power = min(len(units) - 1, int(math.log(max(1, count), 1024)))
    count /= 1024**power
    return f"{count:.0f} {units[power]}" if count >= 1000 else f"{count:.3g} {units[power]}"
