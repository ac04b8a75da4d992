from __future__ import annotations

from pathlib import Path

import pytest
from trees import tree

from vae_detect.runtime.doctor.system import System, in_bytes, whole


def test_what_cannot_be_read_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for system in (System(tmp_path), System(tmp_path / "absent")):
        for path in ("absent", "folder", "null\0byte"):
            assert system.read(path) is None
            assert system.lines(path) == []
            assert system.number(path) is None
            assert system.table(path) == {}
    assert System(tmp_path).count("absent") is None
    assert System(tmp_path).count("folder") == 0


def test_files_are_read_as_the_kernel_writes_them(tmp_path: Path) -> None:
    system = tree(tmp_path, {"board": "Raspberry Pi 5\0", "max": "max\n", "limit": "-1\n", "bytes": "a: 1"})
    assert system.read("board") == "Raspberry Pi 5"
    assert (system.number("max"), system.number("limit")) == (None, -1)
    assert system.table("bytes", ":") == {"a": "1"}


def test_a_table_keeps_the_first_of_a_name(tmp_path: Path) -> None:
    system = tree(tmp_path, {"info": "model name\t: A: B\nflags\t\t:\n\nmodel name\t: C\n", "stat": "a 1\nb 2\n"})
    assert system.table("info", ":") == {"model name": "A: B", "flags": "", "": ""}
    assert system.table("stat") == {"a": "1", "b": "2"}


@pytest.mark.parametrize(
    ("text", "number"), [("12", 12), ("-1", -1), ("max", None), ("", None), (None, None), ("1.5", None)]
)
def test_whole_numbers(text: str | None, number: int | None) -> None:
    assert whole(text) == number


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (72 << 30, "72 GiB"),
        (3 << 40, "3 TiB"),
        (5 << 50, "5120 TiB"),
    ],
)
def test_bytes_for_people(count: int, shown: str) -> None:
    assert in_bytes(count) == shown
