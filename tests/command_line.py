"""The installed command as a process, and what is looked for in its answers."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

COMMAND = str(Path(sys.executable).parent / "vae-detect")


def run(*arguments: str | Path, stdin: str | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **env},
    )


def refused(result: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """One understandable refusal: this exit code, these words, no traceback, nothing on standard output."""
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    for word in words:
        assert word in result.stderr


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


class Serving:
    """The service as a process, on a free port, stopped by SIGTERM; its exit code must be 0."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [COMMAND, "serve", "--port", "0", *arguments], stderr=subprocess.PIPE, text=True
        )

    def __enter__(self) -> str:
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        assert " on http://" in line, line
        return line.rsplit(" ", 1)[1].strip()

    def __exit__(self, *_: object) -> None:
        assert self.process.stderr is not None
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=15)
        self.process.stderr.close()
        assert code == 0


def post(url: str, row: NDArray[np.float32]) -> dict[str, list[dict[str, object]]]:
    with urllib.request.urlopen(f"{url}/score", data=json.dumps(row.tolist()).encode(), timeout=10) as reply:
        answer: dict[str, list[dict[str, object]]] = json.load(reply)
    return answer
