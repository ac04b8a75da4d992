"""The tables that names stand for: files, folders and patterns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from glob import has_magic
from pathlib import Path
from typing import NamedTuple

from ..errors import InputError, few

SUFFIXES = (".csv", ".tsv", ".txt", ".dat", ".log", ".asc", ".parquet", ".xlsx", ".xls", ".ods")
"""What files of a folder are taken for tables, also with .gz behind it; what they are is then decided by content."""


class Tables(NamedTuple):
    """Files of tables, each a recording of its own."""

    files: list[Path]
    others: int
    """Files beside them in folders, whose names do not end like those of tables."""

    @property
    def name(self) -> str:
        """What to call them in a message."""
        return str(self.files[0]) if len(self.files) == 1 else few([path.name for path in self.files], 3)

    def describe(self) -> str:
        """How many there are, "" of a single file that was named."""
        if len(self.files) == 1 and not self.others:
            return ""
        names = few([path.name for path in self.files])
        passed = f"; {self.others} other file{'s' * (self.others > 1)} passed over" if self.others else ""
        several = f"{len(self.files)} files, each a recording of its own" if len(self.files) > 1 else "1 file"
        return f"{several}: {names}{passed}"


def find_tables(named: Path | Sequence[Path]) -> Tables:
    """The files that these names stand for, in their order: of a folder the tables in it, of a pattern like 'log/*.csv'
    what it matches, both sorted by name. Folders below a folder are not looked into.

    Raises InputError when one of them stands for none, or a file is named twice.
    """
    files, others = list[Path](), 0
    for path in [named] if isinstance(named, Path) else named:
        if path.is_dir():
            found, beside = _of_folder(path)
            files += found
            others += beside
        else:
            files += _matches(path) or [path]
    twice = next((path for at, path in enumerate(files) if path in files[:at]), None)
    if twice is not None:
        raise InputError(f"{twice}: is named twice, expected each file once")
    return Tables(files, others)


def name_of(named: Path | Sequence[Path]) -> str:
    """What to call these in a message."""
    return few([named] if isinstance(named, Path) else named, 3)


def is_pattern(path: Path) -> bool:
    """Whether a name stands for the files that it matches; one that is a file's own is none."""
    return has_magic(str(path)) and not path.exists()


def is_table(path: Path) -> bool:
    """Whether a file of a folder is taken for a table, by its name; hidden files and those of editors are not."""
    name = path.name.lower().removesuffix(".gz")
    return name.endswith(SUFFIXES) and not re.match(r"[.~]", name)


def _matches(path: Path) -> list[Path]:
    if not is_pattern(path):
        return []
    found = sorted(each for each in Path(path.anchor).glob(str(path.relative_to(path.anchor))) if each.is_file())
    if not found:
        raise InputError(f"{path}: no file matches")
    return found


def _of_folder(folder: Path) -> tuple[list[Path], int]:
    """The tables of a folder, and how many other files are beside them."""
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file())
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed: {error.strerror}") from None
    found = [path for path in files if is_table(path)]
    if not found:
        raise InputError(f"{folder}: holds no table; expected files that end in {few(SUFFIXES, len(SUFFIXES))}")
    return found, len(files) - len(found)
