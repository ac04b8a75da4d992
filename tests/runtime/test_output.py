"""Files that appear whole or not at all, and last."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from vae_detect.runtime.errors import InputError, UnavailableError
from vae_detect.runtime.output import check_suffix, make_folder, text_written_aside, write_together, written_aside


class Log:
    """Records in which order files are synced and renamed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: list[tuple[str, str]] = []
        replace, fsync = Path.replace, os.fsync

        def synced(descriptor: int) -> None:
            self.steps.append(("sync", Path(f"/proc/self/fd/{descriptor}").readlink().name))
            fsync(descriptor)

        def replaced(path: Path, target: Path) -> Path:
            self.steps.append(("rename", target.name))
            return replace(path, target)

        monkeypatch.setattr(os, "fsync", synced)
        monkeypatch.setattr(Path, "replace", replaced)


def test_a_file_is_on_the_disk_before_it_gets_its_name_and_the_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log(monkeypatch)
    with written_aside(tmp_path / "a") as out:
        out.write(b"1")
    aside = f"a.{os.getpid()}.tmp"
    assert log.steps == [("sync", aside), ("rename", "a"), ("sync", tmp_path.name)]


def test_files_that_belong_together_are_all_on_the_disk_before_the_first_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log(monkeypatch)
    folder = tmp_path / "new" / "folder"
    write_together({folder / "a": b"one", folder / "b": b"two"})
    pid = os.getpid()
    assert log.steps == [
        *(("sync", f"a.{pid}.tmp"), ("sync", f"b.{pid}.tmp")),
        *(("rename", "a"), ("rename", "b"), ("sync", "folder")),
    ]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"a": b"one", "b": b"two"}


def test_of_files_that_belong_together_none_is_replaced_when_one_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("mine")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file: cannot be made"):
        write_together({tmp_path / "a": b"one", tmp_path / "file" / "b": b"two"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "file"]
    assert (tmp_path / "a").read_text() == "mine"


@pytest.mark.parametrize("failing", [1, 2])
def test_a_full_disk_leaves_the_old_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int) -> None:
    a, b = tmp_path / "a.onnx", tmp_path / "b.onnx"
    write_together({a: b"old a", b: b"old b"})
    calls: list[int] = []

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == failing:
            raise OSError(errno.ENOSPC, "No space left on device")  # as write and fsync raise it: without a file name

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(
        UnavailableError, match=rf"{'ab'[failing - 1]}\.onnx: cannot be written: No space left on device"
    ):
        write_together({a: b"new a", b: b"new b"})
    assert (a.read_bytes(), b.read_bytes()) == (b"old a", b"old b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "b.onnx"]


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file/c: cannot be made: Not a directory"):
        make_folder(tmp_path / "file" / "c")


def test_a_wrong_suffix_is_told_with_the_right_ones() -> None:
    check_suffix(Path("a.csv"), ".csv", ".parquet")
    with pytest.raises(InputError, match=r"a\.txt: expected a name that ends in \.csv or \.parquet"):
        check_suffix(Path("a.txt"), ".csv", ".parquet")


def write(path: Path, text: str, *, force: bool = False) -> None:
    with text_written_aside(path, force=force) as out:
        out.write(text)


@pytest.mark.parametrize(("opened", "content"), [(written_aside, b"a\r\n\xb0"), (text_written_aside, "a\r\n\xb0")])
def test_a_file_appears_only_when_complete(opened: Any, content: Any, tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    with opened(path) as out:
        out.write(content)
        out.flush()
        assert not path.exists()
    assert path.read_bytes() == (content if isinstance(content, bytes) else content.encode())
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_run_left_is_swept_by_the_next(tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    left = [tmp_path / f"[a].csv.{gone.pid}.tmp", tmp_path / f"[a].csv.{2**70}.tmp"]
    kept = [tmp_path / f"[a].csv.{os.getppid()}.tmp", tmp_path / f"b.csv.{gone.pid}.tmp", tmp_path / "[a].csv.mine.tmp"]
    for path in (*left, *kept):
        path.touch()
    write(tmp_path / "[a].csv", "1")
    assert {*tmp_path.iterdir()} == {*kept, tmp_path / "[a].csv"}
    left[0].touch()
    write_together({tmp_path / "[a].csv": b"2"})
    assert {*tmp_path.iterdir()} == {*kept, tmp_path / "[a].csv"}


def test_an_existing_file_is_kept_unless_forced(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("mine")
    with pytest.raises(InputError, match=r"scores\.csv: exists already; pass --force to replace it"):
        write(path, "yours")
    assert path.read_text() == "mine"
    write(path, "yours", force=True)
    assert path.read_text() == "yours"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [InputError("row 3"), KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_failure_leaves_nothing_behind(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("mine")
    expected = UnavailableError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected), text_written_aside(path, force=True) as out:  # noqa: PT012
        out.write("half")
        raise error
    assert path.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["absent/scores.csv", "file/scores.csv", "x" * 250, "x" * 300])
def test_a_path_that_cannot_be_written_is_one_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written: "):
        write(tmp_path / name, "a")


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "scores.csv").mkdir()
    with pytest.raises(InputError, match="no regular file"):
        write(tmp_path / "scores.csv", "a", force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["scores.csv"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UnavailableError, match="cannot be written: Permission denied"):
            write(tmp_path / "scores.csv", "a")
    finally:
        tmp_path.chmod(0o700)
