"""The randomness and the means of one training step, the same however its batch is spread over processes."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch import distributed as dist


class _SumOverProcesses(torch.autograd.Function):
    """The sum over all processes of a tensor that each has its part of."""

    @staticmethod
    def forward(_: Any, part: Tensor) -> Tensor:
        total = part.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        # Each process's loss depends on this part, and all have the same loss. `World.average` takes the factor back.
        return gradient * dist.get_world_size()


class Step(NamedTuple):
    """One step over a batch of `total` inputs, of which this process has those of `rows`.

    Every process draws for the whole batch and keeps its own rows, and means are over the whole batch: two processes
    then follow the loss path of one.
    """

    generator: torch.Generator
    total: int
    rows: slice
    is_spread: bool = False

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers for the rows here: (rows, *shape)."""
        return torch.randn(self.total, *shape, generator=self.generator, device=self.generator.device)[self.rows]

    def uniform(self, like: Tensor) -> Tensor:
        """Numbers in [0, 1), shaped like a tensor of the rows here."""
        return torch.rand(self.total, *like.shape[1:], generator=self.generator, device=self.generator.device)[
            self.rows
        ]

    def mean(self, values: Tensor) -> Tensor:
        """Mean over the inputs of the whole batch, of values (rows, ...)."""
        mean = values.sum(0) / self.total
        if not self.is_spread:
            return mean
        whole: Tensor = _SumOverProcesses.apply(mean)  # type: ignore[no-untyped-call]
        return whole
