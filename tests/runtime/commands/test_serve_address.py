"""Where the service listens and is asked for its health: the same settings for both, in a shell and in the image."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import MODEL, ROOT, run_here
from server_process import process, url_of

COMMAND = Path(sys.executable).with_name("vae-detect")
KUBERNETES = "tcp://10.0.0.1:8000"


@contextmanager
def serving(arguments: list[str], **env: str) -> Iterator[tuple[subprocess.Popen[str], list[str], str]]:
    """The command `serve`, what it said at first, and its port."""
    environment = {**os.environ, **env}
    # A hangup that is ignored from the start, as under nohup, would be inherited.
    kept = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    running = subprocess.Popen([COMMAND, *arguments], stderr=subprocess.PIPE, text=True, env=environment)
    signal.signal(signal.SIGHUP, kept)
    with running:
        try:
            assert running.stderr is not None
            said = [running.stderr.readline()]
            while said[-1] and " on http://" not in said[-1]:
                said.append(running.stderr.readline())
            yield running, said, said[-1].rpartition(":")[2].strip()
        finally:
            running.kill()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::", "localhost"])
def test_health_asks_where_serve_listens(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    with process(host=host) as running:
        assert running.stdout is not None
        if host in ("0.0.0.0", "::"):
            running.stdout.readline()  # a warning
        monkeypatch.setenv("VAE_DETECT_SERVE_PORT", url_of(running).rpartition(":")[2])
        monkeypatch.setenv("VAE_DETECT_SERVE_HOST", host)
        done = run_here("health")
        assert (done.stdout, done.stderr) == ("ready\n", "")


@pytest.mark.parametrize(
    ("env", "url"),
    [
        ({}, "http://127.0.0.1:8000/"),
        ({"VAE_DETECT_SERVE_PORT": "1"}, "http://127.0.0.1:1/"),
        ({"VAE_DETECT_SERVE_HOST": "::1", "VAE_DETECT_SERVE_PORT": "1"}, "http://[::1]:1/"),
        ({"VAE_DETECT_HEALTH_URL": "http://127.0.0.1:2", "VAE_DETECT_SERVE_PORT": "1"}, "http://127.0.0.1:2/"),
        ({"VAE_DETECT_SERVE_PORT": KUBERNETES}, "http://127.0.0.1:8000/"),
    ],
)
def test_health_says_where_it_asked(monkeypatch: pytest.MonkeyPatch, env: dict[str, str], url: str) -> None:
    for name, value in {"VAE_DETECT_SERVE_HOST": "", "VAE_DETECT_SERVE_PORT": "", **env}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(
        "vae_detect.runtime.commands.health.check",
        lambda asked, path, timeout, **_: f"{asked}{path} was asked for {timeout:g} s",
    )
    done = run_here("health")
    assert done.returncode == 2
    assert f"Error: {url}readyz was asked for 5 s\n" in done.stderr
    assert done.stderr.count("\n") == (2 if KUBERNETES in env.values() else 1)


def test_a_port_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAE_DETECT_SERVE_PORT", "http")
    for arguments in (["health"], ["serve", "--model", str(MODEL)]):
        done = run_here(*arguments)
        assert done.returncode == 2
        assert "'http' is not a valid integer" in done.stderr
    done = run_here("serve", "--model", str(MODEL), "--port", KUBERNETES)  # typed by a person, it is a mistake
    assert done.returncode == 2


def test_an_address_from_kubernetes_is_no_port() -> None:
    with serving(["serve", "--model", str(MODEL), "--host", "192.0.2.1"], VAE_DETECT_SERVE_PORT=KUBERNETES) as started:
        _, said, _ = started
        assert said[0] == (
            f"VAE_DETECT_SERVE_PORT is {KUBERNETES}, an address that Kubernetes sets and no port; it is ignored\n"
        )
        assert said[1].startswith("Error: cannot listen on 192.0.2.1 port 8000: ")


def test_of_several_models_each_is_told_by_its_name() -> None:
    arguments = ["serve", "--model", f"pump={MODEL}", "--model", f"fan={MODEL}", "--port", "0"]
    with serving(arguments) as (running, said, port):
        assert running.stderr is not None
        lines = [said[-1], running.stderr.readline()]
        where = f" with 268 metric series on http://127.0.0.1:{port}\n"
        assert lines == [f"serving {name}: 0fc2e898d8035d70 (vae, cpu){where}" for name in ("pump", "fan")]


def test_a_hangup_loads_the_model_again_and_keeps_it_where_the_new_one_is_none(tmp_path: Path) -> None:
    model = shutil.copy(MODEL, tmp_path / "pump.onnx")
    with serving(["serve", "--model", str(model), "--port", "0"]) as (running, said, port):
        assert running.stderr is not None
        running.send_signal(signal.SIGHUP)
        assert running.stderr.readline() == f"no model has changed, {said[-1].partition(' with ')[0]}\n"
        Path(model).write_bytes(b"no model")
        running.send_signal(signal.SIGHUP)
        assert running.stderr.readline().startswith("pump is not loaded, 0fc2e898d8035d70 goes on: ")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as reply:
            assert reply.status == 200
        metrics = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode()
        for result, count in (("ok", 0), ("failed", 1)):
            assert f'vae_detect_model_reloads_total{{model="pump",result="{result}"}} {count}.0' in metrics
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=10) == 0


def test_the_image_serves_and_is_asked_where_the_environment_says() -> None:
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").rpartition("\nFROM ")[2]
    words = [word.partition("=") for line in re.findall(r"^ENV (.+)$", text, re.MULTILINE) for word in line.split()]
    env = {name: value for name, _, value in words if name.startswith("VAE_DETECT_")}
    assert env.pop("VAE_DETECT_SERVE_MODEL") == "/models/vae.onnx"
    entry, command = (
        json.loads(re.findall(rf"^{what} (\[.+\])$", text, re.MULTILINE)[0]) for what in ("ENTRYPOINT", "CMD")
    )
    health = json.loads(re.findall(r"^HEALTHCHECK .*CMD (\[.+\])$", text, re.MULTILINE)[0])
    assert (entry, health[0]) == (["vae-detect"], "vae-detect")
    env |= {"VAE_DETECT_SERVE_MODEL": str(MODEL), "VAE_DETECT_SERVE_PORT": "0"}
    with serving(command, **env) as (running, said, port):
        assert said[0].startswith("warning: 0.0.0.0 can be reached from other machines")
        environment = {**os.environ, **env, "VAE_DETECT_SERVE_PORT": port}
        asked = subprocess.run(
            [COMMAND, *health[1:]], env=environment, capture_output=True, text=True, timeout=20, check=False
        )
        assert (asked.returncode, asked.stdout, asked.stderr) == (0, "ready\n", "")
        started = time.monotonic()
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=10) == 0
        assert time.monotonic() - started < 5
