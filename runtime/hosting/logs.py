"""What the service says: lines of text or of JSON, few enough to be read, written by a thread that may be stuck."""

from __future__ import annotations

import logging
import os
import queue
import re
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Literal

import msgspec

Level = Literal["info", "warning", "error"]
Field = str | int | float | bool | None

MOST_A_SECOND = 10
"""Lines of one cause within any second."""
MOST_WAITING = 1000
"""Lines that wait for a reader of standard error who is slow; more are lost, and counted."""
END_S = 1.0
"""Seconds at the end in which lines that wait are still written."""

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}")


class Log:
    """The lines of one service.

    As text, the lines that an operator of a terminal wants, and nothing else. As JSON, one object a line: `time`,
    `level`, `event`, `message`, fields, and `left_out`, how many lines of the same cause were left out before it.

    Parameters
    ----------
    write : takes a line without its end; must not raise, nor wait
    json : whether lines are objects
    alarms : whether `alarm` says anything
    clock : seconds that never go back
    """

    def __init__(
        self,
        write: Callable[[str], object],
        *,
        json: bool = False,
        alarms: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.json, self.alarms = json, alarms
        self._write, self._clock = write, clock
        self._causes: dict[str, _Cause] = {}
        self._lock = threading.Lock()

    def event(self, event: str, message: str, *, level: Level = "info", **fields: Field) -> None:
        """Something that an operator should know, in either format; as text it is the message alone."""
        self._say(f"{event} {fields.get('model', '')}".rstrip(), event, level, message, fields)

    def refused(self, status: int, message: str, **fields: Field) -> None:
        """A request that was refused. Only as JSON: on a terminal other people's mistakes are noise."""
        if self.json:
            level: Level = "warning" if status >= 500 else "info"
            self._say(f"request_refused {status}", "request_refused", level, message, {"status": status, **fields})

    def alarm(self, model: str, *, more: int = 0, **fields: Field) -> None:
        """An anomaly; of `row`, `key`, `score`, `severity`, `column` and `request_id` those that are known.

        `more` are alarms after this one that would be left out anyway: a large request need not tell of each.
        """
        if not self.alarms:
            return
        left_out = self._ask(f"alarm {model}", more)
        if left_out is not None:
            told = {name: value for name, value in fields.items() if value is not None}
            message = ", ".join([f"alarm: model {model}", *(f"{name} {_shown(told[name])}" for name in told)])
            self._write_line("alarm", "warning", message, {"model": model, **told}, left_out)

    def close(self) -> None:
        """Says what was left out at the end."""
        for name, cause in self._causes.items():
            if cause.left_out:
                event = name.partition(" ")[0]
                self._write_line(event, "info", f"more of this: {name}", {}, cause.left_out)

    def _say(self, cause: str, event: str, level: Level, message: str, fields: dict[str, Field]) -> None:
        left_out = self._ask(cause)
        if left_out is not None:
            self._write_line(event, level, message, fields, left_out)

    def _ask(self, name: str, more: int = 0) -> int | None:
        """How many lines of this cause were left out before this one; None when it is left out too."""
        with self._lock:
            cause = self._causes.setdefault(name, _Cause())
            left_out = cause.ask(self._clock())
            cause.left_out += more
            return left_out

    def _write_line(self, event: str, level: Level, message: str, fields: dict[str, Field], left_out: int) -> None:
        if not self.json:
            self._write(f"{message} ({left_out} like it were left out)" if left_out else message)
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = {"time": now, "level": level, "event": event, "message": message, **fields}
        if left_out:
            line["left_out"] = left_out
        self._write(msgspec.json.encode(line).decode())


class _Cause:
    """When lines of one cause were written of late, and how many were not."""

    def __init__(self) -> None:
        self._written: deque[float] = deque(maxlen=MOST_A_SECOND)
        self.left_out = 0

    def ask(self, now: float) -> int | None:
        """How many were left out before this line; None when it is left out too."""
        if len(self._written) == MOST_A_SECOND and now - self._written[0] < 1:
            self.left_out += 1
            return None
        self._written.append(now)
        left_out, self.left_out = self.left_out, 0
        return left_out


class Sink:
    """Writes lines in a thread of its own: neither a full disk nor a reader who is stuck stops the scoring."""

    def __init__(self, descriptor: int) -> None:
        self.lost = 0
        self._descriptor = descriptor
        self._lines: queue.Queue[str | None] = queue.Queue(MOST_WAITING)
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        """Puts a line in the queue; one that finds no place there is lost."""
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self.lost += 1

    def close(self) -> None:
        """Gives the lines that wait `END_S` to be written."""
        deadline = time.monotonic() + END_S
        try:
            self._lines.put(None, timeout=END_S)
        except queue.Full:
            return
        self._thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self) -> None:
        while (line := self._lines.get()) is not None:
            rest = line.encode(errors="backslashreplace") + b"\n"
            try:
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]
            except OSError:  # nobody reads the log any more; that is no reason to stop
                self.lost += 1


class LibraryLines(logging.Handler):
    """Takes what libraries log, like the traceback of a fault of ours, into the lines of a `Log`."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        level: Level = "error" if record.levelno >= logging.ERROR else "warning"
        self._log.event("library", self.format(record), level=level, logger=record.name)


@contextmanager
def log_to_standard_error(*, json: bool = False, alarms: bool = False) -> Iterator[Log]:
    """A log that is written until the end of the block. As JSON it takes the lines of libraries too."""
    sink = Sink(2)
    log = Log(sink.write, json=json, alarms=alarms)
    handlers = [LibraryLines(log)] if json else []
    for handler in handlers:
        logging.getLogger().addHandler(handler)
    try:
        yield log
    finally:
        for handler in handlers:
            logging.getLogger().removeHandler(handler)
        log.close()
        sink.close()


def request_id_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """What names a request in logs: its header X-Request-Id where that is 1 to 64 of A-Z a-z 0-9 . _ : -, else new."""
    for name, value in headers:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return value.decode()
    return secrets.token_hex(8)


def _shown(value: Field) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
