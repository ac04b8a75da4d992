"""From a trained and calibrated network to a detector on disk: graphs, certificate, golden inputs, metadata, files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ... import __version__
from ...runtime.bundle import SCHEMA_VERSION, Bundle, Calibration, DataFacts, History, Limit
from ...runtime.limits import newest_rows
from ...runtime.scoring.framing import windows_at
from ..data.loading import Table
from ..data.split import Split
from ..fitting.fit import Epoch
from ..fitting.objective import active_units
from ..model.autoencoder import Autoencoder
from ..model.building import reference_scores, without_class
from ..model.filling import NUMBERS
from ..settings.recipes import SCORES
from .constants import Constants
from .files import Exported, Files, export_id, finish_parts, write_detector
from .graphs import build_graphs
from .parity import certify, golden, term_quantiles

_GOLDEN_LIMITS = 8
"""Limits that golden inputs break."""


def assemble(
    model: Autoencoder,
    table: Table,
    parts: Split,
    *,
    scores: NDArray[np.float32],
    calibration: Calibration,
    history: Sequence[Epoch],
    files: Files,
    licence: str = "",
    overridable: bool = False,
) -> Exported:
    """Builds the graphs, certifies them, and writes the three files.

    Parameters
    ----------
    model : trained and settled, on the CPU
    scores : of the calibration inputs
    history : of the training
    overridable : whether threshold, p-value table and noise are inputs of the scorer, with defaults
    """
    graphs = build_graphs(model, Constants.of(model, calibration, overridable=overridable), table.limits)
    golden_x, sample = _shown_inputs(model, table, parts, scores)
    shown = np.concatenate([golden_x, sample])
    parity = certify(model, graphs.scorer, shown, calibration.threshold, table.limits)
    settings = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(model.config).items()}
    identity = export_id(graphs, json.dumps(settings, sort_keys=True))
    finished = finish_parts(graphs, identity)
    bundle = Bundle(
        schema_version=SCHEMA_VERSION,
        export_id=identity,
        **_facts_of_model(model),
        active_units=_active_units(model, sample),
        terms=term_quantiles(graphs.scorer, sample),
        calibration=calibration,
        limits=table.limits,
        golden=golden(graphs.scorer, golden_x),
        parity=parity,
        parts=finished.digests,
        data=_facts_of_data(table, parts),
        settings=settings,
        versions={"vae-detect": __version__, **{name: version(name) for name in ("torch", "onnx", "numpy")}},
        licence=licence,
        history=History(tuple(epoch.loss for epoch in history), tuple(epoch.validation for epoch in history)),
    )
    return write_detector(files, graphs.scorer, finished, bundle)


def _facts_of_model(model: Autoencoder) -> dict[str, Any]:
    """What the metadata says of the network and of what it takes."""
    config = model.config
    return {
        "recipe": config.recipe,
        "kind": config.kind,
        "columns": model.columns,
        "window": config.window,
        "stride": config.stride,
        "latent": config.latent,
        "likelihood": config.likelihood,
        "image": model.image,
        "prior": None if config.ingredients.prior == "none" else model.prior.describe(),
        "score": SCORES[config.ingredients.score],
    }


def _facts_of_data(table: Table, parts: Split) -> DataFacts:
    return DataFacts(
        sha256=table.sha256,
        rows=len(table.values),
        train=len(parts.train),
        validation=len(parts.validation),
        calibration=len(parts.calibration),
        period_s=table.period_s,
        stamp_s=table.stamp_s,
        time_column=table.time_column,
        layout=table.layout,
        ordered=table.ordered,
        files=table.files,
    )


def _shown_inputs(
    model: Autoencoder, table: Table, parts: Split, scores: NDArray[np.float32]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The golden inputs, and calibration inputs along the recording for the certificate, raw units."""
    is_image, window = table.image is not None, model.config.window
    order = np.argsort(scores, kind="stable")
    spread = parts.calibration[order[np.linspace(0, len(order) - 1, 3 if is_image else 6).astype(int)]]
    along = np.linspace(0, len(order) - 1, min(len(order), 128 if is_image else 1024)).astype(int)
    normal = windows_at(table.values, spread + window - 1, window)
    golden_x = np.concatenate([_golden_inputs(model, normal), *_limit_inputs(model, normal, table.limits)])
    return golden_x, windows_at(table.values, parts.calibration[along] + window - 1, window)


def _golden_inputs(model: Autoencoder, normal: NDArray[Any]) -> NDArray[Any]:
    """Normal inputs, from the lowest score to the highest, one or two of them broken on purpose; some without class."""
    if model.image is not None:
        broken = normal[1].copy()
        height, width, _ = broken.shape
        broken[: height // 2, : width // 2] = 255 - broken[: height // 2, : width // 2]
        return np.concatenate([normal, broken[None]])
    numbers = [position for position, column in enumerate(model.columns) if column.treatment in NUMBERS]
    one, all_ = normal[2].copy(), normal[3].copy()
    for position in numbers:
        column = model.columns[position]
        all_[..., position] += {"linear": 6 * column.scale, "angle": column.scale}.get(column.treatment, 1.0)
    one[..., numbers[:1]] += 8 * (all_ - normal[3])[..., numbers[:1]] / 6
    unknown = without_class(model, normal[::2]) if model.expansion.classes else normal[:0]
    holed = normal[:0] if model.filling is None else _with_holes(normal[::2], model.filling.most)
    return np.concatenate([normal, one[None], all_[None], unknown, holed]).astype(np.float32)


def _with_holes(inputs: NDArray[Any], most: int) -> NDArray[Any]:
    """The same with as many cells missing in every row as may be, those of the first columns first."""
    missing = np.isnan(inputs)
    for place in range(inputs.shape[-1]):
        missing[..., place] |= missing.sum(axis=-1) < most
    return np.where(missing, np.nan, inputs)


def _limit_inputs(model: Autoencoder, normal: NDArray[Any], limits: Sequence[Limit]) -> list[NDArray[np.float32]]:
    """For each limit, at most `_GOLDEN_LIMITS`, a normal input whose newest row just breaks it: (1, ...) each."""
    found = []
    for limit in limits[:_GOLDEN_LIMITS]:
        x = normal[:1].astype(np.float32)
        beyond = {"<=": np.inf, ">=": -np.inf}.get(limit.operator)
        reading = np.float32(limit.value)
        at = [column.name for column in model.columns].index(limit.column)
        newest_rows(x)[:, at] = reading if beyond is None else np.nextafter(reading, np.float32(beyond))
        if np.isfinite(reference_scores(model, x)).all():  # a limit may be so far out that nothing there has a score
            found.append(x)
    return found


def _active_units(model: Autoencoder, x: NDArray[Any]) -> int | None:
    if not model.is_gaussian:
        return None
    with torch.no_grad():
        return active_units(model.encode(model.see(torch.from_numpy(x))).mean)
