"""From raw values to what a network sees, and back, as part of the graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...runtime.bundle import Column
from ...runtime.observation import LOGIT_EDGE, rounding_of, turn_of
from .directions import Directions


class Transform(nn.Module):
    """Raw values to treated and standardised ones, (..., features) both, and back: `observation.treat` in torch.

    log: sign(x) log(1 + |x| / knee). logit: log(u / (1 - u)) of the share u of the range, going on straight beyond
    the edges. angle: the same direction, at most half a turn from the center. Others are only standardised:
    (x - center) / scale, the difference first, so that a large offset costs no digit of it. A constant is 0 whatever
    it reads; `departs` tells where it reads something else.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        super().__init__()
        of = {kind: [column.treatment == kind for column in columns] for kind in ("log", "logit")}
        self.has_log, self.has_logit = any(of["log"]), any(of["logit"])
        self._keep("center", [column.center for column in columns])
        self._keep("scale", [column.scale for column in columns])
        inverse = torch.where(self.scale > 0, 1 / self.scale, torch.zeros_like(self.scale))
        self.register_buffer("inverse_scale", inverse, persistent=False)
        self.inverse_scale: Tensor
        if self.has_log:
            self.register_buffer("is_log", torch.tensor(of["log"]), persistent=False)
            self._keep("knee", [column.knee for column in columns])
        if self.has_logit:
            self.register_buffer("is_logit", torch.tensor(of["logit"]), persistent=False)
            ends = [column.levels if column.treatment == "logit" else (0.0, 1.0) for column in columns]
            self._keep("low", [low for low, _ in ends])
            self._keep("span", [high - low for low, high in ends])
        angle = [column.treatment == "angle" for column in columns]
        self.has_angles = any(angle)
        if self.has_angles:
            self.register_buffer("is_angle", torch.tensor(angle), persistent=False)
            self._keep(
                "turn", [turn_of(column) if is_one else 1.0 for column, is_one in zip(columns, angle, strict=True)]
            )
            self._keep(
                "first", [column.levels[0] if is_one else 0.0 for column, is_one in zip(columns, angle, strict=True)]
            )
        constant = [column.treatment == "constant" for column in columns]
        self.has_constants = any(constant)
        if self.has_constants:
            self._keep("is_constant", list(map(float, constant)))
            self._keep("rounding", [rounding_of(column.center) for column in columns])

    center: Tensor
    scale: Tensor
    is_log: Tensor
    knee: Tensor
    is_logit: Tensor
    low: Tensor
    span: Tensor
    is_angle: Tensor
    turn: Tensor
    first: Tensor
    is_constant: Tensor
    rounding: Tensor

    def _keep(self, name: str, values: list[float]) -> None:
        self.register_buffer(name, torch.tensor(values, dtype=torch.float32), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return (self.treat(x) - self.center) * self.inverse_scale

    def departs(self, x: Tensor) -> Tensor:
        """1 where a constant column reads another value than its own, beyond rounding, 0 elsewhere; shaped like x."""
        return self.is_constant * (torch.abs(x - self.center) > self.rounding).to(x.dtype)

    def treat(self, x: Tensor) -> Tensor:
        """The treatments without the standardisation."""
        if self.has_log:
            x = torch.where(self.is_log, torch.sign(x) * torch.log(1 + torch.abs(x) / self.knee), x)
        if self.has_logit:
            share = (x - self.low) / self.span
            inside = torch.clamp(share, LOGIT_EDGE, 1 - LOGIT_EDGE)
            beyond = (share - inside) / (LOGIT_EDGE * (1 - LOGIT_EDGE))
            x = torch.where(self.is_logit, torch.log(inside / (1 - inside)) + beyond, x)
        if self.has_angles:
            inside = torch.minimum(torch.maximum(x, -self.turn), 2 * self.turn)
            beyond = x - inside  # 0 but for what no compass says, like -999
            # First into one turn, so that 0 and 360 give the very same digits, then around the mean direction.
            away = inside - self.turn * torch.floor(inside / self.turn) - self.center
            away = away - self.turn * torch.floor(away / self.turn + 0.5)
            away = torch.where(torch.abs(beyond) > 0, torch.sign(beyond) * self.turn / 2, away)
            x = torch.where(self.is_angle, self.center + away + beyond, x)
        return x

    def inverse(self, standardised: Tensor) -> Tensor:
        """Raw values."""
        x = standardised * self.scale + self.center
        if self.has_log:
            size = torch.abs(x).clamp(max=80.0)  # float32 ends at e^88
            x = torch.where(self.is_log, torch.sign(x) * (torch.exp(size) - 1) * self.knee, x)
        if self.has_logit:
            edge = torch.logit(torch.tensor(1 - LOGIT_EDGE)).to(x)
            inside = torch.clamp(x, -edge, edge)
            share = torch.sigmoid(inside) + (x - inside) * LOGIT_EDGE * (1 - LOGIT_EDGE)
            x = torch.where(self.is_logit, share * self.span + self.low, x)
        if self.has_angles:
            x = torch.where(self.is_angle, x - self.turn * torch.floor((x - self.first) / self.turn), x)
        return x


class Expansion(nn.Module):
    """Features to the inputs of a network and back: where numbers, flags and categories stand, a place for each level.

    A network sees the numbers, then two places for each angle, then the flags, then a place for each level of each
    category; a class column is no input.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        super().__init__()
        of: dict[str, list[int]] = {"number": [], "angle": [], "binary": [], "category": [], "class": []}
        for position, column in enumerate(columns):
            of[column.treatment if column.treatment in of else "number"].append(position)
        self.numbers, self.angles, self.flags, self.categories, self.classes = of.values()
        self.features = len(columns)
        self.is_plain = len(self.numbers) == len(columns)
        self.levels = [columns[position].levels for position in self.categories]
        self.class_levels = columns[self.classes[0]].levels if self.classes else ()
        self.measured = len(self.numbers) + 2 * len(self.angles)
        """Places of numbers and angles."""
        self.widths = [self.measured, len(self.flags), *map(len, self.levels)]
        self.width = sum(self.widths)
        self.directions = Directions([columns[position] for position in self.angles]) if self.angles else None
        order = [*self.numbers, *self.angles, *self.flags, *self.categories, *self.classes]
        self._index("order_of_numbers", self.numbers)
        self._index("order_of_angles", self.angles)
        self._index("order_of_flags", self.flags)
        self._index("back", np.argsort(order))
        for number, levels in enumerate((*self.levels, self.class_levels)):
            self.register_buffer(f"levels_{number}", torch.tensor(levels), persistent=False)

    order_of_numbers: Tensor
    order_of_angles: Tensor
    order_of_flags: Tensor
    back: Tensor

    def _index(self, name: str, positions: Any) -> None:
        self.register_buffer(name, torch.as_tensor(np.asarray(positions, np.int64)), persistent=False)

    def one_hot(self, x: Tensor, number: int) -> Tensor:
        """Which level the category is at, (..., levels); zeros for a value that is none of them, NaN unless finite."""
        levels: Tensor = getattr(self, f"levels_{number}")
        value = x[..., self.categories[number], None]
        return (value == levels).to(x.dtype) + 0.0 * value

    def measure(self, standardised: Tensor) -> Tensor:
        """The places of numbers and angles, (..., measured)."""
        numbers = standardised.index_select(-1, self.order_of_numbers)
        if self.directions is None:
            return numbers
        return torch.cat([numbers, self.directions(standardised.index_select(-1, self.order_of_angles))], -1)

    def read(self, measured: Tensor) -> Tensor:
        """Numbers, then angles, standardised, from their places."""
        if self.directions is None:
            return measured
        numbers, angles = measured.split([len(self.numbers), 2 * len(self.angles)], -1)
        return torch.cat([numbers, self.directions.inverse(angles)], -1)

    def read_scale(self, scales: Tensor) -> Tensor:
        """The scales of numbers, then of angles, standardised, from those of their places."""
        if self.directions is None:
            return scales
        count = len(self.numbers)
        return torch.cat([scales[..., :count], self.directions.scale(scales[..., count:])], -1)

    def expand(self, standardised: Tensor) -> Tensor:
        """What a network sees, (..., width), from (..., features)."""
        if self.is_plain:
            return standardised
        parts = [self.measure(standardised), standardised.index_select(-1, self.order_of_flags)]
        parts += [self.one_hot(standardised, number) for number in range(len(self.categories))]
        return torch.cat([part for part in parts if part.shape[-1]], -1)

    def collapse(self, expanded: Tensor, *, scales: bool = False) -> Tensor:
        """Standardised features (..., features) from means of what `expand` makes; the likeliest levels.

        With `scales` from the scales of what it makes, which categories do not have.
        """
        if self.is_plain:
            return expanded
        measured, flags, *categories = expanded.split(self.widths, -1)
        parts = [self.read_scale(measured) if scales else self.read(measured), flags]
        for number, shares in enumerate(categories):
            parts.append(getattr(self, f"levels_{number}")[shares.argmax(-1)][..., None])
        return torch.cat(parts, -1).index_select(-1, self.back)

    def total(self, parts: Tensor) -> Tensor:
        """Parts of what `expand` makes, (..., width), summed over the places of each feature: (..., features)."""
        if self.is_plain:
            return parts
        measured, flags, *categories = parts.split(self.widths, -1)
        summed = [self.total_measured(measured), flags, *(each.sum(-1, keepdim=True) for each in categories)]
        return torch.cat(summed, -1).index_select(-1, self.back)

    def total_measured(self, parts: Tensor) -> Tensor:
        """Parts of the places of numbers and angles, summed over those of each: numbers, then angles."""
        if self.directions is None:
            return parts
        count = len(self.angles)
        numbers, of_u, of_v = parts.split([len(self.numbers), count, count], -1)
        return torch.cat([numbers, of_u + of_v], -1)

    def class_of(self, x: Tensor) -> Tensor:
        """1 at the class of an input, that of its newest row; zeros where it is unknown: (batch, classes)."""
        value = x[..., self.classes[0]]
        newest = value if value.ndim == 1 else value[:, -1]
        levels: Tensor = getattr(self, f"levels_{len(self.categories)}")
        return (newest[:, None] == levels).to(x.dtype)
