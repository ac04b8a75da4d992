"""Words and numbers in the one way in which they are compared."""

import pytest

from vae_detect.training.data.wording import FAULT_WORDS, NORMAL_WORDS, number_of, seems_normal, word_of


def test_words_and_numbers() -> None:
    assert word_of("Not  OK") == "not ok"
    assert word_of("n/a") == ""
    assert number_of("1_0") is None
    assert number_of("nan") is None
    assert number_of("-1,5") == -1.5


def test_no_word_is_both() -> None:
    assert frozenset() == NORMAL_WORDS & FAULT_WORDS
    assert all(word_of(word) == word for word in NORMAL_WORDS | FAULT_WORDS)


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        *[("good", True), ("OK", True), ("ok_front", True), ("Normal-2", True), ("class1_def", False), ("NG", False)],
        *[("not_ok", False), ("bad", False), ("camera 1", None), ("2026-01-05", None), ("", None)],
    ],
)
def test_names_of_folders(folder: str, expected: bool | None) -> None:
    assert seems_normal(folder) is expected
