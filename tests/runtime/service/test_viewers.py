"""Who looks at the page, over real sockets: slow readers, stops, tokens."""

from __future__ import annotations

import contextlib
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from server_process import addresses, command, connect, process, read_all, url_of

ASK = b"GET /live?key= HTTP/1.1\r\nHost: x\r\n\r\n"
LARGE = """
from itertools import count
class Large:
    number = count()
    def snapshot(self):
        return b'{"time":0,"machines":["%06d%b"]}' % (next(self.number), bytes(300_000).replace(bytes(1), b"a"))
    def detail(self, model, key):
        return b"{}"
viewers.Viewers.live = property(lambda _: Large(), lambda *_: None)
"""
BROWSER = {"accept": "text/html"}
TOKEN = "a-token-of-the-test"


def looking(url: str, ask: bytes = ASK) -> socket.socket:
    """A client that has been told something."""
    connection = connect(url)
    connection.sendall(ask)
    received = b""
    while b"event: live" not in received:
        received += connection.recv(65536)
        if b"200 OK" not in received:
            connection.close()
            raise ConnectionRefusedError(received)
    return connection


@contextlib.contextmanager
def many(url: str, number: int) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(looking(url)) for _ in range(number)]


def test_a_stop_waits_for_nobody_who_looks() -> None:
    with process() as running:
        with many(url_of(running), 5) as viewers:
            started = time.monotonic()
            running.send_signal(signal.SIGTERM)
            ends = [read_all(viewer) for viewer in viewers]
            assert running.wait(5) == 0
        assert time.monotonic() - started < 2
        assert all(end.endswith(b"0\r\n\r\n") for end in ends)  # to the end, and not cut off


def test_the_thirty_third_is_asked_to_come_again_and_leaving_makes_room() -> None:
    with process() as running:
        url = url_of(running)
        with many(url, 32):
            answer = httpx.get(f"{url}/live")
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            with contextlib.suppress(ConnectionRefusedError), looking(url):
                return
            time.sleep(0.1)
        pytest.fail("nobody made room")


def test_who_does_not_read_is_cut_off_and_who_reads_slowly_is_not() -> None:
    """Large snapshots and a short limit: one client reads nothing, another a bit at a time."""
    with process(before=LARGE, READ_S=1.5, PERIOD_S=0.02) as running:
        url = url_of(running)
        with looking(url) as deaf, looking(url) as slow:
            deadline, seen = time.monotonic() + 4, 0
            while time.monotonic() < deadline:
                seen += len(slow.recv(100_000))
                time.sleep(0.02)
            assert seen > 10 * 300_000
            slow.settimeout(5)
            assert slow.recv(1000)
            deaf.settimeout(5)
            with contextlib.suppress(ConnectionResetError):
                while deaf.recv(1 << 20):
                    pass
        assert httpx.get(f"{url}/metrics").text.count('limits_exceeded_total{limit="time"} 1.0') == 1


def test_the_page_is_open_and_what_it_shows_is_not(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "token").chmod(0o600)
    with command("--port", "0", "--token-file", tmp_path / "token") as (_, said):
        url = addresses(said[-1])[0]
        assert 'data-token="yes"' in httpx.get(url, headers=BROWSER).text
        assert httpx.get(f"{url}/page/page.js").status_code == 200
        closed = ["/", "/live", "/events", "/frames", "/frames/1.png", "/page/other.js", "/page/", "/page/../metrics"]
        for path in closed:
            assert httpx.get(f"{url}{path}").status_code == 401, path
        for path in closed[1:]:
            assert httpx.get(f"{url}{path}", headers=BROWSER).status_code == 401, path
        assert httpx.post(url, headers=BROWSER).status_code == 401
        for path in ("/events/1", "/normal"):
            assert httpx.post(f"{url}{path}", json={}).status_code == 401
        with looking(url, ASK.replace(b"\r\n\r\n", f"\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())):
            pass
