"""Commands as processes: the exit code of every end, and what is left behind."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import MODEL, ROOT, run_here

COMMAND = f"{sys.executable} -m vae_detect"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, normal_csv: Path) -> Path:
    """The current folder, with a recording."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    shutil.copy(normal_csv, "in.csv")
    return tmp_path


def shell(command: str, **env: str) -> subprocess.CompletedProcess[bytes]:
    """A line of bash; `vd` is the command and `model` the committed detector."""
    line = command.replace("vd ", f"{COMMAND} ").replace("model", str(MODEL))
    return subprocess.run(["bash", "-c", line], capture_output=True, timeout=60, check=False, env={**os.environ, **env})


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("vd score in.csv -m model > /dev/full", 3, "standard output: No space left on device"),
        ("vd --help > /dev/full", 3, "standard output: No space left on device"),
        ("vd score in.csv -m model >&-", 3, "standard output: it is closed"),
        ("vd score - -m model <&-", 3, "standard input: it is closed"),
        ("vd score in.csv -m model --out out.csv >&- <&-", 0, "1440 scored"),
        ("vd score in.csv -m model --out out.csv 2>/dev/full", 0, ""),
        ("vd nosuch 2>/dev/full", 2, ""),
        ("vd score nosuch.csv -m model 2>&-", 2, ""),
        ("ulimit -f 1; vd score in.csv -m model --out out.csv", 3, "out.csv: cannot be written: File too large"),
        ("vd score in.csv -m model --out no/out.csv", 2, "no/out.csv: cannot be written: No such file"),
        ("vd score in.csv -m model --out ''", 2, "--out': is empty"),
        ("vd score in.csv -m model | head -n 1; exit ${PIPESTATUS[0]}", 141, ""),
    ],
)
def test_streams_and_disks_end_in_one_line_and_their_code(here: Path, command: str, code: int, said: str) -> None:
    done = shell(command)
    assert done.returncode == code, done.stderr
    assert said in done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert b"Exception" not in done.stderr
    assert {path.name for path in here.iterdir()} <= {"in.csv", "out.csv"}


def test_a_fault_of_ours_is_one_line_and_a_traceback_only_when_asked(here: Path) -> None:
    code = (
        "import vae_detect.runtime.commands.simulate as m, vae_detect.cli as c\n"
        "def parse(_): raise KeyError('x\\ny')\n"
        "m.parse_duration = parse; c.main()"
    )
    for debug in ("", "1"):
        done = subprocess.run(
            [sys.executable, "-c", code, "simulate"],
            capture_output=True, text=True, check=False, env={**os.environ, "VAE_DETECT_DEBUG": debug},
        )  # fmt: skip
        assert done.returncode == 5
        assert ("Traceback" in done.stderr) == bool(debug)
        assert "Error: KeyError: 'x\\ny' - this is a fault of vae-detect" in done.stderr
        assert "VAE_DETECT_DEBUG=1" in done.stderr
        assert len(done.stderr.splitlines()) == 1 or debug


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_at_any_moment_leaves_nothing(here: Path, number: signal.Signals) -> None:
    """The command waits for more of its input while the signal comes."""
    os.mkfifo("pipe")
    for wait_s in (0.0, random.Random(number).random() / 2):
        with (here / "said").open("wb") as said:
            command = [sys.executable, "-m", "vae_detect", "score", "pipe", "-m", str(MODEL), "--out", "out.csv"]
            slow = subprocess.Popen(command, stderr=said)
        with (here / "pipe").open("wb") as pipe:
            pipe.write((here / "in.csv").read_bytes())
            pipe.flush()
            while not any(here.glob("out.csv.*.tmp")):
                assert slow.poll() is None
                time.sleep(0.01)
            time.sleep(wait_s)
            slow.send_signal(number)
            assert slow.wait(30) == 128 + number
        assert (here / "said").read_text() == f"Stopped by {number.name}\n"
        assert {path.name for path in here.iterdir()} == {"in.csv", "pipe", "said"}


def test_a_signal_while_torch_is_imported_ends_without_a_traceback(here: Path) -> None:
    for wait_s in (0.3,):
        training = subprocess.Popen(f"exec {COMMAND} train in.csv --out m.onnx epochs=9999 patience=9999", shell=True,
                                    stderr=subprocess.PIPE)  # fmt: skip
        while not (here / ".m.onnx.lock").exists():
            time.sleep(0.01)
        time.sleep(wait_s)
        training.terminate()
        _, said = training.communicate(timeout=60)
        assert training.returncode == 143, said
        assert said.endswith(b"Stopped by SIGTERM\n")
        assert b"Traceback" not in said
        assert {path.name for path in here.iterdir()} <= {"in.csv", "m.checkpoint"}


def test_sighup_that_was_ignored_stays_ignored(here: Path) -> None:
    done = shell("trap '' HUP; vd score <(cat in.csv; sleep 1) -m model --out a.csv & sleep 0.7; kill -HUP $!; wait $!")
    assert done.returncode == 0, done.stderr


def test_bad_rows_have_their_exit_code(here: Path) -> None:
    header, first, *_ = (here / "in.csv").read_text().splitlines()
    bad = ",".join(["x"] * len(header.split(",")))
    (here / "all.csv").write_text(f"{header}\n{bad}\n{bad}\n")
    (here / "one.csv").write_text(f"{header}\n{first}\n{bad}\n")
    for name, code in (("all", 4), ("one", 0)):
        assert run_here("score", f"{name}.csv", "-m", MODEL, "--fail-on-anomaly").returncode == code
        assert shell(f"vd score - -m model < {name}.csv").returncode == code
        assert run_here("reconstruct", f"{name}.csv", "-m", MODEL, "--out", f"{name}.out.csv").returncode == code
    failed = run_here("score", "one.csv", "-m", MODEL, "--on-bad-row", "fail")
    assert failed.returncode == 4
    assert "row 1" in failed.stderr


def test_what_is_read_is_never_replaced(here: Path) -> None:
    shutil.copy(MODEL, "m.onnx")
    for name in ("encoder", "decoder"):
        shutil.copy(MODEL.with_name(f"vae.{name}.onnx"), f"m.{name}.onnx")
    (here / "link.csv").symlink_to("in.csv")
    os.link("in.csv", "hard.csv")
    (here / "model.csv").symlink_to("m.onnx")
    (here / "part.csv").symlink_to("m.decoder.onnx")
    (here / "t.onnx").symlink_to("in.csv")
    before = {path.name: path.read_bytes() for path in here.iterdir()}
    model = ("--model", "m.onnx")
    tries: list[tuple[str, ...]] = [
        *(("score", "in.csv", *model, "--out", f"{out}.csv") for out in ("in", "link", "hard", "model", "part")),
        ("score", "link.csv", *model, "--out", "in.csv"),
        ("encode", "in.csv", *model, "--out", "link.csv"),
        ("reconstruct", "in.csv", *model, "--out", "./in.csv"),
        ("sample", *model, "--out", "model.csv"),
        ("evaluate", "in.csv", *model, "--labels", "hard.csv", "--report", "link.csv"),
        ("train", "in.csv", "--out", "t.onnx"),
        ("finetune", *model, "--labels", "in.csv", "--out", "m.onnx"),
    ]
    for arguments in tries:
        done = run_here(*arguments, "--force")
        assert done.returncode == 2, (arguments, done.stderr)
        assert "what this command reads; write to another file" in done.stderr, arguments
    assert {path.name: path.read_bytes() for path in here.iterdir()} == before


def test_data_is_utf_8_in_every_locale(here: Path) -> None:
    header, first, *_ = (here / "in.csv").read_text().splitlines()
    (here / "rows.csv").write_text(f"{header}\n{first.rsplit(',', 1)[0]},7°\n{first}\n")
    for env in ({"LC_ALL": "C", "PYTHONUTF8": "0"}, {"PYTHONIOENCODING": "ascii"}):
        done = shell("vd score - -m model < rows.csv", **env)
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.decode().splitlines()) == 2
        assert "7°" in done.stdout.decode()


def test_rank_alone_delays_no_error(here: Path) -> None:
    begin = time.monotonic()
    assert shell("vd score nosuch.csv -m model; vd train nosuch.csv --out m.onnx", RANK="1").returncode == 2
    assert time.monotonic() - begin < 8
