"""The three files of a detector: their names, their id, their metadata, and how they come to the disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ...runtime.bundle import METADATA_KEY, SCHEMA_VERSION, Bundle, Part, Parts
from ...runtime.commands.terminal import leads
from ...runtime.errors import InputError
from ...runtime.output import keep_existing, locked, make_folder, write_together

if TYPE_CHECKING:
    import onnx


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


@contextmanager
def claimed(
    scorer: Path, *, force: bool, resume: bool, say: Callable[[str], None]
) -> Iterator[tuple[Files, Path, bool]]:
    """The files of a training with this output, its checkpoint, and whether it goes on from there; ours in the block.

    Makes the folder of the output. Under torchrun the first process claims the files for all.

    Parameters
    ----------
    force : whether files that exist may be replaced; those of a training that goes on may be

    Raises
    ------
    InputError
        when a file exists, or another training is at work on this output
    UnavailableError
        when nothing can be written there
    """
    files, checkpoint = Files.named(scorer), scorer.with_suffix(".checkpoint")
    goes_on = resume and checkpoint.exists()
    there = "there is no stopped training to --resume" if resume else "--resume goes on with a stopped training"
    keep_existing(files, force=force or goes_on, otherwise=f"; {there}")
    if resume and not goes_on:
        say(f"{checkpoint}: no checkpoint yet, so training starts from the beginning")
    if not leads():
        yield files, checkpoint, goes_on
        return
    make_folder(scorer.parent)
    with locked(scorer, "another training is at work on it; wait for its end, or name another --out"):
        yield files, checkpoint, goes_on


class Exported(NamedTuple):
    """What a run made."""

    files: Files
    bundle: Bundle
    """The scorer's metadata."""


class Graphs(NamedTuple):
    """The three graphs before their metadata is known."""

    scorer: onnx.ModelProto
    encoder: onnx.ModelProto
    decoder: onnx.ModelProto


def export_id(graphs: Iterable[onnx.ModelProto], settings: str) -> str:
    """16 hex digits that change with any weight or setting."""
    digest = sha256(settings.encode())
    for model in graphs:
        digest.update(model.SerializeToString(deterministic=True))
    return digest.hexdigest()[:16]


class PartFiles(NamedTuple):
    """The bytes of the encoder's and the decoder's file."""

    encoder: bytes
    decoder: bytes

    @property
    def digests(self) -> Parts:
        """What the scorer knows them by."""
        return Parts(sha256(self.encoder).hexdigest(), sha256(self.decoder).hexdigest())


def finish_parts(graphs: Graphs, identity: str) -> PartFiles:
    """Encoder and decoder with what says to which detector they belong."""
    encoder = Part(schema_version=SCHEMA_VERSION, export_id=identity, part="encoder")
    decoder = Part(schema_version=SCHEMA_VERSION, export_id=identity, part="decoder")
    return PartFiles(
        _with_metadata(graphs.encoder, encoder.to_json()), _with_metadata(graphs.decoder, decoder.to_json())
    )


def finish_scorer(scorer: onnx.ModelProto, bundle: Bundle) -> bytes:
    """The bytes of the scorer's file with its metadata."""
    return _with_metadata(scorer, bundle.to_json())


def write_detector(files: Files, scorer: onnx.ModelProto, parts: PartFiles, bundle: Bundle) -> Exported:
    """Writes the three files of a detector, `bundle` being the metadata of its scorer."""
    # The scorer last: whoever sees it finds its parts.
    write_together(
        {files.encoder: parts.encoder, files.decoder: parts.decoder, files.scorer: finish_scorer(scorer, bundle)}
    )
    return Exported(files, bundle)


def _with_metadata(model: onnx.ModelProto, text: str) -> bytes:
    import onnx

    onnx.helper.set_model_props(model, {METADATA_KEY: text})
    content: bytes = model.SerializeToString(deterministic=True)
    return content
