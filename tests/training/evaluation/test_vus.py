"""Volumes against the authors' package and by hand, and what must hold for any scores."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from vae_detect.runtime.errors import InputError
from vae_detect.training.evaluation.vus import default_buffer, volumes, vus_pr


def series(
    seed: int, rows: int, events: list[tuple[int, int]], *, whole: bool
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Labels, and noisy scores that rise around the events; with many equal ones where `whole`."""
    labels = np.zeros(rows, np.int64)
    for start, end in events:
        labels[start:end] = 1
    scores = np.random.default_rng(seed).normal(size=rows) + 1.5 * np.convolve(labels, np.ones(5) / 5, "same")
    return labels, np.round(scores) if whole else scores


# The two volumes of metricor().RangeAUC_volume_opt(labels, scores, buffer_rows, 250) in vus 0.0.6 from PyPI, with numpy
# 2.4.6; basic_metricor of TSB-AD 1.5 has the same code.
@pytest.mark.parametrize(
    ("made_of", "whole", "buffer_rows", "expected"),
    [
        ((0, 600, [(100, 130), (300, 305), (420, 500)]), False, 20, (0.8855640755283293, 0.6685147545496969)),
        # events at both ends, and two whose buffers meet
        ((1, 400, [(0, 10), (12, 14), (200, 260), (390, 400)]), False, 31, (0.9015276569709191, 0.6535063802671948)),
        # buffers that reach over other events, and 8 different scores
        ((2, 300, [(50, 51), (60, 61), (70, 71)]), True, 40, (0.9174443857894943, 0.14294579963144685)),
        ((3, 1000, [(500, 620)]), True, 7, (0.8604384322822807, 0.44764272556783286)),
        ((4, 100, [(40, 60)]), False, 0, (0.85375, 0.555358172599119)),
    ],
)
def test_the_volumes_are_those_of_the_authors(
    made_of: tuple[int, int, list[tuple[int, int]]], whole: bool, buffer_rows: int, expected: tuple[float, float]
) -> None:
    found = volumes(*series(*made_of, whole=whole), buffer_rows=buffer_rows)
    assert found == pytest.approx(expected, rel=1e-12)


def test_one_buffer_by_hand() -> None:
    # The event is row 2. Thresholds by rows: 3 first, then 2, 0, 1, 4, 5.
    labels, scores = [0, 0, 1, 0, 0, 0], [6, 5, 8, 9, 4, 3]
    share = np.sqrt(1 - 1 / 2)  # of rows 1 and 3, with a buffer of 2
    # Without a buffer (w = 0 and 1) one event is found by the second alarm: precision 1 / 2 over a recall of 1.
    # With w = 2 the first alarm finds it by its buffer: precision = its share, recall = share / (1 + share / 2). The
    # second has a precision of (share + 1) / 2 and a recall of 1, bounded.
    first = share / (1 + share / 2)
    with_buffer = first * share + (1 - first) * (share + 1) / 2
    assert vus_pr(labels, scores, buffer_rows=0) == pytest.approx(1 / 2)
    assert vus_pr(labels, scores, buffer_rows=2) == pytest.approx((1 / 2 + 1 / 2 + with_buffer) / 3)


def test_without_a_buffer_it_is_the_average_precision_of_one_event_found_at_once() -> None:
    # one event of one row, so that its existence is its recall; fewer rows than thresholds, so that all are taken
    labels, scores = np.zeros(50), np.random.default_rng(0).normal(size=50)
    labels[20] = 1
    assert vus_pr(labels, scores, buffer_rows=0) == pytest.approx(average_precision_score(labels, scores))


def test_the_default_buffer_is_the_median_length_of_events() -> None:
    labels = np.array([*"0110111100000001000"]) == "1"  # 2, 4 and 1 rows
    assert default_buffer(labels) == 2
    scores = np.random.default_rng(0).normal(size=len(labels))
    assert volumes(labels, scores) == volumes(labels, scores, buffer_rows=2)
    long = np.zeros(3000, np.bool_)
    long[1000:2000] = True
    assert default_buffer(long) == 512


LABELS = arrays.arrays(np.bool_, st.integers(3, 80))


@given(LABELS.filter(lambda labels: labels.any() and not labels.all()), st.data())
@settings(deadline=None)
def test_perfect_scores_fill_the_precision_recall_volume_and_any_lie_within(
    labels: NDArray[np.bool_], data: st.DataObject
) -> None:
    assert vus_pr(labels, labels, buffer_rows=9) == pytest.approx(1)
    scores = data.draw(arrays.arrays(np.float64, len(labels), elements=st.floats(-9, 9, width=16)))
    found = volumes(labels, scores, buffer_rows=9)
    assert 0 <= found.precision_recall <= 1 + 1e-9
    assert 0 <= found.roc <= 1 + 1e-9
    # only the order of the scores counts
    assert volumes(labels, scores * 8 + 3, buffer_rows=9) == found


def test_a_late_alarm_beats_one_far_away() -> None:
    labels, near, far = np.zeros(200), np.zeros(200), np.zeros(200)
    labels[100:110], near[112], far[150] = 1, 1, 1
    assert vus_pr(labels, near) > vus_pr(labels, far)


def test_a_long_series_takes_less_than_two_seconds() -> None:
    generator = np.random.default_rng(0)
    labels, scores = np.zeros(24_000, np.bool_), generator.normal(size=24_000)
    for start in range(0, 24_000, 1000):
        labels[start : start + 512] = True
    start_s = time.perf_counter()
    volumes(labels, scores)
    assert time.perf_counter() - start_s < 2


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 1], [1.0], r"labels of shape \(2,\) and scores of shape \(1,\)"),
        ([[0, 1]], [[1.0, 2.0]], r"labels of shape \(1, 2\)"),
        ([0, 0], [1.0, 2.0], "all 2 rows have the same label"),
        ([1, 1], [1.0, 2.0], "all 2 rows have the same label"),
        ([], [], "all 0 rows have the same label"),
        ([0, 1, 0], [1.0, 2.0, np.nan], "row 2 has the score nan"),
    ],
)
def test_what_cannot_be_ranked_is_refused(labels: list[int], scores: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        vus_pr(labels, scores)


def test_a_negative_buffer_is_refused() -> None:
    with pytest.raises(InputError, match="buffer_rows is -1, expected 0 or more"):
        vus_pr([0, 1], [0, 1], buffer_rows=-1)
