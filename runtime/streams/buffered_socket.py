"""A socket that is read and written in few large pieces, whatever the pieces are in which its user works."""

from __future__ import annotations

import fcntl
import socket
import ssl
import struct
import termios
from contextlib import suppress

_AT_ONCE = 1 << 16


class BufferedSocket:
    """Stands for a socket that does not block: paho reads a packet by three calls and writes each by one.

    Parameters
    ----------
    sock : connected
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._is_tcp = sock.family != socket.AF_UNIX
        if self._is_tcp:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._read, self._at, self._end = b"", 0, 0
        self._unsent = bytearray()

    def recv(self, size: int) -> bytes:
        """As of a socket."""
        if self._at >= len(self._read):
            self._fill()
        found = self._read[self._at : self._at + size]
        self._at += len(found)
        return found

    def packet(self) -> tuple[int, bytes] | None:
        """The first byte of a packet of MQTT and what follows its length, where all of it is there; `skip` takes it."""
        if self._at >= len(self._read):
            try:
                self._fill()
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return None
        read, place, length = self._read, self._at + 1, 0
        for shift in (0, 7, 14, 21):
            if place >= len(read):
                return None
            length |= (read[place] & 127) << shift
            place += 1
            if read[place - 1] < 128:
                break
        self._end = place + length
        return (read[self._at], read[place : self._end]) if self._end <= len(read) else None

    def skip(self) -> None:
        """The packet is read."""
        self._at = self._end

    def _fill(self) -> None:
        self._read, self._at = self._sock.recv(_AT_ONCE), 0
        if self._is_tcp:  # a broker that waits for our system's word before it sends more would wait for 40 ms
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def pending(self) -> int:
        """Bytes that can be read without waiting, of those that have come."""
        held = len(self._read) - self._at
        return held + self._sock.pending() if isinstance(self._sock, ssl.SSLSocket) else held

    def arrived(self) -> int:
        """Bytes that the system has for this socket."""
        size = bytearray(4)
        with suppress(OSError):
            fcntl.ioctl(self._sock.fileno(), termios.FIONREAD, size)
        return int(struct.unpack("i", size)[0])

    def send(self, data: bytes | bytearray) -> int:
        """Keeps it for `flush`; who sends waits for answers before it sends much more."""
        self._unsent += data
        return len(data)

    def flush(self) -> bool:
        """Sends what was kept; whether all of it is sent. Raises OSError when the connection is lost."""
        while self._unsent:
            try:
                sent = self._sock.send(self._unsent)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return False
            del self._unsent[:sent]
        return True

    def close(self) -> None:
        """As of a socket; what was kept is sent if that needs no waiting."""
        with suppress(OSError):
            self.flush()
        self._sock.close()

    def fileno(self) -> int:
        """As of a socket."""
        return self._sock.fileno()

    def setblocking(self, flag: bool) -> None:
        """As of a socket."""
        self._sock.setblocking(flag)
