"""The names and the id of the three files, and how they are written."""

import errno
import os
from pathlib import Path

import pytest
from small_exports import Exported, export, tampered

from vae_detect.runtime.errors import InputError
from vae_detect.training.export.files import Files, export_id, write_files


@pytest.fixture(scope="module")
def vae() -> Exported:
    return export("vae")


def test_the_export_id_changes_with_a_weight_and_with_a_setting(vae: Exported) -> None:
    first = export_id(vae.graphs, "{}")
    assert len(first) == 16
    assert int(first, 16) >= 0
    assert export_id(vae.graphs, '{"latent": 3}') != first
    assert export_id(vae.graphs._replace(encoder=tampered(vae.graphs.encoder)), "{}") != first


def test_the_three_names() -> None:
    files = Files.named(Path("models") / "pump.v2.onnx")
    assert [str(path) for path in files] == [
        str(Path("models") / name) for name in ("pump.v2.onnx", "pump.v2.encoder.onnx", "pump.v2.decoder.onnx")
    ]
    with pytest.raises(InputError, match=r"pump\.pt: expected a file name that ends in \.onnx"):
        Files.named(Path("pump.pt"))


def test_files_are_written_and_nothing_else(tmp_path: Path) -> None:
    a, b = tmp_path / "new" / "a.onnx", tmp_path / "new" / "b.onnx"
    write_files({a: b"one", b: b"two"})
    write_files({a: b"three", b: b"four"})
    assert (a.read_bytes(), b.read_bytes()) == (b"three", b"four")
    assert sorted(path.name for path in a.parent.iterdir()) == ["a.onnx", "b.onnx"]


@pytest.mark.parametrize("failing", [1, 2])
def test_a_full_disk_leaves_the_old_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int) -> None:
    a, b = tmp_path / "a.onnx", tmp_path / "b.onnx"
    write_files({a: b"old a", b: b"old b"})
    calls: list[int] = []

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == failing:
            raise OSError(errno.ENOSPC, "No space left on device")  # as write and fsync raise it: without a file name

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(InputError, match=rf"cannot write .*{'ab'[failing - 1]}\.onnx: No space left on device"):
        write_files({a: b"new a", b: b"new b"})
    assert (a.read_bytes(), b.read_bytes()) == (b"old a", b"old b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "b.onnx"]


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"cannot write .*b\.onnx: Not a directory|File exists"):
        write_files({tmp_path / "a.onnx": b"1", tmp_path / "file" / "sub" / "b.onnx": b"2"})
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
