"""Whether rows follow each other, and the window that a recording gets."""

import numpy as np
import pytest
from numpy.typing import NDArray

from vae_detect.runtime.errors import InputError
from vae_detect.training.data.loading import Table
from vae_detect.training.data.neighbours import is_evident
from vae_detect.training.data.order import choose_window, memory_rows, settle_kind
from vae_detect.training.settings.config import configure

NAMES = ("a", "b")


def walk(rows: int, coefficient: float, seed: int = 0) -> NDArray[np.float32]:
    """Two AR(1) columns."""
    noise = np.random.default_rng(seed).normal(size=(rows, 2))
    for row in range(1, rows):
        noise[row] = coefficient * noise[row - 1] + np.sqrt(1 - coefficient**2) * noise[row]
    return noise.astype(np.float32)


def table(values: NDArray[np.float32], *, time: str | None = None, ordered: bool = False) -> Table:
    return Table(values, NAMES, time, np.zeros(len(values), np.int64), None, [], "", ordered=ordered)


def test_order_is_evident_where_neighbours_are_alike() -> None:
    one = np.zeros(1000, np.int64)
    assert is_evident(walk(1000, 0.97), one)
    assert not is_evident(walk(1000, 0.6), one)  # a table that lies sorted by something
    assert not is_evident(walk(1000, 0), one)
    assert not is_evident(walk(1000, 0.97)[:40], one[:40])  # too few to say
    assert not is_evident(np.ones((1000, 2), np.float32), one)
    assert not is_evident(walk(1000, 0.97), np.arange(1000))  # no row follows another
    constant = np.column_stack([walk(1000, 0.97)[:, 0], np.ones(1000, np.float32)])
    assert is_evident(constant, one)  # a constant says nothing


def test_memory_is_where_the_autocorrelation_falls_below_one_e_th() -> None:
    assert memory_rows(walk(20_000, 0.9)) == pytest.approx(10, abs=2)  # -1 / log 0.9 = 9.5
    assert memory_rows(walk(2000, 0)) == 1
    assert memory_rows(np.ones((100, 2), np.float32)) == 1
    assert memory_rows(walk(2000, 0.999)) == 34  # half the longest window and two more lags are looked at


@pytest.mark.parametrize(("period", "window"), [(5, 16), (7, 16), (12, 32), (20, 64), (30, 64)])
def test_a_window_holds_what_recurs_twice(period: int, window: int) -> None:
    noisy = np.random.default_rng(1).normal(size=(4000, 2)).astype(np.float32)
    noisy[:, 1] = (np.arange(4000) % period < 2) + 0.1 * noisy[:, 1]
    assert choose_window(noisy, NAMES) == (window, f"'b' recurs every {period} rows")


def test_a_window_without_anything_that_recurs() -> None:
    assert choose_window(walk(5000, 0.9), NAMES)[0] == 16
    assert choose_window(walk(5000, 0), NAMES) == (8, "columns forget at once")
    assert choose_window(walk(400, 0.9), NAMES) == (8, "400 rows hold no longer ones 40 times")
    assert choose_window(walk(70, 0.9), NAMES) == (0, "70 rows are too few for windows")


def test_kind_and_window_of_the_data_give_way_to_those_named() -> None:
    slow = walk(4000, 0.95)
    config, said = settle_kind({}, table(slow, time="when"))
    assert (config.kind, config.window) == ("windows", 16)
    assert said.startswith("windows of 16 rows (time stamps in 'when'; columns stay alike for ")
    assert "--kind rows or --window N" in said
    assert settle_kind({}, table(slow, ordered=True))[0].kind == "windows"
    assert settle_kind({}, table(slow)) == (configure({}), "")
    assert settle_kind({"kind": "rows"}, table(slow, time="when")) == (configure({"kind": "rows"}), "")
    assert settle_kind({"window": 24}, table(slow)) == (configure({"kind": "windows", "window": 24}), "")
    config, said = settle_kind({}, table(slow[:70], time="when"))
    assert config.kind == "rows"
    assert said == "rows, each on its own, though time stamps in 'when': 70 rows are too few for windows"
    with pytest.raises(InputError, match="convolves"):
        settle_kind({"recipe": "conv"}, table(slow))
