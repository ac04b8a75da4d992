"""What is served: one version of a model with all that belongs to it, as one value that a request takes once."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import msgspec

from ..detector import Detector
from ..rows.json_rows import RowReader
from ..scoring.framing import Framer
from ..scoring.watch import Watch
from .metrics import ModelMetrics


@dataclass(frozen=True)
class Served:
    """One version of a model. A request takes it before its first await, so that no answer mixes two versions."""

    detector: Detector
    reader: RowReader
    framer: Framer
    """Of a recording that begins, as every request does."""
    facts: bytes
    """What GET /model tells, as JSON."""
    watch: Watch
    """Of all that this version scores, in the order of arrival."""
    metrics: ModelMetrics
    """Of the model, whatever its version."""

    @classmethod
    def of(cls, detector: Detector, metrics: ModelMetrics, *, adaptive: bool = False) -> Served:
        """A verified detector, ready to serve."""
        watch = Watch(detector.bundle, adaptive=adaptive)
        facts = msgspec.json.encode(model_facts(detector))
        reader = RowReader(detector.bundle.columns, most_missing=detector.bundle.data.layout.most_missing)
        return cls(detector, reader, Framer.of(detector.bundle), facts, watch, metrics)


def model_facts(detector: Detector) -> dict[str, Any]:
    """What GET /model tells: the metadata without golden rows and calibration knots, and the provider in use."""
    facts: dict[str, Any] = json.loads(detector.bundle.facts_json())
    return {**facts, "provider": detector.provider}
