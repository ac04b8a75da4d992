"""p(x | z): reconstruction losses as the likelihoods they are, with a learned, bounded scale.

Each gives, for standardised features x and the decoder's output, the *half deviance* per feature: the negative
log-likelihood above that of a perfect reconstruction (McCullagh and Nelder 1989, section 2.3). It is 0 at best, it
does not depend on the scale's normaliser, and its sum is the reconstruction error. Adding `log_normaliser` gives the
negative log-likelihood itself:

    -log p(x | z) = sum_f deviance_f + log_normaliser
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .transform import Expansion

SCALE_BOUNDS = (0.05, 2.0)
"""Bounds of the learned scale, in standard deviations of the feature. The lower one keeps a feature
that is reconstructed almost perfectly from owning the score; a fixed scale of 1 made the ELBO worse than plain squared
error."""

LOGIT_BOUND = 10.0
"""Bound of the Bernoulli's logits: no probability is further from 0 or 1 than 4.5e-5."""


class Likelihood(nn.Module, ABC):
    """p(x | z) of standardised features, from the decoder's output."""

    @abstractmethod
    def deviance(self, x: Tensor, output: Tensor) -> Tensor:
        """Half deviance of each feature, >= 0, shaped like `x` and `output` broadcast."""

    @abstractmethod
    def log_normaliser(self) -> Tensor:
        """What to add to the summed deviance for the negative log-likelihood of one row: a scalar, nats."""

    @abstractmethod
    def scale(self) -> Tensor:
        """The learned scale per feature, standardised: (features,)."""

    @abstractmethod
    def mean(self, output: Tensor) -> Tensor:
        """E[x | z], standardised, shaped like the input."""

    def expected(self, output: Tensor) -> Tensor:
        """The mean of what a network sees of an input, shaped like `output`."""
        return self.mean(output)


class _ScaleFamily(Likelihood):
    """A location-scale family with one learned log-scale per feature, squashed into `SCALE_BOUNDS`."""

    def __init__(self, features: int) -> None:
        super().__init__()
        low, high = (math.log(bound) for bound in SCALE_BOUNDS)
        self.low, self.width = low, high - low
        # Starts at scale 1, one standard deviation.
        start = math.log(-low / high)
        self.raw_scale = nn.Parameter(torch.full((features,), start))

    def log_scale(self) -> Tensor:
        """log of the scale, shape (features,), in standardised units."""
        return self.low + self.width * torch.sigmoid(self.raw_scale)

    def scale(self) -> Tensor:
        return torch.exp(self.log_scale())

    def mean(self, output: Tensor) -> Tensor:
        return output


class Gaussian(_ScaleFamily):
    """-log N(x; m, s^2) = (x - m)^2 / (2 s^2) + log s + log(2 pi) / 2 per feature."""

    def deviance(self, x: Tensor, output: Tensor) -> Tensor:
        # The half goes into the scale, and the square is a product: each pass over the features costs time at scoring.
        residual = (x - output) * (torch.exp(-self.log_scale()) * math.sqrt(0.5))
        return residual * residual

    def log_normaliser(self) -> Tensor:
        """Sum over features of log s + log(2 pi) / 2, a scalar."""
        return (self.log_scale() + 0.5 * math.log(2 * math.pi)).sum()


class Laplace(_ScaleFamily):
    """-log Laplace(x; m, b) = |x - m| / b + log(2 b) per feature."""

    def deviance(self, x: Tensor, output: Tensor) -> Tensor:
        return torch.abs(x - output) * torch.exp(-self.log_scale())

    def log_normaliser(self) -> Tensor:
        """Sum over features of log(2 b), a scalar."""
        return (self.log_scale() + math.log(2)).sum()


class Bernoulli(Likelihood):
    """-log Bernoulli(x; p) = softplus(l) - x l with p = sigmoid(l), for x in {0, 1}.

    A value outside [0, 1] has no probability at all. So that the score keeps rising there, each unit of distance
    from the range costs `LOGIT_BOUND` nats, the steepest slope inside it.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("one", torch.ones(features), persistent=False)
        self.one: Tensor

    def scale(self) -> Tensor:
        return self.one  # nothing to learn: the mean says it all

    def logits(self, output: Tensor) -> Tensor:
        return torch.clamp(output, -LOGIT_BOUND, LOGIT_BOUND)

    def mean(self, output: Tensor) -> Tensor:
        return torch.sigmoid(self.logits(output))

    def deviance(self, x: Tensor, output: Tensor) -> Tensor:
        logits = self.logits(output)
        inside = torch.clamp(x, 0.0, 1.0)
        # For x in {0, 1} the perfect reconstruction has negative log-likelihood 0, so this is the deviance itself.
        return F.softplus(logits) - inside * logits + LOGIT_BOUND * torch.abs(x - inside)

    def log_normaliser(self) -> Tensor:
        return 0.0 * self.one.sum()


class ContinuousBernoulli(Likelihood):
    """p(x | l) = l exp(l x) / (exp(l) - 1) for x in [0, 1], of logit l (Loaiza-Ganem and Cunningham 2019).

    Binary cross-entropy on grey values is this without its normaliser. The half deviance is taken against the highest
    density that the bounded logit allows, a constant, and values outside [0, 1] cost as with `Bernoulli`.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("one", torch.ones(features), persistent=False)
        self.one: Tensor

    def scale(self) -> Tensor:
        return self.one

    def logits(self, output: Tensor) -> Tensor:
        return torch.clamp(output, -LOGIT_BOUND, LOGIT_BOUND)

    def mean(self, output: Tensor) -> Tensor:
        """1 / (1 - exp(-l)) - 1 / l, and 1/2 + l / 12 near 0."""
        logits = self.logits(output)
        near = torch.abs(logits) < 0.1
        safe = torch.where(near, torch.ones_like(logits), logits)
        return torch.where(near, 0.5 + logits / 12, 1 / (1 - torch.exp(-safe)) - 1 / safe)

    def deviance(self, x: Tensor, output: Tensor) -> Tensor:
        logits = self.logits(output)
        inside = torch.clamp(x, 0.0, 1.0)
        return self._log_partition(logits) - inside * logits + self._highest() + LOGIT_BOUND * torch.abs(x - inside)

    def log_normaliser(self) -> Tensor:
        return -self._highest() * self.one.sum()

    @staticmethod
    def _log_partition(logits: Tensor) -> Tensor:
        """log((exp(l) - 1) / l), l / 2 + l^2 / 24 near 0."""
        near = torch.abs(logits) < 0.1
        size = torch.where(near, torch.ones_like(logits), torch.abs(logits))
        far = torch.relu(logits) + torch.log(1 - torch.exp(-size)) - torch.log(size)
        return torch.where(near, logits / 2 + logits * logits / 24, far)

    @staticmethod
    def _highest() -> float:
        """log of the highest density, that of x = 1 at the largest logit."""
        return math.log(LOGIT_BOUND / (1 - math.exp(-LOGIT_BOUND)))


class Mixed(Likelihood):
    """Numbers by one likelihood, flags as Bernoulli, categories as categorical; a class column costs nothing.

    An angle is two numbers. The decoder's output, (..., expansion.width), holds the numbers, the flags' logits, then
    each category's logits.
    """

    def __init__(self, expansion: Expansion, numbers: Likelihood) -> None:
        super().__init__()
        self.expansion, self.numbers, self.flags = expansion, numbers, Bernoulli(len(expansion.flags))

    def scale(self) -> Tensor:
        """The scale of the numbers, 1 for what has none."""
        expansion = self.expansion
        rest = self.numbers.scale().new_ones(expansion.features - len(expansion.numbers) - len(expansion.angles))
        return torch.cat([expansion.read_scale(self.numbers.scale()), rest]).index_select(0, expansion.back)

    def log_normaliser(self) -> Tensor:
        return self.numbers.log_normaliser()

    def mean(self, output: Tensor) -> Tensor:
        """Of a category the most likely level; of a class column -1, unknown."""
        numbers, flags, *categories = output.split(self.expansion.widths, -1)
        parts = [self.expansion.read(self.numbers.mean(numbers)), self.flags.mean(flags)]
        for number, logits in enumerate(categories):
            parts.append(getattr(self.expansion, f"levels_{number}")[logits.argmax(-1)][..., None])
        parts += [torch.full_like(output[..., :1], -1.0) for _ in self.expansion.classes]
        return torch.cat(parts, -1).index_select(-1, self.expansion.back)

    def expected(self, output: Tensor) -> Tensor:
        numbers, flags, *categories = output.split(self.expansion.widths, -1)
        probabilities = [torch.softmax(logits, -1) for logits in categories]
        return torch.cat([self.numbers.mean(numbers), self.flags.mean(flags), *probabilities], -1)

    def deviance(self, x: Tensor, output: Tensor) -> Tensor:
        """A category costs -log of the probability of its level; an unknown level the most that a known one can."""
        expansion = self.expansion
        numbers, flags, *categories = output.split(expansion.widths, -1)
        parts = [
            expansion.total_measured(self.numbers.deviance(expansion.measure(x), numbers)),
            self.flags.deviance(x.index_select(-1, expansion.order_of_flags), flags),
        ]
        for number, logits in enumerate(categories):
            at = expansion.one_hot(x, number)
            known = (at * torch.log_softmax(torch.clamp(logits, -LOGIT_BOUND, LOGIT_BOUND), -1)).sum(-1, keepdim=True)
            most = 2 * LOGIT_BOUND + math.log(logits.shape[-1])  # what the least likely level can cost
            parts.append(most * (1 - at.sum(-1, keepdim=True)) - known)
        parts += [0.0 * (x[..., position, None] + output[..., :1]) for position in expansion.classes]  # NaN stays NaN
        return torch.cat(parts, -1).index_select(-1, expansion.back)


LIKELIHOODS: dict[str, Callable[[int], Likelihood]] = {
    "gaussian": Gaussian,
    "laplace": Laplace,
    "bernoulli": Bernoulli,
    "continuous-bernoulli": ContinuousBernoulli,
}


def kl_per_dimension(mean: Tensor, log_variance: Tensor) -> Tensor:
    """1/2 (mu_j^2 + s_j^2 - log s_j^2 - 1) in nats, shape (batch, latent), from two of that shape."""
    return 0.5 * (mean * mean + torch.exp(log_variance) - log_variance - 1.0)


def kl_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL( N(mean, diag exp(log_variance)) || N(0, I) ) in nats, shape (batch,), from two (batch, latent).

    1/2 sum_j (mu_j^2 + s_j^2 - log s_j^2 - 1), Kingma and Welling 2014, appendix B.
    """
    return 0.5 * (mean * mean + torch.exp(log_variance) - log_variance - 1.0).sum(-1)
