"""Small trees of the files in which Linux tells about itself, written by hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from vae_detect.runtime.doctor.system import System


def tree(folder: Path, files: Mapping[str, str]) -> System:
    """A root with these files, and nothing else."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return System(folder)
