"""A command as a process: its three streams, and the one line and exit code of whatever ends it."""

from __future__ import annotations

import errno
import io
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from typing import TYPE_CHECKING

from ..errors import EXIT_BROKEN_PIPE, EXIT_BUG, VaeDetectError, of_system
from ..stopping import Stopped
from .terminal import say

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer


class _Descriptor(io.FileIO):
    """A standard stream whose errors say which it is; one that was closed at the start is closed to us alone."""

    def __init__(self, number: int, mode: str, called: str) -> None:
        try:
            os.fstat(number)
        except OSError:
            # Its number must not fall to the next file that is opened. The wrong way round, it still cannot be used.
            os.dup2(os.open(os.devnull, os.O_WRONLY if mode == "r" else os.O_RDONLY), number)
        super().__init__(number, mode, closefd=False)
        self.name = called

    def write(self, data: ReadableBuffer, /) -> int:
        with self._named():
            return super().write(data)

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        with self._named():
            return super().readinto(buffer)

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = "it is closed" if error.errno == errno.EBADF else error.strerror
            raise OSError(error.errno, reason, self.name) from None


class _Messages(_Descriptor):
    """Standard error: that nobody can be told is no reason to stop."""

    def write(self, data: ReadableBuffer, /) -> int:
        with suppress(OSError):
            return super().write(data)
        return memoryview(data).nbytes


def open_streams() -> None:
    """Standard input, output and error as every command has them, whatever the locale is and whoever closed one.

    Data is UTF-8; what UTF-8 cannot hold, like a file name in another encoding, is escaped.
    """
    sys.stdin = io.TextIOWrapper(io.BufferedReader(_Descriptor(0, "r", "standard input")), encoding="utf-8")
    sys.stdout = _text(_Descriptor(1, "w", "standard output"), "utf-8")
    # Messages keep the encoding of the terminal.
    sys.stderr = _text(_Messages(2, "w", "standard error"), getattr(sys.stderr, "encoding", "utf-8"))


def _text(raw: _Descriptor, encoding: str) -> io.TextIOWrapper:
    lines = raw.isatty() or raw.fileno() == 2
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding=encoding, errors="backslashreplace", newline="\n", line_buffering=lines
    )


def exit_code_of(error: BaseException) -> int:
    """Says in one line what has ended a command, and gives its exit code."""
    if isinstance(error, OSError) and not isinstance(error, VaeDetectError):
        if isinstance(error, BrokenPipeError):  # the reader, like `| head`, has gone: nobody to talk to
            return EXIT_BROKEN_PIPE
        error = of_system(error)
    if isinstance(error, MemoryError):
        error = of_system(OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)))
    if isinstance(error, VaeDetectError):
        say(f"Error: {error}")
        return error.exit_code
    if isinstance(error, KeyboardInterrupt | Stopped):
        stopped = error if isinstance(error, Stopped) else Stopped(2)
        say(f"Stopped by {stopped.name}")
        return int(str(stopped.code))
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    _tell_bug(error)
    return EXIT_BUG


def _tell_bug(error: BaseException) -> None:
    if os.environ.get("VAE_DETECT_DEBUG", "0") not in ("", "0"):
        say("".join(traceback.format_exception(error)).rstrip())
    what = " ".join(f"{type(error).__name__}: {error}".split())
    say(
        f"Error: {what} - this is a fault of vae-detect, not yours. Please report it{_tracker()}, with the command, "
        "the output of `vae-detect --version`, and what the command prints with VAE_DETECT_DEBUG=1"
    )


def _tracker() -> str:
    """Where faults are reported, when the package says so."""
    with suppress(metadata.PackageNotFoundError):
        for entry in metadata.metadata("vae-detect").get_all("Project-URL") or ():
            label, _, address = entry.partition(", ")
            if label.lower() in ("issues", "bug tracker", "bugs"):
                return f" at {address}"
    return " to whom you have it from"


def flush_output(code: int) -> int:
    """Writes out what standard output still holds; the exit code, which a failure changes if all went well."""
    try:
        sys.stdout.flush()
    except OSError as error:
        code = exit_code_of(error) if code == 0 or isinstance(error, BrokenPipeError) else code
        # Python flushes again at its end, and must not fail then.
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code
