"""Scores over all classes brought to the scale of scores given the class, so that one threshold holds for both."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from ...runtime.bundle import Calibration


class UnknownClass(nn.Module):
    """A score over all classes to the score given the class that is as rare among normal inputs.

    Over all classes the divergence is larger, by up to the logarithm of their number: a threshold for known classes
    would have every normal input alarm. So both scores of the same held-out normal inputs are calibrated, and a score s
    becomes p_known^-1(p_unknown(s)), linear between the knots of p_unknown and shifted beyond them.

    Parameters
    ----------
    unknown, known : of the held-out normal inputs without and with their class, for one false-alarm rate
    """

    at: Tensor
    inverse_widths: Tensor
    steps: Tensor
    ends: Tensor

    def __init__(self, unknown: Calibration, known: Calibration) -> None:
        super().__init__()
        at, to = np.asarray(unknown.knot_scores), np.asarray(known.knot_scores)
        to = np.interp(-np.asarray(unknown.knot_log10_p), -np.asarray(known.knot_log10_p), to)
        # Equal scores at the threshold must not round to above it.
        below = known.threshold - 1e-6 * abs(known.threshold)
        to = np.maximum.accumulate(np.where(at <= unknown.threshold, np.minimum(to, below), to))
        self._keep("at", at[:-1, None])
        self._keep("inverse_widths", 1 / np.diff(at)[:, None])
        self._keep("steps", np.diff(to))
        self._keep("ends", [at[0], at[-1], to[0]])

    def _keep(self, name: str, values: ArrayLike) -> None:
        self.register_buffer(name, torch.tensor(np.asarray(values, np.float32)), persistent=False)

    def forward(self, score: Tensor) -> Tensor:
        """Scores (batch,) over all classes to scores as if the class were known."""
        reached = torch.clamp((score - self.at) * self.inverse_widths, 0.0, 1.0)  # (knots - 1, batch)
        first, last, lowest = self.ends
        beyond = torch.clamp(score - first, max=0.0) + torch.clamp(score - last, min=0.0)
        carried: Tensor = lowest + self.steps @ reached + beyond
        return carried + 0.0 * score  # clamping must not make a number of NaN
