"""The training loop: tensors in memory, fused Adam, early stopping, and a checkpoint that a killed run goes on from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..runtime.errors import InputError
from .data import Split
from .model import Autoencoder
from .recipes import TrainConfig


class Epoch(NamedTuple):
    """What one epoch came to, in nats per input; `loss` and its parts are means over the training batches."""

    number: int
    loss: float
    reconstruction: float
    kl: float
    validation: float
    is_best: bool


class Inputs:
    """Rows or windows of a table on a device; a window is gathered only when its batch is drawn.

    Parameters
    ----------
    rows : (rows, features), standardised
    window : rows in an input; inputs are (batch, features) when `kind` is rows
    """

    def __init__(self, rows: Tensor, *, kind: str, window: int) -> None:
        # A view, not a copy: (starts, window, features) over the same memory.
        self._view = rows if kind == "rows" else rows.unfold(0, window, 1).transpose(1, 2)

    def at(self, starts: Tensor) -> Tensor:
        """The inputs that begin at these rows."""
        return self._view[starts]


@dataclass
class _State:
    """Everything that a resumed run needs and an uninterrupted one has in memory."""

    model: Autoencoder
    optimiser: torch.optim.Optimizer
    best: dict[str, Tensor]
    best_loss: float = float("inf")
    best_epoch: int = 0
    epoch: int = 0

    def save(self, path: Path, fingerprint: str) -> None:
        content = {
            "fingerprint": fingerprint,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "best": self.best,
            "best_loss": self.best_loss,
            "best_epoch": self.best_epoch,
            "epoch": self.epoch,
        }
        aside = path.with_name(path.name + ".tmp")
        torch.save(content, aside)
        aside.replace(path)

    def restore(self, path: Path, fingerprint: str) -> None:
        try:
            content: Any = torch.load(path, map_location=self.model.center.device, weights_only=True)
        except FileNotFoundError:
            raise InputError(f"{path}: no checkpoint to resume from; train without --resume") from None
        except Exception as error:  # a damaged zip, pickle or tensor each raise a class of their own
            raise InputError(f"{path}: not a checkpoint that can be resumed: {type(error).__name__}") from None
        if not isinstance(content, dict) or content.get("fingerprint") != fingerprint:
            raise InputError(
                f"{path}: the checkpoint is of other data or settings; train without --resume to start anew"
            )
        self.model.load_state_dict(content["model"])
        self.optimiser.load_state_dict(content["optimiser"])
        self.best, self.best_loss = content["best"], content["best_loss"]
        self.best_epoch, self.epoch = content["best_epoch"], content["epoch"]


def fit(
    model: Autoencoder,
    rows: Tensor,
    parts: Split,
    config: TrainConfig,
    *,
    checkpoint: Path,
    fingerprint: str,
    resume: bool = False,
    report: Callable[[Epoch], None] = lambda epoch: None,
) -> list[Epoch]:
    """Train in place, leave the weights of the best validation epoch in `model`, and return the epochs run.

    The order of rows and the noise of epoch e depend on (seed, e) alone, so that a resumed run ends with the same
    weights as an uninterrupted one.

    Parameters
    ----------
    rows : (rows, features) in raw units, float32, on the model's device
    parts : first rows of the training and validation inputs
    checkpoint : written after every epoch
    fingerprint : identifies data and settings; `resume` refuses a checkpoint with another one

    Raises
    ------
    InputError
        when `resume` finds no fitting checkpoint, or the loss is not finite
    """
    device = rows.device
    with torch.no_grad():
        inputs = Inputs(model.standardise(rows), kind=config.kind, window=config.window)
    train, validation = (torch.from_numpy(starts).to(device) for starts in (parts.train, parts.validation))
    optimiser = torch.optim.Adam(model.parameters(), lr=config.learning_rate, fused=True)
    state = _State(model, optimiser, best=_copy(model))
    if resume:
        state.restore(checkpoint, fingerprint)
    history: list[Epoch] = []
    while state.epoch < config.epochs and state.epoch - state.best_epoch < config.patience:
        generator = torch.Generator(device).manual_seed(config.seed * 1_000_003 + state.epoch)
        loss, reconstruction, kl = _train_epoch(model, optimiser, inputs, train, config, generator)
        validated = _validate(model, inputs, validation, config)
        state.epoch += 1
        if validated < state.best_loss:
            state.best, state.best_loss, state.best_epoch = _copy(model), validated, state.epoch
        epoch = Epoch(state.epoch, loss, reconstruction, kl, validated, state.best_epoch == state.epoch)
        if not all(map(torch.isfinite, map(torch.tensor, epoch[1:5]))):
            raise InputError(
                f"the loss is not finite in epoch {state.epoch}; try --set learning_rate={config.learning_rate / 10:g}"
            )
        history.append(epoch)
        state.save(checkpoint, fingerprint)
        report(epoch)
    model.load_state_dict(state.best)
    return history


def _train_epoch(
    model: Autoencoder,
    optimiser: torch.optim.Optimizer,
    inputs: Inputs,
    starts: Tensor,
    config: TrainConfig,
    generator: torch.Generator,
) -> tuple[float, float, float]:
    """One pass in random order; mean loss, reconstruction term and KL over the batches."""
    order = starts[torch.randperm(len(starts), generator=generator, device=starts.device)]
    total = torch.zeros(3, device=starts.device)
    batches = order.split(config.batch)
    for batch in batches:
        x = inputs.at(batch)
        noise = torch.randn(len(x), model.latent, generator=generator, device=x.device)
        reconstruction, kl = model.training_terms(x, noise)
        loss = reconstruction + config.beta * kl
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        total += torch.stack([loss.detach(), reconstruction.detach(), kl.detach()])
    mean = (total / len(batches)).tolist()
    return mean[0], mean[1], mean[2]


def _validate(model: Autoencoder, inputs: Inputs, starts: Tensor, config: TrainConfig) -> float:
    """The loss at the posterior mean over the validation inputs; no noise, so that epochs compare."""
    total = 0.0
    with torch.no_grad():
        for batch in starts.split(4096):
            reconstruction, kl = model.training_terms(inputs.at(batch), None)
            total += len(batch) * float(reconstruction + config.beta * kl)
    return total / len(starts)


def _copy(model: Autoencoder) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
