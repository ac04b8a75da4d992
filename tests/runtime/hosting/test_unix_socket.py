"""A Unix socket: whose path it may take, who may connect, and clients of a real server on it."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from conftest import parse
from server_process import addresses, command, post, read_all

from vae_detect.runtime.errors import InputError
from vae_detect.runtime.hosting.unix_socket import bound_to_path

ROW = b"[1450,172,1,3,33,19,40,2]"


def connect(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(10)
    try:
        connection.connect(str(path))
    except OSError:
        connection.close()
        raise
    return connection


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_owner_and_group_may_connect_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    path = tmp_path / "sock"
    before = os.umask(umask)
    try:
        with bound_to_path(path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o660
    finally:
        os.umask(before)
    assert not path.exists()


def test_what_is_there_is_left_alone(tmp_path: Path) -> None:
    taken, file, folder = tmp_path / "taken", tmp_path / "file", tmp_path / "folder"
    file.write_text("kept")
    folder.mkdir()
    link = tmp_path / "link"
    with bound_to_path(taken):
        link.symlink_to(taken)
        for path, reason in (
            (taken, "it is in use by another process"),
            (file, "it exists and is no socket"),
            (folder, "it exists and is no socket"),
            (link, "it exists and is no socket"),
            (tmp_path / "absent" / "sock", "No such file or directory"),
            (tmp_path / ("x" * 120), "AF_UNIX path too long"),
        ):
            with pytest.raises(InputError) as caught, bound_to_path(path):
                pass
            assert str(caught.value) == f"cannot listen on unix:{path}: {reason}; choose another path"
        connect(taken).close()
    assert file.read_text() == "kept"


def test_a_socket_with_a_full_queue_is_alive(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as busy:
        busy.bind(str(path))
        busy.listen(0)
        with connect(path), pytest.raises(InputError, match="in use"), bound_to_path(path):
            pass


def test_the_socket_of_a_dead_process_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    code = f"import os, socket; s = socket.socket(socket.AF_UNIX); s.bind({str(path)!r}); s.listen(); os._exit(0)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert path.is_socket()
    with bound_to_path(path):
        connect(path).close()
    assert not path.exists()


def test_one_of_two_that_come_at_once_gets_it(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    start, done = threading.Barrier(4), threading.Barrier(4)

    def take() -> bool:
        start.wait()
        try:
            with bound_to_path(path):
                done.wait()
                connect(path).close()
                return True
        except InputError:
            done.wait()
            return False

    for _ in range(20):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
            dead.bind(str(path))
        with ThreadPoolExecutor(4) as pool:
            assert sorted(pool.map(lambda _: take(), range(4))) == [False, False, False, True]


def test_the_socket_of_a_successor_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    with bound_to_path(path):
        path.unlink()
        with bound_to_path(path) as successor:
            pass
    with bound_to_path(path):
        path.unlink()
        successor = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        successor.bind(str(path))
    assert path.is_socket()
    successor.close()


def test_clients_of_all_kinds_are_served_and_none_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "sock"

    def come_again() -> int:
        """Scores on a new connection each time, until none is to be had."""
        for answered in range(100_000):
            try:
                connection = connect(path)
            except (FileNotFoundError, ConnectionRefusedError):
                return answered
            with connection:
                connection.sendall(post(ROW, "Connection: close"))
                assert read_all(connection).startswith(b"HTTP/1.1 200 "), answered
        raise AssertionError("the server does not stop")

    with command("--unix", path) as (running, said), ThreadPoolExecutor(4) as pool:
        assert addresses(said[-1]) == [f"unix:{path}"]
        assert len(said) == 1
        for n in (1, 2500, 60_000):
            with connect(path) as connection:
                connection.sendall(post(b"[" + b",".join([ROW] * n) + b"]"))
                connection.shutdown(socket.SHUT_WR)
                assert len(json.loads(read_all(connection).partition(b"\r\n\r\n")[2])["results"]) == n
        for data in (post(ROW)[:-5], post(b"[" + b",".join([ROW] * 30_000) + b"]")):
            with connect(path) as connection, suppress(BlockingIOError, TimeoutError):
                connection.sendall(data)
        with connect(path) as idle:
            working = [pool.submit(come_again) for _ in range(4)]
            time.sleep(0.3)
            running.send_signal(signal.SIGTERM)
            assert min(one.result(timeout=15) for one in working) > 0
            assert read_all(idle) == b""
        assert running.communicate(timeout=15)[1] == ""
        assert running.returncode == 0
    assert not path.exists()


def test_a_client_that_has_left_is_not_scored(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    with command("--unix", path), httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client:
        for half_closed in (True, False) * 3:
            with connect(path) as connection:
                connection.sendall(post(b"[" + b",".join([ROW] * 30_000) + b"]"))
                if half_closed:
                    connection.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + 15
        broken_off = "vae_detect_requests_total[('code', '400'), ('route', 'score')]"
        while (series := parse(client.get("http://x/metrics").text))[broken_off] < 6:
            assert time.monotonic() < deadline, series
            time.sleep(0.1)
        refused, scored = (series[f"vae_detect_rows_{what}_total[('model', 'vae')]"] for what in ("refused", "scored"))
        assert (refused, scored) == (6 * 30_000, 0)
