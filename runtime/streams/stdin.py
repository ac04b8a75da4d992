"""Lines of a pipe as samples, each as soon as it is there."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress

from .line_cutter import LineCutter
from .samples import IDLE_S, MOST_AT_ONCE, Sample

_AT_ONCE = 1 << 16


class StdinSource:
    """The lines of a descriptor, by default standard input, up to its end.

    Parameters
    ----------
    descriptor : stays open
    """

    name = "stdin"
    where = "standard input"

    def __init__(self, descriptor: int = 0) -> None:
        self._descriptor = descriptor
        self._cutter = LineCutter()
        self._is_closed = False
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def batches(self) -> Iterator[list[Sample]]:
        """See `samples.Source`."""
        poller = select.poll()
        poller.register(self._descriptor, select.POLLIN)
        poller.register(self._wake_read, select.POLLIN)
        while not self._is_closed:
            ready = [descriptor for descriptor, _ in poller.poll(IDLE_S * 1000)]
            if self._descriptor not in ready:
                yield []
                continue
            piece = os.read(self._descriptor, _AT_ONCE)
            if not piece:
                break
            yield from batches_of(self._cutter.add(piece))
        last = self._cutter.end()
        if last is not None and not self._is_closed:
            yield from batches_of([last])

    def done(self, samples: Sequence[Sample]) -> None:
        """A pipe gives nothing twice."""

    def refuse(self, sample: Sample, why: str) -> None:
        """Who writes cannot be told."""

    def close(self) -> None:
        """See `samples.Source`."""
        self._is_closed = True
        with suppress(OSError):
            os.write(self._wake_write, b"\0")


def batches_of(lines: Sequence[bytes]) -> Iterator[list[Sample]]:
    """Lines that have just come as samples, so many at once as a source may give; none for none."""
    now = time.time()
    for first in range(0, len(lines), MOST_AT_ONCE):
        yield [Sample(line, arrived=now) for line in lines[first : first + MOST_AT_ONCE]]
