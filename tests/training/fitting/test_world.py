"""The device and the processes of a run."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vae_detect.runtime.errors import MissingExtraError
from vae_detect.training.fitting.world import ALONE, World, choose_device, join_world


@given(st.integers(0, 200), st.integers(1, 9))
def test_the_shares_of_a_batch_are_all_of_it_once(total: int, size: int) -> None:
    shares = [World(rank, size).share(total) for rank in range(size)]
    assert [row for share in shares for row in range(total)[share]] == list(range(total))
    lengths = [len(range(total)[share]) for share in shares]
    assert max(lengths) - min(lengths) <= 1


def test_without_torchrun_a_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert join_world(torch.device("cpu")) == ALONE == World(0, 1)
    assert ALONE.share(5) == slice(0, 5)


@pytest.mark.parametrize("asked", ["auto", "cpu", "cuda"])
def test_only_a_gpu_that_is_asked_for_must_be_there(monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    if asked == "cuda":
        with pytest.raises(MissingExtraError, match="this torch finds no CUDA device; use --device cpu"):
            choose_device(asked)
    else:
        assert choose_device(asked) == torch.device("cpu")
