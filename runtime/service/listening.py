"""Where the service listens."""

from __future__ import annotations

import ctypes
import ipaddress
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from ..errors import InputError

_SO_ATTACH_FILTER = 26  # Linux; the socket module does not know it
_STEPS = ((0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))
_FILTER = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in _STEPS))
_NO_SYN = struct.pack("HP", len(_STEPS), ctypes.addressof(_FILTER))
"""A packet filter (BPF) for a listening socket: load the flags of TCP; where SYN is set, drop; else let pass."""


@dataclass(frozen=True)
class Where:
    """What was asked for."""

    host: str = "127.0.0.1"
    port: int = 8000
    """0 takes a free one."""


@dataclass(frozen=True)
class Listener:
    """A listening socket."""

    socket: socket.socket
    url: str
    """As clients write it."""

    @property
    def exposed(self) -> bool:
        """Whether other machines may reach it."""
        return not ipaddress.ip_address(self.socket.getsockname()[0].partition("%")[0]).is_loopback

    def refuse(self) -> None:
        """Takes no new connections. To close the socket would reset those that wait to be accepted, so until it is
        closed it only drops packets that ask for one: clients ask again after a second, and then are refused."""
        with suppress(OSError):  # without the filter a few may be reset
            self.socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, _NO_SYN)


@contextmanager
def listening(where: Where) -> Iterator[list[Listener]]:
    """The sockets, until the end of the block. Raises InputError when one cannot be had."""
    with _bound(where.host, where.port) as bound:
        shown = f"[{where.host}]" if ":" in where.host else where.host
        yield [Listener(bound, f"http://{shown}:{bound.getsockname()[1]}")]


def _bound(host: str, port: int) -> socket.socket:
    """A listening socket; listening, because two sockets may be bound to one port until one of them listens."""
    if not 0 <= port <= 65535:
        raise InputError(f"port is {port}, expected 0 to 65535")
    listener = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except (OSError, UnicodeError) as error:
        if listener is not None:
            listener.close()
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot listen on {host} port {port}: {reason}; choose another host or port") from None
    return listener
