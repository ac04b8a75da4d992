"""What callers hand in, as arrays: converted where nothing is lost, refused where something would be guessed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vae_detect.runtime.arrays import as_float32, as_indices, as_uint8
from vae_detect.runtime.errors import InputError


@pytest.mark.parametrize("x", [[[1, 2]], [[True, 2]], np.array([[1, 2]], np.float64), np.asfortranarray([[1, 2]])])
def test_numbers_become_contiguous_float32(x: Any) -> None:
    found = as_float32(x, "wrong")
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    assert found.tolist() == [[1, 2]]


def test_what_is_missing_or_too_large_is_left_to_the_graph() -> None:
    assert np.isnan(as_float32(np.array([1, None], object), "wrong")[1])
    assert as_float32([1e39, -1e39], "wrong").tolist() == [np.inf, -np.inf]


@pytest.mark.parametrize("x", [["1"], np.array(["1"], object), [1j], np.array(["2026-01-01"], "M8[D]"), [[1], [1, 2]]])
def test_text_and_other_things_are_no_numbers(x: Any) -> None:
    with pytest.raises(InputError, match=r"^wrong: "):
        as_float32(x, "wrong")


def test_pixels_are_whole_numbers_from_0_to_255() -> None:
    assert as_uint8([[0, 255]]).dtype == np.uint8
    for x, message in (
        ([[0.5]], "images hold float64, expected uint8"),
        ([[-1]], "images hold -1 to -1, expected whole numbers 0 to 255"),
        ([[256]], "images hold 256 to 256"),
        ([[1], [1, 2]], "images are not an array"),
    ):
        with pytest.raises(InputError, match=message):
            as_uint8(x)


def test_indices_have_a_type_and_a_shape() -> None:
    assert as_indices([[1], [2]], (2, 1)).dtype == np.int64
    wrong: list[Any] = [None, [1, 2], [[0.5], [1]]]
    for x in wrong:
        with pytest.raises(InputError):
            as_indices(x, (2, 1))
