"""HTTP: samples from a response that lasts, or from one that is asked for again and again, and answers to a webhook."""

from __future__ import annotations

import queue
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from urllib.parse import urlsplit

from ..errors import InputError, first_line
from ..rows.csv_text import MAX_LINE_BYTES
from .addresses import Web
from .backoff import Backoff
from .line_cutter import LineCutter
from .login import Login
from .samples import IDLE_S, MOST_AT_ONCE, Answer, Delivered, Sample

CONNECT_S = 10.0
SILENT_S = 300.0
"""After so long without a byte, a response is taken to be dead."""
EVERY_S = 1.0
_AT_ONCE = 1 << 16
_QUEUED = 2 * MOST_AT_ONCE
_EVENTS = "text/event-stream"
_ACCEPTED = f"application/x-ndjson, {_EVENTS}, application/json, */*;q=0.5"

Say = Callable[[str], object]


class _Server:
    """Connections to one URL."""

    def __init__(self, address: Web, login: Login) -> None:
        self._address, self._login = address, login
        parts = urlsplit(address.url)
        self._host, self._port = parts.hostname or "", parts.port
        self._path = parts.path or "/"
        if parts.query:
            self._path += f"?{parts.query}"
        self._trust = login.trust() if address.is_encrypted else None

    @property
    def port(self) -> tuple[str, int]:
        """Where to look whether somebody is there."""
        return self._host, self._port or (443 if self._address.is_encrypted else 80)

    def connect(self, timeout_s: float) -> HTTPConnection:
        if self._trust is not None:
            return HTTPSConnection(self._host, self._port, timeout=timeout_s, context=self._trust)
        return HTTPConnection(self._host, self._port, timeout=timeout_s)

    def ask(self, connection: HTTPConnection, method: str, headers: dict[str, str], body: bytes | None) -> HTTPResponse:
        headers = {"User-Agent": "vae-detect", **headers, **self._authorization()}
        connection.request(method, self._path, body=body, headers=headers)
        return connection.getresponse()

    def _authorization(self) -> dict[str, str]:
        user, password = self._address.user or self._login.user, self._login.password
        if user:
            told = b64encode(f"{user}:{password or ''}".encode()).decode()
            return {"Authorization": f"Basic {told}"}
        return {} if password is None else {"Authorization": f"Bearer {password}"}


class WebSource:
    """The lines, or the events, of a response, for as long as it lasts; it is asked for again when it ends.

    Parameters
    ----------
    every_s : time from the beginning of one response to that of the next, at least
    say : tells an operator what happens
    """

    name = "http"

    def __init__(self, address: Web, login: Login, *, every_s: float = EVERY_S, say: Say) -> None:
        self.where = str(address)
        self._server, self._every_s, self._say = _Server(address, login), every_s, say
        self._closed = threading.Event()
        self._backoff = Backoff(self._closed)
        self._queue: queue.Queue[bytes] = queue.Queue(_QUEUED)
        self._last_id = self._told = ""
        self._connection: HTTPConnection | None = None
        self._thread = threading.Thread(target=self._run, name=self.where, daemon=True)

    def batches(self) -> Iterator[list[Sample]]:
        """See `samples.Source`."""
        self._thread.start()
        while not self._closed.is_set():
            found = []
            with suppress(queue.Empty):
                found.append(self._queue.get(timeout=IDLE_S))
                while len(found) < MOST_AT_ONCE:
                    found.append(self._queue.get_nowait())
            now = time.time()
            yield [Sample(line, arrived=now) for line in found]

    def done(self, samples: Sequence[Sample]) -> None:
        """A server gives what it has."""

    def refuse(self, sample: Sample, why: str) -> None:
        """Who sends cannot be told."""

    def close(self) -> None:
        """See `samples.Source`."""
        self._closed.set()
        connection = self._connection
        if connection is not None and connection.sock is not None:
            with suppress(OSError):
                connection.sock.shutdown(2)

    # By the thread of the connection

    def _run(self) -> None:
        while not self._closed.is_set():
            began, is_closed = time.monotonic(), False
            try:
                self._read()
            except OSError as error:
                is_closed = self._connection is None or self._connection.sock is None
                self._tell(f"cannot be read: {error.strerror or first_line(error)}")
            except (HTTPException, InputError) as error:
                self._tell(first_line(error))
            else:
                self._closed.wait(max(0.0, began + self._every_s - time.monotonic()))
                continue
            finally:
                if self._connection is not None:
                    self._connection.close()
            self._backoff.wait(*(self._server.port if is_closed else ()))

    def _read(self) -> None:
        """One response, to its end."""
        self._connection = self._server.connect(CONNECT_S)
        headers = {"Accept": _ACCEPTED} | ({"Last-Event-ID": self._last_id} if self._last_id else {})
        self._connection.connect()
        self._connection.sock.settimeout(SILENT_S)
        response = self._server.ask(self._connection, "GET", headers, None)
        if response.status == 204:
            return
        if response.status != 200:
            raise InputError(f"answers with status {response.status} {response.reason}")
        if self._told:
            self._say(f"{self.where}: answers again")
            self._told = ""
        self._backoff.reset()
        kind = (response.headers.get("Content-Type") or "").partition(";")[0].strip().lower()
        if kind == "application/json":
            content = response.read(MAX_LINE_BYTES + 1)
            if content.strip():
                self._put(content)
            return
        cutter, event = LineCutter(), _Event()
        while not self._closed.is_set() and (piece := response.read1(_AT_ONCE)):
            for line in event.lines(piece) if kind == _EVENTS else cutter.add(piece):
                self._put(line)
            self._last_id = event.last_id
        last = None if kind == _EVENTS else cutter.end()
        if last is not None:
            self._put(last)

    def _put(self, line: bytes) -> None:
        while not self._closed.is_set():
            with suppress(queue.Full):
                self._queue.put(line, timeout=IDLE_S)
                return

    def _tell(self, why: str) -> None:
        if why != self._told and not self._closed.is_set():
            self._told = why
            self._say(f"{self.where}: {why}; trying again")


class _Event:
    """Events that a server sends, of which the data counts."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self.last_id = ""

    def lines(self, piece: bytes) -> list[bytes]:
        """The data of the events that are complete now."""
        *lines, self._rest = (self._rest + piece).replace(b"\r\n", b"\n").split(b"\n")
        self._rest = self._rest[: MAX_LINE_BYTES + 1]
        found = []
        for line in lines:
            name, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if not line and self._data:
                found.append(b"\n".join(self._data)[: MAX_LINE_BYTES + 1])
                self._data = []
            elif name == b"data" and sum(map(len, self._data)) <= MAX_LINE_BYTES:
                self._data.append(value)
            elif name == b"id":
                self.last_id = value.decode("latin-1")
        return found


class WebSink:
    """Answers to a webhook, those that come together in one request, one a line; tried again until they are taken.

    Parameters
    ----------
    say : tells an operator what happens
    """

    def __init__(self, address: Web, login: Login, *, say: Say) -> None:
        self.where = str(address)
        self._server, self._say = _Server(address, login), say
        self._closed = threading.Event()
        self._backoff = Backoff(self._closed)
        self._connection: HTTPConnection | None = None
        self._told = ""
        self.refused = 0
        """Answers that the server did not want."""

    def send(self, answers: Sequence[Answer], delivered: Delivered) -> None:
        """See `samples.Sink`."""
        body = b"".join(answer.body + b"\n" for answer in answers if answer.body)
        while body and not self._closed.is_set():
            is_closed = False
            try:
                status = self._post(body)
            except (OSError, HTTPException) as error:
                is_closed = self._connection is None
                self._tell(f"cannot be reached: {getattr(error, 'strerror', None) or first_line(error)}; trying again")
            else:
                if 200 <= status < 300:
                    self._told = ""
                    self._backoff.reset()
                    break
                if 400 <= status < 500 and status not in (401, 403, 408, 425, 429):
                    self.refused += len(answers)
                    self._tell(f"refuses results with status {status}: they are lost")
                    break
                self._tell(f"answers with status {status}; trying again")
            self._backoff.wait(*(self._server.port if is_closed else ()))
        if not self._closed.is_set():
            delivered([answer.sample for answer in answers])

    def close(self) -> None:
        """See `samples.Sink`."""
        self._closed.set()
        self._hang_up()

    def _post(self, body: bytes) -> int:
        """The status; of a connection that the server has closed meanwhile, by another one."""
        is_used = self._connection is not None
        try:
            return self._ask(body)
        except (OSError, HTTPException):
            self._hang_up()
            if not is_used:
                raise
            return self._ask(body)

    def _ask(self, body: bytes) -> int:
        if self._connection is None:
            connection = self._server.connect(CONNECT_S)
            connection.connect()
            self._connection = connection
        kind = "application/x-ndjson" if body[:1] == b"{" else "text/plain"
        response = self._server.ask(self._connection, "POST", {"Content-Type": kind}, body)
        response.read(_AT_ONCE)
        if not response.isclosed():  # a longer answer
            self._hang_up()
        return response.status

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _tell(self, why: str) -> None:
        if why != self._told:
            self._told = why
            self._say(f"{self.where}: {why}")
