"""The threshold that follows a stream, by hand, and the rate that it keeps whatever the data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae_detect.runtime.scoring.adaptive import STEP, AdaptiveThreshold

NAN = float("nan")
P_VALUES = st.lists(st.one_of(st.just(NAN), st.floats(0, 1, width=32)), min_size=1, max_size=300)


def verdicts(threshold: AdaptiveThreshold, *p_values: float) -> list[bool]:
    found: list[bool] = threshold.verdicts(np.array(p_values, np.float32)).tolist()
    return found


def test_an_alarm_lowers_it_and_quiet_rows_raise_it() -> None:
    # alpha = 0.5, gamma = 0.5 x 0.5; after an alarm alpha_t falls by 0.125, after a quiet row it rises by 0.125:
    # 0.5, 0.375, 0.5, 0.375, 0.25, 0.375
    assert verdicts(AdaptiveThreshold(0.5, step=0.5), 0.4, 0.4, 0.1, 0.3, 0.25, 0.37) == [
        *(True, False, True, True, False, True)
    ]


def test_the_first_verdict_is_that_of_the_shipped_threshold() -> None:
    assert verdicts(AdaptiveThreshold(0.25), 0.25) == [False]
    assert verdicts(AdaptiveThreshold(0.25), 0.2499) == [True]


def test_below_zero_nothing_alarms() -> None:
    # alpha = 0.5, gamma = 1: 0.5 - 0.5 = 0, then up again
    assert verdicts(AdaptiveThreshold(0.5, step=2.0), 0.0, 0.0, 0.0) == [True, False, True]


def test_a_row_without_a_p_value_never_alarms_and_moves_nothing() -> None:
    assert verdicts(AdaptiveThreshold(0.5, step=0.5), NAN, 0.4, NAN, NAN, 0.4, 0.1) == [
        *(False, True, False, False, False, True)
    ]


@given(P_VALUES, st.lists(st.integers(0, 60), max_size=10))
def test_how_rows_are_cut_into_calls_changes_nothing(p_values: list[float], sizes: list[int]) -> None:
    whole = verdicts(AdaptiveThreshold(0.1), *p_values)
    threshold, edges = AdaptiveThreshold(0.1), np.minimum(np.cumsum([0, *sizes]), len(p_values)).astype(int)
    parts = np.split(np.array(p_values, np.float32), edges)
    assert [verdict for part in parts for verdict in threshold.verdicts(part).tolist()] == whole


@given(P_VALUES, st.sampled_from([0.01, 0.1, 0.4]), st.sampled_from([STEP, 0.5, 2.0]))
def test_the_rate_is_kept_whatever_the_data(p_values: list[float], far: float, step: float) -> None:
    """Gibbs and Candes 2021, proposition 4.1."""
    p_value = np.array(p_values, np.float32)
    alarm = AdaptiveThreshold(far, step=step).verdicts(p_value)
    rows, gamma = np.count_nonzero(np.isfinite(p_value)), step * far
    if rows:
        assert abs(alarm.sum() / rows - far) <= (max(far, 1 - far) + gamma) / (gamma * rows) + 1e-9


def test_a_stream_that_has_drifted_for_good_alarms_as_often_as_promised() -> None:
    generator = np.random.default_rng(0)
    drifted = generator.random(50_000).astype(np.float32) ** 2  # 10 % lie below 0.01
    assert (drifted < 0.01).mean() == pytest.approx(0.1, abs=0.005)
    assert AdaptiveThreshold(0.01).verdicts(drifted)[10_000:].mean() == pytest.approx(0.01, rel=0.15)
