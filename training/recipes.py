"""The table of recipes and the settings of a training run.

A recipe is data over shared ingredients, not a class: adding one is a line in `RECIPES`.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from ..runtime.bundle import Kind
from ..runtime.errors import InputError


@dataclass(frozen=True)
class Recipe:
    """One family of autoencoders."""

    summary: str
    latent: Literal["point", "gaussian"]
    """"point": the code is a vector. "gaussian": it has a diagonal Gaussian posterior and a standard normal prior."""
    score: str
    """What the exported score is, in words."""


RECIPES = {
    "ae": Recipe(
        summary="undercomplete autoencoder",
        latent="point",
        score="reconstruction error: negative log-likelihood above that of a perfect reconstruction, nats",
    ),
    "vae": Recipe(
        summary="variational autoencoder (Kingma and Welling 2014)",
        latent="gaussian",
        score="negative ELBO at the posterior mean, above that of a perfect reconstruction with KL 0, nats",
    ),
}

LikelihoodName = Literal["gaussian", "laplace", "bernoulli"]


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a run: what the data looks like to the network, the network, and the optimisation.

    Raises InputError, naming the field, its value and what is allowed.
    """

    kind: Kind = "rows"
    """"rows": each row on its own. "windows": `window` consecutive rows, scored at the newest."""
    window: int = 1
    """Rows in one input."""
    stride: int = 1
    """Rows between the starts of successive training windows."""
    recipe: str = "vae"
    """A key of `RECIPES`."""
    likelihood: LikelihoodName = "gaussian"
    """p(x | z): squared error, absolute error and binary cross-entropy, each as the likelihood it is."""
    hidden: tuple[int, ...] = (64, 32)
    """Widths of the encoder's hidden layers; the decoder mirrors them."""
    latent: int = 8
    """Dimensions of the code."""
    beta: float = 1.0
    """Weight of the KL term while training; 1 is the ELBO. The score always uses 1."""
    points: int = 1
    """Fixed noise points at which the exported ELBO is taken: 1 is the posterior's mean, more are averaged."""
    clip: float = 5.0
    """The network sees standardised inputs clipped to [-clip, clip]; the likelihood sees them whole."""
    epochs: int = 50
    """Passes over the training rows, at most."""
    batch: int = 128
    """Rows per step."""
    learning_rate: float = 1e-3
    """Adam's step size."""
    patience: int = 10
    """Epochs without a better validation loss before training stops."""
    seed: int = 0
    """Seeds the split, the initial weights, the order of rows and the posterior noise."""

    def __post_init__(self) -> None:
        _check(self.kind in get_args(Kind), "kind", self.kind, "rows or windows")
        _check(self.window >= 1, "window", self.window, "1 or more")
        _check(self.kind == "windows" or self.window == 1, "window", self.window, "1 unless kind is windows")
        _check(self.kind == "rows" or self.window > 1, "window", self.window, "2 or more when kind is windows")
        _check(self.stride >= 1, "stride", self.stride, "1 or more")
        _check(self.recipe in RECIPES, "recipe", self.recipe, f"one of {', '.join(RECIPES)}")
        names = get_args(LikelihoodName)
        _check(self.likelihood in names, "likelihood", self.likelihood, f"one of {', '.join(names)}")
        _check(all(width >= 1 for width in self.hidden), "hidden", self.hidden, "widths of 1 or more, like 64,32")
        for name in ("latent", "points", "epochs", "batch", "patience"):
            _check(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        _check(0 <= self.beta < math.inf, "beta", self.beta, "0 or more, and finite")
        for name in ("clip", "learning_rate"):
            _check(0 < getattr(self, name) < math.inf, name, getattr(self, name), "more than 0, and finite")
        _check(0 <= self.seed < 2**31, "seed", self.seed, "0 to 2147483647")

    def override(self, settings: dict[str, Any]) -> TrainConfig:
        """A copy with some fields changed; text values are converted to the field's type.

        Raises InputError for an unknown name or a value that does not convert.
        """
        hints = get_type_hints(TrainConfig)
        for name in settings:
            if name not in hints:
                raise InputError(f"setting {name!r} is unknown; expected one of {', '.join(hints)}")
        return replace(self, **{name: _convert(name, value, hints[name]) for name, value in settings.items()})


def read_settings(config: Path | None, assignments: Iterable[str]) -> dict[str, Any]:
    """Settings from a TOML file, then from NAME=VALUE texts, the later ones winning."""
    settings: dict[str, Any] = {}
    if config is not None:
        try:
            settings.update(tomllib.loads(config.read_text(encoding="utf-8")))
        except OSError as error:
            raise InputError(f"{config}: cannot be read: {error.strerror}") from None
        except ValueError as error:  # bad TOML, bad UTF-8, or a number of thousands of digits
            raise InputError(f"{config}: not a TOML file: {error}") from None
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise InputError(f"{assignment!r} is no setting; expected NAME=VALUE, like latent=8")
        settings[name.strip()] = value.strip()
    return settings


def _convert(name: str, value: Any, hint: Any) -> Any:
    try:
        if hint is int:
            return _whole(value)
        if hint is float:
            return _real(value)
        if hint == tuple[int, ...]:
            parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else [value]
            return tuple(_whole(part) for part in parts if part != "")
        return str(value)
    except (TypeError, ValueError, OverflowError):
        expected = {int: "a whole number", float: "a number"}.get(hint, "whole numbers, like 64,32")
        raise InputError(f"setting {name} is {value!r}, expected {expected}") from None


def _whole(value: Any) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError(value)
    return int(value)


def _real(value: Any) -> float:
    return float("true" if isinstance(value, bool) else value)  # a truth value is no number: ValueError


def _check(fine: bool, name: str, value: object, expected: str) -> None:
    if not fine:
        raise InputError(f"setting {name} is {value!r}, expected {expected}")
