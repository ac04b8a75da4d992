"""A real server in a process of its own: addresses, signals, malformed HTTP, a real Prometheus."""

from __future__ import annotations

import contextlib
import json
import select
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from conftest import MODEL, ROOT, Client, parse
from server_process import addresses, certificate, command, connect, process, read_all, read_answer, url_of
from watched import program, prometheus

from vae_detect.runtime.errors import InputError
from vae_detect.runtime.hosting.listening import Where
from vae_detect.runtime.hosting.logs import Log
from vae_detect.runtime.service.connection import MAX_HEAD
from vae_detect.runtime.service.reloading import Plan, Sources
from vae_detect.runtime.service.server import serve


@pytest.fixture(scope="module")
def live() -> Iterator[str]:
    with process() as running:
        yield url_of(running)


def test_a_server_answers_like_the_application(live: str, client: Client, row: list[float]) -> None:
    assert httpx.post(f"{live}/score", json=row).json() == client.score(row).json()
    assert "server" not in httpx.get(f"{live}/healthz").headers


def test_a_server_refuses_malformed_http(live: str, row: list[float]) -> None:
    before = httpx.post(f"{live}/score", json=row).json()
    for request in (
        b"\x00\x01\x02\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /score HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /score HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n[1]",
        b"POST /score HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"x" * 200_000,
        b"GET /" + b"x" * 200_000,
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 65_536 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: 1\r\n" * 50_000,
    ):
        with connect(live) as connection:
            with contextlib.suppress(ConnectionError):
                connection.sendall(request)
            assert not read_all(connection).startswith((b"HTTP/1.1 2", b"HTTP/1.1 5"))
    with connect(live) as connection:
        connection.sendall(b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")
    with connect(live) as connection:  # leaves in the middle of its body
        connection.sendall(b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n[1,")
    assert httpx.post(f"{live}/score", json=row).json() == before


@pytest.mark.parametrize("start", [b"GET /", b"GET / HTTP/1.1\r\nX: ", b"GET / HTTP/1.1\r\nHost: x\r\nX: 1\r\n"])
def test_a_head_that_never_ends_is_refused_once_it_is_too_large(live: str, start: bytes) -> None:
    with connect(live) as connection:
        connection.sendall(start)
        sent, piece = 0, MAX_HEAD // 4
        while not select.select([connection], [], [], 0.1)[0]:  # long before the time limit, which would end it too
            assert sent <= MAX_HEAD
            connection.sendall(b"x" * piece)
            sent += piece
        assert sent >= MAX_HEAD - piece
        assert read_all(connection).startswith(b"HTTP/1.1 400 ")


def test_a_head_that_takes_too_long_is_cut_off(row: list[float]) -> None:
    body = json.dumps(row).encode()
    whole = b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    with process(HEAD_S=1.0) as running, contextlib.ExitStack() as held:
        url = url_of(running)
        started = time.monotonic()
        silent, partial, kept, slow = (held.enter_context(connect(url)) for _ in range(4))
        partial.sendall(b"GET / HTTP/1.1\r\nHost:")
        kept.sendall(whole + body)
        assert read_answer(kept).startswith(b"HTTP/1.1 200 ")
        slow.sendall(whole + body[:9])  # a body may take as long as it likes
        assert (read_all(silent), read_all(partial)) == (b"", b"")
        assert 0.9 < time.monotonic() - started < 5
        kept.sendall(whole + body)  # between requests it may be idle for longer
        assert read_answer(kept).startswith(b"HTTP/1.1 200 ")
        kept.sendall(b"GET / HTTP/1.1\r\nHost:")
        assert read_all(kept) == b""
        slow.sendall(body[9:])
        assert read_answer(slow).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_server_well(row: list[float], stop: signal.Signals) -> None:
    with process() as running, contextlib.ExitStack() as held:
        url = url_of(running)
        keeping = held.enter_context(httpx.Client(base_url=url))
        assert keeping.post("/score", json=row).status_code == 200
        silent = held.enter_context(connect(url))
        body = json.dumps(row).encode()
        slow = held.enter_context(connect(url))
        slow.sendall(b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body[:9])
        # An answer on another connection shows that the slow request was admitted before the signal.
        assert httpx.get(f"{url}/healthz").status_code == 200
        running.send_signal(stop)
        deadline = time.monotonic() + 5
        while keeping.get("/readyz").status_code != 503:
            assert time.monotonic() < deadline
        slow.sendall(body[9:])
        assert read_all(slow).startswith(b"HTTP/1.1 200 OK")
        assert read_all(silent) == b""
        _, errors = running.communicate(timeout=10)
        assert (running.returncode, errors) == (0, "")


def test_a_stop_cuts_no_request_off(row: list[float]) -> None:
    def work(url: str) -> tuple[int, int]:
        """Scores until it is told to close; gives back how many were answered and the last status."""
        with httpx.Client(base_url=url) as keeping:
            for answered in range(1, 100_000):
                response = keeping.post("/score", json=row)
                if response.status_code != 200 or response.headers.get("connection") == "close":
                    return answered, response.status_code
        raise AssertionError("the server does not stop")

    with process() as running, ThreadPoolExecutor(4) as pool:
        url = url_of(running)
        working = [pool.submit(work, url) for _ in range(4)]
        for _ in range(20):
            assert httpx.post(f"{url}/score", json=row).status_code == 200
        running.send_signal(signal.SIGTERM)
        assert [one.result(timeout=10)[1] for one in working] == [200] * 4
        _, errors = running.communicate(timeout=10)
        assert (running.returncode, errors) == (0, "")


def test_a_server_stops_though_a_body_never_ends() -> None:
    with process() as running:
        url = url_of(running)
        with connect(url) as stuck:
            stuck.sendall(b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n[1,")
            assert httpx.get(f"{url}/healthz").status_code == 200  # by now the request is admitted
            running.send_signal(signal.SIGTERM)
            assert read_all(stuck).startswith(b"HTTP/1.1 408 ")
        _, errors = running.communicate(timeout=10)
        assert (running.returncode, errors) == (0, "")


def test_a_bad_model_stops_the_server_with_its_error(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(MODEL.read_bytes()[:1000])
    with process(broken) as running:
        _, errors = running.communicate(timeout=10)
    assert running.returncode == 1
    assert errors.startswith(f"ModelError: {broken}")
    assert errors.count("\n") == 1


def test_an_address_that_cannot_be_had_is_one_error(live: str) -> None:
    taken = int(live.rpartition(":")[2])
    for host, port, reason in (
        ("127.0.0.1", taken, "Address already in use"),
        ("no.such.host.invalid", 0, "Name or service not known|failure in name resolution"),
        ("192.0.2.1", 0, "Cannot assign"),
        ("a" * 70, 0, ""),
        ("127.0.0.1", 65536, "expected 0 to 65535"),
    ):
        with pytest.raises(InputError, match=f"{port}.*({reason})"):
            serve(
                Plan(Sources.parse([str(MODEL)]), lambda _: pytest.fail("loaded")),
                where=Where(host, port),
                log=Log(print),
            )


def test_a_missing_package_names_the_extra() -> None:
    code = "import sys; sys.modules['uvicorn'] = None; import vae_detect.runtime.service.server"
    env = {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    assert "MissingExtraError: the HTTP service needs uvicorn: pip install 'vae-detect[serve]'" in done.stderr


def test_an_open_address_is_warned_about_and_ipv6_is_served() -> None:
    with process(host="::") as running:
        assert running.stdout is not None
        assert running.stdout.readline().startswith("warning: :: can be reached from other machines")
        url = url_of(running)
        assert url.startswith("http://[::]:")
        assert httpx.get(url.replace("[::]", "[::1]") + "/healthz").status_code == 200


def test_prometheus_scrapes_what_was_scored(live: str, row: list[float], tmp_path: Path) -> None:
    promtool = program("promtool")
    httpx.post(f"{live}/score", json=[row] * 10)
    exposition = httpx.get(f"{live}/metrics").text
    lint = subprocess.run([promtool, "check", "metrics"], input=exposition, capture_output=True, text=True, check=False)
    assert (lint.returncode, lint.stdout, lint.stderr) == (0, "", "")
    scored = parse(exposition)["vae_detect_rows_scored_total[('model', 'pump')]"]
    config = (
        "global: {scrape_interval: 200ms, scrape_timeout: 200ms}\n"
        f"scrape_configs: [{{job_name: vae-detect, static_configs: [{{targets: ['{live.removeprefix('http://')}']}}]}}]\n"
    )
    with prometheus(tmp_path, config) as url:
        assert ask_prometheus(url, "vae_detect_rows_scored_total") == scored
        assert ask_prometheus(url, "vae_detect_ready") == 1


def ask_prometheus(url: str, query: str) -> float:
    """The value that Prometheus has for this query, as soon as it has one."""
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        if found := httpx.get(f"{url}/api/v1/query", params={"query": query}).json()["data"]["result"]:
            return float(found[0]["value"][1])
        time.sleep(0.05)
    raise AssertionError(f"Prometheus has no {query} after 15 s")


def test_a_hangup_reads_tokens_and_certificate_again(tmp_path: Path) -> None:
    old, new = "the-token-that-was", "the-token-that-is"
    (made, key), (other, other_key) = certificate(tmp_path), certificate(tmp_path, name="other.example")
    tokens = tmp_path / "tokens"
    tokens.write_text(old)
    tokens.chmod(0o600)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(10)
        options = ("--port", "0", "--token-file", tokens, "--tls-cert", made, "--tls-key", key, "--log-format", "json")
        with command(*options, env={"NOTIFY_SOCKET": str(tmp_path / "notify")}) as (running, said):
            (url,) = addresses(said[-1])
            address = ("127.0.0.1", int(url.rpartition(":")[2]))
            assert systemd.recv(1000).startswith(b"READY=1\n")

            def state() -> tuple[int, int, bool]:
                """How either token is answered, and whether the new certificate is shown."""
                found = [
                    httpx.get(f"{url}/model", headers={"Authorization": f"Bearer {token}"}, verify=False).status_code
                    for token in (old, new)
                ]
                return found[0], found[1], ssl.get_server_certificate(address) == other.read_text()

            def hang_up() -> None:
                running.send_signal(signal.SIGHUP)
                assert systemd.recv(1000).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
                assert systemd.recv(1000).startswith(b"READY=1\n")

            assert state() == (200, 401, False)
            tokens.write_text("short")
            made.write_bytes(other.read_bytes())  # a certificate without its key
            hang_up()
            assert state() == (200, 401, False)
            tokens.write_text(new)
            key.write_bytes(other_key.read_bytes())
            hang_up()
            assert state() == (401, 200, True)
            running.terminate()
            lines = [json.loads(line) for line in running.communicate(timeout=10)[1].splitlines()]
        kept = [line["message"] for line in lines if line["event"] == "access_kept"]
        assert [line.partition(" ")[0] for line in kept] == [f"{tokens},", "the"]
