"""A sample of scores against the rows that it must have seen."""

import numpy as np
import pytest

from vae_detect.runtime.calibration.sample import MOST, Sample, SampleMemory


def filled(rows: int, most: int) -> Sample:
    """After the rows 0, 1, 2, ..., thinned whenever it held `most`."""
    sample, seen = Sample(), 0
    while seen < rows:
        seen += sample.take([float(row) for row in range(seen, rows)], most)
        if len(sample) == most:
            sample.thin()
    return sample


def test_the_first_rows_are_all_kept() -> None:
    sample = Sample()
    assert sample.take([1.0, 2.0, 3.0], at_most=2) == 2
    assert sample.take([3.0], at_most=2) == 0
    assert sample.scores.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("rows", [100, 640, 1000, 6400])
def test_one_row_of_each_stretch_is_kept(rows: int) -> None:
    sample = filled(rows, 64)
    stretches = (sample.scores // sample.stride).astype(int).tolist()
    assert stretches == list(range(len(stretches)))
    assert rows - sample.stride <= len(stretches) * sample.stride <= rows + sample.stride


def test_no_phase_of_a_machine_is_preferred() -> None:
    sample = filled(2048 * 16, 2048)
    assert sample.stride == 32
    phases = np.bincount(sample.scores.astype(int) % 8, minlength=8)
    assert phases.min() > 0.85 * phases.mean()


def test_how_rows_are_cut_changes_nothing_nor_does_saving() -> None:
    whole, cut = filled(5000, 64), Sample()
    for row in range(5000):
        cut.take([float(row)], 64)
        if len(cut) == 64:
            cut.thin()
        if row % 700 == 0:
            memory, cut = cut.memory, Sample()
            cut.recall(memory)
    assert cut.memory == whole.memory


def test_parts_may_be_dropped() -> None:
    sample = filled(100, 1000)
    sample.keep(sample.scores[90:])
    sample.take([100.0], 1000)
    assert sample.scores.tolist() == list(map(float, range(90, 101)))


@pytest.mark.parametrize(
    "memory",
    [
        SampleMemory(b"123"),
        SampleMemory(bytes(4 * MOST + 4)),
        SampleMemory(b"", stride=0),
        SampleMemory(b"", wait=-1),
        SampleMemory(b"", drawn=-1),
    ],
)
def test_a_damaged_memory_is_refused_and_the_sample_stays(memory: SampleMemory) -> None:
    sample = filled(10, 64)
    with pytest.raises(ValueError, match="size"):
        sample.recall(memory)
    assert len(sample) == 10
