"""From a source through scoring to a sink, until the source ends or somebody stops it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .samples import Answer, Delivered, Sample, Sink, Source


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
            self.poison += sum(1 for answer in answers if answer.poison)
            self._sink.send(answers, delivered_to(self._source, answers))

    def close(self) -> None:
        """Ends `run`, soon; what is under way still arrives."""
        self._source.close()
        self._sink.close()
        self._source.close()


def delivered_to(source: Source, answers: Sequence[Answer]) -> Delivered:
    """What is to be called when these answers have arrived: samples are done then, those that are poison refused."""
    poison = {id(answer.sample.token): answer.poison for answer in answers if answer.poison and answer.sample.token}
    if not poison:
        return source.done

    def delivered(samples: Sequence[Sample]) -> None:
        for sample in samples:
            if (why := poison.get(id(sample.token))) is not None:
                source.refuse(sample, why)
        source.done([sample for sample in samples if id(sample.token) not in poison])

    return delivered


class Nowhere:
    """A sink for what nobody wants to be told: samples are done as soon as they are scored."""

    where = "nowhere"

    def send(self, answers: Sequence[Answer], delivered: Delivered) -> None:
        """All have arrived."""
        delivered([answer.sample for answer in answers])

    def close(self) -> None:
        """Nothing is under way."""
