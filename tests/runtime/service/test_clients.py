"""Clients that close one side, leave early, read slowly, offer other protocols or come at the end; on a real server."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from conftest import parse
from numpy.typing import NDArray
from PIL import Image as Pillow
from server_process import certificate, connect, post, process, read_all, read_answer, url_of

from vae_detect.runtime.service.connection import MAX_HEAD

ROW = b"[1450,172,1,3,33,19,40,2]"
H2C = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA")


def rows(n: int) -> bytes:
    return b"[" + b",".join([ROW] * n) + b"]"


@pytest.fixture(scope="module")
def live() -> Iterator[str]:
    with process() as running:
        yield url_of(running)


def series(url: str) -> dict[str, float]:
    return parse(httpx.get(f"{url}/metrics").text)


def results(answer: bytes) -> int:
    """How many results a whole answer holds."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), answer[:300]
    return len(json.loads(body)["results"])


def connect_slowly(url: str) -> socket.socket:
    """A client whose kernel takes little at a time."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(15)
    connection.connect(("127.0.0.1", int(url.rpartition(":")[2])))
    return connection


def leave(connection: socket.socket, *, reset: bool) -> None:
    """Closes the connection, with or without telling so."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", reset, 0))
    connection.close()


@pytest.mark.parametrize("n", [1, 1024, 2500, 20_000])
def test_a_client_that_sends_no_more_gets_its_whole_answer(live: str, n: int) -> None:
    with connect(live) as connection:
        connection.sendall(post(rows(n)))
        connection.shutdown(socket.SHUT_WR)
        assert results(read_all(connection)) == n


def test_a_client_that_sends_no_more_gets_all_its_answers(live: str) -> None:
    with connect(live) as connection:
        connection.sendall(post(rows(2500)) + post(rows(2)) + post(rows(3)))
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection).count(b'"row":') == 2505


def test_a_client_that_sends_no_more_gets_the_answer_to_its_image(
    images_model: Path, photos: NDArray[np.uint8], tmp_path: Path
) -> None:
    Pillow.fromarray(photos[0]).save(tmp_path / "photo.png")
    request = post((tmp_path / "photo.png").read_bytes(), path="/score?explain=1")
    with process(images_model) as running:
        url = url_of(running)
        with connect(url) as connection:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            assert results(read_all(connection)) == 1
        for _ in range(20):  # on a busy machine one may be answered before it has left
            with connect(url) as connection:  # which says no more than the one before
                connection.sendall(request)
        deadline = time.monotonic() + 5
        while series(url)["vae_detect_requests_total[('code', '400'), ('route', 'score')]"] < 1:
            assert time.monotonic() < deadline


def test_clients_that_leave_are_their_own_fault_and_fill_no_log() -> None:
    with process() as running:
        url = url_of(running)
        for round_ in range(5):
            for data in (post(rows(1))[:-5], post(rows(5000))[:60_000], post(rows(2500)), post(rows(30_000))):
                connection = connect(url)
                connection.sendall(data)
                leave(connection, reset=round_ % 2 == 0)
        deadline = time.monotonic() + 10
        while sum(codes := [v for k, v in series(url).items() if k.startswith("vae_detect_requests_total")]) < 20:
            assert time.monotonic() < deadline, codes
            time.sleep(0.05)
        found = series(url)
        assert found["vae_detect_requests_total[('code', '500'), ('route', 'score')]"] == 0
        # Half of the bodies are cut; of the others one may be answered before its client is seen to be gone.
        assert found["vae_detect_requests_total[('code', '400'), ('route', 'score')]"] > 10
        received, scored, refused = (
            found[f"vae_detect_rows_{what}_total[('model', 'pump')]"] for what in ("received", "scored", "refused")
        )
        assert received == scored + refused
        assert refused > 0  # of those that were known to be gone before they were scored
        running.send_signal(signal.SIGTERM)
        assert running.communicate(timeout=15)[1] == ""


def test_clients_that_leave_with_requests_on_the_way_fill_no_log() -> None:
    with process() as running:
        url = url_of(running)
        first, unread = post(rows(2500)), post(rows(60_000))
        for pause, data in (
            *((pause, first + then) for pause in (0, 0.001, 0.005, 0.02) for then in (post(ROW), b"nonsense\r\n\r\n")),
            *((pause, unread + post(ROW)) for pause in (0.1, 0.3)),
        ):
            connection = connect_slowly(url)
            connection.sendall(data)
            if data.startswith(unread):
                connection.recv(1)  # its answer has begun
            time.sleep(pause)
            leave(connection, reset=True)
        time.sleep(0.5)
        assert series(url)["vae_detect_requests_total[('code', '500'), ('route', 'score')]"] == 0
        running.send_signal(signal.SIGTERM)
        assert running.communicate(timeout=15)[1] == ""


@pytest.mark.parametrize("headers", [H2C, ("Connection: upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")])
def test_an_offer_of_another_protocol_is_ignored(live: str, headers: tuple[str, ...]) -> None:
    request = post(rows(3), *headers)
    head = request.index(b"\r\n\r\n")
    for cut in (0, 5, head - 3, head + 1, head + 10):
        with connect(live) as connection:
            connection.sendall(request[:cut])
            time.sleep(0.01 if cut else 0)
            connection.sendall(request[cut:] + post(rows(2), "Connection: close"))
            answer = read_all(connection)
            assert (answer.count(b"HTTP/1.1 200 "), answer.count(b'"row":')) == (2, 5), (cut, answer[:200])
    with connect(live) as connection:
        connection.sendall(b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\n")
        assert read_all(connection).startswith(b"HTTP/1.1 400 ")


def test_a_head_is_counted_from_its_first_byte_on(live: str) -> None:
    with connect(live) as connection:
        connection.sendall(post(rows(1)))
        assert results(read_answer(connection)) == 1
        connection.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * (MAX_HEAD - 1000))
        assert not select.select([connection], [], [], 0.2)[0]
        connection.sendall(b"x" * 1000)
        assert read_all(connection).startswith(b"HTTP/1.1 400 ")


def test_a_refusal_reaches_a_client_that_is_still_sending(live: str) -> None:
    for request in (
        post(b" " * 17_000_000, "Connection: close"),
        post(rows(200_000), "Connection: close", path="/score?x=1"),
    ):
        with connect(live) as connection:
            connection.sendall(request)
            assert read_all(connection)[9:12] in (b"413", b"400")


def test_a_slow_reader_is_cut_off() -> None:
    with process(READ_S=0.7) as running:
        url = url_of(running)
        slow = []
        for extra in ((), ("Connection: close",)):
            connection = connect_slowly(url)
            connection.sendall(post(rows(60_000), *extra))
            slow.append(connection)
        deadline = time.monotonic() + 10
        while series(url)["vae_detect_requests_total[('code', '400'), ('route', 'score')]"] < 2:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert series(url)["process_open_fds[]"] < 20
        for connection in slow:
            assert not read_all(connection).endswith(b"]}")
            connection.close()
        with connect(url) as quick:  # a reader that takes its time between two answers is none
            for _ in range(2):
                quick.sendall(post(rows(20_000)))
                assert results(read_answer(quick)) == 20_000
                time.sleep(0.8)


def test_others_are_answered_while_large_requests_are() -> None:
    with process() as running, ThreadPoolExecutor(3) as pool:
        url = url_of(running)
        body = post(rows(60_000), "Connection: close")

        def large() -> int:
            with connect(url) as connection:
                connection.sendall(body)
                return results(read_all(connection))

        working = [pool.submit(large) for _ in range(2)]
        waits = []
        with httpx.Client(base_url=url) as client:
            while not all(one.done() for one in working):
                started = time.perf_counter()
                assert client.post("/score", content=ROW).status_code == 200
                waits.append(time.perf_counter() - started)
        assert [one.result() for one in working] == [60_000] * 2
        assert len(waits) > 10
        busy = max(1, os.getloadavg()[0] / (os.cpu_count() or 1))
        assert sorted(waits)[len(waits) * 9 // 10] < 0.1 * busy
        assert max(waits) < busy  # 25 ms on a quiet machine


def test_a_stop_resets_no_new_connection() -> None:
    def come_again(url: str) -> int:
        """Scores on a new connection each time, until none is to be had."""
        for answered in range(100_000):
            try:
                connection = connect(url)
            except ConnectionRefusedError:
                return answered
            with connection:
                connection.sendall(post(ROW, "Connection: close"))
                assert results(read_all(connection)) == 1
        raise AssertionError("the server does not stop")

    for _ in range(2):
        with process() as running, ThreadPoolExecutor(4) as pool:
            url = url_of(running)
            working = [pool.submit(come_again, url) for _ in range(4)]
            time.sleep(0.1)
            running.send_signal(signal.SIGTERM)
            assert min(one.result(timeout=15) for one in working) > 0
            assert running.communicate(timeout=15)[1] == ""
            assert running.returncode == 0


def test_a_stop_waits_for_a_request_that_has_begun(live: str) -> None:
    with process() as running:
        url = url_of(running)
        request = post(ROW)
        with connect(url) as begun, connect(url) as idle:
            begun.sendall(request[:20])
            assert httpx.get(f"{url}/healthz").status_code == 200
            running.send_signal(signal.SIGTERM)
            assert read_all(idle) == b""
            begun.sendall(request[20:])
            assert results(read_all(begun)) == 1
        assert running.communicate(timeout=10)[1] == ""


def test_a_stop_waits_for_a_client_that_has_just_come() -> None:
    with process() as running:
        url = url_of(running)
        with connect(url) as slow:
            running.send_signal(signal.SIGTERM)
            time.sleep(1.2)  # long after connections that are idle between requests are closed
            slow.sendall(post(ROW))
            assert results(read_all(slow)) == 1
        assert running.communicate(timeout=10)[1] == ""


def error_of(answer: bytes) -> str:
    """What a whole answer says is wrong, as JSON, where nothing follows it."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 "), answer
    assert b"content-type: application/json" in head
    assert b"connection: close" in head
    assert f"content-length: {len(body)}".encode() in head
    (error,) = json.loads(body).values()
    return str(error)


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (b"NONSENSE\r\n\r\n", "the request is no valid HTTP: Invalid method"),
        (b"\x16\x03\x01\x02\x00\x01\x00", "the request is no valid HTTP: "),
        (b"GET / HTTP/3.7\r\n\r\n", "the request is no valid HTTP: Invalid HTTP version"),
        (b"GET / HTTP/1.1\r\nX y: 1\r\n\r\n", "the request is no valid HTTP: Invalid header token"),
        (b"POST /score HTTP/1.1\r\nContent-Length: -5\r\n\r\n", "the request is no valid HTTP: Invalid character"),
        (b"POST /score HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc", "the request is no "),
        (b"POST /score HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "the request is no valid HTTP: "),
        (b"CONNECT example.org:443 HTTP/1.1\r\n\r\n", "there is no way from here to other servers; CONNECT is"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * MAX_HEAD, "request line and headers are larger than 64 KiB"),
        (
            b"GET / HTTP/1.1\r\n" + b"X: 123456789\r\n" * 7000 + b"\r\n",
            "request line and headers are larger than 64 KiB",
        ),
    ],
)
def test_what_is_no_http_gets_its_error_as_json(live: str, sent: bytes, why: str) -> None:
    with connect(live) as connection:
        connection.sendall(sent)
        assert error_of(read_all(connection)).startswith(why)
    assert httpx.get(f"{live}/healthz").status_code == 200


def test_an_error_reaches_a_client_that_goes_on_sending(live: str) -> None:
    with connect(live) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * 1_000_000)
        assert error_of(read_all(connection)).startswith("request line and headers are larger")


def test_an_error_is_told_over_tls_too(tmp_path: Path) -> None:
    made, key = certificate(tmp_path)
    trusting = ssl.create_default_context(cafile=made)
    with process(tls=(made, key)) as running:
        url = url_of(running).replace("https", "http")
        with trusting.wrap_socket(connect(url), server_hostname="localhost") as connection:
            connection.sendall(b"NONSENSE\r\n\r\n")
            assert error_of(read_all(connection)).startswith("the request is no valid HTTP: ")


@pytest.mark.parametrize("n", [1, 2500])
@pytest.mark.parametrize(
    ("broken", "closes"),
    [
        (b"nonsense\r\n\r\n", False),
        (b"nonsense\r\n\r\n", True),
        (post(ROW)[:40], True),
        (post(ROW)[:-3], True),
        (b"POST /score HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", False),
    ],
)
def test_what_came_whole_is_answered_before_a_broken_request(live: str, n: int, broken: bytes, closes: bool) -> None:
    with connect(live) as connection:
        connection.sendall(post(rows(n)) + post(rows(2)) + broken)
        if closes:
            connection.shutdown(socket.SHUT_WR)
        answer = read_all(connection)
    assert (answer.count(b"HTTP/1.1 "), answer.count(b"HTTP/1.1 200 "), answer.count(b'"row":')) == (2, 2, n + 2)


def test_a_body_that_breaks_after_its_refusal_adds_nothing_to_it(live: str) -> None:
    before = series(live)["vae_detect_requests_total[('code', '415'), ('route', 'score')]"]
    with connect(live) as connection:
        head = b"POST /score HTTP/1.1\r\nContent-Encoding: br\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head + b"1\r\nx\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 415 ")
        connection.sendall(b"zz\r\n")
        assert b"HTTP/1.1" not in read_all(connection)
    assert series(live)["vae_detect_requests_total[('code', '415'), ('route', 'score')]"] >= before


def read_object(connection: socket.socket) -> bytes:
    """One answer that is an object in JSON."""
    received = b""
    while not received.endswith(b"}"):
        received += connection.recv(65536)
    return received


BODY = b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "then"),
    [
        (BODY, b"x" * 10),  # a body that nobody reads, and that does not end
        (BODY, b"x" * 20),  # one that does
        (b"GET /healthz HTTP/1.1\r\n\r\n", b"\r\n"),  # what may stand before a request
    ],
)
def test_a_connection_ends_whatever_comes_after_an_answer(sent: bytes, then: bytes) -> None:
    with process(KEEP_ALIVE_S=0.5, BODY_S=0.5) as running, connect(url_of(running)) as connection:
        connection.sendall(sent)
        assert read_object(connection).startswith(b"HTTP/1.1 ")
        connection.sendall(then)
        assert read_all(connection) == b""


def test_a_body_that_nobody_reads_may_come_late(live: str) -> None:
    with connect(live) as connection:
        for _ in range(3):
            connection.sendall(BODY)
            assert read_object(connection).startswith(b"HTTP/1.1 404 ")
            connection.sendall(b"x" * 20)
        connection.sendall(post(ROW))
        assert results(read_answer(connection)) == 1
