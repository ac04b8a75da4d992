"""The verdict in a scorer's graph: by the score, and by limits that people set."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...runtime.bundle import Limit, Operator
from ...runtime.limits import BROKEN


class Verdict(nn.Module):
    """Whether the score exceeds the threshold or the newest row breaks a limit: (batch,).

    Parameters
    ----------
    names : of the features
    """

    def __init__(self, limits: Sequence[Limit], names: Sequence[str]) -> None:
        super().__init__()
        self.operators: list[Operator] = []
        # Those of an operator together, so that many limits are no more nodes than a few.
        for operator in BROKEN:
            own = [limit for limit in limits if limit.operator == operator]
            if own:
                number = len(self.operators)
                self.operators.append(operator)
                self.register_buffer(f"places_{number}", torch.tensor([names.index(limit.column) for limit in own]))
                self.register_buffer(f"values_{number}", torch.tensor([limit.value for limit in own]))

    def forward(self, x: Tensor, score: Tensor, threshold: Tensor) -> Tensor:
        over = score > threshold
        if not self.operators:
            return over
        newest = x[:, -1] if x.ndim == 3 else x
        broken = []
        for number, operator in enumerate(self.operators):
            readings = newest.index_select(1, self.get_buffer(f"places_{number}"))
            broken.append(BROKEN[operator](readings, self.get_buffer(f"values_{number}")))
        # As float32, of which every engine knows the maximum.
        return over | (torch.cat(broken, -1).float().amax(-1) > 0)
