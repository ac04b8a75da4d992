"""Lines of a pipe, and lines out: at once, whoever goes away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import MODEL
from numpy.typing import NDArray

from vae_detect.runtime.detector import Detector
from vae_detect.runtime.errors import UnavailableError
from vae_detect.runtime.rows.csv_text import MAX_LINE_BYTES
from vae_detect.runtime.rows.line_protocol import parse_metric
from vae_detect.runtime.streams.line_sinks import FileSink
from vae_detect.runtime.streams.samples import Answer, Sample
from vae_detect.runtime.streams.stdin import StdinSource

Floats = NDArray[np.float32]
COMMAND = [sys.executable, "-m", "vae_detect", "stream", "-m", str(MODEL), "--from", "-"]


@pytest.fixture
def piped() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [*COMMAND, "--to", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    yield process
    process.kill()
    process.communicate()


def line_of(row: Floats) -> bytes:
    return json.dumps(row.tolist()).encode() + b"\n"


def test_each_line_is_answered_before_the_next_comes(
    piped: subprocess.Popen[bytes], normal_rows: Floats, detector: Detector
) -> None:
    assert piped.stdin is not None
    assert piped.stdout is not None
    took = []
    for row in normal_rows[:10]:
        began = time.monotonic()
        piped.stdin.write(line_of(row))
        piped.stdin.flush()
        assert json.loads(piped.stdout.readline())["score"] == detector.score(row[None]).score.item()
        took.append(time.monotonic() - began)
    assert sorted(took[1:])[len(took) // 2] < 0.1
    piped.stdin.write(line_of(normal_rows[10]).rstrip())  # the last line has no end
    rest, said = piped.communicate()
    assert len(rest.splitlines()) == 1
    assert piped.returncode == 0
    assert b"11 samples, 0 without a row" in said


def test_a_line_that_is_too_long_is_refused_and_skipped(piped: subprocess.Popen[bytes], normal_rows: Floats) -> None:
    good = line_of(normal_rows[0])
    found, said = piped.communicate(good + b"1" * (3 * MAX_LINE_BYTES) + b"\n" + good)
    told = [json.loads(line) for line in found.splitlines()]
    assert [one["status"] for one in told] == ["ok", "bad", "ok"]
    assert told[1]["reason"] == f"is longer than {MAX_LINE_BYTES} bytes"
    assert b"Traceback" not in said


def test_a_reader_that_goes_ends_it_quietly(piped: subprocess.Popen[bytes], normal_rows: Floats) -> None:
    assert piped.stdin is not None
    assert piped.stdout is not None
    piped.stdin.write(line_of(normal_rows[0]))
    piped.stdin.flush()
    piped.stdout.readline()
    piped.stdout.close()
    for _ in range(3):
        try:
            piped.stdin.write(line_of(normal_rows[0]))
            piped.stdin.flush()
            time.sleep(0.2)
        except BrokenPipeError:
            break
    assert piped.wait(10) == 141
    assert piped.stderr is not None
    assert b"Traceback" not in piped.stderr.read()


def test_sigterm_ends_it_with_nothing_lost(piped: subprocess.Popen[bytes], normal_rows: Floats) -> None:
    assert piped.stdin is not None
    assert piped.stdout is not None
    piped.stdin.write(line_of(normal_rows[0]) * 50)
    piped.stdin.flush()
    first = piped.stdout.readline()
    piped.terminate()
    assert piped.wait(10) == 0
    assert first
    assert len(piped.stdout.read().splitlines()) == 49


def test_it_is_a_processor_of_telegraf(piped: subprocess.Popen[bytes], detector: Detector, normal_rows: Floats) -> None:
    names = [column.name for column in detector.bundle.columns]
    fields = ",".join(f"{name}={cell!r}" for name, cell in zip(names, normal_rows[0].tolist(), strict=True))
    lines = [f"pump,site=n {fields} 1767592800000000000", "cpu,host=a usage=5i 1767592800000000000"]
    found, _ = piped.communicate("\n".join(lines).encode() + b"\n")
    scored, other = found.splitlines()
    metric = parse_metric(scored)
    assert metric is not None
    assert metric.tags == {"site": "n"}
    assert metric.timestamp == 1767592800000000000
    assert metric.fields["score"] == detector.score(normal_rows[:1]).score.item()
    assert other == lines[1].encode()


def test_closing_wakes_a_source_that_waits() -> None:
    read, write = os.pipe()
    source = StdinSource(read)
    batches = source.batches()
    os.write(write, b"a\nb\n")
    assert [sample.payload for sample in next(batches)] == [b"a", b"b"]
    source.close()
    began = time.monotonic()
    assert [*batches] == []
    assert time.monotonic() - began < 0.5
    os.close(read)
    os.close(write)


def test_a_file_is_appended_to_and_a_torn_line_is_ended(tmp_path: Path) -> None:
    path, done = tmp_path / "out.jsonl", list[Sample]()
    path.write_bytes(b"whole\ntorn")
    sink = FileSink(path)
    sample = Sample(b"")
    sink.send([Answer(sample, b"a"), Answer(sample, b""), Answer(sample, b"b\nc")], done.extend)
    assert path.read_bytes() == b"whole\ntorn\na\nb\nc\n"
    assert done == [sample] * 3
    sink.close()


def test_a_full_disk_ends_it_and_nothing_is_done() -> None:
    done = list[Sample]()
    sink = FileSink(Path("/dev/full"))
    with pytest.raises(UnavailableError, match="/dev/full: cannot be written: No space left"):
        sink.send([Answer(Sample(b""), b"a")], done.extend)
    assert done == []
    sink.close()
