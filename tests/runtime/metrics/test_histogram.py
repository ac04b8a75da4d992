import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vae_detect.runtime.metrics.histogram import Histogram

BOUNDS = st.lists(st.floats(-100, 100), min_size=1, max_size=6, unique=True).map(sorted)


def counts(histogram: Histogram) -> list[float]:
    return [bucket[1] for bucket in histogram.buckets()[0]]


def test_a_value_counts_in_the_first_bucket_that_is_not_below_it() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 2.5):
        histogram.add(value)
    assert histogram.buckets() == ([("1.0", 2), ("2.0", 4), ("+Inf", 5)], 7.5)
    assert histogram.count == 5


@given(BOUNDS, st.lists(st.floats(-200, 200), max_size=20))
def test_values_together_are_the_same_as_one_by_one(bounds: list[float], values: list[float]) -> None:
    together, alone = Histogram(bounds), Histogram(bounds)
    together.add_all(np.array(values))
    for value in values:
        alone.add(value)
    assert counts(together) == counts(alone) == [*(sum(v <= b for v in values) for b in bounds), len(values)]


@given(BOUNDS, BOUNDS, st.lists(st.floats(-200, 200), max_size=20))
def test_other_buckets_never_claim_a_value_that_they_do_not_hold(
    before: list[float], after: list[float], values: list[float]
) -> None:
    histogram = Histogram(before)
    histogram.add_all(np.array(values))
    rebinned = histogram.rebinned(after)
    assert (rebinned.count, rebinned.sum) == (histogram.count, histogram.sum)
    assert all(told <= sum(v <= b for v in values) for told, b in zip(counts(rebinned), after, strict=False))
    assert counts(histogram.rebinned(before)) == counts(histogram)


def test_the_last_request_of_a_bucket_is_its_example() -> None:
    histogram = Histogram((1.0,))
    histogram.add(0.5, "first")
    histogram.add(0.7, "second")
    histogram.add(3.0)
    low, beyond = histogram.buckets()[0]
    assert len(low) == 3
    assert (low[2].labels, low[2].value) == ({"request_id": "second"}, 0.7)
    assert len(beyond) == 2
