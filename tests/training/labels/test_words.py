"""What labels say, in the words and numbers that people write."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from vae_detect.runtime.errors import InputError
from vae_detect.training.labels.words import Column, read_words


def read(*cells: str, anomalous: tuple[str, ...] = (), partly: bool = False) -> tuple[list[int], str]:
    label, note = read_words(Column(cells, "a.csv: column 'label'", "label"), anomalous, partly=partly)
    found: NDArray[np.int64] = label
    return found.tolist(), note


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["0", "1", " 1.0 ", "0,0", "01"], [0, 1, 1, 0, 1]),
        (["TRUE", "false"], [1, 0]),
        (["yes", "No"], [1, 0]),
        (["Normal", "ANOMALY", "normal."], [0, 1, 0]),
        (["ok", "fault", "OK "], [0, 1, 0]),
        (["no_fault", "Failure"], [0, 1]),
        (["good", "good"], [0, 0]),
        (["0", "0"], [0, 0]),
        (["1", "1"], [1, 1]),
    ],
)
def test_what_everybody_writes_is_understood_without_a_word(cells: list[str], expected: list[int]) -> None:
    assert read(*cells) == (expected, "")


@pytest.mark.parametrize(
    ("cells", "expected", "note"),
    [
        (["0", "2", "7", "0"], [0, 1, 1, 0], "normal is 0 (2 rows); anomalous is 2 (1 row), 7 (1 row)"),
        (["Normal", "Attack", "A ttack"], [0, 1, 1], "normal is Normal (1 row); anomalous is A ttack (1 row), Attack"),
        (["normal", "leak", "normal"], [0, 1, 0], "normal is normal (2 rows); anomalous is leak (1 row)"),
        (
            ["", "leak", "wear", "NaN"],
            [0, 1, 1, 0],
            "normal is empty (2 rows); anomalous is leak (1 row), wear (1 row)",
        ),
        (["", "1"], [0, 1], "normal is empty (1 row); anomalous is 1 (1 row)"),
        (["", "true"], [0, 1], "normal is empty (1 row); anomalous is true (1 row)"),
        (["1", "-1", "1"], [0, 1, 0], "normal is 1 (2 rows); anomalous is -1 (1 row): of -1 and 1 the rarer one"),
        (["-1", "-1", "1"], [0, 0, 1], "normal is -1 (2 rows); anomalous is 1 (1 row): of -1 and 1 the rarer one"),
    ],
)
def test_what_is_worked_out_is_said(cells: list[str], expected: list[int], note: str) -> None:
    label, said = read(*cells)
    assert label == expected
    assert said.startswith("labels in a.csv: column 'label': ")
    assert note in said


@pytest.mark.parametrize(
    ("cells", "asked"),
    [
        (["1", "2", "1"], "holds 1 (2 rows), 2 (1 row), which does not say what is normal; .* --anomaly-label 2,"),
        (["1", "-1", "-1", "1", "1"], "holds 1 (3 rows), -1 (2 rows), which .* --anomaly-label -1"),
        (["-1", "-1"], "holds -1 (2 rows), which does not say what is normal"),
        (["0", "-1"], "which does not say"),
        (
            ["run", "run", "hot stop"],
            "holds run (2 rows), hot stop (1 row), which .* --anomaly-label 'hot stop'",
        ),
        (["attack", "idle"], "which does not say what is normal"),
    ],
)
def test_what_may_mean_either_is_asked(cells: list[str], asked: str) -> None:
    with pytest.raises(InputError, match=asked.replace("(", r"\(").replace(")", r"\)")):
        read(*cells)


@pytest.mark.parametrize(
    ("cells", "row", "what"),
    [
        (["0", "1", "", "1"], 2, "is empty, expected 0 or 1"),
        (["normal", "unknown"], 1, "is empty, expected normal"),
        (["0", "0", "yes", "1"], 2, "holds 'yes', expected 0, 1 as in other rows"),
        (["ok", "fault", "3", "ok", "fault"], 2, "holds '3', expected fault, ok as in other rows"),
        (["0", "1", "0.5"], 2, "holds '0.5', expected 0 or 1"),
    ],
)
def test_one_cell_that_cannot_be_a_label_is_named(cells: list[str], row: int, what: str) -> None:
    with pytest.raises(InputError, match=rf"a\.csv: row {row}, column 'label' {what}") as refused:
        read(*cells)
    assert (refused.value.row, refused.value.column) == (row, "label")


def test_the_user_has_the_last_word() -> None:
    assert read("1", "2", "2.0", anomalous=("2",)) == (
        [0, 1, 1],
        "labels in a.csv: column 'label': normal is 1 (1 row); anomalous is 2 (2 rows)",
    )
    assert read("-1", "1", "", anomalous=(" -1.0 ",))[0] == [1, 0, 0]
    assert read("run", "Hot_Stop", "wear", anomalous=("hot stop", "WEAR"))[0] == [0, 1, 1]
    assert read("1", "1", anomalous=("2",))[0] == [0, 0]  # a normal day
    with pytest.raises(InputError, match=r"holds no 'atack', as --anomaly-label says, but attack \(1 row\)"):
        read("attack", "idle", anomalous=("atack",))


def test_of_labels_by_hand_an_empty_cell_says_nothing() -> None:
    assert read("1", "0", "", "  ", "?", partly=True) == ([1, 0, -1, -1, -1], "")
    assert read("fault", "false alarm", "", "True_Positive", partly=True) == ([1, 0, -1, 1], "")
    assert read("leak", "normal", "", partly=True)[0] == [1, 0, -1]
    assert read("2", "", "1", anomalous=("2",), partly=True)[0] == [1, -1, 0]
    for cells in (["leak", ""], ["2", ""], ["-1", "1", "1", "1", ""]):  # a share says nothing of rows that were chosen
        with pytest.raises(InputError, match="does not say what is normal"):
            read(*cells, partly=True)


def test_no_labels_are_refused() -> None:
    with pytest.raises(InputError, match=r"a\.csv: column 'label' is empty, expected 1 for anomalous rows and 0"):
        read("", "nan")


WORDS = st.sampled_from(["Normal", "leak", "A b", "bearing_wear", "7"])


@given(st.lists(st.sampled_from(["0", "3", "1"]), min_size=1), st.sampled_from(["{}", " {} ", "{}.0", "{},0", "0{}"]))
def test_how_a_number_is_written_makes_no_difference(cells: list[str], form: str) -> None:
    written = [form.format(cell) for cell in cells]
    if set(cells) != {"1"} and "0" not in cells:
        with pytest.raises(InputError):
            read(*written)
    else:
        assert read(*written)[0] == [int(cell != "0") for cell in cells]


@given(st.lists(WORDS.filter(lambda word: word != "7"), min_size=1))
def test_case_and_blanks_make_no_difference(cells: list[str]) -> None:
    cells = ["normal", *cells]
    plain, _ = read(*cells)
    assert plain == [int(cell.lower() != "normal") for cell in cells]
    assert read(*(f"  {cell.upper().replace(' ', '_')} " for cell in cells))[0] == plain
