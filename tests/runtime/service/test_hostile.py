"""Hundreds of requests as no client should send them: refused in a few words or cut off, and no other notices."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import select
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
from server_process import addresses, command, connect

ROW = b"[1450,172,1,3,33,19,40,2]"
SMUGGLED = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
"""What must not be taken for a request of its own."""


def score(*headers: bytes, body: bytes = ROW, line: bytes = b"POST /score HTTP/1.1") -> bytes:
    return b"\r\n".join([line, b"Host: x", *headers, b"", body])


def chunk(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


def lengths() -> Iterator[bytes]:
    """Of the body, said in odd ways."""
    n = len(ROW)
    for said in (
        "",
        " ",
        "+%d",
        "-%d",
        "%d.0",
        "%de0",
        "0x%x",
        "%d,%d",
        "%d, %d",
        "%d %d",
        "%d;",
        "'%d'",
        "0%d",
        "%d\t",
    ):
        yield score(b"Content-Length: " + (said.replace("%d", str(n)).replace("%x", f"{n:x}")).encode())
    for said in (
        "abc",
        "NaN",
        "inf",
        "1e1",
        "9" * 19,
        "9" * 20,
        "9" * 400,
        "18446744073709551641",
        "4294967321",
        "\u0662",
    ):
        yield score(b"Content-Length: " + said.encode())
    for pair in ((n, n), (n, n + 1), (n + 1, n), (0, n), (n, 0), (n, -1)):
        yield score(*(b"Content-Length: %d" % each for each in pair))
    yield score(b"Content-Length: 0", body=SMUGGLED[:0])
    yield score(b"Content-Length: %d" % (n - 1), body=ROW + b"]" * 3)
    yield score(b"Content-Length : %d" % n)
    yield score(b" Content-Length: %d" % n)
    yield score(b"Content_Length: %d" % n)
    yield score(b"Content-Length:\r\n %d" % n)


def smuggling() -> Iterator[bytes]:
    """Two lengths at once, one of which would make what follows another request."""
    values = [
        *(b"chunked", b"Chunked", b" chunked", b"chunked ", b"\tchunked", b"chunked\t", b"xchunked", b"chunkedx"),
        *(b"identity", b"chunked, identity", b"identity, chunked", b"gzip, chunked", b"chunked, chunked", b"'chunked'"),
        *(b"chunked;q=1", b"", b",", b"\x0bchunked", b"chunked\x00", b"\xe7hunked", b"chun\r\n ked"),
    ]
    names = [
        b"Transfer-Encoding",
        b"Transfer-Encoding ",
        b"Transfer_Encoding",
        b" Transfer-Encoding",
        b"X: y\nTransfer-Encoding",
    ]
    for name, value in itertools.product(names, values):
        body = b"0\r\n\r\n" + SMUGGLED
        yield score(b"Content-Length: %d" % len(body), name + b": " + value, body=body)
        yield score(name + b": " + value, b"Content-Length: 5", body=chunk(ROW))
    yield score(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", body=chunk(ROW))
    yield score(b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked", body=chunk(ROW))


def chunks() -> Iterator[bytes]:
    n = len(ROW)
    sizes = [
        *(
            b"-1",
            b"0x19",
            b"+19",
            b"19 ",
            b" 19",
            b"1 9",
            b"",
            b"g",
            b"F" * 8,
            b"F" * 16,
            b"F" * 17,
            b"0" * 1000 + b"19",
        ),
        *(b"19;", b"19;a", b"19;a=b", b"19;" + b"a" * 70_000, b"19\t", b"19\x00", b"19_0", b"8" * 16),
    ]
    for size in sizes:
        yield score(b"Transfer-Encoding: chunked", body=size + b"\r\n" + ROW + b"\r\n0\r\n\r\n")
    for body in (
        b"%x\n%b\n0\n\n" % (n, ROW),
        b"%x\r%b\r0\r\r" % (n, ROW),
        b"%x\r\n%bX\r\n0\r\n\r\n" % (n, ROW),
        b"%x\r\n%b0\r\n\r\n" % (n, ROW),
        b"%x\r\n%b\r\n" % (n, ROW),
        b"0\r\n\r\n",
        b"0\r\nContent-Length: 9\r\n\r\n",
        b"0\r\n" + b"A: b\r\n" * 20_000 + b"\r\n",
        b"1\r\n[\r\n" * 3000,
        b"".join(b"1\r\n%c\r\n" % byte for byte in ROW) + b"0\r\n\r\n",
    ):
        yield score(b"Transfer-Encoding: chunked", body=body)


def heads() -> Iterator[bytes]:
    """Request lines and headers."""
    said = b"Content-Length: %d" % len(ROW)
    for line in (
        *(
            b"",
            b" ",
            b"\r\n\r\n",
            b"\x00",
            b"POST",
            b"POST ",
            b"POST /score",
            b"POST  /score  HTTP/1.1",
            b"POST\t/score\tHTTP/1.1",
        ),
        *(
            b"post /score HTTP/1.1",
            b"P\x00ST /score HTTP/1.1",
            b"POST /score HTTP/0.9",
            b"POST /score HTTP/1.2",
            b"POST /score HTTP/2.0",
        ),
        *(
            b"POST /score HTTP/11",
            b"POST /score HTTP/1.1 x",
            b"POST /score http/1.1",
            b"POST /score ICAP/1.0",
            b"PRI * HTTP/2.0",
        ),
        *(
            b"POST http://evil/score HTTP/1.1",
            b"POST //score HTTP/1.1",
            b"POST score HTTP/1.1",
            b"POST * HTTP/1.1",
            b"POST /sco re HTTP/1.1",
        ),
        *(
            b"CONNECT x:1 HTTP/1.1",
            b"TRACE / HTTP/1.1",
            b"M-SEARCH * HTTP/1.1",
            b"A" * 200 + b" / HTTP/1.1",
            b"GET / HTTP/1.1",
        ),
        *(b"POST /score%00 HTTP/1.1", b"POST /%2e%2e/%2e%2e/etc/passwd HTTP/1.1", b"POST /../../etc/passwd HTTP/1.1"),
        *(
            b"GET /healthz/../metrics HTTP/1.1",
            b"POST /SCORE HTTP/1.1",
            b"POST /score/ HTTP/1.1",
            b"POST /score;a HTTP/1.1",
        ),
        *(
            b"POST /score?" + b"a" * 5000 + b" HTTP/1.1",
            b"POST /score?model=%00 HTTP/1.1",
            b"POST /score?model=%ff HTTP/1.1",
        ),
        *(
            b"POST /score?key=" + b"%41" * 300 + b" HTTP/1.1",
            b"POST /score?key=%0d%0aX:%20y HTTP/1.1",
            b"POST /score#x HTTP/1.1",
        ),
        *(
            b"POST /v2/models/" + b"../" * 50 + b"infer HTTP/1.1",
            b"POST /v2/models//infer HTTP/1.1",
            b"POST /v2/models/%2f/infer HTTP/1.1",
        ),
        *(b"POST /v2/models/vae/versions//infer HTTP/1.1", b"POST /v2/models/" + b"a" * 9000 + b"/infer HTTP/1.1"),
        *(
            b"POST /v2/repository/models/..%2f..%2fetc/load HTTP/1.1",
            b"POST /v2/repository/models/none/unload HTTP/1.1",
        ),
    ):
        yield score(said, line=line)
    for header in (
        *(
            b"NoColon",
            b": empty",
            b"A B: c",
            b"A\x00: c",
            b"A: \x00",
            b"A: b\x0bc",
            b"A: \xff\xfe",
            b"\xe9: b",
            b"A: b\rC: d",
            b"A\t: b",
        ),
        *(
            b" folded",
            b"A: b\r\n folded",
            b"A: b\nC: d",
            b"(): x",
            b"Host: y",
            b"Host: a\x00b",
            b"Expect: 100-continue",
            b"Expect: 200-ok",
        ),
        *(
            b"Connection: " + b"close, " * 1000,
            b"Connection: upgrade",
            b"Upgrade: websocket",
            b"X: " + b"x" * 60_000,
            b"Range: bytes=0-1",
        ),
        *(
            b"Content-Encoding: gzip",
            b"Content-Encoding: gzip, gzip",
            b"Content-Encoding: \xff",
            b"Content-Type: \xff\xff",
            b"Content-Type: text/csv; charset=\x01",
        ),
        *(
            b"Content-Type: application/json; charset=utf-32",
            b"Content-Type: multipart/form-data; boundary=x",
            b"Content-Type: " + b"a/" * 9000,
        ),
        *(
            b"X-Request-Id: " + b"y" * 5000,
            b"X-Request-Id: a\tb",
            b"Authorization: Bearer " + b"z" * 9000,
            b"Inference-Header-Content-Length: 9",
        ),
        *(
            b"Cookie: a=b",
            b"Origin: null",
            b"TE: trailers",
            b"Proxy-Connection: x",
            b"X-Forwarded-For: 1.2.3.4",
            b"Forwarded: for=1",
        ),
    ):
        yield score(header, said)


def pipelines() -> Iterator[bytes]:
    good = score(b"Content-Length: %d" % len(ROW))
    yield good * 50
    yield good * 3 + b"GARBAGE\r\n\r\n" + good
    yield good + score(b"Content-Length: x") + SMUGGLED
    yield b"\r\n" * 1000 + good
    yield good[:-1] + b"\x00"
    yield b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 500  # TLS
    yield b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00" * 100
    yield b"*1\r\n$4\r\nPING\r\n"  # another protocol
    yield b"\x00" * 10_000
    yield b"\xff" * 100_000


HOSTILE = [*lengths(), *smuggling(), *chunks(), *heads(), *pipelines()]


def asked(url: str, request: bytes) -> tuple[bytes, float]:
    """All that comes back, and the seconds until the connection ends: the client sends no more, and waits."""
    started, received = time.monotonic(), b""
    with connect(url) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while select.select([connection], [], [], 10)[0] and (piece := connection.recv(1 << 16)):
                received += piece
    return received, time.monotonic() - started


def answers(received: bytes) -> Iterator[tuple[int, bytes]]:
    """Status and body of each answer."""
    while received:
        head, _, received = received.partition(b"\r\n\r\n")
        status = re.match(rb"HTTP/1\.1 (\d{3}) ", head)
        assert status, head[:100]
        if status[1] == b"100":
            continue
        length = re.search(rb"content-length: (\d+)", head.lower())
        size = int(length[1]) if length else len(received)
        yield int(status[1]), received[:size]
        received = received[size:]


def memory_mb(pid: int) -> float:
    """The most that was ever used."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


TOLD = re.compile(
    r"Traceback|\.py\b|site-packages|/work|/usr|/root|/home|uvicorn|starlette|httptools|onnxruntime \d|0x[0-9a-f]{6}"
)
"""What is nobody's business."""


def test_hundreds_of_hostile_requests() -> None:
    with command("--port", "0") as (running, said):
        (url,) = addresses(said[-1])
        before = httpx.post(f"{url}/score", content=ROW).content
        descriptors, memory = len([*Path(f"/proc/{running.pid}/fd").iterdir()]), memory_mb(running.pid)
        statuses: Counter[int] = Counter()
        for request in HOSTILE:
            received, took = asked(url, request)
            assert took < 10, request[:200]
            for status, body in answers(received):
                statuses[status] += 1
                assert status < 500, (request[:200], body)
                if request.startswith(b"GET / ") or b"/healthz" in request:
                    continue
                assert b"vae_detect_rows" not in body, request[:300]  # what was smuggled
                if status >= 400 and body:
                    error = json.loads(body)["error"]
                    assert 0 < len(body) < 4096, request[:200]
                    assert not TOLD.search(error), error
        assert len(HOSTILE) > 350
        assert statuses[400] > 150
        assert httpx.post(f"{url}/score", content=ROW).content == before
        assert httpx.get(f"{url}/readyz").status_code == 200
        time.sleep(0.1)
        assert len([*Path(f"/proc/{running.pid}/fd").iterdir()]) <= descriptors + 1
        assert memory_mb(running.pid) < memory + 80
        running.terminate()
        assert running.communicate(timeout=10)[1] == ""
        assert running.returncode == 0
