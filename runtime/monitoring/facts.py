"""What a model's file tells that its dashboard can use."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ..bundle import Column
from ..graph import TERMS
from ..metadata import read_bundle
from ..metrics.column_statistics import MOST_COLUMNS
from ..opening import read_model_file
from ..session import Session


class Facts(NamedTuple):
    """Of one model."""

    name: str
    """As the service calls it."""
    columns: tuple[str, ...]
    """Each column of numbers that has series of its own, in words: "flow_m3h 12.3 m3/h", which is the
    standard deviation of the training data."""
    terms: tuple[str, ...]
    """Of what a score is made of, what there are histograms of: those of `graph.TERMS` whose buckets the file knows."""


def read_facts(name: str, path: Path) -> Facts:
    """The facts of a scorer, which is opened, but not run.

    Raises
    ------
    ModelError
        when the file is no scorer
    MissingExtraError
        when ONNX Runtime is not installed
    """
    session = Session(read_model_file(path), source=str(path), provider="cpu")
    bundle = read_bundle(session.metadata, str(path))
    columns = tuple(_in_words(column) for column in bundle.columns[:MOST_COLUMNS] if column.treatment == "linear")
    terms = tuple(term for term in TERMS if term in bundle.terms)
    return Facts(name, columns if bundle.image is None else (), terms)


def _in_words(column: Column) -> str:
    return f"{column.name} {column.scale:.4g} {column.unit}".rstrip()
