"""HTTP as a source and as a sink: responses that last, that end, that fail, and a webhook that does not want."""

from __future__ import annotations

import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

import pytest

from vae_detect.runtime.streams import backoff
from vae_detect.runtime.streams.addresses import Web
from vae_detect.runtime.streams.login import Login
from vae_detect.runtime.streams.samples import Answer, Sample
from vae_detect.runtime.streams.web import WebSink, WebSource

Handler = BaseHTTPRequestHandler


class Asked(NamedTuple):
    """A request."""

    path: str
    headers: Message
    body: bytes
    port: int
    """Of the client, which tells its connections apart."""


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "LEAST_S", 0.05)


@contextmanager
def server(answer: Callable[[Handler], None]) -> Iterator[tuple[Web, list[Asked]]]:
    """A server whose answers to GET and POST are these, and its requests."""
    seen: list[Asked] = []

    class _Answering(Handler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:  # noqa: N802
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            seen.append(Asked(self.path, self.headers, body, self.client_address[1]))
            answer(self)

        def do_POST(self) -> None:  # noqa: N802
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), _Answering)
    running.daemon_threads = True
    thread = threading.Thread(target=running.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield Web(f"http://127.0.0.1:{running.server_port}/rows?a=1"), seen
    finally:
        running.shutdown()
        thread.join()
        running.server_close()


def reply(handler: Handler, status: int, content: bytes = b"", kind: str = "application/x-ndjson") -> None:
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)


def taken(source: WebSource, count: int) -> list[bytes]:
    found: list[bytes] = []
    end = time.monotonic() + 10
    for samples in source.batches():
        found += [sample.payload for sample in samples]
        if len(found) >= count or time.monotonic() > end:
            source.close()
    return found


def test_lines_of_a_response_that_lasts_come_at_once() -> None:
    sent, ended = threading.Event(), threading.Event()

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for chunk in (b"[1]\n[2", b"]\n[3]\n"):
            handler.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
            handler.wfile.flush()
        sent.set()
        ended.wait(5)

    with server(answer) as (address, seen):
        assert taken(WebSource(address, Login(), say=print), 3) == [b"[1]", b"[2]", b"[3]"]
        assert sent.wait(5)
        assert seen[0].path == "/rows?a=1"
        ended.set()


def test_a_response_that_ends_is_asked_for_again() -> None:
    with server(lambda handler: reply(handler, 200, b"[1]\n[2]")) as (address, seen):
        began = time.monotonic()
        assert taken(WebSource(address, Login(), every_s=0.2, say=print), 6)[:6] == [b"[1]", b"[2]"] * 3
        assert time.monotonic() - began >= 0.4
        assert len(seen) in (3, 4)


def test_json_is_one_sample_and_204_none() -> None:
    replies = iter([(200, b'{\n "a": 1\n}\n'), (204, b""), (200, b"[2]")])

    def answer(handler: Handler) -> None:
        status, content = next(replies, (204, b""))
        reply(handler, status, content, "application/json; charset=utf-8")

    with server(answer) as (address, _):
        assert taken(WebSource(address, Login(), every_s=0.01, say=print), 2) == [b'{\n "a": 1\n}\n', b"[2]"]


def test_events_are_samples_and_go_on_where_they_stopped() -> None:
    def answer(handler: Handler) -> None:
        content = b": hello\r\n\r\nid: 7\r\nevent: row\r\ndata: [1,\r\ndata: 2]\r\n\r\ndata:[3]\r\n\r\ndata: half"
        reply(handler, 200, content, "text/event-stream")

    with server(answer) as (address, seen):
        assert taken(WebSource(address, Login(), every_s=0.01, say=print), 4)[:4] == [b"[1,\n2]", b"[3]"] * 2
        assert "Last-Event-ID" not in seen[0].headers
        assert seen[1].headers["Last-Event-ID"] == "7"


def test_failures_are_told_once_and_tried_again() -> None:
    said: list[str] = []
    statuses = iter([503, 503, 302, 200])
    with server(lambda handler: reply(handler, next(statuses, 200), b"[1]\n")) as (address, seen):
        assert taken(WebSource(address, Login("me", "secret"), every_s=0.01, say=said.append), 1)[:1] == [b"[1]"]
        assert seen[0].headers["Authorization"] == "Basic " + b64encode(b"me:secret").decode()
    where = str(address)
    assert where.endswith("/rows?...")
    assert said == [
        f"{where}: answers with status 503 Service Unavailable; trying again",
        f"{where}: answers with status 302 Found; trying again",
        f"{where}: answers again",
    ]


def test_a_server_that_is_not_there_is_waited_for() -> None:
    said: list[str] = []
    source = WebSource(Web("http://127.0.0.1:1/"), Login(), say=said.append)
    batches = source.batches()
    assert [next(batches), next(batches)] == [[], []]
    source.close()
    assert said == ["http://127.0.0.1:1/: cannot be read: Connection refused; trying again"]


def answers(*bodies: bytes) -> list[Answer]:
    return [Answer(Sample(b"", token=number), body) for number, body in enumerate(bodies)]


def test_answers_are_posted_together_until_they_are_taken() -> None:
    said, done = list[str](), list[Sample]()
    statuses = iter([503, 429, 204, 200])
    with server(lambda handler: reply(handler, next(statuses))) as (address, seen):
        sink = WebSink(address, Login("", "token"), say=said.append)
        sink.send(answers(b'{"a":1}', b"", b'{"a":2}'), done.extend)
        assert [sample.token for sample in done] == [0, 1, 2]
        sink.send(answers(b"pump score=1"), done.extend)
        sink.close()
    assert [asked.body for asked in seen] == [b'{"a":1}\n{"a":2}\n'] * 3 + [b"pump score=1\n"]
    assert [asked.headers["Content-Type"] for asked in seen[2:]] == ["application/x-ndjson", "text/plain"]
    assert seen[0].headers["Authorization"] == "Bearer token"
    assert seen[3].port == seen[2].port
    assert len(said) == 2


def test_what_is_refused_is_told_and_left_out() -> None:
    said, done = list[str](), list[Sample]()
    with server(lambda handler: reply(handler, 400)) as (address, seen):
        sink = WebSink(address, Login(), say=said.append)
        sink.send(answers(b"{}"), done.extend)
        sink.close()
        assert (len(seen), len(done), sink.refused) == (1, 1, 1)
    assert "refuses results with status 400: they are lost" in said[0]


def test_closing_ends_the_attempts_and_nothing_is_done() -> None:
    done = list[Sample]()
    sink = WebSink(Web("http://127.0.0.1:1/"), Login(), say=lambda _: None)
    threading.Timer(0.3, sink.close).start()
    sink.send(answers(b"{}"), done.extend)
    assert done == []


def test_a_connection_that_the_server_has_closed_is_made_again() -> None:
    def answer(handler: Handler) -> None:
        reply(handler, 200)
        handler.close_connection = True  # without a word

    done = list[Sample]()
    with server(answer) as (address, seen):
        sink = WebSink(address, Login(), say=print)
        for _ in range(3):
            sink.send(answers(b"{}"), done.extend)
            time.sleep(0.05)
        sink.close()
        assert (len(seen), len(done)) == (3, 3)
