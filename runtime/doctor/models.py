"""A model on this machine: whether it is sound here, and where its nodes run."""

from __future__ import annotations

from pathlib import Path

from .. import graph
from ..detector import Detector
from ..errors import VaeDetectError
from ..opening import read_model_file
from ..session import count_nodes
from ..verification import VERDICT
from .findings import Finding


def check_model(path: Path, provider: str, threads: int) -> tuple[Finding, Detector | None]:
    """Loads a detector, which replays its golden inputs."""
    try:
        detector = Detector.load(path, provider=provider, threads=threads)
    except VaeDetectError as error:
        return Finding("model", "wrong", str(error), facts={"path": str(path)}), None
    bundle = detector.bundle
    shape = " x ".join(map(str, bundle.input_shape))
    golden = len(bundle.golden.score)
    found = (
        f"{path}: {bundle.recipe}, {bundle.kind} of {shape}, export {bundle.export_id}; "
        f"{golden} golden inputs score on {detector.provider} as recorded"
    )
    facts: dict[str, object] = {
        "path": str(path),
        "recipe": bundle.recipe,
        "kind": bundle.kind,
        "export_id": bundle.export_id,
        "golden": golden,
        "provider": detector.provider,
    }
    return Finding("model", "fine", found, facts=facts), detector


def check_nodes(detector: Detector) -> Finding:
    """On which provider the nodes of the graph run."""
    used, source = detector.provider, str(detector.path)
    feeds = {graph.X: detector.golden_inputs()[:1]}
    try:
        counts = count_nodes(read_model_file(detector.path), VERDICT, feeds, source=source, provider=used)
    except (OSError, VaeDetectError) as error:
        return Finding("nodes", "unknown", f"cannot be counted: {error}")
    found = ", ".join(f"{count} on {name}" for name, count in counts.items())
    facts: dict[str, object] = {"nodes": counts}
    if len(counts) > 1:
        advice = f"{used} does not know some of the nodes, and data goes back and forth: compare with --provider cpu"
        return Finding("nodes", "look", found, advice, facts)
    return Finding("nodes", "fine", found, facts=facts)
