"""`vae-detect train` as one function: data, split, fit, calibrate, export."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from .. import __version__
from ..runtime.bundle import SCHEMA_VERSION, Bundle, Calibration, Column, DataFacts, History, Part, Parts
from ..runtime.errors import InputError, MissingExtraError
from ..runtime.rows.tables import TableFormat
from .calibration import calibrate, min_calibration_rows
from .data.columns import plan_columns
from .data.loading import Selection, Split, Table, covered_rows, load_images, load_table, split
from .export.files import Files, export_id, finish_part, finish_scorer, write_files
from .export.graphs import Defaults, build_graphs
from .export.parity import certify, golden, reference_scores
from .fitting.fit import Epoch, fit, join_world
from .fitting.objective import active_units
from .model.autoencoder import Autoencoder
from .model.ensemble import FITTED_INPUTS, FITTED_VALUES, Ensemble
from .settings.rates import parse_far
from .settings.recipes import SCORES, TrainConfig

NUMBERS = ("linear", "log", "logit")
"""Treatments of columns that hold any number."""

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
) -> Outcome | None:
    """Train a detector on a recording of normal operation and write its three files.

    Under torchrun every process calls this; the first one speaks and writes, the others return None.

    Parameters
    ----------
    data : CSV of normal rows, or for kind "images" a folder
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
    chosen = _device(device)
    world = join_world(chosen)
    if world.rank:
        say, report = _silent, _silent
    table = _load(data, config, selection, form)
    for note in table.notes:
        say(note)
    ordered = config.kind == "windows" or table.time_column is not None
    parts = split(table, window=config.window, stride=config.stride, ordered=ordered, seed=config.seed)
    rate_hz = rate_hz or (1 / table.period_s if table.period_s else None)
    alpha = parse_far(far, rate_hz=rate_hz)
    _refuse_too_few(parts, alpha, len(table.values), config)
    model, notes = build(table, parts, config, selection)
    for note in notes:
        say(note)
    say(_sizes(table, parts, config, ordered))
    classes = None if table.class_of is None else F.one_hot(torch.from_numpy(table.class_of)).float().to(chosen)
    model = model.to(chosen)
    treatments = dict(selection.treatments) | {str(selection.class_column): "class"}
    identity = [table.sha256, table.names, table.time_column, treatments, asdict(form), asdict(config), world.size]
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
        classes=classes,
        world=world,
        report=report,
    )
    if world.rank:
        world.wait()
        return None
    model = model.cpu().eval()
    settle(model, table.values, parts, config)
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
        history=history,
        licence=licence,
    )
    if bundle.active_units is not None:
        say(f"active latent dimensions: {bundle.active_units} of {config.latent}")
    say(f"parity with ONNX Runtime: scores within {bundle.parity.max_relative_error:.1e}, no verdict flips")
    checkpoint.unlink(missing_ok=True)
    world.wait()
    return Outcome(files, bundle, history)


def _silent(_: object) -> None:
    """For the processes that do not speak."""


def _load(data: Path, config: TrainConfig, selection: Selection, form: TableFormat) -> Table:
    recipe = config.ingredients
    wants_class = recipe.prior == "classes"
    if config.kind == "images":
        if not data.is_dir():
            raise InputError(f"{data}: is no folder, expected one with images for kind images")
        _refuse_columns(selection)
        return load_images(data, config.size, config.colour, by_class=wants_class)
    if data.is_dir():
        raise InputError(f"{data}: is a folder, expected a CSV file for kind {config.kind}")
    for name in ("size", "colour"):
        if getattr(config, name) != getattr(TrainConfig, name):
            raise InputError(f"setting {name} is for images, and {data} is a table")
    if wants_class and selection.class_column is None:
        raise InputError(f"recipe {config.recipe} needs the class of each row: name its column with --class-column")
    if not wants_class and selection.class_column is not None:
        raise InputError(f"--class-column is for recipe cvae, this is {config.recipe}")
    return load_table(data, selection, form, numbers_only=_numbers_only(config))


def _refuse_columns(selection: Selection) -> None:
    """Refuses for images what would be left out in silence."""
    for name, chosen in vars(selection).items():
        if chosen:
            option = "treat" if name == "treatments" else name.replace("_", "-")
            raise InputError(f"--{option} is for tables; images have no columns")


def _numbers_only(config: TrainConfig) -> bool:
    return config.ingredients.training == "contrastive-divergence"


def _columns(
    table: Table, parts: Split, config: TrainConfig, selection: Selection
) -> tuple[tuple[Column, ...], list[str]]:
    """The columns with the statistics of the training rows."""
    has_range = config.likelihood in ("bernoulli", "continuous-bernoulli")
    if table.image is not None:
        pixels = table.values[parts.train].reshape(-1, len(table.names))
        center = pixels.mean(axis=0, dtype=np.float64)
        scale = np.maximum(pixels.std(axis=0, dtype=np.float64), 1.0)
        if has_range:
            center, scale = np.zeros_like(center), np.full_like(scale, 255.0)
        return tuple(map(Column, table.names, [""] * len(center), center.tolist(), scale.tolist())), []
    treatments = dict(selection.treatments)
    if selection.class_column is not None:
        treatments[selection.class_column] = "class"
    if has_range:
        levels = {name for name, kind in treatments.items() if kind in ("category", "class")} | set(table.texts)
        _refuse_out_of_range(table, config.likelihood, but=levels)
    return plan_columns(
        table.values[covered_rows(parts.train, config.window)].astype(np.float32, copy=False),
        table.names,
        texts=table.texts,
        treatments=treatments,
        numeric_only=_numbers_only(config),
        # Prototypes find far values, which a logarithm brings near; the cells of windows gain by it.
        logarithms=config.ingredients.score != "joined" or config.kind != "rows",
        standardise=not has_range,
    )


def build(table: Table, parts: Split, config: TrainConfig, selection: Selection) -> tuple[Autoencoder, list[str]]:
    """The network before training, with the statistics of the training inputs, and notes on the columns."""
    columns, notes = _columns(table, parts, config, selection)
    with torch.random.fork_rng(devices=[]):  # layers draw their weights from the global generator
        torch.manual_seed(config.seed)
        model = Autoencoder(config, columns, table.image, _class_frequencies(columns, table, parts))
    if model.statistics is not None:
        x = torch.from_numpy(gather(table.values, sample_starts(parts.train, model), config))
        model.statistics.fit(model.layout.expand(model.standardise(x)))
    return model, notes


def settle(model: Autoencoder, values: NDArray[Any], parts: Split, config: TrainConfig) -> None:
    """Fits what of the score is not learned by gradient, once the network is trained.

    The lowest free energy of the training inputs becomes the zero of the score, where that is what the score is. The
    members of an ensemble are fitted to training inputs, their usual sizes taken from validation inputs.
    """
    if model.ingredients.score == "free-energy":
        lowest = min(float(scores.min()) for scores in _scores(model, values, parts.train, config))
        model.energy_offset.fill_(lowest)
    if model.ingredients.score == "joined":
        _fit_ensemble(model, values, parts, config)


def _fit_ensemble(model: Autoencoder, values: NDArray[Any], parts: Split, config: TrainConfig) -> None:
    """Fits the members to training inputs, takes their usual sizes from validation inputs, then fits them to both."""

    def fitted(starts: NDArray[np.int64]) -> Ensemble:
        x = torch.from_numpy(gather(values, sample_starts(starts, model), config))
        codes = torch.cat([model.encode(model.see(part)).mean for part in x.split(1024)])
        return Ensemble(config.kind, model.layout.expand(model.standardise(x)), codes, config.seed)

    held = torch.from_numpy(gather(values, sample_starts(parts.validation, model), config))
    with torch.no_grad():
        model.ensemble = fitted(parts.train)
        distances = torch.cat([model.distances(part) for part in held.split(1024)], -1)
        model.ensemble = fitted(np.concatenate([parts.train, parts.validation]))
        model.ensemble.set_units(distances)


def sample_starts(starts: NDArray[np.int64], model: Autoencoder) -> NDArray[np.int64]:
    """As many of these inputs, evenly along the recording, as an ensemble is fitted to."""
    most = min(FITTED_INPUTS, max(100, FITTED_VALUES // int(np.prod(model.input_shape))))
    chosen: NDArray[np.int64] = starts[np.linspace(0, len(starts) - 1, min(len(starts), most)).astype(int)]
    return chosen


def gather(values: NDArray[Any], starts: NDArray[np.int64], config: TrainConfig) -> NDArray[Any]:
    """The inputs that begin at these rows, raw units: rows, windows or images with a batch axis before them."""
    return values[starts[:, None] + np.arange(config.window)] if config.kind == "windows" else values[starts]


def _calibration_scores(
    model: Autoencoder, values: NDArray[Any], starts: NDArray[np.int64], config: TrainConfig
) -> NDArray[np.float32]:
    return np.concatenate(list(_scores(model, values, starts, config)))


def _scores(
    model: Autoencoder, values: NDArray[Any], starts: NDArray[np.int64], config: TrainConfig
) -> Iterator[NDArray[np.float32]]:
    # In parts, since windows gathered all at once are the recording many times over.
    for part in np.array_split(starts, -(-len(starts) // 4096)):
        yield reference_scores(model, gather(values, part, config))


def export(
    model: Autoencoder,
    *,
    scores: NDArray[np.float32],
    calibration: Calibration,
    files: Files,
    config: TrainConfig,
    table: Table,
    parts: Split,
    history: Sequence[Epoch],
    licence: str = "",
) -> Bundle:
    """Build the graphs, certify them, and write the three files; returns the scorer's metadata.

    `scores` are those of the calibration inputs.
    """
    graphs = build_graphs(model, Defaults.of(model, calibration))
    order = np.argsort(scores, kind="stable")
    normal = 6 if table.image is None else 3
    spread = parts.calibration[order[np.linspace(0, len(order) - 1, normal).astype(int)]]
    golden_x = _golden_inputs(model, gather(table.values, spread, config))
    most = 1024 if table.image is None else 128
    along = np.linspace(0, len(order) - 1, min(len(order), most)).astype(int)
    sample = gather(table.values, parts.calibration[along], config)
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
        columns=model.columns,
        window=config.window,
        stride=config.stride,
        latent=config.latent,
        likelihood=config.likelihood,
        image=table.image,
        prior=None if config.ingredients.prior == "none" else model.prior.describe(),
        active_units=_active_units(model, sample),
        score=SCORES[config.ingredients.score],
        calibration=calibration,
        golden=golden(graphs.scorer, golden_x),
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
        history=History(tuple(epoch.loss for epoch in history), tuple(epoch.validation for epoch in history)),
    )
    scorer = finish_scorer(graphs.scorer, bundle)
    # The scorer last: whoever sees it finds its parts.
    write_files({files.encoder: encoder, files.decoder: decoder, files.scorer: scorer})
    return bundle


def _active_units(model: Autoencoder, x: NDArray[Any]) -> int | None:
    if not model.is_gaussian:
        return None
    with torch.no_grad():
        return active_units(model.encode(model.see(torch.from_numpy(x))).mean)


def _golden_inputs(model: Autoencoder, normal: NDArray[Any]) -> NDArray[Any]:
    """Normal inputs, from the lowest score to the highest, and one or two of them broken on purpose."""
    if model.image is not None:
        broken = normal[1].copy()
        height, width, _ = broken.shape
        broken[: height // 2, : width // 2] = 255 - broken[: height // 2, : width // 2]
        return np.concatenate([normal, broken[None]])
    numbers = [position for position, column in enumerate(model.columns) if column.treatment in NUMBERS]
    one, all_ = normal[2].copy(), normal[3].copy()
    for position in numbers:
        step = 6 * model.columns[position].scale if model.columns[position].treatment == "linear" else 1.0
        all_[..., position] += step
    one[..., numbers[:1]] += 8 * (all_ - normal[3])[..., numbers[:1]] / 6
    return np.concatenate([normal, one[None], all_[None]]).astype(np.float32)


def _class_frequencies(columns: tuple[Column, ...], table: Table, parts: Split) -> list[float]:
    """Share of each class among the training rows or images; nothing where there are no classes."""
    counts: list[int] = []
    for position, column in enumerate(columns):
        if column.treatment == "class":
            rows = table.values[parts.train, position]
            counts = [int((rows == level).sum()) for level in column.levels]
    if table.class_of is not None:
        counts = np.bincount(table.class_of[parts.train], minlength=len(table.classes)).tolist()
    # One more of each, so that a class that is in the file but not in this part is not ruled out.
    return [(count + 1) / (sum(counts) + len(counts)) for count in counts]


def _device(asked: str) -> torch.device:
    if asked == "cuda" and not torch.cuda.is_available():
        raise MissingExtraError("--device cuda was asked for, this torch finds no CUDA device; use --device cpu")
    if asked == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))  # torchrun numbers the processes of a machine
    return torch.device("cuda", torch.cuda.current_device())


def _refuse_too_few(parts: Split, alpha: float, rows: int, config: TrainConfig) -> None:
    what, unit = _inputs_text(config), "images" if config.kind == "images" else "rows"
    if not len(parts.train) or not len(parts.validation) or len(parts.calibration) < 2:
        raise InputError(f"{rows} usable {unit} are too few to split into training, validation and calibration {what}")
    needed = min_calibration_rows(alpha)
    if len(parts.calibration) < needed:
        lowest = 1 / (len(parts.calibration) + 1)
        step = 10.0 ** (math.floor(math.log10(lowest)) - 1)  # rounded up, or it would be refused in its turn
        raise InputError(
            f"a false-alarm rate of {alpha:.3g} needs {needed} calibration {unit}, a fifth of these {rows} {unit} "
            f"gives {len(parts.calibration)}; record more, or ask for --far {math.ceil(lowest / step) * step:.2g}"
        )


def _refuse_out_of_range(table: Table, likelihood: str, *, but: Container[str]) -> None:
    """Refuses values that the likelihood does not know, in all columns `but` those whose values are only names."""
    for index, name in enumerate(table.names):
        if name in but:
            continue
        values = table.values[:, index]
        binary = likelihood == "bernoulli"
        strange = values[(values != 0) & (values != 1)] if binary else values[(values < 0) | (values > 1)]
        if len(strange):
            wanted = "of 0 and 1" if binary else "between 0 and 1"
            raise InputError(f"likelihood {likelihood} is for columns {wanted}; column {name!r} holds {strange[0]:g}")


def _inputs_text(config: TrainConfig) -> str:
    return f"windows of {config.window} rows" if config.kind == "windows" else config.kind


def _sizes(table: Table, parts: Split, config: TrainConfig, ordered: bool) -> str:
    what = _inputs_text(config)
    image = table.image is not None
    shape = f"{len(table.names)} columns" if table.image is None else "x".join(map(str, table.image.shape)) + " values"
    return (
        f"{len(table.values)} {'images' if image else 'rows'} of {shape}: {len(parts.train)} {what} to train, "
        f"{len(parts.validation)} to validate, {len(parts.calibration)} to calibrate, "
        + (
            "in blocks along the recording"
            if ordered
            else "shuffled" + ", since there are no time stamps" * (not image)
        )
    )
