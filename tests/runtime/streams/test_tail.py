"""A file that grows, and everything that is done to log files."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vae_detect.runtime.errors import InputError
from vae_detect.runtime.streams.tail import TailSource


class Follower:
    """Collects what a source gives."""

    def __init__(self, path: Path, *, from_start: bool = False) -> None:
        self.said: list[str] = []
        self.source = TailSource(path, from_start=from_start, say=self.said.append)
        self.lines: list[bytes] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        for samples in self.source.batches():
            self.lines += [sample.payload for sample in samples]

    def expect(self, *lines: bytes) -> None:
        end = time.monotonic() + 5
        while self.lines != [*lines] and time.monotonic() < end:
            time.sleep(0.02)
        assert self.lines == [*lines]

    def stop(self) -> None:
        self.source.close()
        self._thread.join(5)
        assert not self._thread.is_alive()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "log.csv"
    path.write_bytes(b"old\n")
    return path


@pytest.fixture
def follower(path: Path) -> Iterator[Follower]:
    follower = Follower(path)
    yield follower
    follower.stop()


def append(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)


def test_only_what_is_appended_counts_and_half_a_line_waits(path: Path, follower: Follower) -> None:
    append(path, b"a\nb")
    follower.expect(b"a")
    append(path, b"c\n")
    follower.expect(b"a", b"bc")


def test_what_is_there_counts_from_the_start(path: Path) -> None:
    follower = Follower(path, from_start=True)
    append(path, b"a\n")
    follower.expect(b"old", b"a")
    follower.stop()


def test_a_file_may_appear_later_and_is_read_from_its_start(tmp_path: Path) -> None:
    follower = Follower(tmp_path / "later.csv")
    assert "waits for the file" in follower.said[0]
    (tmp_path / "later.csv").write_bytes(b"a\nb\n")
    follower.expect(b"a", b"b")
    follower.stop()


def test_a_renamed_file_is_read_to_its_end_then_the_new_one(path: Path, follower: Follower) -> None:
    append(path, b"a\n")
    follower.expect(b"a")
    path.rename(path.with_suffix(".1"))
    append(path.with_suffix(".1"), b"late\nno end")
    time.sleep(0.3)
    path.write_bytes(b"new\n")
    follower.expect(b"a", b"late", b"no end", b"new")


def test_a_file_that_is_replaced_at_once_is_read_anew(path: Path, follower: Follower) -> None:
    append(path, b"a\n")
    follower.expect(b"a")
    path.with_suffix(".new").write_bytes(b"old\na\nb\n")
    path.with_suffix(".new").replace(path)
    follower.expect(b"a", b"old", b"a", b"b")


def test_a_truncated_file_is_read_from_its_start(path: Path, follower: Follower) -> None:
    append(path, b"a\nhalf")
    follower.expect(b"a")
    os.truncate(path, 0)
    time.sleep(0.3)
    append(path, b"b\n")
    follower.expect(b"a", b"b")
    assert "was written anew" in follower.said[0]


def test_a_file_that_was_cut_and_has_grown_beyond_is_seen(path: Path, follower: Follower) -> None:
    append(path, b"a\n")
    follower.expect(b"a")
    descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC)  # both at once, as between two looks
    os.write(descriptor, b"c1\nc2\nc3\nc4\n")
    os.close(descriptor)
    follower.expect(b"a", b"c1", b"c2", b"c3", b"c4")


def test_zeros_before_a_line_are_passed_over(path: Path, follower: Follower) -> None:
    with path.open("r+b") as file:
        file.seek(0, 2)
        os.truncate(path, 0)  # and the program that writes goes on at its place
        file.write(b"a\n")
    follower.expect(b"a")


def test_a_deleted_file_is_waited_for(path: Path, follower: Follower) -> None:
    path.unlink()
    time.sleep(0.3)
    path.write_bytes(b"a\n")
    follower.expect(b"a")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(InputError, match=r"is no file; of a pipe, say --from - <"):
            TailSource(path, say=print)


def test_idle_is_told_once_a_second(path: Path) -> None:
    source = TailSource(path, say=print)
    began = time.monotonic()
    assert next(source.batches()) == []
    assert 0.9 < time.monotonic() - began < 2
    source.close()
