"""A server in a process of its own, and clients of it that know nothing but sockets."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from conftest import MODEL, ROOT

SERVE = """
import json, sys
from vae_detect.runtime.detector import Detector
from vae_detect.runtime.errors import VaeDetectError
from vae_detect.runtime.service import connection, server
from vae_detect.runtime.service.listening import Where
from vae_detect.runtime.service.logs import Log
vars(connection).update(json.loads(sys.argv[4]))
try:
    server.serve(
        lambda: Detector.load(sys.argv[1], provider="cpu"),
        name="pump", where=Where(sys.argv[2], int(sys.argv[3])), log=Log(lambda line: print(line, flush=True)),
    )
except VaeDetectError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


@contextlib.contextmanager
def process(
    model: Path = MODEL, host: str = "127.0.0.1", port: int = 0, **limits: float
) -> Iterator[subprocess.Popen[str]]:
    """It serves, with these limits of the module `connection` in place of its own, until the block ends."""
    command = [sys.executable, "-c", SERVE, str(model), host, str(port), json.dumps(limits)]
    env = {"PYTHONPATH": str(ROOT / "src"), "PYTHONWARNINGS": "error"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as running:
        try:
            yield running
        finally:
            running.kill()


def url_of(running: subprocess.Popen[str]) -> str:
    """Where it serves, once it says so."""
    assert running.stdout is not None
    line = running.stdout.readline()
    assert line.startswith("serving "), line + running.communicate()[1]
    return line.split()[-1]


def connect(url: str) -> socket.socket:
    host, _, port = url.removeprefix("http://").rpartition(":")
    return socket.create_connection((host, int(port)), timeout=10)


def read_all(connection: socket.socket) -> bytes:
    """Everything until the other side closes."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := connection.recv(65536):
            received += chunk
    return received


def read_answer(connection: socket.socket) -> bytes:
    """One answer of /score, which ends in a brace."""
    received = b""
    while not received.endswith(b"]}"):
        received += connection.recv(65536)
    return received


def post(body: bytes, *headers: str, path: str = "/score") -> bytes:
    """A request as it goes over the wire."""
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "\r\n"]).encode() + body
