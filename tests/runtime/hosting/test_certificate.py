"""TLS: what files it takes, and clients of all kinds on a real server that speaks it."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import ssl
import struct
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from conftest import parse
from server_process import addresses, certificate, command, post, process, read_all, read_answer, url_of

from vae_detect.runtime.errors import InputError
from vae_detect.runtime.hosting.certificate import Certificate

ROW = b"[1450,172,1,3,33,19,40,2]"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def trusting(pair: tuple[Path, Path]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=pair[0])


@pytest.fixture(scope="module")
def live(pair: tuple[Path, Path]) -> Iterator[tuple[subprocess.Popen[str], int]]:
    with process(tls=pair) as running:
        yield running, port_of(running)


def port_of(running: subprocess.Popen[str]) -> int:
    url = url_of(running)
    assert url.startswith("https://127.0.0.1:")
    return int(url.rpartition(":")[2])


def rows(n: int) -> bytes:
    return b"[" + b",".join([ROW] * n) + b"]"


def connect(port: int, trusting: ssl.SSLContext) -> ssl.SSLSocket:
    return trusting.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=10), server_hostname="localhost")


def test_files_that_make_no_certificate_are_named(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    made, key = pair
    _, other = certificate(tmp_path, name="other")
    broken, locked = tmp_path / "broken.pem", tmp_path / "locked.key"
    broken.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    words = ["openssl", "pkey", "-in", str(key), "-aes256", "-passout", "pass:secret", "-out", str(locked)]
    subprocess.run(words, check=True, capture_output=True)
    absent = tmp_path / "absent"
    for first, second, message in (
        (absent, key, f"{absent}: No such file or directory"),
        (made, absent, f"{absent}: No such file or directory"),
        (tmp_path, key, f"{tmp_path}: Is a directory"),
        (key, key, f"{key}: holds no certificate in PEM form"),
        (made, made, f"{made}: holds no private key in PEM form"),
        (made, other, f"the key {other} does not belong to the certificate {made}"),
        (broken, key, f"{broken} and {key} cannot be used for TLS: "),
        (made, locked, f"{locked}: needs a passphrase; `openssl pkey -in {locked}` writes the key without one"),
    ):
        with pytest.raises(InputError) as caught:
            Certificate(first, second)
        assert str(caught.value).startswith(message)


def test_options_that_make_no_certificate_end_the_command(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    made, key = pair
    for options, message in (
        (("--tls-cert", made), "Error: --tls-cert needs --tls-key: a certificate and its key go together\n"),
        (("--tls-key", key), "Error: --tls-key needs --tls-cert: a certificate and its key go together\n"),
        (("--tls-cert", key, "--tls-key", key), f"Error: {key}: holds no certificate in PEM form\n"),
        (
            ("--tls-cert", made, "--tls-key", key, "--unix", tmp_path / "sock"),
            "Error: a Unix socket is not encrypted: leave out --tls-cert and --tls-key, or the socket\n",
        ),
    ):
        started = time.monotonic()
        with command("--port", "0", *options) as (running, said):
            assert running.wait(timeout=10) == 2
        assert time.monotonic() - started < 5
        assert said == [message, ""]
    assert not (tmp_path / "sock").exists()
    key.chmod(0o644)
    with command("--port", "0", "--tls-cert", made, "--tls-key", key) as (_, said):
        key.chmod(0o600)
        assert said[0] == f"warning: {key} can be read by other users (mode 0644): chmod 600 {key}\n"


def test_a_reload_changes_a_context_that_is_in_use_or_nothing(tmp_path: Path) -> None:
    (made, key), (other, other_key) = certificate(tmp_path), certificate(tmp_path, name="other")
    certificates = Certificate(made, key)
    used = certificates.context
    made.write_bytes(other.read_bytes())
    with pytest.raises(InputError, match="does not belong"):
        certificates.reload()
    assert shown(used) == b"localhost"
    key.write_bytes(other_key.read_bytes())
    certificates.reload()
    assert shown(used) == b"other"


def shown(context: ssl.SSLContext) -> bytes:
    """The name in the certificate that a server with this context shows."""
    ours, theirs = socket.socketpair()
    with ours, theirs, ThreadPoolExecutor(1) as pool:
        trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        serving = pool.submit(context.wrap_socket, theirs, server_side=True)
        with trusting.wrap_socket(ours) as connection, serving.result(timeout=5):
            found = connection.getpeercert(binary_form=True)
    assert found is not None
    return next(name for name in (b"localhost", b"other") if name in found)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1:DeprecationWarning")
def test_versions_from_1_2_on_are_spoken(
    live: tuple[object, int], trusting: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    trusting.set_ciphers("DEFAULT:@SECLEVEL=0")
    trusting.minimum_version = trusting.maximum_version = version
    try:
        with connect(live[1], trusting) as connection:
            connection.sendall(post(ROW))
            assert read_answer(connection).startswith(b"HTTP/1.1 200 ")
            assert version != ssl.TLSVersion.TLSv1_1
    except (ssl.SSLError, ConnectionResetError):
        assert version == ssl.TLSVersion.TLSv1_1


@pytest.mark.parametrize("n", [1, 2500, 60_000])
def test_small_and_large_answers_arrive_whole(live: tuple[object, int], trusting: ssl.SSLContext, n: int) -> None:
    with connect(live[1], trusting) as connection:
        for last in (False, True):  # on one connection, and then with its end
            connection.sendall(post(rows(n), *(["Connection: close"] if last else [])))
            answer = read_all(connection) if last else read_answer(connection)
            head, _, body = answer.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            assert len(json.loads(body)["results"]) == n


def test_a_refusal_reaches_a_client_that_is_still_sending(live: tuple[object, int], trusting: ssl.SSLContext) -> None:
    with connect(live[1], trusting) as connection:
        connection.sendall(post(b" " * 17_000_000, "Connection: close"))
        assert read_all(connection).startswith(b"HTTP/1.1 413 ")


def test_odd_clients_are_cut_off_and_fill_no_log(pair: tuple[Path, Path], trusting: ssl.SSLContext) -> None:
    with process(tls=pair, HEAD_S=1.0, READ_S=0.7) as running:
        port = port_of(running)
        started = time.monotonic()
        with socket.create_connection(("127.0.0.1", port), timeout=10) as silent, connect(port, trusting) as idle:
            assert read_all(silent) == b""  # a handshake that never begins
            assert read_all(idle) == b""  # a head that never begins
        assert 0.8 < time.monotonic() - started < 5
        for junk in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"\x00" * 500, b""):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
                plain.sendall(junk)
                plain.shutdown(socket.SHUT_WR)
                assert b"HTTP/1.1 2" not in read_all(plain)
        for reset in (False, True):  # leave while they are answered, one way or the other, or close one side
            for data in (post(rows(1))[:-5], post(rows(5000))[:60_000], post(rows(2500)), post(rows(30_000))):
                connection = connect(port, trusting)
                connection.sendall(data)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", reset, 0))
                connection.close()
                connection = connect(port, trusting)
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                connection.close()
                connection = connect(port, trusting)
                connection.sendall(data)
                with contextlib.suppress(OSError):  # there is data where the other end should be
                    connection.unwrap()
                connection.close()
        slow = connect(port, trusting)
        slow.sendall(post(rows(60_000)))
        with httpx.Client(base_url=f"https://localhost:{port}", verify=trusting) as client:
            deadline = time.monotonic() + 15
            refused = "vae_detect_requests_total[('code', '400'), ('route', 'score')]"
            while parse(client.get("/metrics").text)[refused] < 5:
                assert time.monotonic() < deadline
                time.sleep(0.1)
            time.sleep(1)
            assert not read_all(slow).endswith(b"]}")
            slow.close()
            series = parse(client.get("/metrics").text)
            assert series["vae_detect_requests_total[('code', '500'), ('route', 'score')]"] == 0
            assert series["process_open_fds[]"] < 20
        running.send_signal(signal.SIGTERM)
        assert running.communicate(timeout=15)[1] == ""
        assert running.returncode == 0


def test_a_stop_cuts_no_request_off(pair: tuple[Path, Path], trusting: ssl.SSLContext) -> None:
    def work(port: int) -> tuple[int, int]:
        with httpx.Client(base_url=f"https://localhost:{port}", verify=trusting) as keeping:
            for answered in range(1, 100_000):
                response = keeping.post("/score", content=ROW)
                if response.status_code != 200 or response.headers.get("connection") == "close":
                    return answered, response.status_code
        raise AssertionError("the server does not stop")

    with process(tls=pair) as running, ThreadPoolExecutor(4) as pool:
        port = port_of(running)
        working = [pool.submit(work, port) for _ in range(4)]
        idle, begun = (connect(port, trusting) for _ in range(2))
        with idle, begun:
            begun.sendall(post(ROW)[:20])
            time.sleep(0.3)
            started = time.monotonic()
            running.send_signal(signal.SIGTERM)
            assert [one.result(timeout=10)[1] for one in working] == [200] * 4
            assert min(one.result()[0] for one in working) > 0
            time.sleep(0.5)
            begun.sendall(post(ROW)[20:])
            assert read_answer(begun).startswith(b"HTTP/1.1 200 ")
            # `idle` does not answer to the end of its TLS connection, and is not waited for.
            assert running.communicate(timeout=15)[1] == ""
            assert time.monotonic() - started < 6
        assert running.returncode == 0


def test_others_are_trusted_by_their_name(pair: tuple[Path, Path], trusting: ssl.SSLContext) -> None:
    with command("--port", "0", "--host", "localhost", "--tls-cert", pair[0], "--tls-key", pair[1]) as (_, said):
        (url,) = addresses(said[-1])
        assert httpx.get(f"{url}/healthz", verify=trusting).json() == {"status": "ok"}
