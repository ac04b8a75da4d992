"""Telling systemd how the service is: sd_notify(3), without its library."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import MutableMapping
from contextlib import suppress


class Notifier:
    """Tells systemd; nothing where nobody has asked to be told. What cannot be told is no reason to stop.

    The protocol is a datagram of a few words, so no library is needed.
    """

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        address, process, timeout = (
            environ.pop(name, "") for name in ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC")
        )
        self._address = "\0" + address[1:] if address.startswith("@") else address
        meant = timeout.isdigit() and process in ("", str(os.getpid()))
        self.watchdog_s = int(timeout) / 1e6 if meant else 0.0
        """After how many seconds without a sign of life the process is ended; 0 for never."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if address else None
        if self._socket is not None:
            self._socket.setblocking(False)

    def ready(self, status: str) -> None:
        """The models are verified, at the start or again; with one line of what is served."""
        self._tell("READY=1", f"STATUS={_line(status)}")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._tell(f"STATUS={_line(text)}")

    def reloading(self) -> None:
        """Settings and models are read again; `ready` says when that is done, well or not."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """The end has begun."""
        self._tell("STOPPING=1")

    async def give_signs_of_life(self) -> None:
        """Twice in the time that the watchdog allows, for ever: where the event loop hangs, they stay away."""
        while self.watchdog_s:
            self._tell("WATCHDOG=1")
            await asyncio.sleep(self.watchdog_s / 2)

    def close(self) -> None:
        """Nothing is told any more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _tell(self, *words: str) -> None:
        if self._socket is not None:
            with suppress(OSError):
                self._socket.sendto("\n".join(words).encode(), self._address)


def _line(text: str) -> str:
    return " ".join(text.split())
