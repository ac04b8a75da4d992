from __future__ import annotations

import os
import resource
from pathlib import Path
from types import SimpleNamespace

import pytest
from trees import tree

from vae_detect.runtime.doctor import places

MIB = 1 << 20


def pretend_space(monkeypatch: pytest.MonkeyPatch, free: int, names: tuple[int, int] = (1000, 10)) -> None:
    """A disk with so many bytes free, in blocks of 4096, and so many files of those that fit."""
    space = SimpleNamespace(f_bavail=free // 4096, f_frsize=4096, f_files=names[0], f_favail=names[1])
    monkeypatch.setattr(os, "statvfs", lambda _: space)


@pytest.mark.parametrize(
    ("free", "names", "state", "words"),
    [
        (200 * MIB, (1000, 10), "fine", "200 MiB free, can be written"),
        (200 * MIB, (0, 0), "fine", "200 MiB free, can be written"),  # a file system that does not count files
        (50 * MIB, (1000, 10), "look", "50 MiB free, can be written"),
        (4096, (1000, 10), "wrong", "4 KiB free, can be written; full"),
        (200 * MIB, (1000, 0), "wrong", "no room for more files (inodes)"),
    ],
)
def test_room(
    free: int, names: tuple[int, int], state: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_space(monkeypatch, free, names)
    finding = places.check_folder("folder", tmp_path)
    assert finding.state == state
    assert finding.found.startswith(f"{tmp_path}: ")
    assert words in finding.found
    assert (finding.advice == "") is (state == "fine")


def test_a_folder_that_cannot_be_written_is_worth_a_look() -> None:
    finding = places.check_folder("folder", Path("/proc"))  # not even by root
    assert "cannot be written" in finding.found
    assert finding.facts["writable"] is False


def test_writing_is_tried_without_a_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_space(monkeypatch, 200 * MIB)
    assert places.check_folder("folder", tmp_path).facts["writable"] is True
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(places, "_is_writable", lambda _: False)
    finding = places.check_folder("folder", tmp_path)
    assert (finding.state, finding.advice) == ("look", "fine for `serve`; commands with --out need another folder")


def test_a_folder_that_is_not_there_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finding = places.check_folder("model folder", tmp_path / "absent")
    assert (finding.state, finding.found) == ("wrong", f"{tmp_path / 'absent'}: No such file or directory")
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert places.check_current_folder().state == "wrong"
    monkeypatch.chdir(tmp_path)
    assert places.check_current_folder().found.startswith(f"{tmp_path}: ")


def test_the_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError("No usable temporary directory found")

    assert places.check_temporary_folder().check == "temporary"
    monkeypatch.setattr("tempfile.gettempdir", none)
    assert places.check_temporary_folder().state == "look"


@pytest.mark.parametrize(
    ("limits", "state", "words"),
    [
        ((1024, 4096), "fine", "1024 may be open"),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), "fine", "any number may be open"),
        ((256, 4096), "look", "ulimit -n 1024 before `serve`"),
        ((256, 512), "look", "ulimit -n 512 before `serve`"),
        ((256, resource.RLIM_INFINITY), "look", "ulimit -n 1024 before `serve`"),
        ((256, 256), "look", "is one; LimitNOFILE= in the systemd unit"),
    ],
)
def test_open_files(
    limits: tuple[int, int], state: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    system = tree(tmp_path, {"proc/self/fd/0": "", "proc/self/fd/1": ""})
    finding = places.check_open_files(system)
    assert finding.state == state
    assert words in f"{finding.found}; {finding.advice}"
    assert finding.facts["open"] == 2
