"""The members of an ensemble against numpy, scipy and scikit-learn, and the joined score by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from torch import Tensor

from vae_detect.runtime.bundle import Column, Kind
from vae_detect.training.model.autoencoder import Autoencoder
from vae_detect.training.model.ensemble import (
    FINEST,
    PATCH,
    PATCH_STRIDE,
    PATCH_VARIANCE,
    PROTOTYPES,
    SHARPEST,
    SUBSPACE_VARIANCE,
    SUBSPACE_WINDOW,
    Cells,
    Ensemble,
    Mahalanobis,
    Patches,
    Prototypes,
    Subspace,
    WindowStatistics,
)
from vae_detect.training.settings.config import configure


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape)).float()


# --- statistics of a window ------------------------------------------------------------------------------------------


def test_statistics_of_a_window_by_hand() -> None:
    windows = torch.tensor([[[1.0, 5.0], [3.0, 5.0], [2.0, 5.0], [6.0, 5.0]]])
    found = WindowStatistics(window=4, columns=2)(windows)[0]
    # means 3 and 5; the first column's variance is (4 + 0 + 1 + 9) / 4; its newest row lies 3 above the mean
    expected = [3.0, 5.0, math.log(math.sqrt(3.5) + 0.05), math.log(0.05), 3.0, 0.0]
    assert found.tolist() == pytest.approx(expected, abs=1e-6)


def test_statistics_are_standardised_over_the_training_windows() -> None:
    statistics, windows = WindowStatistics(window=8, columns=3), normal(500, 8, 3) * 2 + 7
    statistics.fit(windows)
    found = statistics(windows)
    torch.testing.assert_close(found.mean(0), torch.zeros(9), atol=1e-4, rtol=0)
    torch.testing.assert_close(found.std(0, unbiased=False), torch.ones(9), atol=1e-4, rtol=0)


def test_a_still_column_does_not_divide_by_nothing() -> None:
    statistics = WindowStatistics(window=4, columns=1)
    statistics.fit(torch.full((50, 4, 1), 2.0))
    moved = statistics(torch.tensor([[[2.0], [2.0], [2.0], [3.0]]]))
    assert torch.isfinite(moved).all()
    assert moved[0, 1] > 5  # from still to moving is news


def test_rows_are_what_the_statistics_say() -> None:
    statistics, windows = WindowStatistics(window=4, columns=2), normal(30, 4, 2)
    statistics.fit(windows)
    rows, deviation = statistics.rows(statistics(windows))
    torch.testing.assert_close(rows[:, 0], windows.mean(1), atol=1e-5, rtol=0)
    torch.testing.assert_close(rows[:, -1], windows[:, -1], atol=1e-5, rtol=0)
    torch.testing.assert_close(deviation[:, 0], windows.std(1, unbiased=False), atol=1e-5, rtol=0)


def test_parts_of_statistics_are_spread_over_their_rows() -> None:
    parts = torch.arange(1.0, 7.0)[None]  # means 1, 2; deviations 3, 4; departures 5, 6
    spread = WindowStatistics(window=4, columns=2).spread(parts)[0]
    assert spread.tolist() == [[1.0, 1.5], [1.0, 1.5], [1.0, 1.5], [6.0, 7.5]]


# --- cells -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "grid"), [((10,), (3,)), ((9, 14), (2, 4)), ((8, 8), (1, 1))])
def test_cells_are_means_and_deviations_of_parts_of_the_input(size: tuple[int, ...], grid: tuple[int, ...]) -> None:
    x = normal(5, *size, 2)
    found = Cells(size, grid, deviations=True)(x).numpy()
    places = [np.array_split(np.arange(length), cells) for length, cells in zip(size, grid, strict=True)]
    corners = [(rows,) for rows in places[0]] if len(size) == 1 else [(r, c) for r in places[0] for c in places[1]]
    cut = [x.numpy()[np.ix_(range(5), *corner, range(2))].reshape(5, -1, 2) for corner in corners]
    means = np.stack([cell.mean(1) for cell in cut], 1).reshape(5, -1)
    deviations = np.stack([np.log(cell.std(1) + 0.05) for cell in cut], 1).reshape(5, -1)
    np.testing.assert_allclose(found, np.concatenate([means, deviations], 1), atol=1e-5)


@pytest.mark.parametrize("deviations", [False, True])
@pytest.mark.parametrize(("size", "grid"), [((10,), (3,)), ((4,), (4,)), ((9, 14), (2, 4))])
def test_spreading_keeps_the_sum_and_the_place(size: tuple[int, ...], grid: tuple[int, ...], deviations: bool) -> None:
    cells = Cells(size, grid, deviations=deviations)
    parts = torch.zeros(1, (1 + deviations) * math.prod(grid) * 2)
    parts[0, 0] = 6.0  # the first cell's mean of the first column
    spread = cells.spread(parts)
    assert spread.shape == (1, *size, 2)
    assert spread.sum().item() == pytest.approx(6.0)
    first = [len(np.array_split(np.arange(length), count)[0]) for length, count in zip(size, grid, strict=True)]
    assert int((spread > 0).sum()) == math.prod(first)
    assert spread[(0, *[0] * len(size), 0)] > 0


# --- members ---------------------------------------------------------------------------------------------------------


def test_mahalanobis_is_scikit_learns() -> None:
    mixing = normal(6, 6, seed=1)
    x, other = normal(200, 3, 2, seed=2), normal(20, 3, 2, seed=3)
    x, other = ((part.flatten(1) @ mixing).unflatten(1, (3, 2)) for part in (x, other))
    found = Mahalanobis(Cells((3,), (3,), deviations=False), x)(other)
    flat, seen = x.flatten(1).double().numpy(), other.flatten(1).double().numpy()
    center, scale = flat.mean(0), flat.std(0)
    expected = LedoitWolf(assume_centered=True).fit((flat - center) / scale).mahalanobis((seen - center) / scale)
    np.testing.assert_allclose(found.distance, expected, rtol=1e-3)
    torch.testing.assert_close(found.where.flatten(1).sum(1), found.distance, rtol=1e-4, atol=0)


def test_fewer_inputs_than_columns_have_a_distance() -> None:
    x = normal(20, 10, 5)
    found = Mahalanobis(Cells((10,), (10,), deviations=False), x)(normal(4, 10, 5, seed=1))
    assert torch.isfinite(found.distance).all()


def test_few_rows_are_their_own_prototypes() -> None:
    rows, other = normal(50, 4), normal(9, 4, seed=1)
    found = Prototypes(rows, seed=0)(other)
    np.testing.assert_allclose(found.distance, cdist(other, rows, "sqeuclidean").min(1), rtol=1e-5)
    torch.testing.assert_close(found.where.sum(1), found.distance)


def test_many_rows_are_stood_for_by_centres() -> None:
    rows, other = normal(2000, 3), normal(40, 3, seed=1)
    member = Prototypes(rows, seed=0)
    assert member.centres.shape == (PROTOTYPES, 3)
    np.testing.assert_allclose(member(other).distance, cdist(other, member.centres, "sqeuclidean").min(1), rtol=1e-4)
    assert member(rows).distance.mean() < Prototypes(rows[:PROTOTYPES], seed=0)(rows).distance.mean()


def test_patches_are_judged_by_what_principal_components_leave() -> None:
    images, other = normal(40, 20, 16, 2), normal(6, 20, 16, 2, seed=1)

    def patches(x: Tensor) -> np.ndarray:
        rows = range(0, x.shape[1] - PATCH + 1, PATCH_STRIDE)
        columns = range(0, x.shape[2] - PATCH + 1, PATCH_STRIDE)
        cut = [x[:, r : r + PATCH, c : c + PATCH].permute(0, 3, 1, 2).flatten(1) for r in rows for c in columns]
        return torch.stack(cut, 1).double().numpy()

    fitted = PCA(svd_solver="full").fit(patches(images).reshape(-1, 2 * PATCH**2))
    kept = int(np.searchsorted(np.cumsum(fitted.explained_variance_ratio_), PATCH_VARIANCE)) + 1
    centred = patches(other) - fitted.mean_
    axes = fitted.components_[:kept]
    expected = ((centred - centred @ axes.T @ axes) ** 2).sum(-1).max(1)
    found = Patches(images, seed=0)(other)
    np.testing.assert_allclose(found.distance, expected, rtol=1e-3)
    assert found.where.shape == other.shape


def test_a_strange_patch_is_found_where_it_is() -> None:
    images = normal(40, 24, 24, 1) * 0.1 + torch.sin(torch.arange(24) / 3)[None, None, :, None]
    strange = images[:1].clone()
    strange[0, 16:20, 4:8] += torch.tensor([3.0, -3.0]).repeat(2)[:, None]
    where = Patches(images, seed=0)(strange).where[0, :, :, 0]
    row, column = divmod(int(where.argmax()), 24)
    assert 12 <= row < 24
    assert 0 <= column < 12


def test_whole_images_are_judged_by_what_principal_components_leave() -> None:
    images, other = normal(60, 12, 10, 2), normal(5, 12, 10, 2, seed=1)
    fitted = PCA(svd_solver="full").fit(images.flatten(1).double().numpy())
    kept = int(np.searchsorted(np.cumsum(fitted.explained_variance_ratio_), SUBSPACE_VARIANCE)) + 1
    centred = other.flatten(1).double().numpy() - fitted.mean_
    left = (
        ((centred - centred @ fitted.components_[:kept].T @ fitted.components_[:kept]) ** 2)
        .reshape(5, 12, 10, 2)
        .sum(-1)
    )
    half = SUBSPACE_WINDOW // 2
    means = [
        [
            energy[max(0, r - half) : r + half + 1, max(0, c - half) : c + half + 1].mean()
            for r in range(12)
            for c in range(10)
        ]
        for energy in left
    ]
    found = Subspace(images)(other)
    np.testing.assert_allclose(found.distance, np.max(means, 1), rtol=1e-3)
    assert found.where.shape == other.shape


# --- the joined score ------------------------------------------------------------------------------------------------


def ensemble(kind: Kind, *shape: int) -> Ensemble:
    x = normal(80, *shape)
    return Ensemble(kind, x, normal(80, 5, seed=1), seed=0)


def test_rows_are_judged_by_all_members_together() -> None:
    joined = ensemble("rows", 4)  # error, prototypes, prototypes of the codes
    joined.set_units(torch.tensor([[1.0, 2.0, 9.0], [4.0, 4.0, 4.0], [0.5, 0.1, 0.9]]))
    score, shares = joined.join(torch.tensor([[2.0], [8.0], [0.25]]))
    # medians 2, 4 and 0.5
    assert shares[:, 0].tolist() == pytest.approx([math.log(2), math.log(3), math.log(1.5)])
    assert score.item() == pytest.approx(math.log(9))


def test_images_are_judged_by_whoever_is_surprised() -> None:
    joined = ensemble("images", 16, 16, 1)  # error, two grids of cells, patches, subspace
    once, twice, never = [-2.0, -1.0, 0.0, 1.0, 9.0], [-4.0, -2.0, 0.0, 2.0, 9.0], [0.0] * 5
    joined.set_units(torch.exp(torch.tensor([once, twice, never, once, once])))
    deviation = 2 / 1.349  # between quartiles lie 2 and 4
    score, shares = joined.join(torch.exp(torch.tensor([[deviation], [2 * deviation], [-1.0], [0.0], [-9.0]])))
    # surprises of 1 and 1 standard deviations; the third never varied, so the power is the largest; 0; one far below
    powers = [math.e, math.e, math.exp(-SHARPEST), 1.0, math.exp(-9 / deviation)]
    assert score.item() == pytest.approx(math.log(1 + sum(powers)), rel=1e-4)
    assert shares[:, 0].tolist() == pytest.approx([score.item() * p / sum(powers) for p in powers], rel=1e-3)


@pytest.mark.parametrize("kind", ["rows", "images"])
def test_the_score_stays_in_float32(kind: Kind) -> None:
    joined = ensemble(kind, *((4,) if kind == "rows" else (16, 16, 1)))
    count = len(joined.typical)
    joined.set_units(torch.exp(0.01 * normal(count, 50)))
    score, shares = joined.join(torch.tensor([0.0, 1e-30, 1.0, 1e20]).expand(count, 4))
    assert torch.isfinite(score).all()
    assert torch.isfinite(shares).all()
    assert (score >= 0).all()
    assert score[3] > score[2] > score[1] - 1e-6


def test_a_member_that_says_nothing_while_validating_is_no_division_by_zero() -> None:
    joined = ensemble("rows", 4)
    joined.set_units(torch.tensor([[0.0, 0.0, 0.6], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]))
    assert joined.typical[:, 0].tolist() == pytest.approx([0.2, 1e-3, 1.0])


@given(st.lists(st.floats(0, 1e6), min_size=3, max_size=3), st.integers(0, 2), st.floats(1.5, 100))
def test_more_distance_is_more_score(distances: list[float], member: int, factor: float) -> None:
    joined = ensemble("rows", 2)
    before = torch.tensor(distances)[:, None]
    after = before.clone()
    after[member] = after[member] * factor + 1
    assert joined.join(after)[0].item() > joined.join(before)[0].item()


def test_a_long_window_is_taken_in_cells() -> None:
    joined = ensemble("windows", 300, 4)
    first = joined.members[0]
    assert isinstance(first, Mahalanobis)
    assert first.center.shape == (FINEST,)
    assert len(joined.measure(normal(3, 300, 4, seed=2), normal(3, 5))) == 3


# --- within the autoencoder ------------------------------------------------------------------------------------------

COLUMNS = (
    Column("flow", "", 2.0, 0.5),
    Column("mode", "", 0.0, 1.0, "category", levels=(0.0, 1.0, 2.0)),
    Column("open", "", 0.0, 1.0, "binary", levels=(0.0, 1.0)),
)


def mixed(*shape: int, seed: int = 0) -> Tensor:
    """A number, a category of three levels and a flag."""
    generator = np.random.default_rng(seed)
    number = 2 + 0.5 * generator.normal(size=shape)
    return torch.from_numpy(
        np.stack([number, generator.integers(0, 3, shape), generator.integers(0, 2, shape)], -1)
    ).float()


def joined(kind: str) -> Autoencoder:
    """An untrained autoencoder of mixed columns with an ensemble beside it."""
    x = mixed(200, 6) if kind == "windows" else mixed(200)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = Autoencoder(
            configure({"kind": kind, "latent": 3} | ({"window": 6} if kind == "windows" else {})), COLUMNS
        )
        seen = model.expansion.expand(model.standardise(x))
        if model.statistics is not None:
            model.statistics.fit(seen)
        model.ensemble = Ensemble(model.config.kind, seen, model.encode(model.see(x)).mean, seed=0)
        model.ensemble.set_units(model.distances(x))
    return model.eval()


@pytest.mark.parametrize("kind", ["rows", "windows"])
def test_contributions_of_all_kinds_of_columns_add_up_to_the_score(kind: str) -> None:
    model, x = joined(kind), mixed(20, 6, seed=1) if kind == "windows" else mixed(20, seed=1)
    with torch.no_grad():
        terms = model.terms(x)
    assert terms.contribution.shape == terms.reconstruction.shape == x.shape
    assert (terms.contribution >= 0).all()
    torch.testing.assert_close(terms.contribution.flatten(1).sum(1), terms.score, rtol=1e-4, atol=1e-5)
    assert set(terms.reconstruction[..., 1].flatten().tolist()) <= {0.0, 1.0, 2.0}


@pytest.mark.parametrize("kind", ["rows", "windows"])
def test_what_is_not_finite_gets_no_finite_score_and_far_away_is_far_away(kind: str) -> None:
    model, x = joined(kind), mixed(5, 6, seed=1) if kind == "windows" else mixed(5, seed=1)
    for row, value in enumerate((math.nan, math.inf, 1e9, 1e5)):
        x[row].view(-1)[0] = value
    with torch.no_grad():
        score = model.terms(x).score
    assert not torch.isfinite(score[:2]).any()
    assert score[2] > score[3] > score[4]
