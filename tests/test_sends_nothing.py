"""Nothing is sent anywhere: the service and the commands work where there is no network, and never ask for one."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import MODEL, ROOT

USE = """
import fcntl, http.client, json, re, signal, socket, struct, subprocess, sys
with socket.socket() as any_socket:  # loopback is down in a new network
    flags = struct.pack("16sh", b"lo", 0x1 | 0x40)  # IFF_UP, IFF_RUNNING
    if sys.argv[1] == "up":
        fcntl.ioctl(any_socket, 0x8914, flags)  # SIOCSIFFLAGS
model, command = sys.argv[2], [sys.executable, "-m", "vae_detect"]
options = ["serve", "--model", model, "--port", "0", "--watch"]
serving = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)
port = int(re.search(r":(\\d+)$", serving.stderr.readline())[1])
row = [1450, 172, 1, 3, 33, 19, 40, 2]
tensor = {"name": "x", "shape": [1, 8], "datatype": "FP32", "data": row}
asked = [
    ("POST", "/score", row), ("POST", "/score?explain=1", [row] * 3000), ("POST", "/score", ["bad"]),
    ("POST", "/v2/models/vae/infer", {"inputs": [tensor]}), ("POST", "/v2/repository/models/vae/load", {}),
    ("GET", "/metrics", None), ("GET", "/readyz", None), ("GET", "/model", None), ("GET", "/nowhere", None),
]
told = []
for method, path, body in asked:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, json.dumps(body) if body else None)
    response = connection.getresponse()
    response.read()
    told.append(response.status)
    connection.close()
serving.send_signal(signal.SIGHUP)
health = subprocess.run([*command, "health", "--url", f"http://127.0.0.1:{port}"], capture_output=True, check=False)
serving.send_signal(signal.SIGTERM)
codes = [serving.wait(20), health.returncode]
lines = (json.dumps(row) + "\\n") * 3
for words in (["score", "-", "--model", model], ["inspect", model], ["doctor", "--model", model]):
    done = subprocess.run([*command, *words], input=lines, text=True, capture_output=True, check=False)
    codes.append(done.returncode)
print(json.dumps({"told": told, "codes": codes}))
"""
EXPECTED = {"told": [200, 200, 400, 200, 200, 200, 200, 200, 404], "codes": [0, 0, 0, 0]}
"""Of `doctor` the code is left out: what it finds is odd, or not, on this machine."""


def used(*before: str, loopback: str = "") -> dict[str, list[int]]:
    """What the statuses and exit codes were."""
    words = [*before, sys.executable, "-c", USE, loopback, str(MODEL)]
    kept = {name: value for name, value in os.environ.items() if name != "CI" and not name.startswith("ORT_")}
    environment = {**kept, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    found: dict[str, list[int]] = json.loads(done.stdout)
    found["codes"].pop()
    return found


def test_everything_works_in_a_network_without_a_way_out() -> None:
    alone = ("unshare", "--net", "--map-root-user")
    if not shutil.which("unshare") or subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no network of its own can be made here (unshare --net, user namespaces)")
    assert used(*alone, loopback="up") == EXPECTED


def test_no_other_machine_is_ever_spoken_to(tmp_path: Path) -> None:
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed (Debian package strace)")
    calls = tmp_path / "calls"
    tracing = (strace, "-f", "-ff", "-e", "trace=connect,sendto,sendmsg,bind", "-o", str(calls))
    if subprocess.run([*tracing, "true"], capture_output=True, check=False).returncode:
        pytest.skip("processes cannot be traced here (strace)")
    assert used(*tracing) == EXPECTED
    text = "".join(path.read_text(errors="replace") for path in tmp_path.iterdir())
    assert 'sin_addr=inet_addr("127.0.0.1")' in text  # it was traced
    addresses = re.findall(r'(?:inet_addr\("|inet_pton\(AF_INET6, ")([^"]+)"', text)
    assert {*addresses} <= {"127.0.0.1", "::1"}
