"""One score of each stretch of rows: a bounded sample of a recording that goes on."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST = 2048
"""Scores that may be kept: 8 KB."""

_GOLDEN = (5**0.5 - 1) / 2


class SampleMemory(msgspec.Struct, frozen=True):
    """What a sample holds."""

    scores: bytes
    stride: int = 1
    wait: int = 0
    drawn: int = 0


class Sample:
    """Of a stream of scores, in order: every one, and once it is full one of each `stride` of them, at varying places.

    Where in a stretch a score is taken follows the multiples of the golden ratio, which are spread evenly: always the
    same place would be always the same phase of a machine that does something every 8 rows.

    >>> sample = Sample()
    >>> sample.take([0.5, 0.25], at_most=1), sample.take([0.25], at_most=9)
    (1, 1)
    >>> sample.scores.tolist(), sample.stride
    ([0.5, 0.25], 1)
    """

    def __init__(self) -> None:
        self._scores = array("f")
        self.stride = 1
        """Rows of which one is kept."""
        self._wait = 0
        """Rows that are passed over before the next is kept."""
        self._drawn = 0

    def __len__(self) -> int:
        return len(self._scores)

    @property
    def scores(self) -> NDArray[np.float64]:
        """A copy, in order."""
        return np.array(self._scores, np.float64)

    def take(self, scores: list[float], at_most: int) -> int:
        """Takes of the next scores, until it holds `at_most`; how many of them it has seen."""
        seen = 0
        while len(self._scores) < at_most:
            if self._wait >= len(scores) - seen:
                self._wait -= len(scores) - seen
                return len(scores)
            seen += self._wait + 1
            self._scores.append(scores[seen - 1])
            self._drawn += 1
            self._wait = self._rest() + self._offset()
        return seen

    def thin(self) -> None:
        """Goes on with one of each two, and half as many of what comes. When a score was just taken."""
        odd = np.arange(len(self._scores) // 2) * _GOLDEN % 1 >= 0.5
        self.keep(self.scores[: 2 * len(odd)].reshape(-1, 2)[np.arange(len(odd)), odd.astype(int)])
        rest = self._rest()
        self.stride *= 2
        self._wait = rest + self._offset()

    def keep(self, scores: NDArray[np.float64]) -> None:
        """Holds these of its scores from now on."""
        self._scores = array("f", scores.astype(np.float32).tobytes())

    def _rest(self) -> int:
        """Rows of its stretch after the score that was taken last."""
        return self.stride - 1 - int((self._drawn - 1) * _GOLDEN % 1 * self.stride)

    def _offset(self) -> int:
        """Rows of its stretch before the score that is taken next."""
        return int(self._drawn * _GOLDEN % 1 * self.stride)

    @property
    def memory(self) -> SampleMemory:
        """All of it."""
        return SampleMemory(self._scores.tobytes(), self.stride, self._wait, self._drawn)

    def recall(self, memory: SampleMemory) -> None:
        """Goes on from there. Raises ValueError when the scores are no float32, or too many."""
        scores = array("f")
        scores.frombytes(memory.scores)
        if len(scores) > MOST or memory.stride < 1 or memory.wait < 0 or memory.drawn < 0:
            raise ValueError("a sample of scores has another size")
        self._scores, self.stride, self._wait, self._drawn = scores, memory.stride, memory.wait, memory.drawn
