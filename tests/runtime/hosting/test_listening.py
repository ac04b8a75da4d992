"""Where the service listens, as it was told, and what it says when it cannot."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from conftest import MODEL, ROOT
from server_process import addresses, command, connect

from vae_detect.runtime.errors import InputError
from vae_detect.runtime.hosting.listening import Where, listening, told


def test_it_listens_on_this_machine_alone_unless_told() -> None:
    with listening(Where(port=0)) as (one,):
        host, port = one.socket.getsockname()
        assert (host, one.url, one.exposed, one.metrics) == ("127.0.0.1", f"http://127.0.0.1:{port}", False, False)
        assert told([one]) == one.url
    assert one.socket.fileno() == -1


@pytest.mark.parametrize(
    ("host", "shown", "exposed"),
    [("0.0.0.0", "0.0.0.0", True), ("::", "[::]", True), ("::1", "[::1]", False), ("localhost", "localhost", False)],
)
def test_addresses_are_shown_as_clients_write_them(host: str, shown: str, exposed: bool) -> None:
    with listening(Where(host, 0), encrypted=True) as (one,):
        assert one.url == f"https://{shown}:{one.socket.getsockname()[1]}"
        assert one.exposed is exposed


def test_metrics_listen_where_the_service_does_or_as_told(tmp_path: Path) -> None:
    for where, hosts in (
        (Where("127.0.0.2", 0, metrics_port=0), ["127.0.0.2"] * 2),
        (Where("127.0.0.2", 0, metrics_host="127.0.0.1", metrics_port=0), ["127.0.0.2", "127.0.0.1"]),
        (Where("127.0.0.2", 0, unix=tmp_path / "sock", metrics_port=0), [str(tmp_path / "sock"), "127.0.0.1"]),
    ):
        with listening(where) as listeners:
            names = [one.socket.getsockname() for one in listeners]
            assert [name if isinstance(name, str) else name[0] for name in names] == hosts
            assert [one.metrics for one in listeners] == [False, True]
            assert told(listeners) == f"{listeners[0].url}, metrics on {listeners[1].url}"


def test_what_cannot_be_had_is_named_and_the_rest_let_go(tmp_path: Path) -> None:
    with listening(Where(port=0)) as (one,):
        taken = one.socket.getsockname()[1]
        for where in (
            Where(port=taken),
            Where(port=0, metrics_port=taken),
            Where(unix=tmp_path / "s", metrics_port=taken),
        ):
            with pytest.raises(InputError, match=f"127.0.0.1 port {taken}: Address already in use"), listening(where):
                pass
    with (
        pytest.raises(InputError, match="a Unix socket is not encrypted"),
        listening(Where(unix=tmp_path / "s"), encrypted=True),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_listener_that_refuses_drops_who_comes_and_keeps_who_waits() -> None:
    with listening(Where(port=0)) as (one,):
        address = one.socket.getsockname()
        with socket.create_connection(address, timeout=5) as waiting:
            one.refuse()
            with pytest.raises(TimeoutError):
                socket.create_connection(address, timeout=0.3)
            accepted, _ = one.socket.accept()
            accepted.sendall(b"hello")
            accepted.close()
            assert waiting.recv(100) == b"hello"


def test_wrong_options_end_the_command_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for options, line in (
            (
                ("--port", port),
                f"Error: cannot listen on 127.0.0.1 port {port}: Address already in use; choose another host or port\n",
            ),
            (
                ("--port", "0", "--metrics-port", port),
                f"Error: cannot listen on 127.0.0.1 port {port}: Address already in use; choose another host or port\n",
            ),
            (
                ("--port", "0", "--metrics-host", "127.0.0.1"),
                "Error: --metrics-host goes with --metrics-port, which says on which port\n",
            ),
            (
                ("--unix", tmp_path / "file"),
                f"Error: cannot listen on unix:{tmp_path}/file: it exists and is no socket; choose another path\n",
            ),
        ):
            started = time.monotonic()
            with command(*options) as (running, said):
                assert running.wait(timeout=10) == 2
            assert time.monotonic() - started < 5
            assert said == [line, ""]


def test_addresses_are_said_at_the_start() -> None:
    with command("--port", "0", "--metrics-port", "0") as (_, said):
        url, metrics = addresses(said[-1])
        assert said[-1].endswith(f" on {url}, metrics on {metrics}\n")
        assert (len(said), url == metrics) == (1, False)


def test_connections_beyond_the_limit_of_the_process_do_no_lasting_harm() -> None:
    words = ["sh", "-c", 'ulimit -n 64; exec "$@"', "sh", sys.executable, "-m", "vae_detect", "serve"]
    env = {"PYTHONPATH": str(ROOT / "src"), "VAE_DETECT_SERVE_MODEL": str(MODEL), "VAE_DETECT_SERVE_PORT": "0"}
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=env) as running, contextlib.ExitStack() as held:
        try:
            assert running.stderr is not None
            (url,) = addresses(running.stderr.readline())
            descriptors = Path(f"/proc/{running.pid}/fd")
            before = len([*descriptors.iterdir()])
            for _ in range(150):
                held.enter_context(connect(url))
            held.close()
            for _ in range(100):  # leave in the middle of a head
                with connect(url) as connection:
                    connection.sendall(b"POST /score HTTP/1.1\r\nContent-Le")
            assert httpx.get(f"{url}/readyz").status_code == 200
            assert len([*descriptors.iterdir()]) <= before + 1
            running.terminate()
            assert running.communicate(timeout=10)[1] == ""
            assert running.returncode == 0
        finally:
            running.kill()
