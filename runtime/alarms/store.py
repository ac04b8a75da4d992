"""Events across restarts: a file of SQLite that several threads and processes may use at once."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from ..errors import InputError, UnavailableError, first_line
from .event import Change, Event, Label
from .event_file import READ, event_of, next_change, opened, save, transaction

FILE = "events.sqlite"
"""Its name in a folder of state."""

MOST_EVENTS, MOST_IN_MEMORY = 100_000, 10_000
"""That are kept; beyond so many the oldest that have ended are forgotten. One takes about half a kilobyte."""

Events: TypeAlias = list[Event]
_Rows: TypeAlias = list[Any]
_T = TypeVar("_T")


class EventStore:
    """The newest events, each with the number of its last change.

    Parameters
    ----------
    path : of the file, made where there is none; None to keep events in memory
    say : told in a line that the file cannot be used any more, and why; events are in memory from then on. Without it
        InputError or UnavailableError is raised
    read_only : nothing is written, not even the file is made
    """

    def __init__(
        self,
        path: Path | None,
        *,
        say: Callable[[str], object] | None = None,
        read_only: bool = False,
        most: int | None = None,
    ) -> None:
        self.path = path
        self._say, self._most = say, most
        self._changed = threading.Condition(threading.RLock())
        self._last_id = self._last_change = 0
        try:
            self._db = opened(path, read_only=read_only)
        except (sqlite3.Error, OSError, InputError) as error:
            self._fall_back(error)

    def apply(self, changes: Sequence[Change]) -> None:
        """Remembers what alarms tell; those that started get their numbers."""
        if not changes:
            return
        events = {id(change.event): change.event for change in changes}.values()

        def save_all(db: sqlite3.Connection) -> Sequence[int]:
            return [save(db, event, self._most_kept) for event in events]

        for event, number in zip(events, self._write(save_all), strict=True):
            event.id = number

    def list(
        self, *, since: float | None = None, key: str | None = None, after_change: int = 0, limit: int = 1000
    ) -> Events:
        """Events, the newest first; with `after_change` those that changed since, in the order of their changes.

        Parameters
        ----------
        since : only those that were still running then, seconds since 1970
        """
        asked = {"change > ?": after_change, "(end >= ? OR state = 'running')": since, "key = ?": key}
        given = {term: value for term, value in asked.items() if value is not None}
        order = "change" if after_change else "id DESC"
        query = f"{READ} WHERE {' AND '.join(given)} ORDER BY {order} LIMIT ?"
        return [event_of(row) for row in self._read(query, *given.values(), limit)]

    def changes(self, after: int, limit: int = 100) -> Sequence[tuple[int, Event]]:
        """Events that changed after that change, as they are now, in the order of their last changes."""
        return [
            (row[-1], event_of(row))
            for row in self._read(f"{READ} WHERE change > ? ORDER BY change LIMIT ?", after, limit)
        ]

    def of(self, number: int) -> Event | None:
        """The event with this number."""
        return next((event_of(row) for row in self._read(f"{READ} WHERE id = ?", number)), None)

    def labelled(self) -> Events:
        """Those of which somebody said what they were, the oldest first."""
        return [event_of(row) for row in self._read(f"{READ} WHERE label <> '' ORDER BY start, id")]

    def last_change(self) -> int:
        """The number of the last change of all."""
        return int(self._read("SELECT change FROM counter")[0][0])

    def wait(self, after: int, timeout_s: float) -> None:
        """Returns when this process makes another change than that, or the time is over."""
        with self._changed:
            if self._last_change <= after:
                self._changed.wait(timeout_s)

    def wake(self) -> None:
        """Ends every wait."""
        with self._changed:
            self._changed.notify_all()

    def ack(self, number: int, *, acknowledged: bool = True) -> bool:
        """Somebody has seen to the event, or takes that back; whether there is one with this number."""
        return self._set(number, "acknowledged", time.time() if acknowledged else None)

    def label(self, number: int, label: Label) -> bool:
        """What somebody says that the event was; whether there is one with this number."""
        return self._set(number, "label", label)

    def acknowledged_at(self, model: str, key: str) -> float | None:
        """When an event of this key was last acknowledged."""
        found = self._read("SELECT max(acknowledged) FROM events WHERE model = ? AND key = ?", model, key)[0][0]
        return None if found is None else float(found)

    def end_others(self, running: Iterable[int], *, models: Sequence[str] | None = None) -> None:
        """Ends what a process before left running: all but these, of these models."""

        kept = set(running)

        def end(db: sqlite3.Connection) -> None:
            for number, model in db.execute("SELECT id, model FROM events WHERE state = 'running'").fetchall():
                if number not in kept and (models is None or model in models):
                    db.execute("UPDATE events SET state = 'ended', change = ? WHERE id = ?", (next_change(db), number))

        self._write(end)

    def cursor(self, name: str) -> int | None:
        """The last change that this reader is done with; None where it was never told."""
        return next((int(row[0]) for row in self._read("SELECT change FROM cursors WHERE name = ?", name)), None)

    def move_cursor(self, name: str, change: int) -> None:
        """It is done with this one."""
        self._write(lambda db: db.execute("INSERT OR REPLACE INTO cursors VALUES (?, ?)", (name, change)))

    def close(self) -> None:
        """Nothing may be asked afterwards."""
        with self._changed:
            self._db.close()

    @property
    def _most_kept(self) -> int:
        return self._most or (MOST_IN_MEMORY if self.path is None else MOST_EVENTS)

    def _set(self, number: int, column: str, value: Any) -> bool:
        def update(db: sqlite3.Connection) -> bool:
            if db.execute("SELECT 1 FROM events WHERE id = ?", (number,)).fetchone() is None:
                return False
            db.execute(f"UPDATE events SET {column} = ?, change = ? WHERE id = ?", (value, next_change(db), number))
            return True

        return self._write(update)

    def _write(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """What the work returns, all of which is done or nothing."""
        with self._changed:
            try:
                return self._transact(work)
            except sqlite3.ProgrammingError:  # it was closed
                raise
            except sqlite3.Error as error:
                self._fall_back(error)
                return self._transact(work)

    def _transact(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        with transaction(self._db) as db:
            result = work(db)
            self._last_change = db.execute("SELECT change FROM counter").fetchone()[0]
            self._last_id = max(self._last_id, db.execute("SELECT coalesce(max(id), 0) FROM events").fetchone()[0])
        self._changed.notify_all()
        return result

    def _read(self, query: str, *values: Any) -> _Rows:
        with self._changed:
            try:
                return self._db.execute(query, values).fetchall()
            except sqlite3.ProgrammingError:  # it was closed
                raise
            except sqlite3.Error as error:
                self._fall_back(error)
                return self._db.execute(query, values).fetchall()

    def _fall_back(self, error: Exception) -> None:
        """Goes on in memory, with numbers that nothing in the file has."""
        problem = _told(error, self.path)
        if self._say is None or self.path is None:
            raise problem from None
        self._say(f"{problem}; events are kept in memory until the next start")
        with suppress(AttributeError, sqlite3.Error):  # it was never opened, or is too broken to be closed
            self._db.close()
        self.path, self._db = None, opened(None)
        with transaction(self._db) as db:
            db.execute("INSERT INTO sqlite_sequence VALUES ('events', ?)", (self._last_id,))
            db.execute("UPDATE counter SET change = ?", (self._last_change,))


def _told(error: Exception, path: Path | None) -> InputError | UnavailableError:
    if isinstance(error, InputError) and str(path) in str(error):
        return error
    if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
        return InputError(f"{path}: is damaged, or no file of events ({first_line(error)}); move it away")
    if isinstance(error, InputError):
        return InputError(f"{path}: {error}")
    return UnavailableError(f"{path}: events cannot be kept there: {first_line(error)}")
