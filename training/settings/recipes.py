"""The table of recipes, and what its ingredients may be.

A recipe is data over shared ingredients, not a class: adding one is a line in `RECIPES`. What a recipe does not say is
the plain autoencoder: a point code between two mirrored networks, trained on the reconstruction's likelihood.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ...runtime.bundle import Kind

Network = Literal["mlp", "conv1d", "gru", "conv2d"]

LikelihoodName = Literal["gaussian", "laplace", "bernoulli", "continuous-bernoulli"]

Penalty = Literal["none", "kl-sparsity", "l1", "jacobian", "discriminator"]

Corruption = Literal["none", "gaussian", "mask"]

Score = Literal["error", "elbo", "bound", "free-energy", "latent-distance", "joined"]

DEFAULT_RECIPE = "ensemble"
"""Where no recipe is named."""

SCORES: dict[Score, str] = {
    "error": "reconstruction error: negative log-likelihood above that of a perfect reconstruction, nats",
    "elbo": "negative ELBO, above that of a perfect reconstruction with KL 0, nats",
    "bound": "negative importance-weighted bound, above that of a perfect reconstruction, nats",
    "free-energy": "free energy, above the lowest of the training data, nats",
    "latent-distance": "distance between the code and the code of the reconstruction, summed over latent dimensions",
    "joined": "reconstruction error and distances from normal inputs, each relative to its usual size, joined",
}
"""What each score is, in words; `Autoencoder.terms` computes them."""

PENALTY_WEIGHTS: dict[str, float] = {"kl-sparsity": 3.0, "l1": 0.1, "jacobian": 3.0, "discriminator": 1.0}
"""Weights with which each penalty shows its effect and reconstructions stay good; see docs/recipes.md."""

NETWORKS: dict[Kind, tuple[Network, ...]] = {
    "rows": ("mlp",),
    "windows": ("mlp", "conv1d", "gru"),
    "images": ("conv2d", "mlp"),
}
"""Networks that take each kind of data, the default first."""


@dataclass(frozen=True)
class Recipe:
    """One family of autoencoders: which ingredients it takes, and where its settings differ from the defaults."""

    summary: str
    source: str
    """Where it comes from."""
    posterior: bool = False
    """Whether the code is a diagonal Gaussian posterior; else it is a point."""
    prior: Literal["none", "normal", "mixture", "classes"] = "none"
    """p(z): standard normal, a learned mixture of Gaussians, or one Gaussian per class."""
    code: Literal["linear", "sigmoid"] = "linear"
    """What the code layer ends in."""
    activation: Literal["relu", "sigmoid"] = "relu"
    """Between the hidden layers."""
    convolutional: bool = False
    """Takes the convolutional network of its kind of data."""
    pooling: bool = False
    """Halves by taking the maximum of blocks and remembers where it stood, instead of by strided convolutions."""
    dictionary: bool = False
    """A linear dictionary decodes, unrolled iterative shrinkage encodes."""
    corruption: Corruption = "none"
    """Of the input while training; the target stays clean."""
    penalty: Penalty = "none"
    """What is added to the loss."""
    pretraining: Literal["none", "layers", "rbm"] = "none"
    """Greedy training of layer after layer before all are trained together."""
    training: Literal["likelihood", "contrastive-divergence", "ganomaly"] = "likelihood"
    """What the loss is."""
    score: Score = "error"
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings whose defaults differ from those of `TrainConfig`."""
    kinds: Mapping[Kind, Mapping[str, Any]] = field(default_factory=dict)
    """Settings whose defaults differ for a kind of data."""


RECIPES = {
    "ensemble": Recipe(
        "the default: denoising autoencoder joined with densities of normal inputs",
        "Vincent et al. 2008; Hinton 2002",
        corruption="gaussian",
        score="joined",
        settings={"epochs": 300, "patience": 20},
        kinds={"rows": {"hidden": (128,), "latent": 32, "corruption_level": 0.5}},
    ),
    "ae": Recipe("undercomplete autoencoder, two layers or deep", "Rumelhart et al. 1986"),
    "sparse": Recipe(
        "sparse autoencoder: few units of an overcomplete code are active",
        "Ng 2011",
        code="sigmoid",
        penalty="kl-sparsity",
        settings={"latent": 64},
    ),
    "sparse-coding": Recipe(
        "sparse coding: dictionary decoder, unrolled ISTA encoder",
        "Olshausen and Field 1996; Gregor and LeCun 2010",
        dictionary=True,
        penalty="l1",
        settings={"hidden": (), "latent": 64, "penalty_weight": 2.0},
    ),
    "stacked": Recipe(
        "stacked autoencoder: sparse layers trained one by one, then together",
        "Bengio et al. 2007",
        activation="sigmoid",
        pretraining="layers",
    ),
    "rbm": Recipe(
        "restricted Boltzmann machine, scored by its free energy",
        "Smolensky 1986; Hinton 2002",
        code="sigmoid",
        training="contrastive-divergence",
        score="free-energy",
        settings={"hidden": (), "latent": 64, "tied": True},
    ),
    "dbn": Recipe(
        "deep belief network: restricted Boltzmann machines stacked, unrolled and fine-tuned",
        "Hinton and Salakhutdinov 2006",
        activation="sigmoid",
        pretraining="rbm",
    ),
    "conv": Recipe(
        "convolutional autoencoder: strided and transposed convolutions", "Masci et al. 2011", convolutional=True
    ),
    "conv-unpool": Recipe(
        "convolutional autoencoder: max-pooling and unpooling at the remembered places",
        "Zeiler et al. 2011",
        convolutional=True,
        pooling=True,
        settings={"hidden": (16, 32)},
    ),
    "denoising": Recipe(
        "denoising autoencoder: corrupted input, clean target", "Vincent et al. 2008", corruption="gaussian"
    ),
    "dropout": Recipe("autoencoder with dropout in the encoder", "Srivastava et al. 2014", settings={"dropout": 0.2}),
    "contractive": Recipe(
        "contractive autoencoder: small Jacobian of the encoder",
        "Rifai et al. 2011",
        code="sigmoid",
        penalty="jacobian",
        settings={"hidden": (), "latent": 32, "tied": True},
    ),
    "adversarial": Recipe(
        "adversarial autoencoder: a discriminator makes the codes normal",
        "Makhzani et al. 2015",
        prior="normal",
        penalty="discriminator",
    ),
    "gan": Recipe(
        "GANomaly: encoder, decoder and second encoder against a discriminator",
        "Akcay et al. 2018",
        training="ganomaly",
        score="latent-distance",
    ),
    "vae": Recipe("variational autoencoder", "Kingma and Welling 2014", posterior=True, prior="normal", score="elbo"),
    "beta-vae": Recipe(
        "variational autoencoder with a heavier KL term",
        "Higgins et al. 2017",
        posterior=True,
        prior="normal",
        score="elbo",
        settings={"beta": 4.0},
    ),
    "iwae": Recipe(
        "importance-weighted autoencoder",
        "Burda et al. 2016",
        posterior=True,
        prior="normal",
        score="bound",
        settings={"points": 8},
    ),
    "mixture-vae": Recipe(
        "variational autoencoder with a learned mixture of Gaussians as prior",
        "Jiang et al. 2017; Dilokthanakul et al. 2016",
        posterior=True,
        prior="mixture",
        score="elbo",
    ),
    "cvae": Recipe(
        "variational autoencoder with a prior mean for each class",
        "Sohn et al. 2015",
        posterior=True,
        prior="classes",
        score="elbo",
    ),
}
