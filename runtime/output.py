"""The one place where files are written: aside, synced with their folder, renamed. Nobody ever sees half a file."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import BinaryIO, TextIO

from .errors import InputError


@contextmanager
def written_aside(path: Path, *, force: bool = False, sweep: bool = True) -> Iterator[BinaryIO]:
    """A file that appears under its name only when complete; an existing one is kept unless `force`.

    Parameters
    ----------
    sweep : also removes what runs that were killed have left of this file; looks through its folder

    Raises
    ------
    InputError
        when the file exists or cannot be written
    """
    aside = _aside(path)
    if sweep:
        _sweep(path)
    with _told(path), _removed([aside]):
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: is no regular file")
        if path.exists() and not force:
            raise InputError(f"{path}: exists already; pass --force to replace it")
        with aside.open("wb") as out:
            yield out
            _sync(out)
        aside.replace(path)
        _sync_folder(path.parent)


@contextmanager
def text_written_aside(path: Path, *, force: bool = False) -> Iterator[TextIO]:
    """`written_aside` for UTF-8 text, line endings as they are written."""
    with written_aside(path, force=force) as out:
        text = io.TextIOWrapper(out, encoding="utf-8", newline="")
        try:
            yield text
        finally:
            text.detach()  # flushes, and leaves the file open to be synced


def write_together(contents: Mapping[Path, bytes]) -> None:
    """Writes files that belong together, in this order: all are on the disk before the first gets its name.

    Existing ones are replaced, folders are made. Raises InputError when one cannot be written.
    """
    asides = {path: _aside(path) for path in contents}
    with _removed(asides.values()):
        for path, aside in asides.items():
            make_folder(path.parent)
            _sweep(path)
            with _told(path), aside.open("wb") as out:
                out.write(contents[path])
                _sync(out)
        for path, aside in asides.items():
            with _told(path):
                aside.replace(path)
        for folder in {path.parent for path in contents}:
            _sync_folder(folder)


def make_folder(folder: Path) -> None:
    """Makes a folder and those above it; raises InputError when that cannot be done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made: {error.strerror or error}") from None


def check_suffix(path: Path, *suffixes: str) -> None:
    """Raises InputError when a file to write has another suffix."""
    if path.suffix not in suffixes:
        raise InputError(f"{path}: expected a name that ends in {' or '.join(suffixes)}")


def _aside(path: Path) -> Path:
    return path.with_name(f"{path.name}.{os.getpid()}.tmp")


def _sweep(path: Path) -> None:
    for aside in path.parent.glob(f"{escape(path.name)}.*.tmp"):
        process = aside.name.removesuffix(".tmp").removeprefix(f"{path.name}.")
        if process.isdigit() and not _is_running(int(process)):
            with suppress(OSError):
                aside.unlink()


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # of another user
        return True
    return True


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from None


@contextmanager
def _removed(asides: Iterable[Path]) -> Iterator[None]:
    try:
        yield
    finally:
        for aside in asides:
            with suppress(OSError):
                aside.unlink()


def _sync(out: BinaryIO) -> None:
    out.flush()
    os.fsync(out.fileno())


def _sync_folder(folder: Path) -> None:
    """Makes the new names in a folder last. Not every file system can; the files are complete all the same."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
