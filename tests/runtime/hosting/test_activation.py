"""Sockets that systemd hands in, as systemd does it: from descriptor 3 on, for one process."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from conftest import MODEL, ROOT
from server_process import addresses, connect, post, read_all

from vae_detect.runtime.errors import InputError
from vae_detect.runtime.hosting import activation
from vae_detect.runtime.hosting.activation import inherited_sockets

ROW = b"[1450,172,1,3,33,19,40,2]"


@contextmanager
def activated(
    handed: list[socket.socket], names: str = "", *options: str | Path
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`serve` with these sockets from 3 on, and the line that says where it serves."""
    # The shell puts them where they belong, and is the process that LISTEN_PID names.
    moved = "".join(f"exec {10 + n}<&{one.fileno()}; " for n, one in enumerate(handed))
    moved += "".join(f"exec {3 + n}<&{10 + n}; " for n in range(len(handed)))
    words = [sys.executable, "-m", "vae_detect", "serve", "--model", str(MODEL), *map(str, options)]
    told = {"LISTEN_FDS": str(len(handed)), **({"LISTEN_FDNAMES": names} if names else {})}
    env = {"PYTHONPATH": str(ROOT / "src"), "PYTHONWARNINGS": "error", **told}
    with subprocess.Popen(
        ["bash", "-c", f'{moved} LISTEN_PID=$$ exec "$@"', "bash", *words],
        stderr=subprocess.PIPE, text=True, env=env, pass_fds=[one.fileno() for one in handed],
    ) as running:  # fmt: skip
        try:
            assert running.stderr is not None
            yield running, running.stderr.readline()
        finally:
            running.kill()


def listener(family: int = socket.AF_INET, address: object = ("127.0.0.1", 0)) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    made.bind(address)  # type: ignore[arg-type]
    made.listen()
    return made


def test_sockets_are_those_of_systemd(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    with listener() as tcp, listener(socket.AF_UNIX, str(path)) as unix, listener() as metrics:
        urls = [f"http://127.0.0.1:{one.getsockname()[1]}" for one in (tcp, metrics)]
        with activated([tcp, unix, metrics], "a:b:metrics", "--port", "1", "--unix", tmp_path / "unused") as (_, line):
            assert addresses(line) == [urls[0], f"unix:{path}", urls[1]]
            assert httpx.get(f"{urls[0]}/healthz").status_code == 200
            with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client:
                assert client.post("http://x/score", content=ROW).status_code == 200
            assert [httpx.get(f"{url}/metrics").status_code for url in urls] == [404, 200]
        assert path.exists()
    assert not (tmp_path / "unused").exists()


def test_metrics_alone_may_be_handed_in() -> None:
    with listener() as metrics, activated([metrics], "metrics", "--port", "0") as (_, line):
        url, other = addresses(line)
        assert other == f"http://127.0.0.1:{metrics.getsockname()[1]}"
        assert [httpx.get(f"{one}/metrics").status_code for one in (url, other)] == [404, 200]


def test_a_restart_loses_no_connection() -> None:
    with listener() as handed, ThreadPoolExecutor(4) as pool:
        url = f"http://127.0.0.1:{handed.getsockname()[1]}"
        stopped = time.monotonic() + 6

        def come_again() -> int:
            answered = 0
            while time.monotonic() < stopped:
                with connect(url) as connection:
                    connection.sendall(post(ROW, "Connection: close"))
                    assert read_all(connection).startswith(b"HTTP/1.1 200 ")
                answered += 1
            return answered

        working = [pool.submit(come_again) for _ in range(4)]
        for _ in range(3):
            with activated([handed]) as (running, line):
                assert addresses(line) == [url]
                time.sleep(0.7)
                running.send_signal(signal.SIGTERM)
                assert running.communicate(timeout=15)[1] == ""
                assert running.returncode == 0
        with activated([handed]):
            assert min(one.result(timeout=20) for one in working) > 10


def test_who_comes_during_a_stop_waits_for_the_next() -> None:
    with listener() as handed:
        with activated([handed]) as (running, line):
            (url,) = addresses(line)
            with connect(url) as held:
                held.sendall(b"POST /score HT")  # which keeps the process for another three seconds
                running.send_signal(signal.SIGTERM)
                time.sleep(0.3)
                late = connect(url)
                assert running.wait(timeout=15) == 0
        with late, activated([handed]):
            late.sendall(post(ROW, "Connection: close"))
            assert read_all(late).startswith(b"HTTP/1.1 200 ")


def test_a_socket_for_another_process_is_left_alone() -> None:
    env = {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "x", "OTHER": ""}
    assert inherited_sockets(env) == []
    assert env == {"OTHER": ""}
    assert inherited_sockets({}) == []


def test_what_does_not_listen_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def told(number: str) -> dict[str, str]:
        return {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": number}

    with pytest.raises(InputError, match="LISTEN_FDS is 'x'"):
        inherited_sockets(told("x"))
    with Path(os.devnull).open() as file, socket.socket() as idle, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        for descriptor, reason in (
            (file.fileno(), "is no socket"),
            (os.dup(idle.fileno()), "does not listen; the .socket unit needs ListenStream= and Accept=no"),
            (os.dup(datagrams.fileno()), "does not listen"),
            (9999, "is no socket: Bad file descriptor"),
        ):
            monkeypatch.setattr(activation, "FIRST", descriptor)
            with pytest.raises(InputError, match=f"descriptor {descriptor}, which systemd .*{reason}"):
                inherited_sockets(told("1"))


def test_systemd_socket_activate_starts_it_at_the_first_request() -> None:
    program = shutil.which("systemd-socket-activate")
    if program is None:
        pytest.skip("systemd-socket-activate is not installed (Debian package systemd)")
    with listener() as free:
        port = free.getsockname()[1]
    words = [program, "-l", f"127.0.0.1:{port}", "-E", f"PYTHONPATH={ROOT / 'src'}", sys.executable, "-m", "vae_detect"]
    with subprocess.Popen([*words, "serve", "--model", str(MODEL)], stderr=subprocess.PIPE, text=True) as running:
        try:
            deadline = time.monotonic() + 10
            while True:
                try:
                    answer = httpx.post(f"http://127.0.0.1:{port}/score", content=ROW, timeout=15)
                    break
                except httpx.ConnectError:
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            assert answer.status_code in (200, 503)  # it may still be loading
            running.send_signal(signal.SIGTERM)
            assert running.wait(timeout=15) == 0
        finally:
            running.kill()
