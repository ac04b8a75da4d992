"""The one place where files are opened: regular ones of a size that fits, and pipes only for who reads once."""

from __future__ import annotations

import os
import stat
from hashlib import file_digest, sha256
from io import BufferedReader
from pathlib import Path

from .errors import InputError, ModelError, TooLargeError

MAX_MODEL_BYTES = 1 << 31
MAX_SETTINGS_BYTES = 1 << 20


def open_file(path: Path, *, stream: bool = False, most: int | None = None) -> BufferedReader:
    """A file opened to be read. It is looked at before it is opened: opening a pipe would wait for who writes.

    Parameters
    ----------
    stream : whether a pipe will do, which can be read only once
    most : bytes that the file may have

    Raises
    ------
    InputError
        whose message is only the reason, without the path: no such file, a folder, a device, a pipe, too large
    """
    try:
        kind, size = _look(path.stat())
        if kind and not (stream and kind == "a pipe"):
            raise InputError(f"is {kind}, expected a file")
        if most is not None and size > most:
            raise _too_large(most)
        file = path.open("rb")
    except FileNotFoundError:
        raise InputError("no such file") from None
    except InputError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise InputError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    return file


def read_whole(path: Path, *, most: int) -> bytes:
    """All of a file; raises like `open_file`."""
    with open_file(path, most=most) as file:
        try:
            content = file.read(most + 1)
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror or error}") from None
    if len(content) > most:  # it grew, or its size is told as 0 like that of files in /proc
        raise _too_large(most)
    return content


def digest(*paths: Path) -> str:
    """The sha256 of a file of any size, in hexadecimal, or of those of several; raises like `open_file`."""
    found = []
    for path in paths:
        with open_file(path) as file:
            found.append(file_digest(file, "sha256").hexdigest())
    return found[0] if len(found) == 1 else sha256("".join(found).encode()).hexdigest()


def _look(facts: os.stat_result) -> tuple[str, int]:
    """What it is when it is no regular file, and its size in bytes."""
    kinds = {stat.S_IFREG: "", stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(facts.st_mode), "a device"), facts.st_size


def _too_large(most: int) -> TooLargeError:
    whole, unit = (most >> 30, "GiB") if most >= 1 << 30 else (most >> 20, "MiB")
    return TooLargeError(f"is larger than {whole} {unit}")


def read_model_file(path: Path) -> bytes:
    """The bytes of a model file; raises ModelError naming the path when it cannot be read."""
    try:
        return read_whole(path, most=MAX_MODEL_BYTES)
    except InputError as error:
        raise ModelError(f"{path}: {error}; expected a detector written by 'vae-detect train'") from None
