"""The autoencoder: encoder, code, decoder, likelihood and prior, put together as the recipe says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...runtime.bundle import Column, Image
from ...runtime.errors import InputError
from ..settings.config import TrainConfig
from ..settings.recipes import Recipe
from .boltzmann import Machine
from .ensemble import Ensemble, Measured, WindowStatistics
from .filling import Filling
from .likelihoods import LIKELIHOODS, Likelihood, Mixed
from .networks import MlpEncoder, choose_networks
from .priors import choose_prior
from .steps import Step
from .terms import Code, Terms, importance_weighted_bound
from .transform import Expansion, Transform
from .unknown_class import UnknownClass

LOG_VARIANCE_BOUNDS = (-10.0, 4.0)
"""Bounds of the posterior's log-variance: from 0.7 % of the prior's width to 7 times it."""

HEAT_MAP_SIZE = 5
"""Width in pixels of the square over which a heat map averages the contributions."""


class _Way(NamedTuple):
    """A batch on its way through the networks."""

    standardised: Tensor
    prepared: Tensor
    code: Code
    noise: Tensor | None
    latent: Tensor
    """The codes that were decoded, (batch, latent) or (points, batch, latent)."""
    output: Tensor
    """The decoder's, (batch, ...) or (points, batch, ...)."""
    deviance: Tensor
    """Half deviances of what the likelihood is about, shaped like the output of it."""


class Autoencoder(nn.Module):
    """Raw units in, `Terms` out.

    Parameters
    ----------
    config : recipe, network sizes, likelihood, window
    columns : the features, with their treatments and statistics
    image : size and mode, for kind "images"
    class_frequencies : share of each class among the training inputs, for recipe cvae
    """

    energy_offset: Tensor
    departure_cost: Tensor
    """What each reading of a constant column that is not its value adds to the error and to the score."""

    def __init__(
        self,
        config: TrainConfig,
        columns: Sequence[Column],
        image: Image | None = None,
        class_frequencies: Sequence[float] = (),
    ) -> None:
        super().__init__()
        self.ingredients: Recipe = config.ingredients
        self.config, self.columns, self.image = config, tuple(columns), image
        self.is_gaussian = self.ingredients.posterior
        self.transform, self.expansion = Transform(columns), Expansion(columns)
        features = len(columns)
        of_kind = {"rows": (features,), "windows": (config.window, features)}
        self.input_shape: tuple[int, ...] = image.shape if image else of_kind[config.kind]
        self.cells = 1  # how often each feature stands in an input
        for size in self.input_shape[:-1]:
            self.cells *= size
        shape: tuple[int, ...] = (*self.input_shape[:-1], self.expansion.width)
        self.filling: Filling | None = None  # fitted before, where cells may be missing
        self.ensemble: Ensemble | None = None  # fitted once the network is trained
        self.unknown_class: UnknownClass | None = None  # likewise
        self.statistics: WindowStatistics | None = None
        if self.ingredients.score == "joined" and config.kind == "windows":
            self.statistics = WindowStatistics(config.window, self.expansion.width)
            shape, self.cells = (self.statistics.width,), 1
        self.encoder, self.decoder = choose_networks(config, shape)
        self.second_encoder = choose_networks(config, shape)[0] if self.ingredients.training == "ganomaly" else None
        family = LIKELIHOODS[config.likelihood]
        self.likelihood: Likelihood
        if self.statistics is not None:
            self.likelihood = family(self.statistics.width)
        else:
            plain = self.expansion.is_plain
            self.likelihood = family(features) if plain else Mixed(self.expansion, family(self.expansion.measured))
        self.prior = choose_prior(config, class_frequencies)
        self.noise = noise_points(config.points, config.latent) if self.is_gaussian else None
        self.register_buffer("energy_offset", torch.zeros(()))
        self.register_buffer("departure_cost", torch.ones(()))
        if self.ingredients.training == "contrastive-divergence" and self.expansion.width > self.expansion.measured:
            raise InputError(f"recipe {config.recipe} takes numbers only; --exclude text and categories")

    def standardise(self, x: Tensor) -> Tensor:
        """Raw units to treated and standardised ones, missing cells filled; images come as uint8."""
        return self.fill(*self.transformed(x))

    def transformed(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Raw units to treated and standardised ones, and which cells are missing, None where none may be."""
        if self.filling is None:
            return self.transform(x.float()), None
        missing = torch.isnan(x)
        return self.transform(torch.where(missing, self.filling.rest, x)), missing

    def fill(self, standardised: Tensor, missing: Tensor | None) -> Tensor:
        """The same with what is expected in the missing cells of whole inputs."""
        if self.filling is None or missing is None:
            return standardised
        filled: Tensor = self.filling(standardised, missing)
        return filled

    def _seen(self, values: Tensor, x: Tensor) -> Tensor:
        """`values` of the cells of inputs `x`, 0 where a cell is missing: nothing can be said of what was not there."""
        return values if self.filling is None else values * (~torch.isnan(x)).to(values.dtype)

    def observe(self, standardised: Tensor) -> Tensor:
        """What the likelihood is about: the input itself, or the statistics of a window."""
        if self.statistics is None:
            return standardised
        statistics: Tensor = self.statistics(self.expansion.expand(standardised))
        return statistics

    def prepare(self, observed: Tensor) -> Tensor:
        """What the networks see: categories as one-hot, clipped so that an outlier moves the code only so far."""
        expanded = observed if self.statistics is not None else self.expansion.expand(observed)
        return torch.clamp(expanded, -self.config.clip, self.config.clip)

    def see(self, x: Tensor) -> Tensor:
        """What the networks see of inputs in raw units."""
        return self.prepare(self.observe(self.standardise(x)))

    def encode(self, prepared: Tensor, step: Step | None = None) -> Code:
        """The code of what `prepare` made."""
        h, indices = self.encoder(prepared, step)
        if self.is_gaussian:
            mean, log_variance = h.chunk(2, dim=-1)
            return Code(mean, torch.clamp(log_variance, *LOG_VARIANCE_BOUNDS), indices)
        return Code(torch.sigmoid(h) if self.ingredients.code == "sigmoid" else h, None, indices)

    def decode(self, latent: Tensor, indices: Tensor | None = None) -> Tensor:
        """The decoder's output, shaped like a batch of what `prepare` makes."""
        output: Tensor = self.decoder(latent, indices)
        return output

    def to_raw(self, output: Tensor) -> Tensor:
        """E[x | z] in raw units from the decoder's output."""
        mean = self.likelihood.mean(output)
        if self.statistics is not None:
            mean = self.expansion.collapse(self.statistics.rows(mean)[0])
        raw: Tensor = self.transform.inverse(mean)
        return raw

    def scale_of(self, output: Tensor) -> Tensor:
        """The likelihood's scale of each feature, in the units in which it is standardised before it is scaled."""
        scale = self.likelihood.scale()
        if self.statistics is not None:
            scale = self.expansion.collapse(self.statistics.rows(output)[1], scales=True)
        return scale * self.transform.scale

    def classes_of(self, standardised: Tensor) -> Tensor | None:
        """(batch, classes), 1 at an input's class, 0 where it is unknown; None where no column holds it."""
        return self.expansion.class_of(standardised) if self.expansion.classes else None

    def machine(self) -> Machine:
        """The restricted Boltzmann machine that a tied layer is."""
        assert isinstance(self.encoder, MlpEncoder)
        hidden, visible = self.encoder.linear(0), self.decoder.get_parameter("layers.0.bias")
        return Machine(hidden.weight, hidden.bias, visible, self.config.likelihood == "bernoulli")

    def terms(self, x: Tensor, noise: Tensor | None = None) -> Terms:
        """The terms at fixed noise points; deterministic.

        Parameters
        ----------
        x : (batch, features), (batch, window, features) or (batch, height, width, channels), raw units
        noise : standard normal points: (1, latent) for one, with zeros for the posterior's mean, or
            (points, 1, latent) for an average over several; None for the posterior's mean
        """
        way = self._through(x, noise)
        contribution, reconstruction = way.deviance, self.to_raw(way.output)
        if self.statistics is not None:
            contribution = self._seen(self.expansion.total(self.statistics.spread(way.deviance)), x)
        elif way.output.ndim > x.ndim:
            contribution, reconstruction = contribution.mean(0), reconstruction.mean(0)
        error, kl = contribution.flatten(1).sum(-1), None
        classes = self.classes_of(way.standardised)
        if way.code.log_variance is not None:
            kl = self.prior.kl(way.code.mean, way.code.log_variance, classes)
        score, distances = self._score(way, error, kl), None
        if self.unknown_class is not None and classes is not None:
            score = torch.where(classes.sum(-1) > 0, score, self.unknown_class(score))
        local = None if self.image is None else heat_map(contribution)
        if self.filling is not None and self.ensemble is None:
            score = score - self.filling.toll(torch.isnan(x))
        if self.ensemble is not None:
            measured = [Measured(error, contribution) if local is None else _local_error(contribution, local)]
            measured += self.ensemble.measure(self.expansion.expand(way.standardised), way.code.mean)
            distances = torch.stack([each.distance for each in measured])
            score, shares = self.ensemble.join(distances)
            contribution = self._shared(measured, shares, x)
            score, contribution = self._settled(score, contribution, x)
            local = None if self.image is None else heat_map(contribution)
        if self.transform.has_constants:
            # Beside every recipe's own score, for no network learns from a column in which nothing ever happened.
            departures = self.departure_cost * self.transform.departs(x)
            contribution = contribution + departures
            cost = departures.flatten(1).sum(-1)
            error, score = error + cost, score + cost
        return Terms(
            reconstruction_error=error,
            kl=kl,
            score=score,
            log_normaliser=self.likelihood.log_normaliser() * self.cells,
            contribution=contribution,
            reconstruction=reconstruction,
            latent=way.code.mean,
            heat_map=local,
            distances=distances,
        )

    def _through(self, x: Tensor, noise: Tensor | None) -> _Way:
        """Inputs there and back."""
        standardised = self.standardise(x)
        observed = self.observe(standardised)
        prepared = self.prepare(observed)
        code = self.encode(prepared)
        if noise is None or not self.is_gaussian:
            latent = code.mean
            output = self.decode(latent, code.indices)  # (batch, ...)
        else:
            latent = code.at(noise)  # (batch, latent) or (points, batch, latent)
            # The encoder runs once; the decoder sees every row at every point.
            output = self.decode(latent.flatten(0, -2), code.indices)
            if noise.ndim == 3:
                output = output.unflatten(0, (len(noise), -1))  # (points, batch, ...)
        deviance = self.likelihood.deviance(observed, output)
        deviance = deviance if self.statistics is not None else self._seen(deviance, x)
        return _Way(standardised, prepared, code, noise, latent, output, deviance)

    def _score(self, way: _Way, error: Tensor, kl: Tensor | None) -> Tensor:
        """What the recipe scores by, before an ensemble joins it: (batch,)."""
        kind = self.ingredients.score
        if kind == "elbo":
            assert kl is not None
            return error + kl
        if kind == "bound":
            return -importance_weighted_bound(way.deviance, way.code, way.latent, way.noise)
        if kind == "free-energy":
            # The visible term sees the input whole, so that a far outlier keeps scoring higher.
            machine = self.machine()
            seen = self.expansion.expand(way.standardised)
            energy = machine.free_energy(seen.flatten(1), machine.drive(way.prepared.flatten(1)))
            return energy - self.energy_offset
        if kind == "latent-distance":
            # The code sees the input clipped; what is not finite must not get a finite score for that.
            return self.latent_distance(way.output, way.code.mean) + 0.0 * error
        return error

    def _shared(self, measured: Sequence[Measured], shares: Tensor, x: Tensor) -> Tensor:
        """What each feature of `x` adds to a joined score, from what each member does (members, batch)."""
        parts = []
        for number, (_, where) in enumerate(measured):
            of_features = where if number == 0 else self._seen(self.expansion.total(where), x)
            total = of_features.flatten(1).sum(-1)
            factor = shares[number] / torch.clamp(total, min=1e-30)
            parts.append(of_features * factor.reshape(-1, *[1] * (of_features.ndim - 1)))
        return torch.stack(parts).sum(0)

    def _settled(self, score: Tensor, contribution: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """A joined score and what each feature adds to it, without what the missing cells of `x` add."""
        if self.filling is None:
            return score, contribution
        left = torch.clamp(score - self.filling.toll(torch.isnan(x)), min=0.0) + 0.0 * score  # NaN stays
        share = left / torch.clamp(score, min=1e-30)
        return left, contribution * share.reshape(-1, *[1] * (contribution.ndim - 1))

    def distances(self, x: Tensor) -> Tensor:
        """The error and what each member of the ensemble measures, (1 + members, batch), of inputs in raw units."""
        found = self.terms(x).distances
        assert found is not None
        return found

    def latent_distance(self, output: Tensor, code: Tensor) -> Tensor:
        """|E(x) - E'(D(E(x)))|_1, E' the second encoder: (batch,) (Akcay et al. 2018)."""
        assert self.second_encoder is not None
        expected = torch.clamp(self.likelihood.expected(output), -self.config.clip, self.config.clip)
        return torch.abs(code - self.second_encoder(expected)[0]).sum(-1)


def _local_error(contribution: Tensor, local: Tensor) -> Measured:
    """Mean of the squared heat map: an error that is gathered in one place counts more than one spread out."""
    return Measured((local * local).mean((1, 2)), contribution * local[..., None])


def heat_map(contribution: Tensor) -> Tensor:
    """Contributions (batch, height, width, channels) averaged over each pixel's surroundings."""
    total = contribution.sum(-1)[:, None]
    half = HEAT_MAP_SIZE // 2
    return F.avg_pool2d(total, HEAT_MAP_SIZE, stride=1, padding=half, count_include_pad=False)[:, 0]


def noise_points(points: int, latent: int) -> Tensor:
    """Fixed standard normal points at which the ELBO is taken: zeros (1, latent) for one, which is the posterior's
    mean; else quasi-random (points, 1, latent), a scrambled Sobol sequence through the normal quantile function.
    """
    if points == 1:
        return torch.zeros(1, latent)
    engine = torch.quasirandom.SobolEngine(latent, scramble=True, seed=0)
    uniform: Tensor = engine.draw(points, dtype=torch.float64)
    points_normal: Tensor = torch.special.ndtri(uniform.clamp(1e-6, 1 - 1e-6))
    return points_normal.float()[:, None]


def example_input(model: Autoencoder, batch: int) -> Tensor:
    """Zeros of the shape and type that `model` takes."""
    return torch.zeros((batch, *model.input_shape), dtype=torch.uint8 if model.image else torch.float32)
