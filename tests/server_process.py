"""A server in a process of its own, and clients of it that know nothing but sockets."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from conftest import MODEL, ROOT

SERVE = """
import json, sys
from pathlib import Path
from vae_detect.runtime.detector import Detector
from vae_detect.runtime.errors import VaeDetectError
from vae_detect.runtime.service import connection, server, viewers
from vae_detect.runtime.service.access import Access
from vae_detect.runtime.hosting.certificate import Certificate
from vae_detect.runtime.hosting.listening import Where
from vae_detect.runtime.hosting.logs import Log
from vae_detect.runtime.service.reloading import Plan, Sources
limits, tls = json.loads(sys.argv[4])
exec(sys.argv[5])
for module in (connection, server, viewers):
    vars(module).update({name: value for name, value in limits.items() if name in vars(module)})
try:
    server.serve(
        Plan(Sources.parse(["pump=" + sys.argv[1]]), lambda path: Detector.load(path, provider="cpu")),
        where=Where(sys.argv[2], int(sys.argv[3])), log=Log(lambda line: print(line, flush=True)),
        access=Access(certificate=Certificate(*map(Path, tls)) if tls else None),
    )
except VaeDetectError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


@contextlib.contextmanager
def process(
    model: Path = MODEL,
    host: str = "127.0.0.1",
    port: int = 0,
    tls: tuple[Path, Path] | None = None,
    before: str = "",
    **limits: float,
) -> Iterator[subprocess.Popen[str]]:
    """It serves, with these limits of `connection`, `server` and `viewers` in place of theirs, until the block ends;
    `before` is done first in its process."""
    command = [sys.executable, "-c", SERVE, str(model), host, str(port), json.dumps([limits, tls], default=str), before]
    env = {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), *sys.path]), "PYTHONWARNINGS": "error"}
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


@contextlib.contextmanager
def command(
    *options: str | Path,
    model: Path = MODEL,
    env: Mapping[str, str] | None = None,
    python: str | Path = sys.executable,
) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """`vae-detect serve` with these options, and the lines that it said until it served or ended."""
    words = [str(python), "-m", "vae_detect", "serve", "--model", str(model), *map(str, options)]
    environment = {"PYTHONPATH": str(ROOT / "src"), "PYTHONWARNINGS": "error", "PATH": os.environ["PATH"]}
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment | dict(env or {})) as running:
        try:
            assert running.stderr is not None
            said = [running.stderr.readline()]
            while said[-1] and "serving " not in said[-1]:
                said.append(running.stderr.readline())
            yield running, said
        finally:
            running.kill()


def addresses(line: str) -> list[str]:
    """Where it serves, and then where metrics are."""
    return re.findall(r"(?:https?://[^\s,\"]+|unix:[^\s,\"]+)", line)


def certificate(folder: Path, *, name: str = "localhost", issuer: tuple[Path, Path] | None = None) -> tuple[Path, Path]:
    """A certificate that vouches for itself, or for which an issuer does, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed (Debian package openssl)")
    made, key = folder / f"{name}.pem", folder / f"{name}.key"
    words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    words += ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-keyout", str(key), "-out", str(made)]
    words += ["-CA", str(issuer[0]), "-CAkey", str(issuer[1])] if issuer else []
    subprocess.run([openssl, *words], check=True, capture_output=True)
    key.chmod(0o600)
    return made, key


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
