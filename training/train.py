"""`vae-detect train` as one function: data, split, fit, calibrate, export."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .. import __version__
from ..runtime import bundle as graph
from ..runtime.bundle import SCHEMA_VERSION, Bundle, Calibration, DataFacts, Golden, Part, Parts
from ..runtime.errors import InputError, MissingExtraError
from ..runtime.session import Session
from ..runtime.tables import TableFormat
from .calibration import calibrate, min_calibration_rows
from .data import Scaling, Selection, Split, Table, covered_rows, describe_columns, fit_scaling, load_table, split
from .export import (
    Defaults,
    Files,
    Graphs,
    build_graphs,
    certify,
    export_id,
    finish_part,
    finish_scorer,
    reference_scores,
    write_files,
)
from .fit import Epoch, fit
from .model import Autoencoder
from .rates import parse_far
from .recipes import RECIPES, TrainConfig

EVENT_ROWS = 10
"""In ordered data, false alarms fewer than this many rows apart (or a window, if longer) are one event."""


@dataclass(frozen=True)
class Outcome:
    """What a training run made."""

    files: Files
    bundle: Bundle
    history: list[Epoch]


def train(
    data: Path,
    out: Path,
    config: TrainConfig,
    *,
    selection: Selection,
    form: TableFormat,
    far: str = "0.01",
    rate_hz: float | None = None,
    device: str = "auto",
    licence: str = "",
    resume: bool = False,
    say: Callable[[str], None] = lambda text: None,
    report: Callable[[Epoch], None] = lambda epoch: None,
) -> Outcome:
    """Train a detector on a CSV of normal operation and write its three files.

    Parameters
    ----------
    data : CSV of normal rows
    out : the scorer's path, NAME.onnx; encoder and decoder are written beside it
    far : promised false-alarm rate, per row ("0.01", "1%") or per time ("1/day")
    rate_hz : rows per second, for rates per time; taken from the time stamps when None
    device : "auto", "cpu" or "cuda"
    say, report : called with a line for the user, and after every epoch

    Raises
    ------
    InputError
        when data or settings cannot be used, or `far` asks more than the calibration rows support
    ParityError
        when the exported graph disagrees with the network; nothing is written then
    """
    files = Files.named(out)
    table = load_table(data, selection, form)
    for note in table.notes:
        say(note)
    ordered = config.kind == "windows" or table.time_column is not None
    parts = split(table, window=config.window, stride=config.stride, ordered=ordered, seed=config.seed)
    rate_hz = rate_hz or (1 / table.period_s if table.period_s else None)
    alpha = parse_far(far, rate_hz=rate_hz)
    _refuse_too_few(parts, alpha, len(table.values), config)
    scaling, notes = fit_scaling(
        table, covered_rows(parts.train, config.window), standardise=config.likelihood != "bernoulli"
    )
    for note in notes:
        say(note)
    if config.likelihood == "bernoulli":
        _refuse_not_binary(table)
    say(_sizes(table, parts, config, ordered))
    chosen = _device(device)
    model = _seeded_model(config, scaling).to(chosen)
    identity = [table.sha256, table.names, table.time_column, asdict(form), asdict(config)]
    fingerprint = sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    checkpoint = out.with_suffix(".checkpoint")
    try:
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {checkpoint.parent}: {error.strerror}") from None
    history = fit(
        model,
        torch.from_numpy(table.values).to(chosen),
        parts,
        config,
        checkpoint=checkpoint,
        fingerprint=fingerprint,
        resume=resume,
        report=report,
    )
    model = model.cpu().eval()
    scores = _calibration_scores(model, table.values, parts.calibration, config)
    calibration = calibrate(scores, far=alpha, dependence_rows=max(config.window, EVENT_ROWS) if ordered else 0)
    say(calibration.describe())
    bundle = export(
        model,
        scores=scores,
        calibration=calibration,
        files=files,
        config=config,
        table=table,
        parts=parts,
        licence=licence,
    )
    say(f"parity with ONNX Runtime: scores within {bundle.parity.max_relative_error:.1e}, no verdict flips")
    checkpoint.unlink(missing_ok=True)
    return Outcome(files, bundle, history)


def gather(values: NDArray[np.float32], starts: NDArray[np.int64], config: TrainConfig) -> NDArray[np.float32]:
    """The inputs that begin at these rows: (inputs, features) or (inputs, window, features), raw units."""
    return values[starts] if config.kind == "rows" else values[starts[:, None] + np.arange(config.window)]


def _calibration_scores(
    model: Autoencoder, values: NDArray[np.float32], starts: NDArray[np.int64], config: TrainConfig
) -> NDArray[np.float32]:
    # In parts, since windows gathered all at once are the recording many times over.
    parts = np.array_split(starts, -(-len(starts) // 4096))
    return np.concatenate([reference_scores(model, gather(values, part, config)) for part in parts])


def export(
    model: Autoencoder,
    *,
    scores: NDArray[np.float32],
    calibration: Calibration,
    files: Files,
    config: TrainConfig,
    table: Table,
    parts: Split,
    licence: str = "",
) -> Bundle:
    """Build the graphs, certify them, and write the three files; returns the scorer's metadata.

    `scores` are those of the calibration inputs.
    """
    graphs = build_graphs(model, Defaults.of(model, calibration))
    order = np.argsort(scores, kind="stable")
    spread = parts.calibration[order[np.linspace(0, len(order) - 1, 6).astype(int)]]
    golden_x = _golden_inputs(model, gather(table.values, spread, config))
    sample = gather(table.values, parts.calibration[:1024], config)
    parity = certify(model, graphs.scorer, np.concatenate([golden_x, sample]), calibration.threshold)
    settings = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(config).items()}
    identity = export_id(graphs, json.dumps(settings, sort_keys=True))
    encoder = finish_part(graphs.encoder, Part(schema_version=SCHEMA_VERSION, export_id=identity, part="encoder"))
    decoder = finish_part(graphs.decoder, Part(schema_version=SCHEMA_VERSION, export_id=identity, part="decoder"))
    bundle = Bundle(
        schema_version=SCHEMA_VERSION,
        export_id=identity,
        recipe=config.recipe,
        kind=config.kind,
        columns=describe_columns(table.names, Scaling(model.center.numpy(), model.raw_scale.numpy())),
        window=config.window,
        stride=config.stride,
        latent=config.latent,
        likelihood=config.likelihood,
        score=RECIPES[config.recipe].score,
        calibration=calibration,
        golden=_golden(graphs, golden_x),
        parity=parity,
        parts=Parts(sha256(encoder).hexdigest(), sha256(decoder).hexdigest()),
        data=DataFacts(
            sha256=table.sha256,
            rows=len(table.values),
            train=len(parts.train),
            validation=len(parts.validation),
            calibration=len(parts.calibration),
            period_s=table.period_s,
            time_column=table.time_column,
        ),
        settings=settings,
        versions={"vae-detect": __version__, **{name: version(name) for name in ("torch", "onnx", "numpy")}},
        licence=licence,
    )
    scorer = finish_scorer(graphs.scorer, bundle)
    # The scorer last: whoever sees it finds its parts.
    write_files({files.encoder: encoder, files.decoder: decoder, files.scorer: scorer})
    return bundle


def _golden_inputs(model: Autoencoder, normal: NDArray[np.float32]) -> NDArray[np.float32]:
    """Six normal inputs, from the lowest score to the highest, and two of them broken on purpose."""
    scale = model.raw_scale.numpy()
    one, all_ = normal[2].copy(), normal[3] + 6 * scale
    one[..., 0] += 8 * scale[0]
    return np.concatenate([normal, one[None], all_[None]]).astype(np.float32)


def _golden(graphs: Graphs, x: NDArray[np.float32]) -> Golden:
    session = Session(graphs.scorer.SerializeToString(), source="the exported scorer", provider="cpu")
    score, p_value, verdict = session.run((graph.SCORE, graph.P_VALUE, graph.IS_ANOMALY), {graph.X: x})
    if not np.isfinite(x).all() or not np.isfinite(score).all():
        raise InputError("values of this size leave no room in float32 for a fault; scale the columns down")
    return Golden(x=_shortest(x), score=_shortest(score), p_value=_shortest(p_value), is_anomaly=verdict.tolist())


def _shortest(values: NDArray[np.float32]) -> Any:
    """Nested lists of the fewest digits that are the same float32 again; half the size of their float64 digits."""
    return [float(str(v)) for v in values] if values.ndim == 1 else [_shortest(part) for part in values]


def _seeded_model(config: TrainConfig, scaling: Scaling) -> Autoencoder:
    with torch.random.fork_rng(devices=[]):  # layers draw their weights from the global generator
        torch.manual_seed(config.seed)
        return Autoencoder(config, scaling)


def _device(asked: str) -> torch.device:
    if asked == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if asked == "cuda" and not torch.cuda.is_available():
        raise MissingExtraError("--device cuda was asked for, this torch finds no CUDA device; use --device cpu")
    return torch.device(asked)


def _refuse_too_few(parts: Split, alpha: float, rows: int, config: TrainConfig) -> None:
    what = _inputs_text(config)
    if not len(parts.train) or not len(parts.validation) or len(parts.calibration) < 2:
        raise InputError(f"{rows} usable rows are too few to split into training, validation and calibration {what}")
    needed = min_calibration_rows(alpha)
    if len(parts.calibration) < needed:
        lowest = 1 / (len(parts.calibration) + 1)
        step = 10.0 ** (math.floor(math.log10(lowest)) - 1)  # rounded up, or it would be refused in its turn
        raise InputError(
            f"a false-alarm rate of {alpha:.3g} needs {needed} calibration rows, a fifth of these {rows} rows gives "
            f"{len(parts.calibration)}; record more, or ask for --far {math.ceil(lowest / step) * step:.2g}"
        )


def _refuse_not_binary(table: Table) -> None:
    for index, name in enumerate(table.names):
        values = table.values[:, index]
        strange = values[(values != 0) & (values != 1)]
        if len(strange):
            raise InputError(f"likelihood bernoulli is for columns of 0 and 1; column {name!r} holds {strange[0]:g}")


def _inputs_text(config: TrainConfig) -> str:
    return "rows" if config.kind == "rows" else f"windows of {config.window} rows"


def _sizes(table: Table, parts: Split, config: TrainConfig, ordered: bool) -> str:
    what = _inputs_text(config)
    return (
        f"{len(table.values)} rows of {len(table.names)} columns: {len(parts.train)} {what} to train, "
        f"{len(parts.validation)} to validate, {len(parts.calibration)} to calibrate, "
        + ("in blocks along the recording" if ordered else "shuffled, since there are no time stamps")
    )
