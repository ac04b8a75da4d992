"""Files are opened in one place: what is no file, or too large, is refused before a byte of it is read."""

from __future__ import annotations

import os
import socket
from hashlib import sha256
from pathlib import Path

import pytest

from vae_detect.runtime.detector import Detector
from vae_detect.runtime.errors import InputError, ModelError, TooLargeError
from vae_detect.runtime.opening import digest, open_file, read_whole


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        for path, what in (
            (tmp_path / "pipe", "is a pipe, expected a file"),
            (tmp_path / "socket", "is a socket, expected a file"),
            (tmp_path, "is a folder, expected a file"),
            (Path("/dev/zero"), "is a device, expected a file"),
            (tmp_path / "absent", "no such file"),
            (tmp_path / "x\0y", "cannot be read: embedded null byte"),
        ):
            with pytest.raises(InputError, match=f"^{what}$"):
                open_file(path)
            with pytest.raises(ModelError, match=f": {what}; expected a detector written by 'vae-detect train'$"):
                Detector.load(path)


def test_a_size_is_held_against_the_limit_before_and_while_reading(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 10)
    assert read_whole(path, most=10) == b"x" * 10
    assert digest(path) == sha256(b"x" * 10).hexdigest()
    with pytest.raises(TooLargeError, match="larger than"):
        read_whole(path, most=9)
    with pytest.raises(TooLargeError, match="larger than"):
        read_whole(Path("/proc/self/maps"), most=9)  # whose size is told as 0


def test_a_model_file_beyond_2_gib_is_refused_by_its_size(tmp_path: Path) -> None:
    path = tmp_path / "huge.onnx"
    path.touch()
    os.truncate(path, (1 << 31) + 1)  # takes no room on the disk
    with pytest.raises(ModelError, match=r"huge\.onnx: is larger than 2 GiB; expected a detector"):
        Detector.load(path)
