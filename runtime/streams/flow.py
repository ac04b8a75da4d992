"""From a source through scoring to a sink, until the source ends or somebody stops it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from .samples import Answer, Sample, Sink, Source


class Count(NamedTuple):
    """What went through."""

    samples: int
    poison: int


class Flow:
    """One source, what scores it, and one sink.

    Samples that are poison are told to the source's error topic, if it has one, and all are done when their answers
    have arrived.
    """

    def __init__(self, source: Source, take: Callable[[Sequence[Sample]], list[Answer]], sink: Sink) -> None:
        self._source, self._take, self._sink = source, take, sink
        self.samples = self.poison = 0

    def run(self) -> None:
        """Ends with the source; raises as source and sink do."""
        for samples in self._source.batches():
            if not samples:
                continue
            answers = self._take(samples)
            self.samples += len(samples)
            self._sink.send(answers, self._delivered(answers))

    def close(self) -> None:
        """Ends `run`, soon; what is under way still arrives."""
        self._source.close()
        self._sink.close()
        self._source.close()

    def _delivered(self, answers: Sequence[Answer]) -> Callable[[Sequence[Sample]], None]:
        """What is done for samples whose answers have arrived."""
        poison = {id(answer.sample.token): answer for answer in answers if answer.poison}
        self.poison += sum(1 for answer in answers if answer.poison)
        if not poison:
            return self._source.done

        def delivered(samples: Sequence[Sample]) -> None:
            good = []
            for sample in samples:
                answer = poison.get(id(sample.token))
                if answer is None or sample.token is None:
                    good.append(sample)
                else:
                    self._source.refuse(sample, answer.poison)
            self._source.done(good)

        return delivered
