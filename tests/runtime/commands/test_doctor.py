"""vae-detect doctor, as it is typed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import MODEL, ROOT, run_here

pytestmark = pytest.mark.usefixtures("own_folder")


def test_a_line_for_each_check_and_a_sum() -> None:
    done = run_here("doctor", "--model", MODEL, "--provider", "cpu")
    assert (done.returncode, done.stderr) == (0, "")
    *lines, blank, last = done.stdout.splitlines()
    assert blank == ""
    assert last.endswith(" worth a look")
    assert {line[:9].strip() for line in lines} <= {"fine", "look", "unknown", ""}
    assert "8 golden inputs score on cpu as recorded" in " ".join(done.stdout.split())
    assert max(map(len, lines)) <= 110 + len(str(MODEL))


def test_the_same_as_json() -> None:
    done = run_here("doctor", "--model", MODEL, "--provider", "cpu", "--json")
    assert done.returncode == 0
    answer = json.loads(done.stdout)
    assert answer["checks"]["model"]["export_id"] == "0fc2e898d8035d70"
    assert {"state", "found", "advice"} <= answer["checks"]["processor"].keys()
    assert answer["checks"]["speed"]["settings"][0]["provider"] == "cpu"
    assert Path.cwd().samefile(answer["checks"]["folder"]["folder"])


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_something_wrong_is_exit_code_3_and_all_is_said(form: list[str], tmp_path: Path) -> None:
    done = run_here("doctor", "--model", tmp_path / "absent.onnx", "--ep-library", "tpu=absent.so", *form)
    assert (done.returncode, done.stderr) == (3, "")
    for words in ("wrong", "open files", "absent.onnx: no such file", "absent.so: no such file"):
        assert words in " ".join(done.stdout.split())


def test_a_clock_that_is_wrong_is_exit_code_3(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a board without a battery, before it has asked for the time."""
    monkeypatch.setattr("time.time", lambda: 5.0)
    done = run_here("doctor")
    assert done.returncode == 3
    assert "1970-01-01T00:00:05Z, which is before vae-detect was written: it is wrong" in done.stdout


NO_ONNXRUNTIME = """
import sys
from importlib import metadata
real = metadata.version
def version(name):
    if name.startswith("onnxruntime"):
        raise metadata.PackageNotFoundError(name)
    return real(name)
metadata.version = version
sys.modules["onnxruntime"] = None
from vae_detect.cli import main
main()
"""


def test_without_onnxruntime_it_says_so_and_goes_on() -> None:
    done = subprocess.run(
        [sys.executable, "-c", NO_ONNXRUNTIME, "doctor", "--model", MODEL],
        env={"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (3, "")
    assert "wrong ONNX Runtime no ONNX Runtime is installed" in " ".join(done.stdout.split())
    assert "open files" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--provider", "gpu"], "'gpu' is not one of"),
        (["--threads", "0"], "--threads"),
        (["--model", ""], "is empty; name a file"),
        (["--ep-library", "tpu"], "'tpu' is not NAME=PATH"),
    ],
)
def test_wrong_usage(arguments: list[str], words: str) -> None:
    done = run_here("doctor", *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stdout == ""
