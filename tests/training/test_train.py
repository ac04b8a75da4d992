"""From a CSV to three files, end to end, on the simulated pump station."""

import re
from collections.abc import Callable
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from vae_detect.runtime.bundle import METADATA_KEY, Image, Prior
from vae_detect.runtime.calibration.calibration import min_calibration_rows
from vae_detect.runtime.detector import Detector
from vae_detect.runtime.errors import InputError
from vae_detect.runtime.layout import Layout
from vae_detect.runtime.metadata import read_part
from vae_detect.runtime.session import Session
from vae_detect.runtime.simulation import COLUMNS, Fault, csv_lines, simulate
from vae_detect.training.data.selection import Selection
from vae_detect.training.export.files import Exported
from vae_detect.training.fitting.fit import Epoch
from vae_detect.training.settings.config import TrainConfig
from vae_detect.training.settings.recipes import SCORES
from vae_detect.training.train import train

CSV = Layout()
ANY = Selection()
CONFIG = TrainConfig(recipe="vae", hidden=(16,), latent=3, epochs=4, batch=64)
NAMES = ["vae.onnx", "vae.encoder.onnx", "vae.decoder.onnx"]


class Trained:
    """What a run made and what it said."""

    def __init__(self, outcome: Exported, said: list[str], epochs: list[Epoch]) -> None:
        self.outcome, self.said, self.epochs = outcome, said, epochs
        self.detector = Detector.load(outcome.files.scorer, provider="cpu")


def run(data: Path, out: Path, config: TrainConfig = CONFIG, *, far: str | None = None) -> Trained:
    said: list[str] = []
    epochs: list[Epoch] = []
    outcome = train(data, out, config, selection=ANY, layout=CSV, far=far, say=said.append, report=epochs.append)
    assert outcome is not None
    return Trained(outcome, said, epochs)


@pytest.fixture(scope="module")
def normal_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two weeks of normal operation: the rows of two days depend on each other too much for a low rate."""
    path = tmp_path_factory.mktemp("recordings") / "normal.csv"
    path.write_text("".join(csv_lines(simulate(duration_s=14 * 86400, period_s=120, seed=1))))
    return path


@pytest.fixture(scope="module")
def vae(normal_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A detector of the whole recording; 50 false alarms a day at a row every 2 minutes."""
    return run(normal_csv, tmp_path_factory.mktemp("vae") / "new" / "vae.onnx", far="50/day")


@pytest.fixture(scope="module")
def mixed_csv(normal_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recording without time stamps, with a constant, two text and an empty column and some empty cells."""
    path = tmp_path_factory.mktemp("mixed") / "mixed.csv"
    header, *lines = normal_csv.read_text().splitlines()
    rows = [f"{line.split(',', 1)[1]},4.5,{'on' if i % 2 else 'off'},remark {i}," for i, line in enumerate(lines)]
    rows[7] = "," + rows[7].split(",", 1)[1]
    path.write_text("\n".join([header.split(",", 1)[1] + ",setpoint [bar],state,remark,spare", *rows]) + "\n")
    return path


@pytest.fixture(scope="module")
def ae(mixed_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    config = replace(CONFIG, recipe="ae", likelihood="laplace")
    return run(mixed_csv, tmp_path_factory.mktemp("ae") / "ae.onnx", config)


# --- the files -------------------------------------------------------------------------------------------------------


def test_three_files_and_nothing_else_are_left(vae: Trained) -> None:
    folder = vae.outcome.files.scorer.parent
    assert sorted(path.name for path in folder.iterdir()) == sorted(NAMES)
    assert [path.name for path in vae.outcome.files] == NAMES


def test_the_parts_belong_to_the_scorer(vae: Trained) -> None:
    files, bundle = vae.outcome.files, vae.outcome.bundle
    for name, path in (("encoder", files.encoder), ("decoder", files.decoder)):
        content = path.read_bytes()
        part = read_part(Session(content, source=name, provider="cpu").metadata, name)
        assert (part.part, part.export_id, part.schema_version) == (name, bundle.export_id, 3)
        assert getattr(bundle.parts, f"{name}_sha256") == sha256(content).hexdigest()


def test_the_metadata_in_the_file_is_what_was_returned(vae: Trained) -> None:
    assert vae.detector.bundle == vae.outcome.bundle
    assert METADATA_KEY.encode() in vae.outcome.files.scorer.read_bytes()


def test_the_metadata_says_what_was_done(vae: Trained, normal_csv: Path) -> None:
    bundle = vae.outcome.bundle
    assert bundle.names == COLUMNS
    assert (bundle.recipe, bundle.kind, bundle.window, bundle.latent) == ("vae", "rows", 1, 3)
    assert bundle.score == SCORES["elbo"]
    assert bundle.settings == {**asdict(CONFIG), "hidden": [16], "size": [64]}
    assert bundle.prior == Prior((1.0,), ((0.0,) * 3,), ((1.0,) * 3,))
    assert bundle.active_units is not None
    assert 0 <= bundle.active_units <= 3
    assert bundle.image is None
    assert bundle.versions.keys() == {"vae-detect", "torch", "onnx", "numpy"}
    data = bundle.data
    assert (data.rows, data.time_column, data.period_s) == (10080, "timestamp", 120.0)
    assert data.sha256 == sha256(normal_csv.read_bytes()).hexdigest()
    # 10 blocks of 1008 rows, cut at 706 and 806; each part gives up one row as the gap, calibration 33 more, for which
    # the columns stay alike
    assert [data.train, data.validation, data.calibration] == [7050, 990, 1680]
    assert bundle.calibration.n == data.calibration
    assert bundle.calibration.far == pytest.approx(50 / 720)


def test_centers_are_those_of_the_training_rows(vae: Trained, normal_csv: Path) -> None:
    values = np.loadtxt(normal_csv, delimiter=",", skiprows=1, usecols=range(1, 9))
    # 7 tenths of the rows: close to the mean of all, in units of their deviation
    for column, mean, deviation in zip(vae.outcome.bundle.columns, values.mean(0), values.std(0), strict=True):
        assert column.center == pytest.approx(mean, abs=0.1 * deviation)
        assert column.scale == pytest.approx(deviation, rel=0.1)


def test_golden_rows_span_normal_and_broken(vae: Trained) -> None:
    golden = vae.outcome.bundle.golden
    assert len(golden.x) == len(golden.score) == len(golden.p_value) == len(golden.is_anomaly) == 8
    assert golden.score[:6] == sorted(golden.score[:6])
    assert golden.is_anomaly == [score > vae.outcome.bundle.calibration.threshold for score in golden.score]
    assert golden.is_anomaly[0] is False
    assert golden.is_anomaly[6:] == [True, True]
    np.testing.assert_array_equal(
        vae.detector.score(vae.detector.golden_inputs()).score, np.array(golden.score, np.float32)
    )


def test_the_calibration_rows_keep_the_promise(vae: Trained, normal_csv: Path) -> None:
    values = np.loadtxt(normal_csv, delimiter=",", skiprows=1, usecols=range(1, 9))
    alarms = vae.detector.score(values).is_anomaly.mean()
    assert 0.2 * 50 / 720 < alarms < 2 * 50 / 720


def test_the_user_is_told_what_happens(vae: Trained) -> None:
    assert vae.said[0] == "time stamps: column 'timestamp'"
    assert vae.said[1].startswith("10080 rows of 8 columns: ")
    assert vae.said[2].startswith("training stopped at its limit, epochs=4, before")
    assert "promised false-alarm rate 0.0694" in vae.said[3]
    assert vae.said[4] == f"active latent dimensions: {vae.outcome.bundle.active_units} of 3"
    assert vae.said[5].startswith("parity with ONNX Runtime: scores within ")
    assert len(vae.said) == 6


def test_the_history_is_that_of_the_run(vae: Trained) -> None:
    assert [epoch.number for epoch in vae.epochs] == [1, 2, 3, 4]
    assert vae.epochs[-1].validation < vae.epochs[0].validation
    kept = vae.detector.bundle.history
    assert kept is not None
    assert kept.training == tuple(epoch.loss for epoch in vae.epochs)
    assert kept.validation == tuple(epoch.validation for epoch in vae.epochs)


# --- the same again --------------------------------------------------------------------------------------------------


class InterruptedRunError(Exception):
    """Stands in for a killed process."""


def test_an_interrupted_and_resumed_run_writes_the_same_bytes(vae: Trained, normal_csv: Path, tmp_path: Path) -> None:
    out = tmp_path / "vae.onnx"

    def stop(epoch: Epoch) -> None:
        if epoch.number == 2:
            raise InterruptedRunError

    with pytest.raises(InterruptedRunError):
        train(normal_csv, out, CONFIG, selection=ANY, layout=CSV, far="50/day", report=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["vae.checkpoint"]

    # Not of the same data or settings: refused, and the checkpoint stays.
    with pytest.raises(InputError, match="of other data or settings"):
        train(normal_csv, out, replace(CONFIG, seed=1), selection=ANY, layout=CSV, far="50/day", resume=True)
    for selection in (Selection(exclude=("power_kw",)), Selection(columns=tuple(reversed(COLUMNS)))):
        with pytest.raises(InputError, match="of other data or settings"):
            train(normal_csv, out, CONFIG, selection=selection, layout=CSV, far="50/day", resume=True)
    longer = tmp_path / "longer.csv"
    longer.write_text(normal_csv.read_text() + normal_csv.read_text().splitlines()[-1] + "\n")
    with pytest.raises(InputError, match="of other data or settings"):
        train(longer, out, CONFIG, selection=ANY, layout=CSV, far="50/day", resume=True)

    # Another process has another random state; it must not matter.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        seen: list[Epoch] = []
        resumed = train(
            normal_csv, out, CONFIG, selection=ANY, layout=CSV, far="50/day", resume=True, report=seen.append
        )
    assert resumed is not None
    assert [epoch.number for epoch in seen] == [3, 4]
    assert resumed.bundle.history == vae.outcome.bundle.history
    for first, second in zip(vae.outcome.files, resumed.files, strict=True):
        assert first.read_bytes() == second.read_bytes()
    assert not (tmp_path / "vae.checkpoint").exists()


# --- odd columns -----------------------------------------------------------------------------------------------------


def test_constant_text_and_empty_columns_together(ae: Trained) -> None:
    bundle = ae.outcome.bundle
    assert bundle.names == (*COLUMNS, "setpoint [bar]", "state")
    setpoint, state = bundle.columns[-2:]
    assert (setpoint.unit, setpoint.center, setpoint.scale) == ("bar", 4.5, 0.0)
    assert (state.treatment, state.texts, state.levels) == ("category", ("off", "on"), (0.0, 1.0))
    assert (bundle.data.rows, bundle.data.time_column, bundle.data.period_s) == (10079, None, None)
    assert bundle.data.ordered  # neighbouring rows are alike, time stamps or not
    assert bundle.calibration.effective_n < bundle.calibration.n == 1679  # in blocks, and off what was learnt
    notes = "\n".join(ae.said)
    assert "column 'remark' left out: holds text ('remark 0')" in notes
    assert "taken as category: state" in notes
    assert "column 'spare' left out: is empty" in notes
    assert "1 of 10079" not in notes
    assert "1 of 10080 rows left out: a missing or bad cell (first: row 7, column 'speed_rpm' is empty)" in notes
    assert "constant while training, so that any other value will be an anomaly: setpoint [bar]" in notes


def test_a_change_in_a_constant_column_is_an_anomaly(ae: Trained) -> None:
    row = np.array([column.center for column in ae.outcome.bundle.columns])
    changed = row.copy()
    changed[ae.outcome.bundle.names.index("setpoint [bar]")] = 4.51
    found = ae.detector.score([row, changed])
    assert found.is_anomaly[1]
    assert found.score[1] > 100 * found.score[0]


# --- detection -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vae", "ae"])
@settings(deadline=None, max_examples=60)
@given(row=st.integers(0, 5), column=st.integers(0, 7), size=st.floats(15, 500) | st.floats(-500, -15))
def test_the_score_rises_with_the_size_of_a_fault(
    vae: Trained, ae: Trained, name: str, row: int, column: int, size: float
) -> None:
    detector = {"vae": vae, "ae": ae}[name].detector
    normal = np.array(detector.bundle.golden.x[row], np.float64)
    step = np.zeros_like(normal)
    step[column] = size * detector.bundle.columns[column].scale
    scores = detector.score([normal, normal + step, normal + 2 * step]).score
    assert scores[0] < scores[1] < scores[2]
    assert detector.score([normal + step]).is_anomaly[0]
    contribution = detector.explain([normal + step]).contribution[0]
    assert contribution.argmax() == column


def test_a_simulated_fault_is_found(vae: Trained) -> None:
    faulty = simulate(duration_s=86400, period_s=120, seed=3, faults=[Fault("leak", 36000, 14400, 4.0)])
    alarms = vae.detector.score(faulty.values).is_anomaly
    active = slice(310, 420)  # within 10 h to 14 h, a row every 2 minutes
    assert alarms[active].mean() > 0.5
    assert np.delete(alarms, np.arange(300, 425)).mean() < 0.15


# --- refusals before training ----------------------------------------------------------------------------------------


def never(epoch: Epoch) -> None:
    raise AssertionError("training began")


def refused(data: Path, out: Path, config: TrainConfig = CONFIG, **options: str | float) -> str:
    with pytest.raises(InputError) as caught:
        train(data, out, config, selection=ANY, layout=CSV, report=never, **options)  # type: ignore[arg-type]
    assert not out.exists()
    assert not out.with_suffix(".checkpoint").exists()
    return str(caught.value)


@pytest.fixture
def numbers_csv(tmp_path: Path) -> Callable[[int], Path]:
    """Makes a CSV of so many rows without time stamps."""

    def make(rows: int) -> Path:
        path = tmp_path / f"{rows}.csv"
        values = np.random.default_rng(0).normal(size=(rows, 2)).tolist()
        path.write_text("a,b\n" + "".join(f"{a},{b}\n" for a, b in values))
        return path

    return make


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 6])
def test_too_few_rows(numbers_csv: Callable[[int], Path], tmp_path: Path, rows: int) -> None:
    message = refused(numbers_csv(rows), tmp_path / "a.onnx", far="0.4")
    assert "too few to split into training" in message or "record more, or ask for --far 0.34" in message


def test_too_few_rows_for_a_window(normal_csv: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, kind="windows", window=5000)
    assert "10080 usable rows are too few to split into training, validation and calibration windows of" in refused(
        normal_csv, tmp_path / "a.onnx", config
    )


@pytest.mark.parametrize("rows", [20, 60, 137, 333, 505, 1495])
def test_a_rate_that_is_too_small_and_a_suggestion_that_works(
    numbers_csv: Callable[[int], Path], tmp_path: Path, rows: int
) -> None:
    message = refused(numbers_csv(rows), tmp_path / "a.onnx", far="1e-6")
    # peaks over threshold reach ten times beyond the data: 1e6 / 10 rows less one
    assert message.startswith("a false-alarm rate of 1e-06 needs 99999 calibration rows, a fifth of these ")
    found = re.search(r"gives (\d+); record more, or ask for --far ([\d.e-]+)$", message)
    assert found is not None
    assert min_calibration_rows(float(found[2])) <= int(found[1])


def test_a_rate_per_time_needs_to_know_the_rows_per_time(
    numbers_csv: Callable[[int], Path], normal_csv: Path, tmp_path: Path
) -> None:
    out, data, two_days = tmp_path / "a.onnx", numbers_csv(500), tmp_path / "two_days.csv"
    two_days.write_text("".join(normal_csv.read_text().splitlines(keepends=True)[:1441]))
    assert "'1/day' needs time stamps or --rate" in refused(data, out, far="1/day")
    # 1 in 720 rows a day; told, or from the time stamps; the rate that is told wins over the time stamps
    assert "a false-alarm rate of 0.00139 needs 300" in refused(data, out, far="1/day", rate_hz=1 / 120)
    assert "a false-alarm rate of 0.00139 needs 300" in refused(two_days, out, far="1/day")
    assert "a false-alarm rate of 1.16e-05 needs 8639" in refused(normal_csv, out, far="1/day", rate_hz=1.0)


@pytest.mark.parametrize("far", ["0", "0.7", "often", "-1"])
def test_a_rate_that_is_none(numbers_csv: Callable[[int], Path], tmp_path: Path, far: str) -> None:
    assert f"false-alarm rate '{far}'" in refused(numbers_csv(100), tmp_path / "a.onnx", far=far)


def test_bernoulli_wants_zeros_and_ones(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,b\n" + "0,1\n1,0\n" * 100 + "0,0.5\n")
    message = refused(path, tmp_path / "a.onnx", replace(CONFIG, likelihood="bernoulli"), far="0.1")
    assert message == "likelihood bernoulli is for columns of 0 and 1; column 'b' holds 0.5"


def test_the_name_of_the_output(numbers_csv: Callable[[int], Path], tmp_path: Path) -> None:
    data = numbers_csv(500)
    assert "expected a file name that ends in .onnx" in refused(data, tmp_path / "model.pt")
    assert "cannot be made" in refused(data, data / "model.onnx", far="0.1")


# --- classes, images and ranges --------------------------------------------------------------------------------------


@pytest.fixture
def labelled_csv(tmp_path: Path) -> Path:
    """Flags, a product written as text and the line as a number; the flags follow the product."""
    path, generator = tmp_path / "labelled.csv", np.random.default_rng(0)
    lines = []
    for i in range(400):
        product = i % 2
        flags = generator.random(2) < (0.9 if product else 0.1)
        lines.append(f"{int(flags[0])},{int(flags[1])},{('nut', 'bolt')[product]},{5 + i % 3}\n")
    path.write_text("a,b,product,line\n" + "".join(lines))
    return path


def test_a_class_of_text_is_learned(labelled_csv: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, recipe="cvae")
    selection = Selection(class_column="product", treatments={"line": "category"})
    outcome = train(labelled_csv, tmp_path / "a.onnx", config, selection=selection, layout=CSV, far="0.1")
    assert outcome is not None
    columns = {column.name: column for column in outcome.bundle.columns}
    assert (columns["product"].treatment, columns["product"].texts) == ("class", ("bolt", "nut"))
    assert (columns["line"].treatment, columns["line"].levels) == ("category", (5.0, 6.0, 7.0))
    assert outcome.bundle.prior is not None
    # 280 rows to train, about half of each, and one more of each so that none is ruled out
    assert outcome.bundle.prior.weights == pytest.approx((0.5, 0.5), abs=0.1)
    assert sum(outcome.bundle.prior.weights) == pytest.approx(1)


@pytest.mark.parametrize("likelihood", ["bernoulli", "continuous-bernoulli"])
def test_a_range_is_asked_of_numbers_only(labelled_csv: Path, tmp_path: Path, likelihood: str) -> None:
    # lines 5 to 7 and texts are levels, whatever the likelihood of the numbers
    config = replace(CONFIG, recipe="cvae", likelihood=likelihood)  # type: ignore[arg-type]
    selection = Selection(class_column="line")
    outcome = train(labelled_csv, tmp_path / "a.onnx", config, selection=selection, layout=CSV, far="0.1")
    assert outcome is not None
    assert [column.treatment for column in outcome.bundle.columns] == ["linear", "linear", "category", "class"]


def test_continuous_bernoulli_wants_shares(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,b\n" + "0,0.7\n1,0.2\n" * 100 + "0,1.5\n")
    message = refused(path, tmp_path / "a.onnx", replace(CONFIG, likelihood="continuous-bernoulli"), far="0.1")
    assert message == "likelihood continuous-bernoulli is for columns between 0 and 1; column 'b' holds 1.5"


def test_a_recipe_without_classes_has_no_use_for_one(labelled_csv: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--class-column is for recipe cvae, this is vae"):
        train(labelled_csv, tmp_path / "a.onnx", CONFIG, selection=Selection(class_column="product"), layout=CSV)
    config = replace(CONFIG, recipe="cvae")
    assert "recipe cvae needs the class of each row: name its column with --class-column" in refused(
        labelled_csv, tmp_path / "a.onnx", config
    )


def test_kinds_and_folders(labelled_csv: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    images = replace(CONFIG, kind="images")
    assert "is no folder, expected one with images for kind images" in refused(
        labelled_csv, tmp_path / "a.onnx", images
    )
    assert "holds no table; expected files that end in .csv" in refused(tmp_path / "empty", tmp_path / "a.onnx")


def test_too_few_images_are_told_as_images(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    config = replace(CONFIG, kind="images", size=(8,))
    for number in range(12):
        Pillow.new("L", (8, 8), 20 * number).save(folder / f"{number}.png")
        if number == 2:
            message = refused(folder, tmp_path / "a.onnx", config)
            assert message.startswith("3 usable images are too few to split into training, validation and calibration")
    message = refused(folder, tmp_path / "a.onnx", config, far="0.01")
    assert "needs 99 calibration images, a fifth of these 12 images gives 2; record more" in message


@pytest.mark.parametrize(
    ("selection", "option"),
    [
        (Selection(columns=("a",)), "--columns"),
        (Selection(exclude=("a",)), "--exclude"),
        (Selection(time_column="a"), "--time-column"),
        (Selection(class_column="a"), "--class-column"),
        (Selection(treatments={"a": "log"}), "--treat"),
    ],
)
def test_images_have_no_columns(selection: Selection, option: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{option} is for tables; images have no columns"):
        train(tmp_path, tmp_path / "a.onnx", replace(CONFIG, kind="images"), selection=selection, layout=CSV)


@pytest.mark.parametrize(("name", "value"), [("size", (32,)), ("colour", "grey")])
def test_a_table_has_no_size_and_no_colour(labelled_csv: Path, tmp_path: Path, name: str, value: Any) -> None:
    message = refused(labelled_csv, tmp_path / "a.onnx", replace(CONFIG, **{name: value}))
    assert f"setting {name} is for images" in message


def test_images_are_trained_on(tmp_path: Path) -> None:
    folder, generator = tmp_path / "images", np.random.default_rng(0)
    for number in range(60):
        path = folder / ("bolt" if number % 3 else "nut") / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Pillow.fromarray(generator.integers(90, 110, size=(16, 16), dtype=np.uint8)).save(path)
    config = TrainConfig(kind="images", size=(8, 16), recipe="cvae", hidden=(4,), latent=2, epochs=2)
    said: list[str] = []

    outcome = train(folder, tmp_path / "a.onnx", config, selection=ANY, layout=CSV, far="0.2", say=said.append)

    assert outcome is not None
    bundle = outcome.bundle
    assert bundle.image == Image(8, 16, "grey")
    assert bundle.settings["size"] == [8, 16]
    (column,) = bundle.columns
    assert column.center == pytest.approx(99.5, abs=0.5)  # the middle of 90 to 109
    assert bundle.golden.x == []
    assert len(bundle.golden.pixels) == 4 * 8 * 16  # three normal images and a broken one
    assert len(bundle.golden.score) == 4
    assert bundle.golden.score == sorted(bundle.golden.score)
    assert said[0].startswith(
        "60 images of 8x16x1 values: 42 images to train, 6 to validate, 12 to calibrate, shuffled"
    )
    assert bundle.prior is not None
    assert bundle.prior.weights == pytest.approx((2 / 3, 1 / 3), abs=0.15)


def test_the_lowest_free_energy_of_training_is_the_zero_of_the_score(normal_csv: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, recipe="rbm", hidden=(), tied=True, latent=8)
    found = run(normal_csv, tmp_path / "rbm.onnx", config)
    values = np.loadtxt(normal_csv, delimiter=",", skiprows=1, usecols=range(1, 9))
    score = found.detector.score(values).score
    # 7 tenths of these rows were trained on: one of them scores 0
    assert np.abs(score).min() == pytest.approx(0.0, abs=1e-3)
    assert found.outcome.bundle.active_units is None
    assert found.outcome.bundle.prior is None


def test_windows_that_support_no_rate_give_way_to_rows_unless_they_were_asked_for(tmp_path: Path) -> None:
    slow = np.random.default_rng(0).normal(size=(330, 2)).cumsum(axis=0)
    lines = [f"2026-01-05 {row // 60:02}:{row % 60:02}:00,{a:.3f},{b:.3f}" for row, (a, b) in enumerate(slow)]
    data = tmp_path / "a.csv"
    data.write_text("\n".join(["time,a,b", *lines]) + "\n")
    small, said = {"recipe": "vae", "epochs": 1, "hidden": "4", "latent": 2}, list[str]()
    made = train(data, tmp_path / "a.onnx", small, selection=Selection(), layout=CSV, say=said.append)
    assert made is not None
    assert made.bundle.kind == "rows"
    assert any(line.endswith("So it is trained again on rows, each on its own") for line in said)
    with pytest.raises(InputError, match="too few or too much alike to promise any false-alarm rate"):
        train(data, tmp_path / "b.onnx", {**small, "window": 8}, selection=Selection(), layout=CSV)
    assert not (tmp_path / "b.onnx").exists()
