"""Angles as points on a circle, which is how a network sees them: beside 359 degrees lies 0."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...runtime.bundle import Column
from ...runtime.observation import turn_of

_LEAST = 1e-6
"""Standard deviation of a point's place, at least, with the radius of the circle as unit."""


class Directions(nn.Module):
    """Standardised angles (..., angles) to the standardised places of their points (..., 2 * angles), and back.

    With a the way from the mean direction in radians, and R the mean resultant length of the training rows,

        u = (cos a - R) / s,  v = sin a / s,  s^2 = (1 - R^2) / 2

    s^2 is the mean variance of the two, so that they have 0 and 1 for mean and variance, whatever the mean direction
    and whichever way the compass counts. R = exp(-d^2 / 2) with the circular standard deviation d (Mardia and Jupp
    2000, *Directional Statistics*, sections 2.2 and 2.3). The u stand first, then the v.

    More than half a turn from the mean is what no compass says: the point leaves the circle by what is beyond.
    """

    radians: Tensor
    """In a standard deviation: d."""
    length: Tensor
    """R."""
    spread: Tensor
    """s."""

    def __init__(self, columns: Sequence[Column]) -> None:
        super().__init__()
        deviations = [2 * math.pi * column.scale / turn_of(column) for column in columns]
        self._keep("radians", deviations)
        self._keep("length", [math.exp(-(d**2) / 2) for d in deviations])
        self._keep("spread", [max(math.sqrt(-math.expm1(-(d**2)) / 2), _LEAST) for d in deviations])

    def _keep(self, name: str, values: list[float]) -> None:
        self.register_buffer(name, torch.tensor(values, dtype=torch.float32), persistent=False)

    def forward(self, standardised: Tensor) -> Tensor:
        angle = standardised * self.radians
        inside = torch.clamp(angle, -math.pi, math.pi)
        radius = 1 + torch.abs(angle - inside)
        u, v = radius * torch.cos(inside) - self.length, radius * torch.sin(inside)
        return torch.cat([u / self.spread, v / self.spread], -1)

    def inverse(self, places: Tensor) -> Tensor:
        """The standardised angles in whose directions these places lie."""
        u, v = (places * self.spread.tile(2)).chunk(2, -1)
        return torch.atan2(v, u + self.length) / self.radians

    def scale(self, scales: Tensor) -> Tensor:
        """The scale of each standardised angle, (..., angles), from those of its place, (..., 2 * angles).

        On a circle of radius 1 a small step of the point is as long as that of the angle in radians.
        """
        count = len(self.spread)
        of_u, of_v = scales[..., :count], scales[..., count:]
        return 0.5 * (of_u + of_v) * self.spread / self.radians
