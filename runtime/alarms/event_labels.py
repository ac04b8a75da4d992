"""What people said of events, as a file that `finetune` takes."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterable
from pathlib import Path

from ..output import text_written_aside
from ..rows.times import write_time
from .event import Event
from .store import EventStore

FILE = "labels.csv"
"""Its name in a folder of state."""

HEADER = ("start", "end", "label", "key", "model", "event")


def write_labels(folder: Path, store: EventStore) -> tuple[Path, int]:
    """Writes a line for every event with a label, the oldest first, in place of those before; the file, and how many.

    Raises InputError or UnavailableError when it cannot be written.
    """
    path, events = folder / FILE, store.labelled()
    with text_written_aside(path, force=True) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        writer.writerows(_lines(events))
    return path, len(events)


def _lines(events: Iterable[Event]) -> Iterable[tuple[str | int | None, ...]]:
    for event in events:
        # What still runs was a fault until now at least.
        end = event.end if event.state == "ended" else max(event.end, time.time())
        label = event.label.replace("-", " ")
        yield write_time(event.start), write_time(end), label, event.key, event.model, event.id
