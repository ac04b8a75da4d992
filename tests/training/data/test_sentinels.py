"""Numbers that stand for no value: which are found, and that training and scoring read them as missing."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from conftest import run_here
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from vae_detect.runtime.layout import Layout
from vae_detect.runtime.metadata import read_bundle
from vae_detect.runtime.session import Session
from vae_detect.training.data.loading import load_table
from vae_detect.training.data.look import look
from vae_detect.training.data.selection import Selection
from vae_detect.training.data.sentinels import Sentinel, declared_sentinels, find_sentinels, is_filler

RNG = np.random.default_rng(0)


def table(*columns: NDArray[np.floating]) -> NDArray[np.float32]:
    return np.stack(columns, axis=1).astype(np.float32)


def with_value(cells: NDArray[np.floating], value: float, count: int) -> NDArray[np.floating]:
    copy = cells.copy()
    copy[:: len(copy) // count][:count] = value
    return copy


GAS = RNG.normal(20, 2, 500)


@pytest.mark.parametrize("value", [-200.0, -999.0, -99.9, 999.0, 9999.0, 65535.0, -32768.0, 1e30, -7999.0, -9900.0])
@pytest.mark.parametrize("count", [3, 100, 400])
def test_a_filler_far_from_the_others_is_found(value: float, count: int) -> None:
    found = find_sentinels(table(with_value(GAS, value, count)), ["gas"])
    assert found == {"gas": Sentinel((value,), count / 500)} or found["gas"].values[0] == pytest.approx(value)
    assert found["gas"].share == count / 500


def test_minus_one_stands_for_nothing_where_it_does_in_several_columns() -> None:
    gases = [with_value(RNG.normal(20, 2, 500), -1.0, count) for count in (10, 20, 30)]
    states = RNG.integers(-1, 2, 500).astype(float)  # -1 is one of three
    signed = RNG.normal(0, 2, 500).round(0)
    found = find_sentinels(table(*gases, states, signed), ["a", "b", "c", "state", "signed"])
    assert found == {name: Sentinel((-1.0,), share) for name, share in (("a", 0.02), ("b", 0.04), ("c", 0.06))}
    assert find_sentinels(table(*gases[:2], states, signed), ["a", "b", "state", "signed"]) == {}


def test_the_share_is_that_of_the_rows_that_could_be_read() -> None:
    gas = with_value(GAS, -200.0, 100)
    gas[::2] = np.nan
    gas[1::4] = -200.0
    assert find_sentinels(table(gas), ["gas"])["gas"].share == pytest.approx(np.mean(gas[1::2] == -200.0))


def test_a_column_that_holds_next_to_nothing_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    rows = [
        f"{gas:.3f},{-7999 if row % 10 else 21 + row * 0.01:.2f},{-9999.9},{row % 7}" for row, gas in enumerate(GAS)
    ]
    path.write_text("\n".join(["gas,shy,broken,phase", *rows]) + "\n")
    read = load_table(path, Selection(), Layout())
    assert read.names == ("gas", "phase")
    assert len(read.values) == 500
    assert "column 'shy' left out: holds -7999, which stands for no value, in 90% of the rows" in read.notes
    nothing = "left out, since it holds nothing but a number that loggers write for want of a value: 'broken'"
    assert f"{nothing}; --treat 'broken=constant' keeps it" in read.notes
    assert load_table(path, Selection(treatments={"broken": "constant"}), Layout()).names == ("gas", "broken", "phase")


@pytest.mark.parametrize(
    "cells",
    [
        with_value(GAS, 0.0, 100),  # a pump that stands still
        with_value(GAS, 100.0, 100),  # a limit
        with_value(GAS, -210.0, 100),  # no filler
        with_value(GAS, -200.0, 2),  # too seldom
        np.where(RNG.random(500) < 0.5, 0.0, 9999.0),  # a switch
        np.minimum(RNG.gamma(2, 300, 500), 999.0),  # a sensor at its limit: others come near
        np.append(RNG.integers(900, 1100, 490), [999] * 10),  # among the others
        np.maximum(RNG.normal(-70, 20, 500), -100.0),  # likewise at its lower end
        -100.0 * RNG.integers(1, 9, 500),  # round negative numbers are what it measures
    ],
    ids=["zero", "limit", "no filler", "seldom", "switch", "at its limit", "among", "lower end", "round"],
)
def test_what_a_column_measures_is_none(cells: NDArray[np.floating]) -> None:
    assert find_sentinels(table(cells), ["a"]) == {}


def test_below_a_long_tail_a_negative_number_is_one() -> None:
    # nitrogen oxides: up to 1500, half of them within 200 of each other
    assert find_sentinels(table(with_value(RNG.gamma(1.3, 190, 500), -200.0, 90)), ["nox"])["nox"].values == (-200.0,)


def test_what_is_one_in_one_column_is_one_in_the_others_that_never_reach_it() -> None:
    flag, cold, whole = (
        with_value(np.arange(500) % 2.0, -200.0, 2),
        RNG.normal(-200, 50, 500),
        RNG.normal(300, 200, 500),
    )
    found = find_sentinels(table(with_value(GAS, -200.0, 50), flag, cold, np.abs(whole)), ["gas", "on", "cold", "w"])
    assert {name: each.share for name, each in found.items()} == {"gas": 0.1, "on": 0.004, "w": 0.0}


def test_cells_that_are_missing_already_say_nothing() -> None:
    cells = with_value(GAS, -200.0, 50)
    cells[1::2] = np.nan
    assert find_sentinels(table(cells), ["gas"])["gas"].values == (-200.0,)
    assert find_sentinels(table(np.full(50, np.nan)), ["gas"]) == {}


def test_declared_numbers_count_in_every_column_or_where_they_are_named() -> None:
    values = np.array([[-1, 5], [2, -1], [-1, 7], [3, 8]], np.float32)
    assert declared_sentinels(values, ["a", "b"], (-1.0,)) == {
        "a": Sentinel((-1.0,), 0.5),
        "b": Sentinel((-1.0,), 0.25),
    }
    assert list(declared_sentinels(values, ["a", "b"], {"b": (7.0,), "c": (1.0,)})) == ["b"]


@given(st.floats(-90, 98, width=32))
def test_no_everyday_number_is_a_filler(value: float) -> None:
    assert not is_filler(float(np.float32(value))) or set(str(abs(value))) <= {"9", ".", "0"}


def record(path: Path, rows: int = 1200) -> Path:
    random = np.random.default_rng(1)
    lines = ["co,no2"]
    for row in range(rows):
        co = "-200" if row % 25 == 7 else f"{random.normal(20, 2):.2f}"
        lines.append(f"{co},{random.normal(60, 3):.2f}")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_table_has_them_as_missing_and_says_so(tmp_path: Path) -> None:
    path = record(tmp_path / "a.csv")
    found = load_table(path, Selection(), Layout())
    assert found.missing["co"] == (-200.0,)
    assert float(np.nanmin(found.values[:, 0])) > 0
    assert "column 'co': -200 in 4 % of the rows stands for missing; --missing-value none keeps it" in found.notes
    kept = load_table(path, Selection(missing_values=()), Layout())
    assert (kept.missing, len(kept.values), float(kept.values[:, 0].min())) == ({}, 1200, -200.0)


def test_look_counts_them_among_what_is_missing(tmp_path: Path) -> None:
    co = next(column for column in look(record(tmp_path / "a.csv"), Selection(), Layout(), {})[0].columns)
    assert co.missing == pytest.approx(0.04)
    assert co.why == "-200 stands for missing"
    assert (co.low or 0) > 0


def test_too_many_of_them_are_named_with_their_share(tmp_path: Path) -> None:
    lines = ["a,b"] + [f"{'-999' if row % 10 < 9 else row},{RNG.normal():.3f}" for row in range(400)]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    refused = run_here("train", tmp_path / "a.csv", "--out", tmp_path / "m.onnx", "--columns", "a,b")
    assert refused.returncode == 2
    assert "'a' 90%" in refused.stderr


@pytest.mark.parametrize("declared", [False, True])
def test_scoring_reads_them_as_training_did(tmp_path: Path, declared: bool) -> None:
    path = record(tmp_path / "a.csv")
    told = ("--missing-value", "-200", "--missing-value", "-5") if declared else ()
    quick = ("--recipe", "ae", "hidden=8", "epochs=2", "--far", "0.05")
    made = run_here("train", path, "--out", tmp_path / "m.onnx", *told, *quick)
    assert made.returncode == 0, made.stderr
    bundle = read_bundle(Session((tmp_path / "m.onnx").read_bytes(), source="m").metadata, "m")
    assert [column.missing for column in bundle.columns] == ([(-200.0, -5.0)] * 2 if declared else [(-200.0,)] * 2)
    (tmp_path / "b.csv").write_text("co,no2\n-200,60\n20,60\n")
    scored = run_here("score", tmp_path / "b.csv", "--model", tmp_path / "m.onnx")
    first, second = csv.DictReader(scored.stdout.splitlines())
    assert (first["status"], first["reason"]) == ("bad", "column 'co' holds -200, which stands for no value")
    assert second["status"] == "ok"


def test_a_value_that_is_no_number_is_refused(tmp_path: Path) -> None:
    refused = run_here("look", record(tmp_path / "a.csv"), "--missing-value", "no")
    assert refused.returncode == 2
    assert "no is no number" in refused.stderr
