"""From the samples of a source to rows, and from results to answers; what comes again is answered as before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..detector import Detector, Scores
from ..rows.chunk import Rows
from ..scoring.results import Results, in_order
from ..scoring.score import blamed_of
from .answers import answers
from .parts import Part
from .payloads import Payloads, Read
from .samples import Answer, Sample
from .taken import Taken

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Batch:
    """Samples that came together."""

    samples: Sequence[Sample]
    repeats: dict[int, Answer]
    """By their places, the answers of those that came before."""
    read: Read
    """Of the others."""
    rows: Rows
    """All of them, each with a key, "" where it has none."""
    arrived: NDArray[np.float64]
    """When each row did, seconds since 1970."""

    @property
    def keys(self) -> list[str]:
        """Of the rows, in the order in which no two batches wait for each other."""
        return sorted({*(self.rows.keys or ())})


class Intake:
    """Of one source and one version of a model.

    Parameters
    ----------
    taken : what was answered lately
    """

    def __init__(self, detector: Detector, payloads: Payloads, taken: Taken) -> None:
        self._detector, self._payloads, self.taken = detector, payloads, taken

    def read(self, samples: Sequence[Sample]) -> Batch:
        """What the samples hold."""
        again = {place: self.taken.again(sample) for place, sample in enumerate(samples)}
        repeats = {place: answer for place, answer in again.items() if answer is not None}
        read = self._payloads.read([each for place, each in enumerate(samples) if place not in repeats])
        rows = read.rows._replace(keys=read.rows.keys or [""] * len(read.ids))
        return Batch(samples, repeats, read, rows, np.array([sample.arrived for sample in read.taken]))

    def answers(
        self, batch: Batch, parts: Sequence[Part], accepted: Sequence[Results], *, blame: bool = True
    ) -> list[Answer]:
        """The answer to each sample, in their order, by the accepted results of the parts of the rows.

        Parameters
        ----------
        blame : whether rows that alarm tell the column that contributes most
        """
        found = list(accepted)
        if blame:
            found = [
                results._replace(blamed=blamed_of(self._detector, part.framed, part.rows.values, results))
                for part, results in zip(parts, accepted, strict=True)
            ]
        numbers = np.array([number for part in parts for number in part.numbers], np.int64)
        new = answers(batch.read, in_order(found, numbers) if found else _nothing())
        self.taken.add(new, _unique(batch.read))
        if not batch.repeats:
            return new
        rest = iter(new)
        return [batch.repeats[place] if place in batch.repeats else next(rest) for place in range(len(batch.samples))]


def _nothing() -> Results:
    none = np.empty(0, np.float32)
    return Results(0, Scores(none, none, none, none > 0, none > 0), [], [], None)


def _unique(read: Read) -> list[bool]:
    """Whether each sample holds an id or a time with its first row."""
    times, found, row = read.rows.times, [], 0
    for part in read.parts:
        one = part.rows > 0 and (read.ids[row] is not None or (times is not None and bool(np.isfinite(times[row]))))
        found.append(one)
        row += part.rows
    return found
