"""Where the service listens: TCP ports, a Unix socket, and sockets that systemd hands in."""

from __future__ import annotations

import ctypes
import ipaddress
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from .activation import inherited_sockets
from .unix_socket import BACKLOG, bound_to_path

METRICS = "metrics"
"""The name of a socket of systemd that is for metrics and health alone (FileDescriptorName=)."""

_SO_ATTACH_FILTER = 26  # Linux; the socket module does not know it
_STEPS = ((0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))
_FILTER = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in _STEPS))
_NO_SYN = struct.pack("HP", len(_STEPS), ctypes.addressof(_FILTER))
"""A packet filter (BPF) for a listening socket: load the flags of TCP; where SYN is set, drop; else let pass."""


@dataclass(frozen=True)
class Where:
    """What was asked for. Sockets of systemd take the place of what is said here."""

    host: str = "127.0.0.1"
    port: int = 8000
    """0 takes a free one."""
    unix: Path | None = None
    """Of a Unix socket, in place of host and port."""
    metrics_host: str | None = None
    """None is that of the service, of a Unix socket 127.0.0.1."""
    metrics_port: int | None = None
    """For metrics and health alone; the other port then has no metrics."""


@dataclass(frozen=True)
class Listener:
    """A listening socket."""

    socket: socket.socket
    url: str
    """As clients write it."""
    metrics: bool = False
    """Whether it is for metrics and health alone."""
    inherited: bool = False
    """Whether others hold this socket too, and go on with it."""

    @property
    def is_unix(self) -> bool:
        return self.socket.family == socket.AF_UNIX

    @property
    def exposed(self) -> bool:
        """Whether other machines may reach it."""
        return not self.is_unix and not ipaddress.ip_address(_address(self.socket).partition("%")[0]).is_loopback

    @property
    def waits(self) -> bool:
        """Whether it is served once a model is there: what comes before, as in a restart, waits in its queue and is not
        told to come again."""
        return self.inherited and not self.metrics

    def refuse(self) -> None:
        """Takes no new connections. To close the socket would reset those that wait to be accepted, so until it is
        closed it only drops packets that ask for one: clients ask again after a second, and then are refused.

        Not for an inherited socket, which is as it is for others too.
        """
        with suppress(OSError):  # without the filter a few may be reset
            if self.is_unix:
                Path(self.socket.getsockname()).unlink()
            else:
                self.socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, _NO_SYN)


@contextmanager
def listening(where: Where, *, encrypted: bool = False) -> Iterator[list[Listener]]:
    """The sockets, until the end of the block; those for the service first.

    Raises InputError when one cannot be had, or is a Unix socket where TCP ports are `encrypted`.
    """
    scheme = "https" if encrypted else "http"
    with ExitStack() as stack:
        given = [_given(stack.enter_context(one), name, scheme) for one, name in inherited_sockets()]
        main = [listener for listener in given if not listener.metrics]
        if not main and where.unix is not None:
            bound = stack.enter_context(bound_to_path(where.unix))
            main = [Listener(bound, f"unix:{where.unix}")]
        elif not main:
            main = [stack.enter_context(_tcp(where.host, where.port, scheme))]
        metrics = [listener for listener in given if listener.metrics]
        if not metrics and where.metrics_port is not None:
            host = where.metrics_host or ("127.0.0.1" if where.unix else where.host)
            metrics = [stack.enter_context(_tcp(host, where.metrics_port, scheme, metrics=True))]
        if encrypted and any(listener.is_unix for listener in main + metrics):
            raise InputError("a Unix socket is not encrypted: leave out --tls-cert and --tls-key, or the socket")
        yield main + metrics


def told(listeners: Sequence[Listener]) -> str:
    """Where all of them are, in words that end with an address."""
    main, metrics = (" and ".join(one.url for one in listeners if one.metrics is of) for of in (False, True))
    return f"{main}, metrics on {metrics}" if metrics else main


def _given(inherited: socket.socket, name: str, scheme: str) -> Listener:
    address = inherited.getsockname()
    url = f"unix:{address}" if inherited.family == socket.AF_UNIX else _url(scheme, address[0], address[1])
    return Listener(inherited, url, metrics=name == METRICS, inherited=True)


@contextmanager
def _tcp(host: str, port: int, scheme: str, *, metrics: bool = False) -> Iterator[Listener]:
    with _bound(host, port) as bound:
        yield Listener(bound, _url(scheme, host, bound.getsockname()[1]), metrics=metrics)


def _url(scheme: str, host: str, port: int) -> str:
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _address(bound: socket.socket) -> str:
    address: str = bound.getsockname()[0]
    return address


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
        listener.listen(BACKLOG)
    except (OSError, UnicodeError) as error:
        if listener is not None:
            listener.close()
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot listen on {host} port {port}: {reason}; choose another host or port") from None
    return listener
