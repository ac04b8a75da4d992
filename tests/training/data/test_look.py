"""What is said of a recording before anything is trained."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pytest

from vae_detect.runtime.layout import Layout, TableFormat
from vae_detect.training.data.look import LookedAt, look, span
from vae_detect.training.data.look_picture import draw
from vae_detect.training.data.profile import Profile, profile_table
from vae_detect.training.data.selection import Selection
from vae_detect.training.data.sources import Source


def recording(path: Path, rows: int = 400) -> Path:
    """A time stamp a minute but for an hour's gap, a sensor with holes, a flag, a counter, a label and so on."""
    rng, start = np.random.default_rng(0), datetime(2026, 1, 5)
    lines = ["time,temp [C],on,mode,no,pole,note,label"]
    for row in range(rows):
        when = start + timedelta(minutes=row + 60 * (row >= rows // 2))
        temp = "" if row % 40 == 0 else f"{20 + np.sin(row / 20) + rng.normal(0, 0.1):.3f}"
        mode = ("auto", "manual")[row // 50 % 2]
        cells = [when.isoformat(), temp, row // 30 % 2, mode, row + 1, 4, f"n{row}", int(row % 9 == 0)]
        lines.append(",".join(map(str, cells)))
    path.write_text("\n".join(lines) + "\n")
    return path


def columns_of(path: Path, selection: Selection = Selection()) -> dict[str, LookedAt]:  # noqa: B008
    return {column.name: column for column in look(path, selection, Layout(), {})[0].columns}


def test_every_column_is_told_with_its_range_and_what_is_done_with_it(tmp_path: Path) -> None:
    columns = columns_of(recording(tmp_path / "a.csv"))
    assert list(columns) == ["time", "temp [C]", "on", "mode", "no", "pole", "note", "label"]
    temp = columns["temp [C]"]
    assert (temp.kind, temp.unit, temp.treatment) == ("numbers", "C", "linear")
    assert temp.missing == pytest.approx(10 / 400)
    assert temp.low == pytest.approx(19, abs=0.5)
    assert temp.high == pytest.approx(21, abs=0.5)
    assert (columns["on"].treatment, columns["mode"].treatment, columns["pole"].treatment) == (
        "binary",
        "category",
        "constant",
    )
    assert columns["mode"].texts == ("auto", "manual")
    assert columns["time"].kind == "time"
    assert (columns["no"].low, columns["no"].high, columns["no"].treatment) == (1, 400, "")
    assert "counter" in columns["no"].why
    assert (columns["note"].treatment, columns["note"].kinds, columns["note"].why) == ("", 400, "holds text ('n0')")


def test_labels_go_into_the_command_as_what_had_better_be_left_out(tmp_path: Path) -> None:
    path = recording(tmp_path / "a.csv")
    looked, _ = look(path, Selection(), Layout(), {}, asked=["--treat", "on=linear"])
    assert looked.options == {"--exclude": "label"}
    assert looked.command == f"vae-detect train {path} --treat on=linear --exclude label --out a.onnx"


def test_period_and_gaps_are_told(tmp_path: Path) -> None:
    looked, _ = look(recording(tmp_path / "a.csv"), Selection(), Layout(), {})
    times = looked.times
    assert times is not None
    assert (times.begin, times.end) == ("2026-01-05T00:00:00Z", "2026-01-05T07:39:00Z")
    assert (times.period_s, times.gaps, times.longest_gap_s) == (60, 1, 3660)
    assert times.regular == pytest.approx(398 / 399)
    assert "a row every 1 min, 1 gap, the longest 61 min" in looked.describe()


def test_the_inputs_are_those_of_a_training(tmp_path: Path) -> None:
    looked, _ = look(recording(tmp_path / "a.csv"), Selection(), Layout(), {})
    assert looked.kind == "windows"
    assert looked.inputs.startswith(f"windows of {looked.window} rows (time stamps in 'time'")


def test_all_of_it_is_strict_json(tmp_path: Path) -> None:
    looked, _ = look(recording(tmp_path / "a.csv"), Selection(), Layout(), {})
    found = json.loads(msgspec.json.encode(looked), parse_constant=pytest.fail)
    assert found["rows"] == 400
    assert found["layout"]["stamps"]["column"] == "time"


def test_the_picture_is_a_png_of_every_feature(tmp_path: Path) -> None:
    _, found = look(recording(tmp_path / "a.csv", 4000), Selection(), Layout(), {})
    picture = draw(found)
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    assert draw(found) == picture


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.25, "0.25 s"), (59, "59 s"), (60, "1 min"), (90, "90 s"), (3660, "61 min"), (172800, "2 d")],
)
def test_a_span_is_told_in_the_unit_in_which_people_say_it(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_a_profile_counts_what_cells_hold(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a;b;c\n1,5 kW;x;\n2500 W;;\nodd;y;\n3,5\n")
    rows, (a, b, c) = profile_table([Source(path, Layout(TableFormat(";", ",")))], units={"a": "kW"})
    assert rows == 4
    assert a == Profile("a", 0.0, 3, 1.5, 2.5, 3.5, ("odd",), 1, 0.25)
    assert (b.missing, b.numbers, b.kinds, set(b.texts)) == (0.5, 0, 2, {"x", "y"})
    assert (c.missing, c.numbers, c.kinds, c.low) == (1.0, 0, 0, None)


def test_uneven_steps_are_told_with_the_gap_that_helps(tmp_path: Path) -> None:
    rng, path = np.random.default_rng(0), tmp_path / "a.csv"
    times = 1767592800 + np.cumsum(rng.exponential(60, 2000))
    times[1000:] += 86400
    path.write_text("time,a\n" + "".join(f"{time:.3f},{rng.normal():.3f}\n" for time in times))
    looked, _ = look(path, Selection(), Layout(), {})
    (note,) = [note for note in looked.notes if "jitter" in note]
    assert "unscored" in note
    assert looked.options == {"--max-gap": "600s"}
    eased, found = look(path, Selection(), Layout(max_gap_s=600), {})
    assert eased.options == {}
    assert eased.times is not None
    assert eased.times.gaps == 1
    assert found.layout.max_gap_s == 600


def test_what_training_would_refuse_is_told_with_what_helps(tmp_path: Path) -> None:
    path, start = tmp_path / "a.csv", datetime(2026, 1, 5)
    cells = ["" if row % 6 == 0 else f"{np.sin(row / 9):.3f}" for row in range(120)]  # no window of 8 rows is whole
    rows = [f"{start + timedelta(minutes=row)},{cell},{row % 7}" for row, cell in enumerate(cells)]
    path.write_text("\n".join(["time,a,b", *rows]))
    looked, _ = look(path, Selection(), Layout(), {"window": 8})
    assert looked.options == {"--kind": "rows"}
    assert "100 usable rows are too few to split" in looked.notes[-1]
    again, _ = look(path, Selection(), Layout(), {"kind": "rows"})
    assert again.options == {}
