"""The loss that a recipe is trained on, from the ingredients in its row of the table."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..model.autoencoder import Autoencoder
from ..model.boltzmann import contrastive_divergence
from ..model.likelihoods import Mixed, kl_per_dimension
from ..model.steps import Step
from ..model.terms import Code, importance_weighted_bound
from . import penalties

OUTLIER_BOUND = 20.0
"""While training, targets are clamped to this many standard deviations, so that no single cell owns a step."""

GANOMALY_WEIGHTS = {"context": 50.0, "code": 1.0, "features": 0.05}
"""Weights of GANomaly's generator loss (Akcay et al. 2018): |x - x'|, |z - z'|^2, |f(x) - f(x')|^2. The paper gives the
last one 1, with batch-normalised features; with these, which are not, images then never got beyond the median image."""


class Losses(NamedTuple):
    """Scalars, nats per input where the loss is a likelihood."""

    loss: Tensor
    reconstruction: Tensor
    """Mean negative log-likelihood, E_q[-log p(x | z)]."""
    kl: Tensor
    """Mean KL term; 0 for a point code."""


class Objective(nn.Module):
    """The loss of a batch. Holds the model and, where there is one, the discriminator that is trained beside it."""

    def __init__(self, model: Autoencoder) -> None:
        super().__init__()
        self.model = model
        self.ingredients, self.config = model.ingredients, model.config
        self.discriminator: penalties.Discriminator | None = None
        if self.ingredients.penalty == "discriminator":
            self.discriminator = penalties.Discriminator(model.config.latent)
        elif self.ingredients.training == "ganomaly":
            self.discriminator = penalties.Discriminator(model.cells * model.expansion.width)

    def forward(self, x: Tensor, classes: Tensor | None, step: Step, beta: float) -> Losses:
        """Losses of one training step.

        Parameters
        ----------
        x : standardised inputs, (batch, ...)
        classes : (batch, classes) for cvae, when no column of `x` holds the class
        beta : weight of the KL term in this epoch
        """
        model, recipe = self.model, self.ingredients
        x = model.observe(x)
        prepared = model.prepare(x)
        if recipe.training == "contrastive-divergence":
            v = prepared.flatten(1)
            divergence = contrastive_divergence(model.machine(), v, step)
            with torch.no_grad():
                nll = step.mean(self._nll(x, model.decode(model.encode(prepared).mean)))
            return Losses(divergence, nll, torch.zeros_like(nll))
        needs_gradient = recipe.penalty == "jacobian"
        seen = self._corrupt(prepared, step).requires_grad_(needs_gradient)
        code = model.encode(seen, step)
        if recipe.score == "bound":
            return self._importance_weighted(x, code, step)
        latent = code.at(step.normal(self.config.latent)) if model.is_gaussian else code.mean
        output = model.decode(latent, code.indices)
        nll, kl = step.mean(self._nll(x, output)), torch.zeros((), device=x.device)
        loss = nll
        if code.log_variance is not None:
            kl = step.mean(self._kl(x, code, classes))
            loss = nll + beta * (self._free_bits_kl(code, step) if self.config.free_bits else kl)
        if recipe.training == "ganomaly":
            loss = self._ganomaly(prepared, output, code.mean, step)
        elif recipe.penalty != "none":
            loss = loss + self._penalty(seen, code.mean, step)
        return Losses(loss, nll, kl)

    def validate(self, x: Tensor, classes: Tensor | None) -> tuple[Tensor, Tensor]:
        """Sums over a batch of the loss without its KL term and of that, at fixed noise, so that epochs compare.

        The negative log-likelihood at the posterior's mean; of iwae the bound at the points of the score, and of
        GANomaly the part of the generator's loss that no moving discriminator judges.
        """
        x = self.model.observe(x)
        prepared = self.model.prepare(x)
        code = self.model.encode(prepared)
        if self.ingredients.score == "bound":
            assert self.model.noise is not None
            noise = self.model.noise.to(x.device)
            bound = self._bound(x, code, noise if noise.ndim == 3 else noise[None])[0].sum()
            return -bound, torch.zeros_like(bound)
        output = self.model.decode(code.mean, code.indices)
        if self.ingredients.training == "ganomaly":
            rebuilt = self._rebuilding(prepared, self.model.likelihood.expected(output), code.mean).sum()
            return rebuilt, torch.zeros_like(rebuilt)
        nll = self._nll(x, output).sum()
        kl = torch.zeros_like(nll) if code.log_variance is None else self._kl(x, code, classes).sum()
        return nll, kl

    def _nll(self, x: Tensor, output: Tensor) -> Tensor:
        return self._deviance(x, output).flatten(1).sum(-1) + self.model.likelihood.log_normaliser() * self.model.cells

    def _deviance(self, x: Tensor, output: Tensor) -> Tensor:
        target = torch.clamp(x, -OUTLIER_BOUND, OUTLIER_BOUND)
        if isinstance(self.model.likelihood, Mixed):
            # Levels of categories may be any number; they are compared, not subtracted.
            numbers = self.model.expansion.order_of_numbers
            target = x.index_copy(-1, numbers, target.index_select(-1, numbers))
        return self.model.likelihood.deviance(target, output.float())

    def _kl(self, x: Tensor, code: Code, classes: Tensor | None) -> Tensor:
        assert code.log_variance is not None
        found = self.model.classes_of(x) if classes is None else classes
        return self.model.prior.kl(code.mean.float(), code.log_variance.float(), found)

    def _free_bits_kl(self, code: Code, step: Step) -> Tensor:
        """sum_j max(free bits, mean KL_j) (Kingma et al. 2016, a group for each dimension)."""
        assert code.log_variance is not None
        per_dimension = step.mean(kl_per_dimension(code.mean.float(), code.log_variance.float()))
        return torch.clamp(per_dimension, min=self.config.free_bits).sum()

    def _importance_weighted(self, x: Tensor, code: Code, step: Step) -> Losses:
        noise = step.normal(self.config.points, self.config.latent).transpose(0, 1)  # (points, batch, latent)
        bound, nll = self._bound(x, code, noise)
        return Losses(-step.mean(bound), step.mean(nll).detach(), step.mean(self._kl(x, code, None)).detach())

    def _bound(self, x: Tensor, code: Code, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The importance-weighted bound and the mean of -log p(x | z) over the points, each (batch,)."""
        latent = code.at(noise)  # (points, batch, latent)
        output = self.model.decode(latent.flatten(0, 1), code.indices).unflatten(0, (len(noise), -1))
        deviance = self._deviance(x, output)
        normaliser = self.model.likelihood.log_normaliser() * self.model.cells
        bound = importance_weighted_bound(deviance, code, latent, noise) - normaliser
        return bound, deviance.flatten(2).sum(-1).mean(0) + normaliser

    def _corrupt(self, prepared: Tensor, step: Step) -> Tensor:
        level = self.config.corruption_level
        if self.ingredients.corruption == "gaussian":
            return prepared + level * step.normal(*prepared.shape[1:])
        if self.ingredients.corruption == "mask":
            return prepared * (step.uniform(prepared) >= level)
        return prepared

    def _penalty(self, seen: Tensor, code: Tensor, step: Step) -> Tensor:
        kind, weight = self.ingredients.penalty, self.config.penalty_weight
        if kind == "kl-sparsity":
            return weight * penalties.kl_sparsity(step.mean(code), self.config.rho)
        if kind == "l1":
            return weight * step.mean(penalties.l1(code))
        if kind == "jacobian":
            is_sigmoid = self.ingredients.code == "sigmoid"
            norm = penalties.jacobian(self.model.encoder, seen, code, step, is_sigmoid=is_sigmoid)
            return weight * step.mean(norm)
        assert self.discriminator is not None
        drawn = step.normal(self.config.latent)  # what the codes should look like
        fooled = nn.functional.softplus(-self.discriminator.frozen(code)[1])
        return step.mean(weight * fooled + self.discriminator.loss(drawn, code))

    def _ganomaly(self, prepared: Tensor, output: Tensor, code: Tensor, step: Step) -> Tensor:
        assert self.discriminator is not None
        made = self.model.likelihood.expected(output)
        features = self.discriminator.frozen(prepared)[0] - self.discriminator.frozen(made)[0]
        generator = self._rebuilding(prepared, made, code) + GANOMALY_WEIGHTS["features"] * (features**2).mean(-1)
        return step.mean(generator + self.discriminator.loss(prepared, made))

    def _rebuilding(self, prepared: Tensor, made: Tensor, code: Tensor) -> Tensor:
        """GANomaly's weighted distances of input and reconstruction, and of the codes of both: (batch,)."""
        assert self.model.second_encoder is not None
        clip = self.config.clip
        second, _ = self.model.second_encoder(torch.clamp(made, -clip, clip))  # as the score has it
        context = torch.abs(prepared - made).flatten(1).mean(-1)
        distance: Tensor = ((code - second) ** 2).mean(-1)
        return GANOMALY_WEIGHTS["context"] * context + GANOMALY_WEIGHTS["code"] * distance


def annealed(beta: float, annealing: int, epoch: int) -> float:
    """The KL term's weight in an epoch, from 0: rises to beta over `annealing` epochs (Bowman et al. 2016)."""
    return beta if epoch >= annealing else beta * (epoch + 1) / (annealing + 1)


def active_units(means: Tensor) -> int:
    """Dimensions of posterior means (inputs, latent) that vary by more than 0.01 over the data (Burda et al. 2016)."""
    return int((means.var(0) > 0.01).sum())
