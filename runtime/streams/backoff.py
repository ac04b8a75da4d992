"""How long to wait before the next attempt to reach a server, which may be away for days and come back any moment."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable

LEAST_S, MOST_S = 1.0, 60.0
"""Pauses between attempts: the first, doubled from one to the next, and the longest."""

PROBE_S = 1.0, 2.5
"""Seconds between looks at the port of a server that did not answer; each costs one packet."""

_PROBE_TIMEOUT_S = 2.0


class Backoff:
    """Pauses that double from attempt to attempt, each a little shorter by chance, so that not all come at once.

    While the port is closed, somebody looks at it every few seconds, which is no burden to a server: the next attempt
    comes as soon as it is open.

    Parameters
    ----------
    stopped : ends every pause
    is_open : whether the port takes connections, for tests
    """

    def __init__(self, stopped: threading.Event, *, is_open: Callable[[str, int], bool] | None = None) -> None:
        self._stopped, self._is_open = stopped, is_open or port_is_open
        self._random = random.Random()
        self._attempts = 0

    def reset(self) -> None:
        """It went well."""
        self._attempts = 0

    def next_s(self) -> float:
        """The next pause."""
        longest = min(MOST_S, LEAST_S * 2.0 ** min(self._attempts, 20))
        self._attempts += 1
        return longest * self._random.uniform(0.5, 1.0)

    def wait(self, host: str = "", port: int = 0) -> None:
        """Waits for the next attempt: with a host, no longer than until its port is open."""
        end = time.monotonic() + self.next_s()
        while (left := end - time.monotonic()) > 0:
            if self._stopped.wait(min(left, self._random.uniform(*PROBE_S)) if host else left):
                return
            if host and time.monotonic() < end and self._is_open(host, port):
                self.reset()
                return


def port_is_open(host: str, port: int) -> bool:
    """Whether somebody takes a connection there."""
    try:
        socket.create_connection((host, port), timeout=_PROBE_TIMEOUT_S).close()
    except OSError:
        return False
    return True
