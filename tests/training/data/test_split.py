"""The split: that its parts have nothing in common, and the inputs at given rows."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vae_detect.runtime.bundle import is_ordered
from vae_detect.runtime.scoring.framing import windows_at
from vae_detect.training.data.columns import plan_columns
from vae_detect.training.data.loading import Table
from vae_detect.training.data.split import SHARES, Split, covered_rows, split


def table(values: NDArray[np.float32], segment: NDArray[np.int64] | None = None) -> Table:
    rows, features = values.shape
    names = tuple(f"f{i}" for i in range(features))
    return Table(values, names, None, np.zeros(rows, np.int64) if segment is None else segment, None, [], "")


def numbered(rows: int, segment: NDArray[np.int64] | None = None) -> Table:
    """One column whose rows do not stay alike."""
    return table(np.arange(rows, dtype=np.float32)[:, None] % 2, segment)


# --- statistics ------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(-1e6, 1e6))
def test_the_columns_know_the_training_rows_only(seed: int, strange: float) -> None:
    values = np.random.default_rng(seed).normal(size=(100, 2)).astype(np.float32)
    parts = split(table(values), window=1, stride=1, ordered=False, seed=seed)
    before = plan_columns(values[covered_rows(parts.train, 1)], ["a", "b"])
    values[parts.validation], values[parts.calibration] = strange, -strange
    assert plan_columns(values[covered_rows(parts.train, 1)], ["a", "b"]) == before


def test_covered_rows_are_each_counted_once() -> None:
    assert covered_rows(np.array([0, 1, 7]), 3).tolist() == [0, 1, 2, 3, 7, 8, 9]


# --- the split -------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(1, 400), st.integers(0, 2**31 - 1))
def test_shuffled_rows_are_each_in_one_part(rows: int, seed: int) -> None:
    parts = split(numbered(rows), window=1, stride=1, ordered=False, seed=seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(rows))
    assert [len(part) for part in parts] == pytest.approx([SHARES[part] * rows for part in Split._fields], abs=1)


def test_the_seed_decides_the_shuffle() -> None:
    first, again, other = (split(numbered(200), window=1, stride=1, ordered=False, seed=s) for s in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first.train, other.train)


def test_an_ordered_split_by_hand() -> None:
    # 400 rows and windows of 10 are two blocks. In the last, rows 200-239 calibrate, 240-259 validate, 260-399 train.
    # The first is turned round: 0-139 train, 140-159 validate, 160-199 calibrate. A tenth of a block is only two
    # windows, so there is no gap, and validation reaches into the training rows beside it.
    parts = split(numbered(400), window=10, stride=1, ordered=True, seed=0)
    assert parts.calibration.tolist() == [*range(160, 191), *range(200, 231)]
    assert parts.validation.tolist() == [*range(131, 151), *range(240, 260)]
    assert parts.train.tolist() == [*range(131), *range(260, 391)]


def test_a_long_recording_has_gaps_of_a_window_between_its_parts() -> None:
    # 1000 rows and windows of 2 are ten blocks of 100: 20 rows calibrate, 10 validate, 70 train, every other block
    # turned round; each part ends in a window that leaves two rows free before the next.
    parts = split(numbered(1000), window=2, stride=1, ordered=True, seed=0)
    last = [[*range(930, 997)], [*range(920, 927)], [*range(900, 917)]]
    turned = [[*range(67)], [*range(70, 77)], [*range(80, 97)]]
    assert [part[part >= 900].tolist() for part in parts] == last
    assert [part[part < 100].tolist() for part in parts] == turned


def test_calibration_keeps_off_by_the_rows_that_stay_alike() -> None:
    # Three rows each are alike: r(1) = 2/3, r(2) = 1/3, so the memory is 2 rows and one more row stays free.
    stairs = np.repeat(np.random.default_rng(0).normal(size=400), 3).astype(np.float32)[:, None]
    near = split(numbered(1200), window=1, stride=1, ordered=True, seed=0)
    off = split(table(stairs), window=1, stride=1, ordered=True, seed=0)
    assert off.train.tolist() == near.train.tolist()
    assert len(near.calibration) - len(off.calibration) == 10  # of every block
    # A column that only rises stays alike for longer than there is room: a quarter of the 24 rows is given up.
    rising = split(table(np.arange(1200, dtype=np.float32)[:, None]), window=1, stride=1, ordered=True, seed=0)
    assert len(near.calibration) - len(rising.calibration) == 10 * 6
    gaps = np.diff(np.sort(np.concatenate([rising.validation, rising.calibration])))
    assert set(gaps[gaps > 1].tolist()) >= {1 + 1 + 6}


RECORDINGS = st.integers(1, 600)
BREAKS = st.lists(st.integers(1, 599), max_size=8)


def segments(rows: int, breaks: list[int]) -> NDArray[np.int64]:
    return np.searchsorted(np.unique(breaks), np.arange(rows), side="right").astype(np.int64)


@settings(deadline=None, max_examples=300)
@given(RECORDINGS, st.integers(1, 20), st.integers(1, 5), BREAKS)
def test_calibration_shares_no_row_with_what_was_learnt_from(
    rows: int, window: int, stride: int, breaks: list[int]
) -> None:
    segment = segments(rows, breaks)
    parts = split(numbered(rows, segment), window=window, stride=stride, ordered=True, seed=0)
    assert all(segment[start] == segment[start + window - 1] for part in parts for start in part)  # none spans a break
    train, validation, calibration = (
        set((part[:, None] + np.arange(window)).ravel().tolist()) if len(part) else set() for part in parts
    )
    assert not calibration & (train | validation)
    blocks = max(1, min(10, rows // (20 * window)))
    if 0.1 * rows / blocks >= 4 * window:  # there is a gap, of a window
        assert not validation & train
        owner = {row: name for name, part in enumerate((train, validation, calibration)) for row in part}
        used = sorted(owner)
        assert all(b - a >= window for a, b in pairwise(used) if owner[a] != owner[b])


@settings(deadline=None)
@given(RECORDINGS, st.integers(1, 20), st.integers(2, 7))
def test_the_stride_thins_training_only(rows: int, window: int, stride: int) -> None:
    every = split(numbered(rows), window=window, stride=1, ordered=True, seed=0)
    thinned = split(numbered(rows), window=window, stride=stride, ordered=True, seed=0)
    assert thinned.train.tolist() == every.train[::stride].tolist()
    assert thinned.validation.tolist() == every.validation.tolist()
    assert thinned.calibration.tolist() == every.calibration.tolist()


@pytest.mark.parametrize(("rows", "window"), [(20_000, 1), (20_000, 10), (5_000, 3)])
def test_the_shares_are_about_right_and_every_part_spans_the_recording(rows: int, window: int) -> None:
    parts = split(numbered(rows), window=window, stride=1, ordered=True, seed=0)
    for starts, share in zip(parts, (SHARES[part] for part in Split._fields), strict=True):
        # Each of 10 blocks loses at most two windows at the end of each part.
        assert 0 <= share * rows - len(starts) <= 10 * 2 * window + 10
        blocks = np.unique(starts * 10 // rows)
        assert blocks.tolist() == list(range(10))


@pytest.mark.parametrize("rows", [1, 4])
def test_a_recording_shorter_than_a_window_has_no_inputs(rows: int) -> None:
    parts = split(numbered(rows), window=5, stride=1, ordered=True, seed=0)
    assert [len(part) for part in parts] == [0, 0, 0]


def test_twenty_windows_are_enough_for_every_part() -> None:
    for window in (2, 5, 30):
        parts: Split = split(numbered(20 * window), window=window, stride=1, ordered=True, seed=0)
        assert all(len(part) for part in parts)


# --- inputs ----------------------------------------------------------------------------------------------------------


def test_windows_end_at_their_newest_row() -> None:
    values = np.arange(8).reshape(4, 2)
    assert windows_at(values, np.array([1, 3]), 2).tolist() == [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]
    assert windows_at(values, np.array([3, 0]), 1).tolist() == [[6, 7], [0, 1]]


def test_windows_and_rows_with_time_stamps_have_an_order() -> None:
    plain = numbered(3)
    assert [is_ordered("rows", plain), is_ordered("images", plain)] == [False, False]
    stamped, alike = plain._replace(time_column="time"), plain._replace(ordered=True)
    assert [is_ordered("rows", stamped), is_ordered("rows", alike), is_ordered("windows", plain)] == [True] * 3


# --- several recordings ----------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=8), st.integers(1, 16))
def test_no_input_crosses_recordings_and_each_long_one_is_in_every_part(lengths: list[int], window: int) -> None:
    recording = np.repeat(np.arange(len(lengths)), lengths)
    several = numbered(sum(lengths), recording)._replace(recording=recording)
    parts = split(several, window=window, stride=1, ordered=True, seed=0)
    for part in parts:
        assert (recording[part] == recording[part + window - 1]).all()
    for number, length in enumerate(lengths):
        if length >= 40 * window and min(lengths[max(0, number - 1) : number + 2]) >= 20 * window:
            assert all((recording[part] == number).any() for part in parts)
    if len(parts.train) and len(parts.calibration):
        train, calibration = (covered_rows(part, window) for part in (parts.train, parts.calibration))
        assert not np.intersect1d(train, calibration).size


def test_recordings_that_are_too_short_for_blocks_share_one() -> None:
    lengths = [60] * 20
    recording = np.repeat(np.arange(20), lengths)
    several = numbered(1200, recording)._replace(recording=recording)
    parts = split(several, window=8, stride=1, ordered=True, seed=0)
    # Blocks of three recordings, 180 rows, but for the last, which takes the two that are left.
    assert {*np.minimum(parts.calibration // 180, 5).tolist()} == {*range(6)}
    assert {*np.minimum(parts.train // 180, 5).tolist()} == {*range(6)}
