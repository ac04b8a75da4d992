"""What was answered lately, so that a sample that comes again gets the same answer, and moves nothing twice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b

from .samples import Answer, Sample

MOST = 512
"""Answers that are remembered: a source has fewer samples under way."""

MOST_BYTES = 1 << 12
"""An answer that is longer is not remembered."""

Kept = tuple[bytes, bytes, str, bool]
"""What names a sample, its answer, why it was poison, and whether it is known to be one of a kind."""


class Taken:
    """The newest answers of one source.

    A sample is a repeat when the same bytes with the same key were answered, and the source says so or they hold an id
    or a time, which no two samples share.
    """

    def __init__(self) -> None:
        self._kept: dict[bytes, Kept] = {}
        self.repeats = 0
        """Samples that had come before."""

    def again(self, sample: Sample) -> Answer | None:
        """The answer that the sample got before, None where it is a new one."""
        if not self._kept:
            return None
        kept = self._kept.get(_name(sample))
        if kept is None or not (sample.repeated or kept[3]):
            return None
        self.repeats += 1
        return Answer(sample, kept[1], kept[2])

    def add(self, answers: Iterable[Answer], unique: Sequence[bool]) -> None:
        """Remembers answers; unique: whether an id or a time tells each sample from all others."""
        for answer, one in zip(answers, unique, strict=True):
            if len(answer.body) <= MOST_BYTES:
                name = _name(answer.sample)
                self._kept.pop(name, None)
                self._kept[name] = name, answer.body, answer.poison, one
        while len(self._kept) > MOST:
            del self._kept[next(iter(self._kept))]

    @property
    def memory(self) -> list[Kept]:
        """What to save."""
        return [*self._kept.values()]

    def recall(self, memory: Iterable[Kept]) -> None:
        """Goes on from there."""
        self._kept = {kept[0]: kept for kept in memory}


def _name(sample: Sample) -> bytes:
    return blake2b(sample.payload, digest_size=16, key=sample.key.encode()[:64]).digest()
