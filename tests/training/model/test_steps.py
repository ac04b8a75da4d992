"""The randomness of a step does not depend on how its batch is spread over processes."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from vae_detect.training.fitting.world import World
from vae_detect.training.model.steps import Step


def step(total: int, rows: slice = slice(None), seed: int = 0) -> Step:
    return Step(torch.Generator().manual_seed(seed), total, rows)


def shares(total: int, size: int) -> list[slice]:
    return [World(rank, size).share(total) for rank in range(size)]


@given(st.integers(1, 20), st.integers(1, 4))
def test_the_processes_together_draw_what_one_draws(total: int, size: int) -> None:
    whole, parts = step(total), [step(total, rows) for rows in shares(total, size)]
    # again and again: every process advances its generator by the whole batch
    for _ in range(2):
        assert torch.equal(torch.cat([part.normal(3, 2) for part in parts]), whole.normal(3, 2))
        x = torch.zeros(total, 4)
        drawn = [part.uniform(x[part.rows]) for part in parts]
        assert torch.equal(torch.cat(drawn), whole.uniform(x))


@given(st.integers(1, 20), st.integers(1, 4))
def test_the_parts_of_a_mean_add_up_to_it(total: int, size: int) -> None:
    x = torch.arange(2.0 * total).reshape(total, 2)
    parts = [step(total, rows).mean(x[rows]) for rows in shares(total, size)]
    torch.testing.assert_close(torch.stack(parts).sum(0), x.mean(0))


def test_shapes() -> None:
    here = step(10, slice(3, 7))
    assert here.normal().shape == (4,)
    assert here.normal(5).shape == (4, 5)
    assert here.uniform(torch.zeros(4, 2, 3)).shape == (4, 2, 3)
    assert here.mean(torch.zeros(4)).shape == ()
    assert here.mean(torch.zeros(4, 2)).shape == (2,)


def test_moments() -> None:
    normal, uniform = step(20_000).normal(), step(20_000).uniform(torch.zeros(20_000))
    assert abs(float(normal.mean())) < 0.03  # 4 standard errors
    assert abs(float(normal.var()) - 1) < 0.04
    assert 0 <= float(uniform.min()) < 0.001
    assert 0.999 < float(uniform.max()) < 1


def test_the_generator_alone_decides() -> None:
    state = torch.random.get_rng_state()
    assert torch.equal(step(5, seed=1).normal(2), step(5, seed=1).normal(2))
    assert not torch.equal(step(5, seed=1).normal(2), step(5, seed=2).normal(2))
    assert torch.equal(torch.random.get_rng_state(), state)
