"""The training loop: tensors in memory, fused Adam, early stopping, and a checkpoint that a killed run goes on from.

One process, or several that torchrun started: they share each batch and follow the loss path of one.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch import distributed as dist

from ...runtime.errors import InputError
from ..data.loading import Split
from ..model.autoencoder import Autoencoder
from ..settings.recipes import TrainConfig
from .objective import Losses, Objective, annealed
from .pretraining import pretrain
from .steps import Step

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


class World(NamedTuple):
    """Which of how many processes this is."""

    rank: int = 0
    size: int = 1

    def share(self, total: int) -> slice:
        """The part of a batch that this process works on."""
        return slice(total * self.rank // self.size, total * (self.rank + 1) // self.size)

    def agree(self, tensors: Iterable[Tensor]) -> None:
        """Gives all processes the first one's values."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Makes each tensor the mean of what the processes have, in place."""
        if self.size > 1 and tensors:
            flat = torch.cat([tensor.flatten() for tensor in tensors])
            dist.all_reduce(flat)
            flat /= self.size
            for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
                tensor.copy_(mean.view_as(tensor))

    def wait(self) -> None:
        """Until every process is here. The first one must have written before another ends, or torchrun may stop it."""
        if self.size > 1:
            dist.barrier()


ALONE = World()


def join_world(device: torch.device) -> World:
    """Meets the other processes that torchrun started, until the program ends; alone without it."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return ALONE
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        atexit.register(dist.destroy_process_group)
    return World(dist.get_rank(), size)


class Inputs:
    """Rows, windows or images of a table on a device; a window is gathered only when its batch is drawn.

    Parameters
    ----------
    values : raw units; (rows, features), or images (images, height, width, channels) uint8
    classes : (images, classes) one-hot, for images whose class is known
    """

    def __init__(self, model: Autoencoder, values: Tensor, classes: Tensor | None = None) -> None:
        self._standardise = model.standardise
        self.classes = classes
        self._view = values
        self._is_raw = model.config.kind == "images"  # as floats, many would not fit into memory
        if not self._is_raw:
            with torch.no_grad():
                rows = model.standardise(values)
            # A view, not a copy: (starts, window, features) over the same memory.
            is_rows, window = model.config.kind == "rows", model.config.window
            self._view = rows if is_rows else rows.unfold(0, window, 1).transpose(1, 2)

    def at(self, starts: Tensor) -> tuple[Tensor, Tensor | None]:
        """The standardised inputs that begin at these rows, and their classes."""
        # Indexing with [starts] takes twice as long for rows, and four times for windows.
        x = self._view.index_select(0, starts)
        classes = None if self.classes is None else self.classes.index_select(0, starts)
        return self._standardise(x) if self._is_raw else x, classes


@dataclass
class _State:
    """Everything that a resumed run needs and an uninterrupted one has in memory."""

    objective: Objective
    optimiser: torch.optim.Optimizer
    best: dict[str, Tensor]
    pretrained: bool
    best_loss: float = float("inf")
    best_epoch: int = 0
    epoch: int = 0
    history: list[Epoch] = field(default_factory=list)

    def save(self, path: Path, fingerprint: str) -> None:
        content = {
            "fingerprint": fingerprint,
            "objective": self.objective.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "best": self.best,
            "pretrained": self.pretrained,
            "best_loss": self.best_loss,
            "best_epoch": self.best_epoch,
            "epoch": self.epoch,
            "history": [tuple(epoch) for epoch in self.history],
        }
        aside = path.with_name(path.name + ".tmp")
        torch.save(content, aside)
        aside.replace(path)

    def restore(self, path: Path, fingerprint: str) -> None:
        try:
            device = self.objective.model.energy_offset.device
            content: Any = torch.load(path, map_location=device, weights_only=True)
        except FileNotFoundError:
            raise InputError(f"{path}: no checkpoint to resume from; train without --resume") from None
        except Exception as error:  # a damaged zip, pickle or tensor each raise a class of their own
            raise InputError(f"{path}: not a checkpoint that can be resumed: {type(error).__name__}") from None
        if not isinstance(content, dict) or content.get("fingerprint") != fingerprint:
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
    config: TrainConfig,
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
    device = values.device
    inputs = Inputs(model, values, classes)
    train, validation = (torch.from_numpy(starts).to(device) for starts in (parts.train, parts.validation))
    with torch.random.fork_rng(devices=[]):  # a discriminator draws its weights from the global generator
        torch.manual_seed(config.seed + 1)
        objective = Objective(model).to(device)
    optimiser = torch.optim.Adam(objective.parameters(), lr=config.learning_rate, fused=True)
    state = _State(objective, optimiser, best=_copy(model), pretrained=model.ingredients.pretraining == "none")
    if resume:
        state.restore(checkpoint, fingerprint)
    loop = _Loop(objective, inputs, train, config, world)
    if not state.pretrained:
        if world.rank == 0:
            state.save(checkpoint, fingerprint)  # so that a run which is stopped while it pretrains can be resumed
        pretrain(model, loop.prepared)
        state.best, state.pretrained = _copy(model), True
        if world.rank == 0:
            state.save(checkpoint, fingerprint)
    world.agree(objective.state_dict().values())
    while state.epoch < config.epochs and state.epoch - state.best_epoch < config.patience:
        loss, reconstruction, kl = loop.train_epoch(optimiser, state.epoch)
        validated = _validate(objective, inputs, validation, config)
        state.epoch += 1
        if validated < state.best_loss:
            state.best, state.best_loss, state.best_epoch = _copy(model), validated, state.epoch
        epoch = Epoch(state.epoch, loss, reconstruction, kl, validated, state.best_epoch == state.epoch)
        if not all(map(torch.isfinite, map(torch.tensor, epoch[1:5]))):
            raise InputError(
                f"the loss is not finite in epoch {state.epoch}; try --set learning_rate={config.learning_rate / 10:g}"
            )
        state.history.append(epoch)
        if world.rank == 0:
            state.save(checkpoint, fingerprint)
        report(epoch)
    model.load_state_dict(state.best)
    return state.history


class _Loop:
    """Batches of an epoch, and the steps over them."""

    def __init__(self, objective: Objective, inputs: Inputs, starts: Tensor, config: TrainConfig, world: World) -> None:
        self._inputs, self._starts, self._config, self._world = inputs, starts, config, world
        self._model = objective.model
        self._device = starts.device
        self._half = config.precision == "bfloat16" or (config.precision == "auto" and starts.is_cuda)
        self._objective = objective

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


def _validate(objective: Objective, inputs: Inputs, starts: Tensor, config: TrainConfig) -> float:
    """The loss at the posterior mean over the validation inputs; no noise, so that epochs compare."""
    total = 0.0
    size = max(64, VALIDATION_ROWS // objective.model.cells)
    with torch.no_grad():
        for batch in starts.split(size):
            reconstruction, kl = objective.validate(*inputs.at(batch))
            total += float(reconstruction + config.beta * kl)
    return total / len(starts)


def _copy(model: Autoencoder) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
