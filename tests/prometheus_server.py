"""A real Prometheus in a process of its own, with samples of long ago in it."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

CONFIG = "global: {scrape_interval: 1h}\n"


def backfill(folder: Path, series: Mapping[str, Sequence[tuple[float, float]]]) -> None:
    """Makes the blocks of a Prometheus in a folder from samples, (seconds, value), by metric with its labels."""
    lines: list[str] = []
    for name, samples in series.items():
        lines += [f"# TYPE {name.partition('{')[0]} gauge"] if name.partition("{")[0] not in "".join(lines) else []
        lines += [f"{name} {value} {seconds}" for seconds, value in samples]
    text = folder / "samples.om"
    text.write_text("\n".join([*lines, "# EOF\n"]))
    words = [
        _program("promtool"),
        "tsdb",
        "create-blocks-from",
        "openmetrics",
        "--max-block-duration=720h",
        str(text),
        str(folder / "data"),
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@contextlib.contextmanager
def prometheus(folder: Path, *options: str) -> Iterator[str]:
    """Where one with the blocks of this folder answers, HOST:PORT, until the block ends."""
    program = _program("prometheus")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{free.getsockname()[1]}"
    config = folder / "prometheus.yml"
    config.write_text(CONFIG)
    words = [program, f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
    words += [f"--web.listen-address={where}", "--storage.tsdb.retention.time=100y", *options]
    with (folder / "log").open("w") as log, subprocess.Popen(words, stdout=log, stderr=log) as running:
        try:
            _wait_until_ready(where, running, folder / "log")
            yield where
        finally:
            running.kill()


def _wait_until_ready(where: str, running: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(200):
        assert running.poll() is None, log.read_text()
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{where}/-/ready", timeout=5):
            return
        time.sleep(0.05)
    raise AssertionError(log.read_text())


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian package prometheus)")
    return found
