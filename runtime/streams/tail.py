"""Lines that are appended to a file, whatever else is done to it meanwhile."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ..errors import InputError, UnavailableError, of_system
from .line_cutter import LineCutter
from .samples import IDLE_S, Sample
from .stdin import batches_of

_LOOK_S = 0.1
_AT_ONCE = 1 << 16
_REMEMBERED = 64
"""Bytes before the place of reading: as long as they stand there, the file was not written anew."""


class TailSource:
    """The lines of a file that grows; it may be renamed, cut short, replaced, or appear later.

    Parameters
    ----------
    from_start : whether the lines that it holds already count
    say : tells an operator what happens

    Raises
    ------
    InputError, UnavailableError
        when there is something else, or a file that cannot be read
    """

    name = "tail"

    def __init__(self, path: Path, *, from_start: bool = False, say: Callable[[str], object]) -> None:
        self.where = f"tail:{path}"
        self._path, self._say = path, say
        self._closed = threading.Event()
        self._descriptor: int | None = None
        self._place, self._before = 0, b""
        self._cutter = LineCutter()
        self._problem = ""
        try:
            self._open()
        except FileNotFoundError:
            say(f"{self.where}: waits for the file")
        except OSError as error:
            raise of_system(error, f"{path}: cannot be followed") from None
        if self._descriptor is not None and not from_start:
            self._go_to(os.fstat(self._descriptor).st_size)

    def batches(self) -> Iterator[list[Sample]]:
        """See `samples.Source`."""
        idle_since = time.monotonic()
        try:
            while not self._closed.is_set():
                lines = self._next_lines()
                if lines:
                    yield from batches_of(lines)
                    idle_since = time.monotonic()
                    continue
                if time.monotonic() - idle_since >= IDLE_S:
                    idle_since = time.monotonic()
                    yield []
                self._closed.wait(_LOOK_S)
        finally:
            self._close()

    def done(self, samples: Sequence[Sample]) -> None:
        """The place in the file is not kept."""

    def refuse(self, sample: Sample, why: str) -> None:
        """Who writes cannot be told."""

    def close(self) -> None:
        """See `samples.Source`."""
        self._closed.set()

    def _next_lines(self) -> list[bytes]:
        """The lines that are complete, none where there is nothing new; follows the file where it goes."""
        try:
            if self._descriptor is None:
                self._open()
                self._problem = ""
            assert self._descriptor is not None
            if self._is_written_anew():
                self._say(f"{self.where}: was written anew; reading from its start")
                self._begin_anew()
            if piece := os.read(self._descriptor, _AT_ONCE):
                self._place += len(piece)
                self._before = (self._before + piece)[-_REMEMBERED:]
                return self._cutter.add(piece)
            return self._after_end()
        except FileNotFoundError:
            return []
        except (OSError, InputError) as error:
            self._tell(error)
            self._close()
            return []

    def _after_end(self) -> list[bytes]:
        """What is to be done where nothing more stands in the file: another may have its name now."""
        assert self._descriptor is not None
        now, own = self._path.stat(), os.fstat(self._descriptor)
        if (now.st_dev, now.st_ino) == (own.st_dev, own.st_ino) or own.st_size > self._place:
            return []
        last = self._cutter.end()  # of a file that nobody writes to any more
        self._close()
        self._open()
        return [] if last is None else [last]

    def _is_written_anew(self) -> bool:
        assert self._descriptor is not None
        size = os.fstat(self._descriptor).st_size
        if size < self._place:
            return True
        if size == self._place:
            return False
        return os.pread(self._descriptor, len(self._before), self._place - len(self._before)) != self._before

    def _begin_anew(self) -> None:
        self._cutter.end()  # the rest of its line is lost
        self._go_to(0)

    def _go_to(self, place: int) -> None:
        assert self._descriptor is not None
        os.lseek(self._descriptor, place, os.SEEK_SET)
        length = min(place, _REMEMBERED)
        self._place, self._before = place, os.pread(self._descriptor, length, place - length)

    def _open(self) -> None:
        descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise InputError(f"{self._path}: is no file; of a pipe, say --from - < {self._path}")
        self._descriptor, self._place, self._before = descriptor, 0, b""

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _tell(self, error: Exception) -> None:
        """Once, until it goes well again."""
        if str(error) != self._problem:
            self._problem = str(error)
            told = error if isinstance(error, InputError | UnavailableError) else of_system(error, str(self._path))  # type: ignore[arg-type]
            self._say(f"{told}; trying again")
