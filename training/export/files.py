"""The three files of a detector: their names, their id, their metadata, and how they come to the disk."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import onnx

from ...runtime import bundle as graph
from ...runtime.bundle import Bundle, Part
from ...runtime.errors import InputError
from .graphs import Graphs


class Files(NamedTuple):
    """Where the three files of a detector stand."""

    scorer: Path
    encoder: Path
    decoder: Path

    @classmethod
    def named(cls, scorer: Path) -> Files:
        """The three names that belong to a scorer NAME.onnx."""
        if scorer.suffix != ".onnx":
            raise InputError(f"{scorer}: expected a file name that ends in .onnx")
        return cls(scorer, *(scorer.with_name(f"{scorer.stem}.{part}.onnx") for part in ("encoder", "decoder")))


def export_id(graphs: Graphs, settings: str) -> str:
    """16 hex digits that change with any weight or setting."""
    digest = sha256(settings.encode())
    for model in graphs:
        digest.update(model.SerializeToString(deterministic=True))
    return digest.hexdigest()[:16]


def finish_part(model: onnx.ModelProto, part: Part) -> bytes:
    """The bytes of an encoder or decoder file."""
    return _with_metadata(model, part.to_json())


def finish_scorer(model: onnx.ModelProto, bundle: Bundle) -> bytes:
    """The bytes of a scorer file."""
    return _with_metadata(model, bundle.to_json())


def _with_metadata(model: onnx.ModelProto, text: str) -> bytes:
    onnx.helper.set_model_props(model, {graph.METADATA_KEY: text})
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def write_files(contents: Mapping[Path, bytes]) -> None:
    """Writes each file aside, flushes it to the disk, then renames all; a reader never sees half a file."""
    aside = {path.with_name(path.name + ".tmp"): path for path in contents}
    path = next(iter(contents))
    try:
        for temporary, path in aside.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(contents[path])
                file.flush()
                os.fsync(file.fileno())
        for temporary, path in aside.items():
            temporary.replace(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None
    finally:
        for temporary in aside:
            with suppress(OSError):
                temporary.unlink()
