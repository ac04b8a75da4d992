"""Signals that ask a process to end: an exception of ours, so that whoever holds a half-written file removes it."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_CLEANING_S = 5.0
"""How long after a signal further ones are passed over, so that an impatient second Ctrl-C cuts no cleaning short."""


_RETRY_S = 0.05


class Stopped(SystemExit):
    """A signal ended the process; its exit code is 128 plus the number of the signal, as shells have it."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.name = signal.Signals(number).name


class _Signals:
    def __init__(self) -> None:
        self._held = 0
        self._waiting: int | None = None
        self._deaf_until = 0.0

    def listen(self) -> None:
        """From now on SIGINT, SIGTERM and SIGHUP raise `Stopped` in the main thread.

        Those that were ignored at the start stay ignored, like SIGHUP under nohup.
        """
        for number in STOPPING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._take)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self._held:
            self._waiting = number
        elif _is_importing(frame):  # an exception here would abort the process: torch's C++ code cannot pass it on
            signal.signal(signal.SIGALRM, lambda _, frame: self._take(number, frame))
            signal.setitimer(signal.ITIMER_REAL, _RETRY_S)
        elif time.monotonic() >= self._deaf_until:
            self._deaf_until = time.monotonic() + _CLEANING_S
            raise Stopped(number)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Signals wait until the end of the block: for steps of which all or none must be done."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
            waiting, self._waiting = self._waiting, None
            if waiting is not None:
                self._take(waiting, None)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None


_SIGNALS = _Signals()
stop_on_signals = _SIGNALS.listen
signals_held = _SIGNALS.held
