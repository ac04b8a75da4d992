"""What a person acts on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from ..rows.times import write_time
from ..scoring.results import Cause

Label = Literal["", "fault", "false-alarm"]
"""What a person said that it was, "" for nothing yet."""


class Event(msgspec.Struct):
    """A time in which one key of a model was not normal. It changes until it has ended."""

    id: int = 0
    """From 1, as the store gives it."""
    model: str = ""
    source: str = ""
    """Where the rows came from: http, stdin, tail, mqtt, prometheus, or a file."""
    key: str = ""
    start: float = 0.0
    end: float = 0.0
    """Seconds since 1970, of its first and its last row."""
    peak_severity: float | None = None
    peak_score: float | None = None
    """Of the row with the largest score; None where no row has one, because a limit alone was broken."""
    rows: int = 0
    """That alarm."""
    columns: tuple[Cause, ...] = ()
    """What contributed most, at the peak or close below it."""
    reason: str = ""
    """What is to be said of that row: the limit that it breaks, or the cells that were filled."""
    state: Literal["running", "ended"] = "running"
    acknowledged: bool = False
    label: Label = ""
    first_row: int = 0
    last_row: int = 0
    told_row: int = 0
    """Numbers of the rows of `start` and `end`, and of the one with which it had lasted long enough to be told; of
    recordings, and told of nothing else."""


class Change(NamedTuple):
    """Something to tell of an event."""

    event: Event
    what: Literal["started", "changed", "ended"]


def told(event: Event) -> dict[str, Any]:
    """The event for JSON: times in ISO 8601, UTC."""
    fields = msgspec.structs.asdict(event)
    del fields["first_row"], fields["last_row"], fields["told_row"]
    return fields | {"start": write_time(event.start), "end": write_time(event.end)}


def as_json(event: Event) -> bytes:
    """`told`, in one line."""
    return msgspec.json.encode(told(event))


def because(columns: Sequence[Cause], most: int = 2) -> str:
    """Columns that contribute most, with what they read and what was expected, for people."""
    return ", ".join(
        f"{cause.column} {'missing' if cause.actual is None else f'{cause.actual:.5g}'}"
        + ("" if cause.expected is None else f" (expected {cause.expected:.5g})")
        for cause in columns[:most]
    )
