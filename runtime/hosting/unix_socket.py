"""A Unix socket by its path: nobody's is taken, a dead one's is replaced, ours is removed at the end."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import InputError

BACKLOG = 2048
"""Connections that may wait to be accepted."""
MODE = 0o660
"""Owner and group may connect."""


@contextmanager
def bound_to_path(path: Path) -> Iterator[socket.socket]:
    """A listening socket at this path, until the end of the block. Raises InputError when it cannot be had."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with listener:
        # Before it has a name: it is never open to more, not even for a moment.
        os.fchmod(listener.fileno(), MODE)
        try:
            with _held(path.parent):
                _free(path)
                listener.bind(str(path))
                path.chmod(MODE)  # whatever the umask took away
                listener.listen(BACKLOG)
        except OSError as error:
            reason = error.strerror or error
            raise InputError(f"cannot listen on unix:{path}: {reason}; choose another path") from None
        made = path.stat()
        try:
            yield listener
        finally:
            with suppress(OSError):
                if os.path.samestat(made, path.lstat()):
                    path.unlink()


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """One at a time: of two that find a dead socket, the second must not remove what the first has put there."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _free(path: Path) -> None:
    """Removes the socket of a process that has died; raises OSError for whatever else is there."""
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise OSError(errno.EEXIST, "it exists and is no socket")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
            asking.setblocking(False)
            try:
                asking.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
                return
            except BlockingIOError:  # one whose queue is full is alive too
                pass
        raise OSError(errno.EADDRINUSE, "it is in use by another process")
