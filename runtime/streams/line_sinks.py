"""Answers as lines: to standard output, or appended to a file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..errors import UnavailableError, of_system
from .samples import Answer, Delivered


class StdoutSink:
    """Lines to a descriptor, by default standard output, each at once. Raises OSError when nobody reads any more."""

    where = "standard output"

    def __init__(self, descriptor: int = 1) -> None:
        self._descriptor = descriptor

    def send(self, answers: Sequence[Answer], delivered: Delivered) -> None:
        """See `samples.Sink`."""
        _write(self._descriptor, answers)
        delivered([answer.sample for answer in answers])

    def close(self) -> None:
        """Nothing is under way."""


class FileSink:
    """Lines at the end of a file, which is made where there is none.

    Raises InputError or UnavailableError when it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        try:
            self._descriptor = os.open(path, flags, 0o666)
            size = os.fstat(self._descriptor).st_size
            if size and os.pread(self._descriptor, 1, size - 1) != b"\n":  # torn by an accident
                os.write(self._descriptor, b"\n")
        except OSError as error:
            raise of_system(error, f"{path}: cannot be written") from None

    def send(self, answers: Sequence[Answer], delivered: Delivered) -> None:
        """See `samples.Sink`. Raises UnavailableError when the file cannot be written any more."""
        try:
            _write(self._descriptor, answers)
        except OSError as error:
            raise UnavailableError(f"{self.where}: cannot be written: {error.strerror}") from None
        delivered([answer.sample for answer in answers])

    def close(self) -> None:
        """Nothing is under way."""
        os.close(self._descriptor)


def _write(descriptor: int, answers: Sequence[Answer]) -> None:
    lines = b"".join(answer.body + b"\n" for answer in answers if answer.body)
    rest = memoryview(lines)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
