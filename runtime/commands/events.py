"""vae-detect events."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import click

from ..alarms.event import Event, as_json, because
from ..alarms.event_labels import write_labels
from ..alarms.store import FILE, MOST_EVENTS, EventStore
from ..errors import InputError
from ..prometheus.moments import parse_duration, parse_moment
from ..rows.times import write_time
from ..text_table import text_table
from .alarm_options import state_option
from .terminal import say

_TOLD = 50
"""Events that the terminal shows, the newest ones."""

_POLL_S = 0.5
_HEADER = ["event", "start", "lasted", "of", "rows", "peak", "state", "because of"]


@click.command()
@state_option(required=True)
@click.option("--since", metavar="TIME", help="Only what was there since: 1h ago, or 2026-01-05T06:00:00Z.")
@click.option("--key", help="Only those of this key.")
@click.option("--json", "as_lines", is_flag=True, help="A line of JSON for each event, all of them.")
@click.option("--follow", is_flag=True, help="Go on with what changes.")
@click.option("--ack", "acks", multiple=True, type=click.IntRange(1), metavar="ID", help="Somebody sees to this event.")
@click.option(
    "--label",
    "labels",
    multiple=True,
    type=(click.IntRange(1), click.Choice(["fault", "false-alarm"])),
    metavar="ID fault|false-alarm",
    help="What this event was. DIR/labels.csv has what `finetune --label-column` takes.",
)
def events(
    state: Path,
    since: str | None,
    key: str | None,
    as_lines: bool,
    follow: bool,
    acks: tuple[int, ...],
    labels: tuple[tuple[int, str], ...],
) -> None:
    """Show the events that `serve` and `stream` keep in a folder of state, and say what they were.

    \b
    vae-detect events --state /var/lib/vae-detect --since 1h
    vae-detect events --state /var/lib/vae-detect --label 12 fault --label 13 false-alarm
    """
    path = state / FILE
    EventStore(path, read_only=True).close()  # a folder without events is no place to make any
    with closing(EventStore(path, read_only=not (acks or labels))) as store:
        for number in acks:
            _need(store.ack(number), number, path)
        for number, label in labels:
            _need(store.label(number, "fault" if label == "fault" else "false-alarm"), number, path)
        if labels:
            _say_labels(*write_labels(state, store))
        elif not acks or follow:
            _show(store, None if since is None else _since(since), key, as_lines=as_lines, follow=follow)


def _need(found: bool, number: int, path: Path) -> None:
    if not found:
        raise InputError(f"event {number}: there is none with this number in {path}")


def _say_labels(path: Path, labels: int) -> None:
    say(
        f"{path}: {labels} label{'s' * (labels != 1)}; with the rows of that time as RECORDING.csv: "
        f"vae-detect finetune --model MODEL --labels RECORDING.csv --label-column {path}"
    )


def _since(text: str) -> float:
    try:
        return time.time() - parse_duration(text) / 1000
    except InputError:
        return parse_moment(text, time.time()) / 1000


def _show(store: EventStore, since: float | None, key: str | None, *, as_lines: bool, follow: bool) -> None:
    seen = store.last_change()
    found = store.list(since=since, key=key, limit=MOST_EVENTS if as_lines else _TOLD + 1)
    more = not as_lines and len(found) > _TOLD
    found = found[:_TOLD] if more else found
    tell: Callable[[Event], object] = _tell_json if as_lines else _tell
    if as_lines:
        for event in reversed(found):
            tell(event)
    else:
        click.echo("\n".join(text_table(_HEADER, map(_cells, reversed(found)), texts=[1, 3, 6, 7])))
        if more:
            say(f"these are the newest {_TOLD}; --json has all")
    while follow:
        for change, event in store.changes(seen):
            seen = change
            if key is None or event.key == key:
                tell(event)
        time.sleep(_POLL_S)


def _tell_json(event: Event) -> None:
    click.echo(as_json(event))


def _tell(event: Event) -> None:
    click.echo("  ".join(_cells(event)))


def _cells(event: Event) -> list[str]:
    said = ("acknowledged" if event.acknowledged else "", event.label)
    return [
        str(event.id),
        write_time(float(int(event.start))) or "",
        _lasted(event.end - event.start),
        " ".join(filter(None, (event.model, event.key))),
        str(event.rows),
        "" if event.peak_severity is None else f"{event.peak_severity:.2f}",
        ", ".join(filter(None, (event.state, *said))),
        event.reason or because(event.columns),
    ]


def _lasted(seconds: float) -> str:
    """In the two largest units.

    >>> _lasted(5), _lasted(330), _lasted(90000)
    ('5s', '5m30s', '1d1h')
    """
    parts, rest = [], round(seconds)
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        parts += [f"{rest // size}{unit}"] if rest >= size else []
        rest %= size
    return "".join(parts[:2]) or "0s"
