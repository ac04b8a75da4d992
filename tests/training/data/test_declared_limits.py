"""Limits as they are typed, the columns that can have them, and the rows that break them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae_detect.runtime.bundle import Limit, Operator
from vae_detect.runtime.errors import InputError
from vae_detect.runtime.layout import Layout
from vae_detect.training.data.columns import columns_of
from vae_detect.training.data.declared_limits import parse_limits
from vae_detect.training.data.loading import Table, load_table
from vae_detect.training.data.selection import Selection
from vae_detect.training.data.split import split
from vae_detect.training.settings.config import TrainConfig

OPERATORS: tuple[Operator, ...] = ("<", "<=", ">", ">=")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pressure<8", Limit("pressure", "<", 8.0)),
        ("Temp (°C)<=80", Limit("Temp (°C)", "<=", 80.0)),
        (" Temp, C >= -5.5 ", Limit("Temp, C", ">=", -5.5)),
        ("p1<p2 [bar]>1e3", Limit("p1<p2 [bar]", ">", 1000.0)),
        ("a=>=3", Limit("a=", ">=", 3.0)),
    ],
)
def test_limits_by_hand(text: str, expected: Limit) -> None:
    assert parse_limits([text]) == (expected,)


@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1).map(str.strip).filter(bool),
    st.sampled_from(OPERATORS),
    st.floats(width=32, allow_nan=False, allow_infinity=False),
)
def test_whatever_the_column_is_called_the_last_operator_counts(name: str, operator: Operator, value: float) -> None:
    if name.endswith(("<", ">")):  # whose own sign and this one would read as another operator
        name += "x"
    assert parse_limits([f"{name}{operator}{value!r}"]) == (Limit(name, operator, value),)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["pressure"], "--limit pressure is no limit; expected a column, <, <=, > or >= and a number"),
        (["pressure=8"], "is no limit"),
        (["<8"], "is no limit"),
        (["pressure<"], "the limit is empty"),
        (["pressure<8 bar"], r"--limit 'pressure<8 bar': the limit holds '8 bar', expected a number"),
        (["pressure<7,5"], "'7,5', expected a number"),
        (["8<pressure"], "'pressure', expected a number"),
        (["pressure<1_0"], "plain digits"),
        (["pressure<nan"], "finite"),
        (["pressure<inf"], "finite"),
        (["pressure<1e39"], "beyond the range of float32"),
        (["a<3", "b<9", "a>5"], "--limit 'a > 5' and --limit 'a < 3' contradict each other"),
        (["a<3", "a>=3"], "contradict"),
        (["a>3", "a<3.0000001"], "contradict"),  # the same as float32
    ],
)
def test_wrong_limits_are_refused(texts: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_limits(texts)


def test_limits_that_leave_one_reading_are_none_that_contradict() -> None:
    assert len(parse_limits(["a<=3", "a>=3", "a<=3", "a<4"])) == 3  # one was given twice


# --- columns and rows ------------------------------------------------------------------------------------------------

ROWS = 100


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """A row a minute; pressure is 1 to 5, but 9.2 in row 40 and 8 in row 60, and temp is missing in row 50."""
    generator = np.random.default_rng(0)
    pressure, temp = generator.uniform(1, 5, ROWS).round(3), generator.uniform(20, 30, ROWS).round(2)
    pressure[40], pressure[60] = 9.2, 8.0
    lines = ["time,pressure,temp,meter,mode,note,angle"]
    for row in range(ROWS):
        cells = [f"2026-01-05T{row // 60:02}:{row % 60:02}:00", pressure[row], temp[row] if row != 50 else "",
                 row, "ab"[row % 2], f"n{generator.integers(10**9)}", row * 7 % 360]  # fmt: skip
        lines.append(",".join(map(str, cells)))
    path = tmp_path / "normal.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def load(path: Path, *limits: str, **options: object) -> Table:
    return load_table(path, Selection(limits=parse_limits(limits), **options), Layout())  # type: ignore[arg-type]


def test_rows_that_break_a_limit_are_left_out_like_bad_ones(recording: Path) -> None:
    found, plain = load(recording, "pressure<8"), load(recording)
    assert (len(plain.values), len(found.values)) == (ROWS - 1, ROWS - 3)
    assert found.values[:, 0].max() < 8
    assert np.bincount(found.segment)[np.unique(found.segment)].tolist() == [40, 9, 9, 39]  # windows cross none
    line = "2 of 100 rows left out: they break a limit (first: row 40, pressure is 9.2, limit < 8)"
    assert [note for note in found.notes if "limit" in note] == [line]
    assert not any("limit" in note for note in plain.notes)
    assert len(load(recording, "pressure<=8").values) == ROWS - 2
    assert found.limits == (Limit("pressure", "<", 8.0),)


def test_limits_that_a_recording_does_not_keep_are_refused(recording: Path) -> None:
    with pytest.raises(InputError, match=r"of 100 rows left out: they break a limit .* more than a fifth"):
        load(recording, "pressure<2")


@pytest.mark.parametrize(
    ("limit", "options", "message"),
    [
        ("presure<8", {}, "column 'presure' is not in the header: 'time', 'pressure', 'temp'"),
        ("time<8", {}, "'time' is not: it holds the time"),
        ("note<8", {}, "'note' is not: it holds text"),
        ("meter<8", {}, "'meter' is not: it only rises or falls, .*; --treat meter=linear keeps it"),
        ("temp<8", {"exclude": ("temp",)}, "'temp' is not: --columns or --exclude leaves it out"),
    ],
)
def test_a_limit_of_a_column_that_is_not_scored_is_refused(
    recording: Path, limit: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        load(recording, limit, **options)


@pytest.mark.parametrize(
    ("limit", "treatment", "message"),
    [
        ("mode<8", "category", "'mode' is taken as a category"),
        ("angle<800", "angle", "'angle' is taken as an angle, which has no greatest reading"),
    ],
)
def test_a_limit_of_a_column_that_is_not_taken_as_numbers_is_refused(
    recording: Path, limit: str, treatment: str, message: str
) -> None:
    name = limit.partition("<")[0]
    selection = Selection(limits=parse_limits([limit]), treatments={name: treatment})  # type: ignore[dict-item]
    table = load_table(recording, selection, Layout())
    parts = split(table, window=1, stride=1, ordered=True, seed=0)
    with pytest.raises(InputError, match=message):
        columns_of(table, parts, TrainConfig(recipe="vae"), selection)


def test_a_counter_that_is_kept_can_have_a_limit(recording: Path) -> None:
    assert len(load(recording, "meter<95", treatments={"meter": "linear"}).values) == 94
