"""The file of labels, by hand."""

from __future__ import annotations

import time
from pathlib import Path

from vae_detect.runtime.alarms.event import Change, Event
from vae_detect.runtime.alarms.event_labels import write_labels
from vae_detect.runtime.alarms.store import EventStore
from vae_detect.runtime.rows.times import parse_time


def test_labelled_events_are_lines(tmp_path: Path) -> None:
    store = EventStore(None)
    late = Event(model="pump", key="a,b", start=1_767_592_800.25, end=1_767_592_860.0, state="ended")
    early, unlabelled = Event(start=1_767_000_000.0, end=1_767_000_001.0), Event(start=5.0, end=6.0)
    store.apply([Change(late, "started"), Change(early, "started"), Change(unlabelled, "started")])
    store.label(1, "false-alarm")
    store.label(2, "fault")
    path, labels = write_labels(tmp_path, store)
    lines = path.read_text().splitlines()
    assert (path.name, labels) == ("labels.csv", 2)
    assert lines[0] == "start,end,label,key,model,event"
    assert lines[2] == '2026-01-05T06:00:00.250000Z,2026-01-05T06:01:00Z,false alarm,"a,b",pump,1'
    start, end, *rest = lines[1].split(",")
    assert (start, rest) == ("2025-12-29T09:20:00Z", ["fault", "", "", "2"])
    assert abs(parse_time(end) - time.time()) < 10  # it runs on
    store.label(1, "")
    assert len(write_labels(tmp_path, store)[0].read_text().splitlines()) == 2
