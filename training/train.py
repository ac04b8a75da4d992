"""`vae-detect train` as one function: data, split, fit, calibrate, export."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from ..runtime.bundle import Calibration, is_ordered
from ..runtime.calibration.calibration import (
    USUAL_RATE,
    NoRateError,
    calibrate,
    dependence_rows,
    min_calibration_rows,
    supported_rate,
)
from ..runtime.commands.terminal import leads
from ..runtime.describe import describe_calibration
from ..runtime.errors import InputError
from ..runtime.layout import Layout
from ..runtime.rows.table_files import name_of
from .data.inputs import describe_sizes, load, refuse_too_few
from .data.loading import Table
from .data.order import describe_unscored, settle_kind
from .data.selection import Selection
from .data.split import Split, split
from .export.files import Exported, Files, claimed
from .settings.config import TrainConfig, configure
from .settings.rates import parse_far

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from .fitting.fit import Epoch
    from .fitting.world import World
    from .model.autoencoder import Autoencoder

# torch is imported where the data has been read: it takes seconds, for which a wrong file need not wait.


class Plan(NamedTuple):
    """What a run learns from and how, and the rate that it promises, None where nobody asked for one."""

    config: TrainConfig
    table: Table
    parts: Split
    ordered: bool
    far: float | None


def train(
    data: Path | Sequence[Path],
    out: Path,
    settings: TrainConfig | Mapping[str, Any],
    *,
    selection: Selection,
    layout: Layout,
    far: str | None = None,
    rate_hz: float | None = None,
    device: str = "auto",
    licence: str = "",
    overridable: bool = False,
    force: bool = False,
    resume: bool = False,
    say: Callable[[str], None] = lambda text: None,
    report: Callable[[Epoch], None] = lambda epoch: None,
) -> Exported | None:
    """Train a detector on a recording of normal operation and write its three files.

    Under torchrun every process calls this; the first one speaks and writes, the others return None.

    Parameters
    ----------
    data : tables of normal rows, as `find_tables` finds them, or for kind "images" a folder
    settings : of the run; a mapping as `configure` takes it may leave kind and window to the data (`settle_kind`)
    far : promised false-alarm rate, per row ("0.01", "1%") or per time ("1/day"); None takes what `supported_rate` says
    rate_hz : rows per second, for rates per time; taken from the time stamps when None
    overridable : whether threshold, p-value table and noise are inputs of the scorer, with defaults
    out, force, resume : where it is written, NAME.onnx, and with what there is already; see `files.claimed`
    say, report : called with a line for the user, and after every epoch

    Raises what `files.claimed` does, InputError when data or settings cannot be used or `far` asks more than the
    calibration rows support, ParityError when graph and network disagree; nothing is written then.
    """
    if not leads():
        say, report = _silent, _silent
    with claimed(out, force=force, resume=resume, say=say) as (files, checkpoint, goes_on):
        plan = _plan(data, settings, selection, layout, far=far, rate_hz=rate_hz, say=say)
        where, world = _meet(device)
        run = _Run(selection, files, checkpoint, where, world, licence, overridable, say, report)
        try:
            return run.learn(plan, resume=goes_on)
        except NoRateError as error:
            chosen = _rows_instead(settings, plan) if world.size == 1 else None
            if chosen is None:
                raise
            say(f"windows of {plan.config.window} rows: {error}. So it is trained again on rows, each on its own")
            plan = _plan(data, chosen, selection, layout, far=far, rate_hz=rate_hz, say=_silent)
            return run.learn(plan, resume=False)


class _Run(NamedTuple):
    """Where a plan is carried out, by whom, and what is made of it."""

    selection: Selection
    files: Files
    checkpoint: Path
    where: torch.device
    world: World
    licence: str
    overridable: bool
    say: Callable[[str], None]
    report: Callable[[Epoch], None]

    def learn(self, plan: Plan, *, resume: bool) -> Exported | None:
        """Fits, calibrates and exports. Raises NoRateError where the held-out rows support no promise."""
        world = self.world
        model = _build(plan, self.selection, self.say)
        identity = _fingerprint(plan, self.selection, world)
        history = _fit(
            model.to(self.where), plan, self.checkpoint, identity, world=world, resume=resume, report=self.report
        )
        made = None
        if not world.rank:
            say_how_it_ended(history, plan.config, self.say)
            made = _export(
                model.cpu().eval(),
                plan,
                history,
                self.files,
                licence=self.licence,
                overridable=self.overridable,
                say=self.say,
            )
            self.checkpoint.unlink(missing_ok=True)
        world.wait()
        return made


def _rows_instead(settings: TrainConfig | Mapping[str, Any], plan: Plan) -> Mapping[str, Any] | None:
    """The same settings for rows, each on its own, where nobody asked for the windows; None where somebody did."""
    if isinstance(settings, TrainConfig) or {"kind", "window"} & {*settings} or plan.config.kind != "windows":
        return None
    return {**settings, "kind": "rows"}


def _meet(device: str) -> tuple[torch.device, World]:
    """Where to train, and as which of the processes."""
    from .fitting.world import choose_device, join_world

    where = choose_device(device)
    return where, join_world(where)


def _build(plan: Plan, selection: Selection, say: Callable[[str], None]) -> Autoencoder:
    """The network, before it has learnt anything."""
    from .model.building import build

    model, notes = build(plan.table, plan.parts, plan.config, selection)
    for note in (*notes, describe_sizes(plan.table, plan.parts, plan.config, ordered=plan.ordered)):
        say(note)
    return model


def _silent(_: object) -> None:
    """For the processes that do not speak."""


def _plan(
    data: Path | Sequence[Path],
    settings: TrainConfig | Mapping[str, Any],
    selection: Selection,
    layout: Layout,
    *,
    far: str | None,
    rate_hz: float | None,
    say: Callable[[str], None],
) -> Plan:
    """Loads and splits the data; refuses what cannot keep the promise before anything is trained."""
    first = settings if isinstance(settings, TrainConfig) else configure({"kind": "windows", **settings})
    table = load(data, first, selection, layout)
    config, framed = settle_kind(settings, table)
    for note in (*table.notes, framed, describe_unscored(table, config.window)):
        if note:
            say(note)
    if table.mixture and config.kind == "windows":
        raise InputError(f"{name_of(data)}: {table.mixture}, --kind rows takes each row on its own")
    ordered = is_ordered(config.kind, table)
    parts = split(table, window=config.window, stride=config.stride, ordered=ordered, seed=config.seed)
    rows_hz = rate_hz or (1 / table.period_s if table.period_s else None)
    alpha = None if far is None else parse_far(far, rate_hz=rows_hz)
    refuse_too_few(parts, len(table.values), config, far=alpha, needed=min_calibration_rows(alpha) if alpha else 2)
    return Plan(config, table, parts, ordered, alpha)


def _fingerprint(plan: Plan, selection: Selection, world: World) -> str:
    """What a checkpoint is of: data and settings."""
    table, config = plan.table, plan.config
    treatments = dict(selection.treatments) | {str(selection.class_column): "class"}
    identity = [
        table.sha256,
        table.names,
        treatments,
        msgspec.to_builtins(table.layout),
        *map(str, table.limits),
        asdict(config),
        world.size,
    ]
    return sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def _fit(
    model: Autoencoder,
    plan: Plan,
    checkpoint: Path,
    fingerprint: str,
    *,
    world: World,
    resume: bool,
    report: Callable[[Epoch], None],
) -> list[Epoch]:
    """Trains the model where it is."""
    import torch
    from torch.nn import functional as F

    from .fitting.fit import fit

    where, class_of = model.energy_offset.device, plan.table.class_of
    classes = None if class_of is None else F.one_hot(torch.from_numpy(class_of)).float().to(where)
    return fit(
        model,
        torch.from_numpy(plan.table.values).to(where),
        plan.parts,
        checkpoint=checkpoint,
        fingerprint=fingerprint,
        resume=resume,
        classes=classes,
        world=world,
        report=report,
    )


def say_how_it_ended(history: list[Epoch], config: TrainConfig, say: Callable[[str], None]) -> None:
    """Says when the limit has ended the training, not the validation loss, which may have gone on falling."""
    best = max((epoch.number for epoch in history if epoch.is_best), default=0)
    if history and history[-1].number >= config.epochs and config.epochs - best < config.patience:
        say(
            f"training stopped at its limit, epochs={config.epochs}, before the validation loss had stopped falling; "
            f"more may do better: --set epochs={2 * config.epochs}"
        )


def _export(
    model: Autoencoder,
    plan: Plan,
    history: list[Epoch],
    files: Files,
    *,
    licence: str,
    overridable: bool,
    say: Callable[[str], None],
) -> Exported:
    """Settles and calibrates the trained model, and writes the three files."""
    from .export.assemble import assemble
    from .model.building import fit_tolls, price_departures, scores_along, settle, without_class
    from .model.unknown_class import UnknownClass

    table, parts, config = plan.table, plan.parts, plan.config
    settle(model, table.values, parts)
    inputs = [table.values, *([without_class(model, table.values)] if model.expansion.classes else [])]
    scores = [np.concatenate(list(scores_along(model, values, parts.calibration))) for values in inputs]
    calibration, *unknown = _calibrate(scores, plan, say)
    if unknown:
        model.unknown_class = UnknownClass(unknown[0], calibration)
    say(describe_calibration(calibration))
    price_departures(model, scores[0], calibration)
    fit_tolls(model, table.values, parts)
    made = assemble(
        model,
        table,
        parts,
        scores=scores[0],
        calibration=calibration,
        history=history,
        files=files,
        licence=licence,
        overridable=overridable,
    )
    bundle = made.bundle
    if bundle.active_units is not None:
        say(f"active latent dimensions: {bundle.active_units} of {config.latent}")
    say(f"parity with ONNX Runtime: scores within {bundle.parity.max_relative_error:.1e}, no verdict flips")
    return made


def _calibrate(scores: list[NDArray[np.float32]], plan: Plan, say: Callable[[str], None]) -> list[Calibration]:
    """One for each kind of scores, for the rate that was asked for or the smallest that all their rows support."""
    run = dependence_rows(plan.config.window, ordered=plan.ordered)
    if plan.far is not None:
        try:
            return [calibrate(each, far=plan.far, dependence_rows=run) for each in scores]
        except InputError as error:
            raise InputError(
                f"{error}. The training is kept: the same command with --resume and another --far goes on from it"
            ) from None
    far = max(supported_rate(each, dependence_rows=run) for each in scores)
    if far > USUAL_RATE:
        say(
            f"no --far was asked for: {far:g} is the smallest rate that these calibration rows support; "
            f"record more for the usual {USUAL_RATE:g}"
        )
    return [calibrate(each, far=far, dependence_rows=run) for each in scores]
