"""Restricted Boltzmann machines: free energy and contrastive divergence.

E(v, h) = |v - b|^2 / 2 - c.h - h.W v for Gaussian visible units of variance 1 (Hinton 2010, *A Practical Guide to
Training Restricted Boltzmann Machines*, section 13.2), E(v, h) = -b.v - c.h - h.W v for binary ones.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from .likelihoods import LOGIT_BOUND
from .steps import Step


class Machine(NamedTuple):
    """Weights (hidden, visible), biases (hidden,) and (visible,), and what kind the units are."""

    weight: Tensor
    hidden_bias: Tensor
    visible_bias: Tensor
    binary_visible: bool = False
    gaussian_hidden: bool = False
    """Linear hidden units with unit Gaussian noise, as in the code layer of Hinton and Salakhutdinov 2006."""

    def drive(self, v: Tensor) -> Tensor:
        """c + W v, (batch, hidden); binary units are taken within [0, 1]."""
        return F.linear(v.clamp(0.0, 1.0) if self.binary_visible else v, self.weight, self.hidden_bias)

    def free_energy(self, v: Tensor, drive: Tensor | None = None) -> Tensor:
        """-log sum_h exp(-E(v, h)), nats: (batch,). Hidden units sum out one by one (Smolensky 1986).

        binary hidden: visible term - sum_j log(1 + exp(c_j + W_j v)); Gaussian hidden: visible term -
        |c + W v|^2 / 2, without the constant of their normaliser. Where binary units are given values beyond [0, 1],
        each unit of distance costs `LOGIT_BOUND`, as with `Bernoulli`: linear terms alone could fall without end.
        """
        drive = self.drive(v) if drive is None else drive
        if self.binary_visible:
            inside = v.clamp(0.0, 1.0)
            visible = LOGIT_BOUND * torch.abs(v - inside).sum(-1) - inside @ self.visible_bias
        else:
            difference = v - self.visible_bias
            visible = 0.5 * (difference * difference).sum(-1)
        hidden = 0.5 * drive * drive if self.gaussian_hidden else F.softplus(drive)
        return visible - hidden.sum(-1)

    def expected_hidden(self, v: Tensor) -> Tensor:
        """E[h | v], (batch, hidden)."""
        return self.drive(v) if self.gaussian_hidden else torch.sigmoid(self.drive(v))

    def expected_visible(self, h: Tensor) -> Tensor:
        """E[v | h], (batch, visible)."""
        mean = F.linear(h, self.weight.T, self.visible_bias)
        return torch.sigmoid(mean) if self.binary_visible else mean

    def gibbs(self, v: Tensor, step: Step) -> Tensor:
        """One step of Gibbs sampling, v to h to v; hidden units are sampled, binary visible ones too."""
        h = self.expected_hidden(v)
        h = h + step.normal(h.shape[1]) if self.gaussian_hidden else (step.uniform(h) < h).to(h.dtype)
        v = self.expected_visible(h)
        return (step.uniform(v) < v).to(v.dtype) if self.binary_visible else v + step.normal(v.shape[1])


def contrastive_divergence(machine: Machine, v: Tensor, step: Step) -> Tensor:
    """mean F(v) - mean F(v'), v' one Gibbs step away and held fixed: a scalar.

    Its gradient is the CD-1 update of Hinton 2002, <v h>_data - <v h>_reconstruction.
    """
    with torch.no_grad():
        imagined = machine.gibbs(v, step)
    return step.mean(machine.free_energy(v) - machine.free_energy(imagined))
