"""Sockets that systemd has opened and hands in: sd_listen_fds(3), without its library."""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping

from ..errors import InputError

FIRST = 3
"""The number of the first descriptor that systemd hands in."""


def inherited_sockets(environ: MutableMapping[str, str] = os.environ) -> list[tuple[socket.socket, str]]:
    """The listening sockets for this process with their names, "" without one; the variables that tell are removed."""
    process, number, names = (environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"))
    if process != str(os.getpid()):
        return []
    if not number.isdigit():
        raise InputError(f"LISTEN_FDS is {number!r}, expected how many sockets systemd has handed in")
    told = names.split(":") if names else []
    found = []
    for index in range(int(number)):
        found.append((_listening(FIRST + index), told[index] if index < len(told) else ""))
    return found


def _listening(descriptor: int) -> socket.socket:
    what = f"descriptor {descriptor}, which systemd hands in (LISTEN_FDS),"
    try:
        inherited = socket.socket(fileno=descriptor)
    except OSError as error:
        raise InputError(f"{what} is no socket: {error.strerror}") from None
    is_stream = inherited.type == socket.SOCK_STREAM
    is_known = inherited.family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
    if not is_stream or not is_known or not inherited.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        inherited.close()
        raise InputError(f"{what} does not listen; the .socket unit needs ListenStream= and Accept=no")
    inherited.set_inheritable(False)
    return inherited
