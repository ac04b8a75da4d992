"""The training loop: tensors in memory, fused Adam, early stopping, and a checkpoint that a killed run goes on from.

One process, or several that torchrun started: they share each batch and follow the loss path of one.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...runtime.errors import InputError
from ...runtime.opening import open_file
from ...runtime.output import written_aside
from ..data.split import Split
from ..model.autoencoder import Autoencoder
from ..model.steps import Step
from .objective import Losses, Objective, annealed
from .pretraining import pretrain
from .world import ALONE, World

VALIDATION_ROWS = 4096
"""Rows, or pixels, in a batch of validation inputs, but at least 64 inputs."""


class Epoch(NamedTuple):
    """What one epoch came to, in nats per input; `loss` and its parts are means over the training batches."""

    number: int
    loss: float
    reconstruction: float
    kl: float
    validation: float
    is_best: bool


class Inputs:
    """Rows, windows or images of a table on a device; a window is gathered only when its batch is drawn.

    Parameters
    ----------
    values : raw units; (rows, features), or images (images, height, width, channels) uint8
    classes : (images, classes) one-hot, for images whose class is known
    """

    def __init__(self, model: Autoencoder, values: Tensor, classes: Tensor | None = None) -> None:
        self._model = model
        self.classes = classes
        self._view = values
        self._missing: Tensor | None = None
        self._is_raw = model.config.kind == "images"  # as floats, many would not fit into memory
        if not self._is_raw:
            with torch.no_grad():
                rows, missing = model.transformed(values)
            self._view = self._framed(rows)
            self._missing = None if missing is None else self._framed(missing)

    def _framed(self, rows: Tensor) -> Tensor:
        """Of each row its input; a view, not a copy: (starts, window, features) over the same memory."""
        config = self._model.config
        return rows if config.kind == "rows" else rows.unfold(0, config.window, 1).transpose(1, 2)

    def at(self, starts: Tensor) -> tuple[Tensor, Tensor | None]:
        """The standardised inputs that begin at these rows, and their classes."""
        # Indexing with [starts] takes twice as long for rows, and four times for windows.
        x = self._view.index_select(0, starts)
        classes = None if self.classes is None else self.classes.index_select(0, starts)
        if self._is_raw:
            return self._model.standardise(x), classes
        missing = None if self._missing is None else self._missing.index_select(0, starts)
        with torch.no_grad():
            return self._model.fill(x, missing), classes


@dataclass
class _State:
    """Everything that a resumed run needs and an uninterrupted one has in memory."""

    objective: Objective
    optimiser: torch.optim.Optimizer
    path: Path
    fingerprint: str
    best: dict[str, Tensor]
    pretrained: bool
    best_loss: float = float("inf")
    best_epoch: int = 0
    epoch: int = 0
    history: list[Epoch] = field(default_factory=list)

    @classmethod
    def begin(cls, model: Autoencoder, path: Path, fingerprint: str) -> _State:
        """That of a run that has not begun."""
        with torch.random.fork_rng(devices=[]):  # a discriminator draws its weights from the global generator
            torch.manual_seed(model.config.seed + 1)
            objective = Objective(model).to(model.energy_offset.device)
        optimiser = torch.optim.Adam(objective.parameters(), lr=model.config.learning_rate, fused=True)
        pretrained = model.ingredients.pretraining == "none"
        return cls(objective, optimiser, path, fingerprint, _copy(model), pretrained)

    def add(self, loss: float, reconstruction: float, kl: float, validation: float) -> None:
        """One epoch more; the weights are kept if it is the best so far."""
        self.epoch += 1
        if validation < self.best_loss:
            self.best, self.best_loss, self.best_epoch = _copy(self.objective.model), validation, self.epoch
        epoch = Epoch(self.epoch, loss, reconstruction, kl, validation, self.best_epoch == self.epoch)
        if not all(map(torch.isfinite, map(torch.tensor, epoch[1:5]))):
            rate = self.objective.model.config.learning_rate
            raise InputError(f"the loss is not finite in epoch {self.epoch}; try --set learning_rate={rate / 10:g}")
        self.history.append(epoch)

    def save(self) -> None:
        content = {
            "fingerprint": self.fingerprint,
            "objective": self.objective.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "best": self.best,
            "pretrained": self.pretrained,
            "best_loss": self.best_loss,
            "best_epoch": self.best_epoch,
            "epoch": self.epoch,
            "history": [tuple(epoch) for epoch in self.history],
        }
        saved = io.BytesIO()  # torch itself would report a full disk as an error of its own
        torch.save(content, saved)
        with written_aside(self.path, force=True) as out:
            out.write(saved.getbuffer())

    def restore(self) -> None:
        path = self.path
        try:
            device = self.objective.model.energy_offset.device
            with open_file(path) as file:
                content: Any = torch.load(file, map_location=device, weights_only=True)
        except InputError as error:
            raise InputError(f"{path}: {error}: no checkpoint to resume from; train without --resume") from None
        except Exception as error:  # a damaged zip, pickle or tensor each raise a class of their own
            raise InputError(f"{path}: not a checkpoint that can be resumed: {type(error).__name__}") from None
        if not isinstance(content, dict) or content.get("fingerprint") != self.fingerprint:
            raise InputError(
                f"{path}: the checkpoint is of other data or settings; train without --resume to start anew"
            )
        self.objective.load_state_dict(content["objective"])
        self.optimiser.load_state_dict(content["optimiser"])
        self.best, self.best_loss = content["best"], content["best_loss"]
        self.pretrained = content["pretrained"]
        self.best_epoch, self.epoch = content["best_epoch"], content["epoch"]
        self.history = [Epoch(*epoch) for epoch in content["history"]]


def fit(
    model: Autoencoder,
    values: Tensor,
    parts: Split,
    *,
    checkpoint: Path,
    fingerprint: str,
    resume: bool = False,
    classes: Tensor | None = None,
    world: World = ALONE,
    report: Callable[[Epoch], None] = lambda epoch: None,
) -> list[Epoch]:
    """Train in place, leave the weights of the best validation epoch in `model`, and return all epochs.

    The order of rows and the noise of epoch e depend on (seed, e) alone, so that a resumed run ends with the same
    weights as an uninterrupted one.

    Parameters
    ----------
    values : raw units, on the model's device: (rows, features) float32, or images (images, height, width, channels)
    parts : first rows of the training and validation inputs
    checkpoint : written after every epoch, and before and after pretraining
    fingerprint : identifies data and settings; `resume` refuses a checkpoint with another one
    classes : (images, classes) one-hot, for a recipe that wants classes and images, which have no column for it

    Raises
    ------
    InputError
        when `resume` finds no fitting checkpoint, or the loss is not finite
    """
    state = _State.begin(model, checkpoint, fingerprint)
    if resume:
        state.restore()
    loop = _Loop(state.objective, Inputs(model, values, classes), parts, world)
    if not state.pretrained:
        if world.rank == 0:
            state.save()  # so that a run which is stopped while it pretrains can be resumed
        pretrain(model, loop.prepared)
        state.best, state.pretrained = _copy(model), True
        if world.rank == 0:
            state.save()
    world.agree(state.objective.state_dict().values())
    most, patience = model.config.epochs, model.config.patience
    while state.epoch < most and state.epoch - state.best_epoch < patience:
        state.add(*loop.train_epoch(state.optimiser, state.epoch), loop.validate())
        if world.rank == 0:
            state.save()
        report(state.history[-1])
    model.load_state_dict(state.best)
    return state.history


class _Loop:
    """Batches of an epoch, and the steps over them."""

    def __init__(self, objective: Objective, inputs: Inputs, parts: Split, world: World) -> None:
        self._objective, self._inputs, self._world = objective, inputs, world
        self._model, self._config = objective.model, objective.model.config
        self._device = self._model.energy_offset.device
        self._starts, self._held = (torch.from_numpy(part).to(self._device) for part in (parts.train, parts.validation))
        precision = self._config.precision
        self._half = precision == "bfloat16" or (precision == "auto" and self._device.type == "cuda")

    def train_epoch(self, optimiser: torch.optim.Optimizer, epoch: int) -> tuple[float, float, float]:
        """One pass in random order; mean loss, reconstruction term and KL over the batches."""
        beta = annealed(self._config.beta, self._config.annealing, epoch)
        total, batches = torch.zeros(3, device=self._device), 0
        parameters = list(self._objective.parameters())
        for starts, step in self._batches(epoch):
            x, classes = self._inputs.at(starts)
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self._half):
                losses: Losses = self._objective(x, classes, step, beta)
            for parameter in parameters:
                parameter.grad = None  # what optimiser.zero_grad() does, without the 40 us that its hooks cost
            losses.loss.backward()
            self._world.average([parameter.grad for parameter in parameters if parameter.grad is not None])
            optimiser.step()
            total += torch.stack([value.detach().float() for value in losses])
            batches += 1
        mean = (total / batches).tolist()
        return mean[0], mean[1], mean[2]

    def validate(self) -> float:
        """The loss at the posterior mean over the validation inputs; no noise, so that epochs compare."""
        total = 0.0
        size = max(64, VALIDATION_ROWS // self._model.cells)
        with torch.no_grad():
            for batch in self._held.split(size):
                reconstruction, kl = self._objective.validate(*self._inputs.at(batch))
                total += float(reconstruction + self._config.beta * kl)
        return total / len(self._held)

    def prepared(self, epoch: int) -> Iterator[tuple[Tensor, Step]]:
        """What the networks see in an epoch of pretraining. Every process sees it all, since layers are small."""
        for starts, step in self._batches(-1 - epoch, ALONE):
            yield self._model.prepare(self._model.observe(self._inputs.at(starts)[0])), step

    def _batches(self, epoch: int, world: World | None = None) -> Iterator[tuple[Tensor, Step]]:
        world = world or self._world
        generator = torch.Generator(self._device).manual_seed(self._config.seed * 1_000_003 + epoch + 1_000)
        order = self._starts[torch.randperm(len(self._starts), generator=generator, device=self._device)]
        for batch in order.split(self._config.batch):
            rows = world.share(len(batch))
            yield batch[rows], Step(generator, len(batch), rows, world.size > 1)


def _copy(model: Autoencoder) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
