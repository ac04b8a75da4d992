"""Events in a file of SQLite: its tables, and how one is written and read."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from ..errors import InputError
from ..output import make_folder
from ..scoring.results import Cause
from .event import Event

_BUSY_S = 5.0
_VERSION = 1
_TABLES = f"""
CREATE TABLE events (
  id INTEGER PRIMARY KEY AUTOINCREMENT, change INTEGER NOT NULL,
  model TEXT NOT NULL, source TEXT NOT NULL, key TEXT NOT NULL, start REAL NOT NULL, end REAL NOT NULL,
  peak_severity REAL, peak_score REAL, rows INTEGER NOT NULL, columns BLOB NOT NULL, reason TEXT NOT NULL,
  state TEXT NOT NULL, acknowledged REAL, label TEXT NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX events_change ON events (change);
CREATE INDEX events_key ON events (key, model);
CREATE INDEX events_running ON events (state) WHERE state = 'running';
CREATE TABLE counter (change INTEGER NOT NULL);
INSERT INTO counter VALUES (0);
CREATE TABLE cursors (name TEXT PRIMARY KEY, change INTEGER NOT NULL);
PRAGMA user_version = {_VERSION};
"""
_OWN = (
    *("change", "model", "source", "key", "start", "end", "peak_severity", "peak_score", "rows", "columns", "reason"),
    "state",
)
"""What an alarm says of its event; what a person says of it is not among this."""

_SAVE = (
    f"INSERT INTO events (id, {', '.join(_OWN)}) VALUES ({', '.join('?' * (len(_OWN) + 1))}) ON CONFLICT (id) "
    f"DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _OWN)} "
    "WHERE model = excluded.model AND key = excluded.key AND start = excluded.start"
)
_KNOWN = "SELECT max(id) FROM events WHERE key = ? AND model = ? AND start = ?"
READ = f"SELECT id, {', '.join(_OWN[1:])}, acknowledged, label, change FROM events"
"""What `event_of` reads."""


def opened(path: Path | None, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection for several threads, one at a time; the file, and its folder, are made where there are none.

    Raises InputError, UnavailableError, or what sqlite3 raises, where it cannot be used.
    """
    if path is None:
        where = ":memory:"
    elif read_only:
        if not path.is_file():
            raise InputError(f"{path}: no such file; --state names the folder that serve or stream keeps its state in")
        where = f"{path.absolute().as_uri()}?mode=ro"
    else:
        make_folder(path.parent)
        where = path.absolute().as_uri()
    db = sqlite3.connect(where, _BUSY_S, isolation_level=None, check_same_thread=False, uri=True)
    try:
        _prepare(db, read_only=read_only)
    except BaseException:
        db.close()
        raise
    return db


def _prepare(db: sqlite3.Connection, *, read_only: bool) -> None:
    if not read_only:
        # Readers and a writer do not wait for each other. What was committed outlives the process, and the file stays
        # whole when the power fails, though the last second may be lost: a sync of each would wear out a flash card.
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        with transaction(db):
            if _version(db) == 0:
                for statement in filter(str.strip, _TABLES.split(";")):
                    db.execute(statement)
    version = _version(db)
    if version != _VERSION:
        raise InputError(
            f"has events of version {version}, this is vae-detect for version {_VERSION}; name another folder"
        )


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """All that is done within is done, or nothing."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield db
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def next_change(db: sqlite3.Connection) -> int:
    """The number of another change."""
    db.execute("UPDATE counter SET change = change + 1")
    return int(db.execute("SELECT change FROM counter").fetchone()[0])


def save(db: sqlite3.Connection, event: Event, most: int) -> int:
    """Writes what an alarm says of an event; its number. Of more than `most` the oldest that have ended go."""
    columns = msgspec.json.encode(event.columns)
    own = [columns if name == "columns" else getattr(event, name) for name in _OWN[1:]]
    change = next_change(db)
    if not event.id:  # after an accident the same samples may come again
        event.id = db.execute(_KNOWN, (event.key, event.model, event.start)).fetchone()[0] or 0
    saved = db.execute(_SAVE, (event.id or None, change, *own))
    if event.id and not saved.rowcount:  # the number is that of another event, in a file that was made anew
        saved = db.execute(_SAVE, (None, change, *own))
    elif event.id:
        return event.id
    number = int(saved.lastrowid or 0)
    db.execute("DELETE FROM events WHERE id <= ? AND state = 'ended'", (number - most,))
    return number


def event_of(row: Sequence[Any]) -> Event:
    """The event of a row of `READ`."""
    number, model, source, key, start, end, severity, score, rows, columns, reason, state, acknowledged, label, _ = row
    causes = msgspec.json.decode(columns, type=tuple[Cause, ...])
    return Event(
        *(number, model, source, key, start, end, severity, score, rows, causes, reason, state),
        acknowledged=acknowledged is not None,
        label=label,
    )
