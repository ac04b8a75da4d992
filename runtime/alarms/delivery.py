"""Tells others of events: in order, again until it went well, across restarts."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from ..errors import InputError
from .event import Event, as_json
from .store import EventStore

QUIET_AFTER_ACK_S = 3600.0

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
"""Between two attempts: doubled after each, and then by chance between half of that and all."""

GIVE_UP_S = 86400.0
"""An event that could not be delivered for so long is left out."""

_POLL_S = 1.0
_AT_ONCE = 100
_MOST_REMEMBERED = 1000
_END_S = 5.0


class Sender(Protocol):
    """Takes events to one place."""

    @property
    def where(self) -> str:
        """As told to people: without a password."""
        ...

    def send(self, event: bytes, key: str) -> None:
        """Returns when it has arrived. Raises InputError when this one is not wanted, anything else when it may go well
        later."""
        ...


class _Sent(NamedTuple):
    """What was last told of an event; what people say of it is nothing to tell."""

    state: str
    peak_severity: float | None
    columns: tuple[str, ...]

    @classmethod
    def of(cls, event: Event) -> _Sent:
        return cls(event.state, event.peak_severity, tuple(cause.column for cause in event.columns))


class Delivery:
    """To one place, by a thread that waits for nobody and for whom nobody waits.

    Events come in the order of their changes, each as it is when it is sent; one may come twice, after a crash. How far
    it is stands in the store, so that another start goes on there. Events from before it was first asked for are not
    sent.

    Parameters
    ----------
    address : which is the same after a restart
    say : told in a line when sending fails, when it goes well again, and what is left out
    quiet_after_ack_s : how long after one was acknowledged no other event of its key is sent
    pause : seconds to wait after so many attempts that failed, for tests
    clock : seconds since 1970, for tests
    """

    def __init__(
        self,
        store: EventStore,
        sender: Sender,
        address: str,
        *,
        say: Callable[[str], object],
        quiet_after_ack_s: float = QUIET_AFTER_ACK_S,
        pause: Callable[[int], float] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._sender, self._say = store, sender, say
        self._quiet_s, self._pause, self._clock = quiet_after_ack_s, pause or _pause, clock
        self._cursor = f"alarms-to {hashlib.sha256(address.encode()).hexdigest()[:16]}"
        self._closing = threading.Event()
        self._sent: dict[int, _Sent] = {}
        self._held: dict[int, float] = {}
        self.delivered = self.failures = self.left_out = 0
        """Events that arrived, attempts that failed, events that were given up."""
        found = store.cursor(self._cursor)
        if found is None:
            found = store.last_change()
            store.move_cursor(self._cursor, found)
        self._seen = found
        self._recall_held()
        self._thread = threading.Thread(target=self._run, name="alarms to", daemon=True)

    def start(self) -> Delivery:
        """Begins to send."""
        self._thread.start()
        return self

    @property
    def waiting(self) -> int:
        """Changes, about, that are not yet told."""
        return self._store.last_change() - self._seen

    def close(self) -> None:
        """Stops; what was not sent is, after the next start."""
        self._closing.set()
        self._store.wake()
        if self._thread.is_alive():
            self._thread.join(_END_S)

    def _recall_held(self) -> None:
        """Finds those that a run before kept quiet about, and that still run."""
        for event in self._store.list(limit=_MOST_REMEMBERED):
            until = self._quiet_until(event)
            if event.state == "running" and not event.acknowledged and until is not None:
                self._held[event.id] = until

    def _run(self) -> None:
        while not self._closing.is_set():
            for change, event in self._store.changes(self._seen, _AT_ONCE):
                if not self._take(event):
                    return
                self._seen = change
                self._store.move_cursor(self._cursor, change)
            for number in [number for number, until in self._held.items() if self._clock() >= until]:
                del self._held[number]
                late = self._store.of(number)
                if late is not None and late.state == "running" and not self._take(late):
                    return
            if self._store.last_change() == self._seen and not self._closing.is_set():
                self._store.wait(self._seen, _POLL_S)

    def _take(self, event: Event) -> bool:
        """Sends an event where it is to be sent; whether it is done with."""
        begun, attempts = self._clock(), 0
        while self._is_news(event):
            try:
                self._sender.send(as_json(event), event.key)
            except InputError as error:
                self._leave_out(event, str(error))
                return True
            except Exception as error:  # of whatever library sends: the thread must outlive it
                self.failures += 1
                attempts += 1
                if self._clock() - begun >= GIVE_UP_S:
                    self._leave_out(event, f"{error}; tried {attempts} times")
                    return True
                if attempts == 1:
                    self._say(f"events wait: {error}")
                if self._closing.wait(max(self._pause(attempts), getattr(error, "after_s", 0.0))):
                    return False
                event = self._store.of(event.id) or event  # as it is by now
            else:
                self._arrived(event, attempts)
                return True
        return True

    def _arrived(self, event: Event, attempts: int) -> None:
        self.delivered += 1
        self._sent.pop(event.id, None)
        self._sent[event.id] = _Sent.of(event)
        while len(self._sent) > _MOST_REMEMBERED:
            del self._sent[next(iter(self._sent))]
        if attempts:
            self._say(f"{self._sender.where}: takes events again, after {attempts} attempts that failed")

    def _leave_out(self, event: Event, why: str) -> None:
        self.left_out += 1
        self._say(f"event {event.id} is not delivered: {why}")

    def _is_news(self, event: Event) -> bool:
        if self._sent.get(event.id) == _Sent.of(event) or (event.acknowledged and event.state == "running"):
            return False
        until = None if event.acknowledged or event.id in self._sent else self._quiet_until(event)
        if until is None or self._clock() >= until:
            return True
        if event.state == "running" and len(self._held) < _MOST_REMEMBERED:
            self._held[event.id] = until
        return False

    def _quiet_until(self, event: Event) -> float | None:
        """Until when nothing is told of other events of its key than those that were."""
        acknowledged = self._store.acknowledged_at(event.model, event.key)
        return None if acknowledged is None else acknowledged + self._quiet_s


def _pause(attempts: int) -> float:
    return min(FIRST_PAUSE_S * 2.0 ** (attempts - 1), LONGEST_PAUSE_S) * random.uniform(0.5, 1.0)
