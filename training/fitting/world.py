"""Where a training run works: on which device, and as which of the processes that torchrun started."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch import distributed as dist

from ...runtime.commands.terminal import launched
from ...runtime.errors import MissingExtraError


def choose_device(asked: str) -> torch.device:
    """Where to train; raises MissingExtraError where "cuda" is asked for and cannot be had."""
    if asked == "cuda" and not torch.cuda.is_available():
        raise MissingExtraError("--device cuda was asked for, this torch finds no CUDA device; use --device cpu")
    if asked == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))  # torchrun numbers the processes of a machine
    return torch.device("cuda", torch.cuda.current_device())


class World(NamedTuple):
    """Which of how many processes this is."""

    rank: int = 0
    size: int = 1

    def share(self, total: int) -> slice:
        """The part of a batch that this process works on."""
        return slice(total * self.rank // self.size, total * (self.rank + 1) // self.size)

    def agree(self, tensors: Iterable[Tensor]) -> None:
        """Gives all processes the first one's values."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Makes each tensor the mean of what the processes have, in place."""
        if self.size > 1 and tensors:
            flat = torch.cat([tensor.flatten() for tensor in tensors])
            dist.all_reduce(flat)
            flat /= self.size
            for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
                tensor.copy_(mean.view_as(tensor))

    def wait(self) -> None:
        """Until every process is here. The first one must have written before another ends, or torchrun may stop it."""
        if self.size > 1:
            dist.barrier()


ALONE = World()


def join_world(device: torch.device) -> World:
    """Meets the other processes that torchrun started, until the program ends; alone without it."""
    if not launched():
        return ALONE
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        atexit.register(dist.destroy_process_group)
    return World(dist.get_rank(), dist.get_world_size())
