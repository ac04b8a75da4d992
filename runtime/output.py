"""The one place where files are written: aside, synced with their folder, renamed. Nobody ever sees half a file."""

from __future__ import annotations

import fcntl
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import BinaryIO, TextIO

from .errors import InputError, VaeDetectError, of_system
from .stopping import signals_held


@contextmanager
def written_aside(path: Path, *, force: bool = False, sweep: bool = True) -> Iterator[BinaryIO]:
    """A file that appears under its name only when complete; an existing one is kept unless `force`.

    Parameters
    ----------
    sweep : also removes what runs that were killed have left of this file; looks through its folder

    Raises
    ------
    InputError
        when the file exists, or is none that can be written
    UnavailableError
        when the disk is full, or writing is not allowed
    """
    aside = _aside(path)
    if sweep:
        _sweep(path)
    with _told(path), _removed([aside]):
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: is no regular file")
        keep_existing([path], force=force)
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

    Existing ones are replaced, folders are made. Raises InputError or UnavailableError when one cannot be written.
    """
    asides = {path: _aside(path) for path in contents}
    with _removed(asides.values()):
        for path, aside in asides.items():
            make_folder(path.parent)
            _sweep(path)
            with _told(path), aside.open("wb") as out:
                out.write(contents[path])
                _sync(out)
        with signals_held():
            for path, aside in asides.items():
                with _told(path):
                    aside.replace(path)
        for folder in {path.parent for path in contents}:
            _sync_folder(folder)


def make_folder(folder: Path) -> None:
    """Makes a folder and those above it; raises InputError or UnavailableError when that cannot be done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise of_system(error, f"{folder}: cannot be made") from None


def keep_existing(paths: Iterable[Path], *, force: bool, otherwise: str = "") -> None:
    """Raises InputError when a file to write exists already, unless `force`; `otherwise` is a second remedy to name."""
    taken = None if force else next((path for path in paths if path.exists()), None)
    if taken is not None:
        raise InputError(f"{taken}: exists already; pass --force to replace it{otherwise}")


def keep_inputs(written: Iterable[Path | None], read: Iterable[Path | None]) -> None:
    """Raises InputError when a file to write is one that is read, under this name or, through a link, another."""
    sources = [path for path in read if path is not None and path.exists()]
    for path in written:
        if path is not None and path.exists():
            source = next((source for source in sources if source.samefile(path)), None)
            if source is not None:
                same = "" if source == path else f" the same file as {source}, and"
                raise InputError(f"{path}: is{same} what this command reads; write to another file")


@contextmanager
def locked(path: Path, reason: str) -> Iterator[None]:
    """No other process is in this block with the same path; nothing of it stays.

    Raises InputError, which `reason` ends, when one is; UnavailableError when nothing can be written beside `path`.
    """
    lock = path.with_name(f".{path.name}.lock")
    with _told(path), _opened_lock(lock) as descriptor:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{path}: {reason}") from None
        except OSError:  # a file system without locks
            pass
        if not os.fstat(descriptor).st_nlink:  # the other has ended between our opening and locking it
            raise InputError(f"{path}: {reason}")
        with _removed([lock]):
            yield


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
    """Errors of writing say to which file; those of other files and streams, which name theirs, pass."""
    try:
        yield
    except OSError as error:
        of_another = error.filename is not None and path.name not in Path(str(error.filename)).name
        if isinstance(error, VaeDetectError | BrokenPipeError) or of_another:
            raise
        raise of_system(error, f"{path}: cannot be written") from None


@contextmanager
def _opened_lock(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


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
