"""The settings of a training run: what they are, what they may be, and where they come from."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from ...runtime.bundle import Kind
from ...runtime.errors import InputError
from ...runtime.opening import MAX_SETTINGS_BYTES, read_whole
from .recipes import (
    DEFAULT_RECIPE,
    NETWORKS,
    PENALTY_WEIGHTS,
    RECIPES,
    Corruption,
    LikelihoodName,
    Network,
    Penalty,
    Recipe,
)


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a run: what the data looks like to the network, the network, and the optimisation.

    Raises InputError, naming the field, its value and what is allowed.
    """

    kind: Kind = "rows"
    """"rows": each row on its own. "windows": `window` consecutive rows, scored at the newest. "images"."""
    window: int = 1
    """Rows in one input."""
    stride: int = 1
    """Rows between the starts of successive training windows."""
    size: tuple[int, ...] = (64,)
    """Pixels to which images are brought: (height, width), or one number for both."""
    colour: Literal["auto", "grey", "colour"] = "auto"
    """Mode to which images are brought; auto is colour where one of the first images has some."""
    recipe: str = DEFAULT_RECIPE
    """A key of `RECIPES`."""
    network: Literal["recipe", Network] = "recipe"
    """"recipe" takes the first in `NETWORKS` that the recipe can use."""
    likelihood: LikelihoodName = "gaussian"
    """p(x | z): squared error, absolute error and binary cross-entropy, each as the likelihood it is."""
    hidden: tuple[int, ...] = (64, 32)
    """Widths of the encoder's hidden layers, or channels of its convolutions; the decoder mirrors them."""
    latent: int = 8
    """Dimensions of the code."""
    tied: bool = False
    """Whether the decoder's weights are the encoder's, transposed."""
    penalty: Literal["recipe", Penalty] = "recipe"
    """What is added to the loss; "recipe" is what the row of `RECIPES` says."""
    penalty_weight: float = 1.0
    """Weight of the penalty while training; `configure` takes the penalty's own from `PENALTY_WEIGHTS`."""
    rho: float = 0.05
    """Mean activation of a code unit that the penalty kl-sparsity aims at."""
    corruption: Literal["recipe", Corruption] = "recipe"
    """Of the input while training; "recipe" is what the row of `RECIPES` says."""
    corruption_level: float = 0.3
    """Standard deviation of Gaussian corruption, in standard deviations of the data; share of cells that is masked."""
    dropout: float = 0.0
    """Share of hidden units of the encoder that is dropped while training."""
    beta: float = 1.0
    """Weight of the KL term while training; 1 is the ELBO. The score always uses 1."""
    annealing: int = 0
    """Epochs over which the weight of the KL term rises from 0 to beta."""
    free_bits: float = 0.0
    """Nats of KL per latent dimension that cost nothing while training."""
    points: int = 1
    """Fixed noise points at which the exported ELBO is taken: 1 is the posterior's mean, more are averaged. iwae:
    samples of the bound, in training and in the score."""
    components: int = 10
    """Gaussians in the prior of mixture-vae."""
    steps: int = 5
    """Iterations of shrinkage in the encoder of sparse-coding."""
    pretrain_epochs: int = 20
    """Passes over the training rows for each layer, where there is pretraining."""
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
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the networks while training; auto is bfloat16 on CUDA and float32 elsewhere. Scores are always float32."""
    seed: int = 0
    """Seeds the split, the initial weights, the order of rows and the posterior noise."""

    @property
    def ingredients(self) -> Recipe:
        """The row of `RECIPES`, with what the settings `network`, `penalty` and `corruption` choose otherwise."""
        recipe = RECIPES[self.recipe]
        penalty = recipe.penalty if self.penalty == "recipe" else self.penalty
        corruption = recipe.corruption if self.corruption == "recipe" else self.corruption
        return replace(recipe, penalty=penalty, corruption=corruption)

    @property
    def network_name(self) -> Network:
        """The network that is built: the one that was set, or the first of the kind of data that the recipe can use."""
        recipe = RECIPES[self.recipe]
        if self.network != "recipe":
            return self.network
        if self.tied or recipe.dictionary or recipe.pretraining != "none":
            return "mlp"
        return "conv1d" if recipe.convolutional and self.kind == "windows" else NETWORKS[self.kind][0]

    def __post_init__(self) -> None:
        _check(self.kind in get_args(Kind), "kind", self.kind, "rows, windows or images")
        _check(self.window >= 1, "window", self.window, "1 or more")
        _check(self.kind == "windows" or self.window == 1, "window", self.window, "1 unless kind is windows")
        _check(self.kind != "windows" or self.window > 1, "window", self.window, "2 or more when kind is windows")
        _check(self.stride >= 1, "stride", self.stride, "1 or more")
        _check(self.recipe in RECIPES, "recipe", self.recipe, f"one of {', '.join(RECIPES)}")
        for name, choices in _CHOICES.items():
            _check(getattr(self, name) in choices, name, getattr(self, name), f"one of {', '.join(choices)}")
        _check(
            len(self.size) in (1, 2) and min(self.size) >= 8, "size", self.size, "8 or more pixels, like 64 or 64,96"
        )
        _check(all(width >= 1 for width in self.hidden), "hidden", self.hidden, "widths of 1 or more, like 64,32")
        for name in ("latent", "points", "components", "steps", "epochs", "batch", "patience"):
            _check(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        for name in ("beta", "penalty_weight", "free_bits", "corruption_level", "annealing", "pretrain_epochs"):
            _check(0 <= getattr(self, name) < math.inf, name, getattr(self, name), "0 or more, and finite")
        for name in ("clip", "learning_rate"):
            _check(0 < getattr(self, name) < math.inf, name, getattr(self, name), "more than 0, and finite")
        _check(0 < self.rho < 1, "rho", self.rho, "between 0 and 1")
        _check(0 <= self.dropout < 1, "dropout", self.dropout, "0 or more, and less than 1")
        _check(0 <= self.seed < 2**31, "seed", self.seed, "0 to 2147483647")
        self._check_network()
        self._check_loss()

    def _check_network(self) -> None:
        """Refuses a network, or a part of one, that the kind of data or the recipe cannot use."""
        recipe, network, allowed = self.ingredients, self.network_name, NETWORKS[self.kind]
        why = f"for recipe {self.recipe}"
        is_machine = recipe.training == "contrastive-divergence"
        _check(network in allowed, "network", network, f"one of {', '.join(allowed)} for kind {self.kind}")
        if recipe.convolutional:
            _check(self.kind != "rows", "kind", self.kind, f"windows or images {why}, which convolves")
            convolution = next(name for name in allowed if name.startswith("conv"))
            _check(network == convolution, "network", network, f"{convolution} {why}, which convolves")
        if self.tied or recipe.dictionary or recipe.pretraining != "none":
            _check(network == "mlp", "network", network, f"mlp {why}" + ", whose weights are tied" * self.tied)
        if self.tied:
            _check(not recipe.posterior and not recipe.dictionary, "tied", True, f"false {why}")
        if is_machine:
            _check(not self.hidden and self.tied, "hidden", self.hidden, f"none, and tied=true, {why}")
        if recipe.dictionary:
            _check(not self.hidden, "hidden", self.hidden, f"none {why}")
        if recipe.dictionary or is_machine:  # they have no hidden layer to drop from
            _check(self.dropout == 0, "dropout", self.dropout, f"0 {why}")
        if recipe.score == "joined" and self.kind == "windows":
            _check(network == "mlp", "network", network, f"mlp {why}, which sees statistics of a window")
        if recipe.pretraining != "none":
            _check(bool(self.hidden), "hidden", self.hidden, f"at least one layer {why}")

    def _check_loss(self) -> None:
        """Refuses what the recipe's loss would leave out in silence."""
        recipe, why = self.ingredients, f"for recipe {self.recipe}"
        if recipe.training == "contrastive-divergence":
            kinds = ("gaussian", "bernoulli")  # of its visible units
            _check(self.likelihood in kinds, "likelihood", self.likelihood, f"{' or '.join(kinds)} {why}")
            _check(recipe.corruption == "none", "corruption", recipe.corruption, f"none {why}")
        if recipe.training != "likelihood" or recipe.score == "bound":
            _check(recipe.penalty == "none", "penalty", recipe.penalty, f"none {why}")
        if recipe.score == "bound":  # it has no KL term to weigh
            _check(self.beta == 1, "beta", self.beta, f"1 {why}")
            _check(self.annealing == 0, "annealing", self.annealing, f"0 {why}")
        if recipe.corruption == "mask":
            _check(self.corruption_level < 1, "corruption_level", self.corruption_level, "a share below 1 for masking")
        if recipe.penalty == "kl-sparsity":
            _check(recipe.code == "sigmoid", "penalty", "kl-sparsity", "l1 or jacobian, for a code that is no sigmoid")
        if recipe.penalty in ("kl-sparsity", "l1", "discriminator"):
            _check(not recipe.posterior, "penalty", recipe.penalty, f"none or jacobian {why}")
        if recipe.penalty == "jacobian":
            gradient = "mlp or a convolution: CUDA's gru has no second derivative"
            _check(self.network_name != "gru", "network", self.network_name, gradient)
        if self.free_bits:
            has_dimensions = recipe.posterior and recipe.prior == "normal" and recipe.score != "bound"
            _check(has_dimensions, "free_bits", self.free_bits, f"0 {why}")


_CHOICES: dict[str, tuple[str, ...]] = {
    "network": ("recipe", *get_args(Network)),
    "likelihood": get_args(LikelihoodName),
    "penalty": ("recipe", *get_args(Penalty)),
    "corruption": ("recipe", *get_args(Corruption)),
    "colour": ("auto", "grey", "colour"),
    "precision": ("auto", "float32", "bfloat16"),
}

_BY_KIND: dict[str, dict[str, Any]] = {
    "rows": {},
    "windows": {"window": 16},
    "images": {"latent": 32, "batch": 64},
}

_HIDDEN: dict[tuple[str, str], tuple[int, ...]] = {
    ("windows", "conv1d"): (16, 32),
    ("windows", "gru"): (32,),
    ("images", "conv2d"): (16, 32, 64),
    ("images", "mlp"): (256, 64),
}


def configure(settings: Mapping[str, Any]) -> TrainConfig:
    """The settings of a run: those given, over those of the recipe, over those of the kind of data, over the defaults.

    Text values are converted to the field's type. Raises InputError for an unknown name, a value that does not convert,
    and whatever `TrainConfig` refuses.
    """
    given = _converted(settings)
    kind, recipe = given.get("kind", "rows"), given.get("recipe", DEFAULT_RECIPE)
    for name in ("size", "colour"):
        if name in given and kind != "images":
            raise InputError(f"setting {name} is for images, and kind is {kind}")
    of_kind, of_recipe = _BY_KIND.get(kind, {}), dict[str, Any]()
    if recipe in RECIPES:
        of_recipe = {**RECIPES[recipe].settings, **RECIPES[recipe].kinds.get(kind, {})}
    values = {**of_kind, **of_recipe, **given, "recipe": recipe}
    if "penalty_weight" not in given and ("penalty" in given or "penalty_weight" not in of_recipe):
        penalty = given.get("penalty", "recipe")
        of_row = RECIPES[recipe].penalty if recipe in RECIPES else "none"
        values["penalty_weight"] = PENALTY_WEIGHTS.get(of_row if penalty == "recipe" else penalty, 1.0)
    if "latent" not in given:
        # What is overcomplete for rows is not for images.
        values["latent"] = max(of_kind.get("latent", 0), of_recipe.get("latent", TrainConfig.latent))
    config = TrainConfig(**values)
    if "hidden" in values:
        return config
    return replace(config, hidden=_HIDDEN.get((config.kind, config.network_name), config.hidden))


def _converted(settings: Mapping[str, Any]) -> dict[str, Any]:
    hints = get_type_hints(TrainConfig)
    for name in settings:
        if name not in hints:
            raise InputError(f"setting {name!r} is unknown; expected one of {', '.join(hints)}")
    return {name: _convert(name, value, hints[name]) for name, value in settings.items()}


def read_settings(config: Path | None, assignments: Iterable[str]) -> dict[str, Any]:
    """Settings from a TOML file, then from NAME=VALUE texts, the later ones winning."""
    settings: dict[str, Any] = {}
    if config is not None:
        try:
            content = read_whole(config, most=MAX_SETTINGS_BYTES)
        except InputError as error:
            raise InputError(f"{config}: {error}") from None
        try:
            settings.update(tomllib.loads(content.decode()))
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
        if hint is bool:
            return _TRUTHS[str(value).lower()]
        if hint is int:
            return _whole(value)
        if hint is float:
            return _real(value)
        if hint == tuple[int, ...]:
            parts = (
                value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
            )
            return tuple(_whole(part) for part in parts if part != "")
        return str(value)
    except (KeyError, TypeError, ValueError, OverflowError):
        expected = {int: "a whole number", float: "a number", bool: "true or false"}
        lists = {"size": "pixels, like 64 or 64,96 for height,width"}.get(name, "whole numbers, like 64,32")
        raise InputError(f"setting {name} is {value!r}, expected {expected.get(hint, lists)}") from None


_TRUTHS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def _whole(value: Any) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError(value)
    return int(value)


def _real(value: Any) -> float:
    return float("true" if isinstance(value, bool) else value)  # a truth value is no number: ValueError


def _check(fine: bool, name: str, value: object, expected: str) -> None:
    if not fine:
        shown = ",".join(map(str, value)) if isinstance(value, tuple) else value
        raise InputError(f"setting {name} is {shown!r}, expected {expected}")
