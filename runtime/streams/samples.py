"""Samples on their way: from a source, with an answer, to a sink."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

MOST_AT_ONCE = 256
"""Samples that a source gives together."""

IDLE_S = 1.0
"""Seconds after which a source without samples says so, by giving none."""


class Sample(NamedTuple):
    """What a source gives: one message, or one line."""

    payload: bytes
    key: str = ""
    """Whose it is, as the source knows it: a part of the topic. A key in the payload counts more."""
    arrived: float = 0.0
    """Seconds since 1970."""
    repeated: bool = False
    """Whether the source says that it may have come before."""
    token: object = None
    """What the source knows it by."""


class Answer(NamedTuple):
    """What a sink takes."""

    sample: Sample
    body: bytes
    """Without an end of line; one line for each row of the sample."""
    poison: str = ""
    """Why the sample holds no row at all; "" when it does."""


Delivered = Callable[[Sequence[Sample]], None]


class Source(Protocol):
    """Where samples come from."""

    name: str
    """What kind it is: stdin, tail, mqtt, http or prometheus."""
    where: str
    """For people: without a password."""

    def batches(self) -> Iterator[list[Sample]]:
        """The next samples, all that are there but at most `MOST_AT_ONCE`; none after `IDLE_S` seconds without any.

        Ends when the source does, or soon after `close`.
        """
        ...

    def done(self, samples: Sequence[Sample]) -> None:
        """These need not come again: what they came to is delivered. From any thread."""
        ...

    def refuse(self, sample: Sample, why: str) -> None:
        """This one need not come again either: it is poison. Tells whom the source can tell. From any thread."""
        ...

    def close(self) -> None:
        """No more samples; called again, waits until what is `done` is told, 5 seconds at most. From any thread."""
        ...


class Sink(Protocol):
    """Where answers go."""

    where: str
    """For people: without a password."""

    def send(self, answers: Sequence[Answer], delivered: Delivered) -> None:
        """Takes answers in their order, and waits while too many are under way.

        Parameters
        ----------
        delivered : called for the samples whose answers have arrived, sooner or later, in order, from any thread
        """
        ...

    def close(self) -> None:
        """Waits for what is under way, 5 seconds at most."""
        ...
