"""Fine-tuning end to end: from labels to files that every other part of the product takes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import onnx
import pytest
from conftest import Client, run_here
from numpy.typing import NDArray

from vae_detect.runtime.alarms.event import Change, Event
from vae_detect.runtime.alarms.store import EventStore
from vae_detect.runtime.bundle import Calibration
from vae_detect.runtime.calibration.calibration import calibrate, event_rows, supported_rate
from vae_detect.runtime.describe import describe, describe_range
from vae_detect.runtime.detector import Detector
from vae_detect.runtime.errors import InputError
from vae_detect.runtime.layout import Layout
from vae_detect.runtime.simulation import COLUMNS, Fault, csv_lines, simulate
from vae_detect.training.data.selection import Selection
from vae_detect.training.export.files import Exported
from vae_detect.training.export.parity import PARITY_BATCHES
from vae_detect.training.finetune import Normal, _calibrate, _held_out, finetune
from vae_detect.training.labels.feedback import NARROW, WIDE, Yardstick
from vae_detect.training.settings.config import TrainConfig, configure
from vae_detect.training.train import train

CSV = Layout()
COMMAND = str(Path(sys.executable).parent / "vae-detect")


@dataclass(frozen=True)
class Tuned:
    """What a run made, from what, and what it said."""

    outcome: Exported
    before: Detector
    after: Detector
    said: list[str]


class Day(NamedTuple):
    """A recording as lines of a CSV, which rows are in a fault, and the values of the rows."""

    lines: list[str]
    truth: NDArray[np.bool_]
    values: NDArray[np.float32]


@pytest.fixture(scope="module")
def two_weeks_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two weeks of normal operation: those of two days depend on each other too much for a rate of 0.05."""
    path = tmp_path_factory.mktemp("recordings") / "normal.csv"
    path.write_text("".join(csv_lines(simulate(duration_s=14 * 86400, period_s=120, seed=1))))
    return path


def small_detector(normal: Path, out: Path, far: str) -> Path:
    config = TrainConfig(recipe="vae", hidden=(16,), latent=2, epochs=8, seed=2)
    train(normal, out, config, selection=Selection(), layout=CSV, far=far)
    return out


@pytest.fixture(scope="module")
def model(two_weeks_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small detector of `two_weeks_csv`."""
    return small_detector(two_weeks_csv, tmp_path_factory.mktemp("model") / "pump.onnx", "0.05")


@pytest.fixture(scope="module")
def lenient(two_weeks_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for a rate that the rows of one day can support: they are worth a dozen independent ones."""
    return small_detector(two_weeks_csv, tmp_path_factory.mktemp("lenient") / "pump.onnx", "0.4")


@pytest.fixture(scope="module")
def faulty() -> Day:
    """A day with two faults."""
    made = simulate(
        duration_s=86400,
        period_s=120,
        seed=4,
        faults=[Fault.parse("bearing-wear@4h+3h"), Fault.parse("leak@15h+3h")],
    )
    return Day(list(csv_lines(made)), made.labels.astype(np.bool_), made.values.astype(np.float32))


def write_labels(path: Path, lines: Sequence[str], labels: dict[int, str], column: str = "label") -> Path:
    """The rows with a column of labels: those of `labels`, empty elsewhere."""
    header, *rows = (line.rstrip("\n") for line in lines)
    text = [f"{header},{column}", *(f"{row},{labels.get(number, '')}" for number, row in enumerate(rows))]
    path.write_text("\n".join(text) + "\n")
    return path


def some_labels(truth: NDArray[np.bool_], faults: int, normal: int) -> dict[int, str]:
    """Labels spread over the second halves of the faults, which show, and over the normal rows."""
    shows = np.flatnonzero(truth & np.roll(truth, 45))
    fine = np.flatnonzero(~truth)
    chosen = {int(row): "1" for row in shows[np.linspace(0, len(shows) - 1, faults).astype(int)]}
    return chosen | {int(row): "0" for row in fine[np.linspace(0, len(fine) - 1, normal).astype(int)]}


def run(model: Path, labels: Path, out: Path, data: Path | None = None, *, force: bool = False) -> Tuned:
    said: list[str] = []
    outcome = finetune(model, labels, out, data=data or (), layout=CSV, force=force, say=said.append)
    return Tuned(outcome, Detector.load(model, provider="cpu"), Detector.load(out, provider="cpu"), said)


@pytest.fixture(scope="module")
def labels_csv(faulty: Day, tmp_path_factory: pytest.TempPathFactory) -> Path:
    lines, truth, _ = faulty
    return write_labels(tmp_path_factory.mktemp("labels") / "labels.csv", lines, some_labels(truth, 6, 6))


@pytest.fixture(scope="module")
def tuned(model: Path, labels_csv: Path, two_weeks_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    return run(model, labels_csv, tmp_path_factory.mktemp("tuned") / "new" / "tuned.onnx", two_weeks_csv)


# --- what it does to scores ------------------------------------------------------------------------------------------


def labelled_rows(path: Path, label: str) -> list[int]:
    return [number for number, line in enumerate(path.read_text().splitlines()[1:]) if line.endswith(f",{label}")]


def test_confirmed_faults_score_higher_and_false_alarms_lower(
    model: Path, two_weeks_csv: Path, faulty: Day, tmp_path: Path
) -> None:
    lines, truth, values = faulty
    score = Detector.load(model, provider="cpu").score(values).score
    quiet = int(np.flatnonzero(truth)[score[truth].argmin()])  # a fault that does not show
    loud = int(np.flatnonzero(~truth)[score[~truth].argmax()])  # a normal row that does
    path = write_labels(tmp_path / "a.csv", lines, {quiet: "1", loud: "0"})
    tuned = run(model, path, tmp_path / "a.onnx", two_weeks_csv)
    after = tuned.after.score(values).score
    assert after[quiet] > 1.2 * score[quiet]
    assert after[loud] < 0.8 * score[loud]
    changed = np.abs(after / score - 1) > 0.1
    assert changed.sum() < 0.1 * len(values)  # two labels cannot foretell each other: they speak for themselves
    assert any("speak only for rows nearly the same" in text for text in tuned.said)


def test_the_score_is_that_of_the_formula(tuned: Tuned, labels_csv: Path, faulty: Day) -> None:
    # In float64 and without torch: weights are solved for by iteration, a = n (y - sigma(f)).
    values, bundle = faulty[2].astype(np.float64), tuned.before.bundle
    reach = WIDE if any("speak for all rows" in text for text in tuned.said) else NARROW
    standardised = (values - [c.center for c in bundle.columns]) / [c.scale for c in bundle.columns]
    assert all(column.treatment == "linear" for column in bundle.columns)
    t = np.clip(standardised, -5, 5)
    rows = sorted(labelled_rows(labels_csv, "1") + labelled_rows(labels_csv, "0"))
    y = np.array([row in labelled_rows(labels_csv, "1") for row in rows])
    like = np.exp(-((t[:, None] - t[rows]) ** 2).sum(2) / (2 * reach.length**2 * 2 * len(bundle.columns)))
    k = reach.variance * like[rows] + reach.constant
    yardstick = Yardstick.of(bundle.calibration)
    score = tuned.before.score(faulty[2]).score
    log_odds = yardstick.log_odds(score[rows])
    stretch = np.cumsum(np.diff(rows, prepend=rows[0]) > 20)
    n = np.array([1 / np.sum((stretch == s) & (y == label)) for s, label in zip(stretch, y, strict=True)])
    a = np.zeros(len(rows))
    for _ in range(20000):
        a += 0.02 * (n * (y - 1 / (1 + np.exp(-(log_odds + k @ a)))) - a)
    expected = score * np.exp(reach.variance * like @ a)
    np.testing.assert_allclose(tuned.after.score(faulty[2]).score, expected, rtol=2e-3)


def test_far_from_all_labels_nothing_changes(tuned: Tuned, normal_rows: NDArray[np.float32]) -> None:
    scale = np.array([column.scale for column in tuned.before.bundle.columns], np.float32)
    signs = np.where(np.arange(len(scale)) % 2, 40, -40)
    far = normal_rows + (signs * scale).astype(np.float32)
    np.testing.assert_allclose(tuned.after.score(far).score, tuned.before.score(far).score, rtol=1e-4)


def test_contributions_codes_and_reconstructions_stay(tuned: Tuned, normal_rows: NDArray[np.float32]) -> None:
    for found, expected in zip(tuned.after.explain(normal_rows), tuned.before.explain(normal_rows), strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(tuned.after.encode(normal_rows), tuned.before.encode(normal_rows))
    codes = tuned.after.encode(normal_rows)
    np.testing.assert_array_equal(tuned.after.decode(codes), tuned.before.decode(codes))
    np.testing.assert_array_equal(tuned.after.sample(5), tuned.before.sample(5))


def test_a_batch_scores_like_its_rows_one_by_one(tuned: Tuned, faulty: Day) -> None:
    values = faulty[2][::9]
    batch = tuned.after.score(values)
    alone = [tuned.after.score_one(row) for row in values]
    np.testing.assert_allclose([one.score for one in alone], batch.score, rtol=1e-4)
    assert [one.is_anomaly for one in alone] == batch.is_anomaly.tolist()


def test_bad_rows_have_no_score_and_touch_no_other(tuned: Tuned, normal_rows: NDArray[np.float32]) -> None:
    x = normal_rows[:6].copy()
    x[1, 2], x[3, 0], x[4] = np.nan, np.inf, -np.inf
    found = tuned.after.score(x)
    assert found.scored.tolist() == [True, False, True, False, False, True]
    np.testing.assert_allclose(found.score[[0, 2, 5]], tuned.after.score(x[[0, 2, 5]]).score, rtol=1e-5)


def test_the_promise_holds_on_normal_rows(tuned: Tuned) -> None:
    fresh = simulate(duration_s=4 * 86400, period_s=120, seed=1234).values.astype(np.float32)
    calibration = tuned.after.bundle.calibration
    rate = tuned.after.score(fresh).is_anomaly.mean()
    assert calibration.far == tuned.before.bundle.calibration.far == 0.05
    assert calibration.far_low / 2 < rate < 2 * calibration.far_high, describe_range(
        calibration.far_low, calibration.far_high
    )


# --- the files -------------------------------------------------------------------------------------------------------


def test_the_three_files_belong_together_and_name_their_parent(
    tuned: Tuned, labels_csv: Path, two_weeks_csv: Path
) -> None:
    bundle, old = tuned.outcome.bundle, tuned.before.bundle
    folder = tuned.outcome.files.scorer.parent
    assert sorted(path.name for path in folder.iterdir()) == ["tuned.decoder.onnx", "tuned.encoder.onnx", "tuned.onnx"]
    assert tuned.after.bundle == bundle
    assert bundle.export_id != old.export_id
    for name in ("encoder", "decoder"):
        _, content = tuned.after.open_part(name)
        assert sha256(content).hexdigest() == getattr(bundle.parts, f"{name}_sha256")
    made = bundle.finetuning
    assert made is not None
    assert (made.parent, made.faults, made.false_alarms) == (old.export_id, 6, 6)
    assert made.labels_sha256 == sha256(labels_csv.read_bytes()).hexdigest()
    assert made.calibration_sha256 == sha256(two_weeks_csv.read_bytes()).hexdigest() == old.data.sha256
    same = msgspec.structs.replace(
        bundle,
        **{
            name: getattr(old, name)
            for name in ("export_id", "score", "calibration", "golden", "parity", "parts", "finetuning")
        },
    )
    assert same == old
    assert f"6 confirmed faults and 6 confirmed false alarms; fine-tuned from {old.export_id}" in describe(bundle)


def test_of_the_training_recording_only_what_was_held_out_sets_the_threshold(tuned: Tuned) -> None:
    assert tuned.after.bundle.calibration.n == tuned.before.bundle.data.calibration < tuned.before.bundle.data.rows / 4


def test_the_certificate_and_the_golden_rows_cover_the_labels(tuned: Tuned, labels_csv: Path) -> None:
    bundle, old = tuned.after.bundle, tuned.before.bundle
    assert bundle.parity.max_relative_error < 1e-4
    assert bundle.parity.verdict_flips == 0
    assert bundle.parity.batches == PARITY_BATCHES
    assert bundle.golden.x[: len(old.golden.x)] == old.golden.x
    assert len(bundle.golden.x) == len(old.golden.x) + 4


def test_the_graph_keeps_its_contract(tuned: Tuned) -> None:
    before, after = (onnx.load(str(detector.path)) for detector in (tuned.before, tuned.after))
    assert [item.name for item in after.graph.output] == [item.name for item in before.graph.output]
    assert {item.name for item in after.graph.input} == {item.name for item in before.graph.input}
    assert {tensor.name for tensor in after.graph.initializer} >= {
        item.name for item in after.graph.input if item.name != "x"
    }
    assert (after.ir_version, [(entry.domain, entry.version) for entry in after.opset_import]) == (8, [("", 18)])
    assert not {node.op_type for node in after.graph.node} & {"RandomNormal", "RandomNormalLike", "Bernoulli"}
    onnx.checker.check_model(after, full_check=True)
    # What computed the old p-value is gone: there is one exp(log p), and one set of knots.
    knots = [node for node in after.graph.node if "calibration_knots" in node.input]
    assert len(knots) == 1


def test_the_same_labels_give_the_same_bytes(
    tuned: Tuned, model: Path, labels_csv: Path, two_weeks_csv: Path, tmp_path: Path
) -> None:
    again = run(model, labels_csv, tmp_path / "tuned.onnx", two_weeks_csv)
    for path, other in zip(again.outcome.files, tuned.outcome.files, strict=True):
        assert path.read_bytes() == other.read_bytes()


# --- which labels ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("faults", "normal"), [(3, 0), (0, 3), (1, 0), (0, 1)])
def test_labels_of_one_kind_are_enough(
    model: Path,
    two_weeks_csv: Path,
    faulty: Day,
    tmp_path: Path,
    faults: int,
    normal: int,
) -> None:
    lines, truth, values = faulty
    chosen = some_labels(truth, faults, normal)
    tuned = run(model, write_labels(tmp_path / "a.csv", lines, chosen), tmp_path / "a.onnx", two_weeks_csv)
    change = (tuned.after.score(values).score - tuned.before.score(values).score)[list(chosen)]
    assert np.all(change > 0 if faults else change < 0)


def test_without_data_the_rows_that_are_no_faults_set_the_threshold(lenient: Path, faulty: Day, tmp_path: Path) -> None:
    lines, truth, _ = faulty
    labels = dict.fromkeys(np.flatnonzero(truth).tolist(), "1") | {2: "0"}
    tuned = run(lenient, write_labels(tmp_path / "a.csv", lines, labels), tmp_path / "a.onnx")
    assert tuned.after.bundle.calibration.n == (~truth).sum()
    made = tuned.after.bundle.finetuning
    assert made is not None
    assert made.labels_sha256 == made.calibration_sha256


def test_unknown_faults_among_the_other_rows_are_warned_of(lenient: Path, faulty: Day, tmp_path: Path) -> None:
    lines, truth, _ = faulty
    path = write_labels(tmp_path / "a.csv", lines, some_labels(truth, 3, 3))
    tuned = run(lenient, path, tmp_path / "a.onnx")
    assert any("unknown faults among them make the new one too high" in text for text in tuned.said)


def test_the_threshold_is_set_by_scores_that_do_not_know_the_labels_of_their_own_rows(
    lenient: Path, faulty: Day, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines, truth, values = faulty
    score = Detector.load(lenient, provider="cpu").score(values).score
    quiet = int(np.flatnonzero(truth)[score[truth].argmin()])
    loud = int(np.flatnonzero(~truth)[score[~truth].argmax()])
    seen: list[NDArray[np.float32]] = []

    def spied(scores: NDArray[np.float32], **how: Any) -> Calibration:
        seen.append(scores)
        return calibrate(scores, **how)

    monkeypatch.setattr("vae_detect.training.finetune.calibrate", spied)
    tuned = run(lenient, write_labels(tmp_path / "a.csv", lines, {quiet: "1", loud: "0"}), tmp_path / "a.onnx")
    # Two labels foretell nothing, so each speaks for its like alone: without its own, a row keeps the score it had.
    assert any("they do not foretell each other" in text for text in tuned.said)
    (found,) = seen
    own = found[loud - (quiet < loud)]  # the fault is left out
    assert own == pytest.approx(score[loud], rel=0.01)
    assert tuned.after.score(values[[loud]]).score[0] < 0.8 * score[loud]


def test_a_false_alarm_does_not_vouch_for_itself(lenient: Path, faulty: Day, tmp_path: Path) -> None:
    # All rows called normal but one: were each scored with its own label, the threshold would sink below what the same
    # rows of another day score.
    lines, truth, _ = faulty
    labels = {row: "1" if truth[row] else "0" for row in range(len(truth))}
    tuned = run(lenient, write_labels(tmp_path / "a.csv", lines, labels), tmp_path / "a.onnx")
    fresh = simulate(duration_s=4 * 86400, period_s=120, seed=77).values.astype(np.float32)
    assert tuned.after.score(fresh).is_anomaly.mean() < tuned.after.bundle.calibration.far_high
    assert sum("spread evenly over the file" in text for text in tuned.said) == 1


def test_too_few_rows_are_refused_before_anything_is_written(model: Path, faulty: Day, tmp_path: Path) -> None:
    path = write_labels(tmp_path / "a.csv", faulty.lines[:11], {0: "0", 5: "1"})
    with pytest.raises(
        InputError, match=r"a\.csv: 9 usable rows that are no confirmed faults, and .* 0\.05 takes 19 .*; add --data"
    ):
        run(model, path, tmp_path / "a.onnx")
    short = tmp_path / "short.csv"
    short.write_text("".join(faulty.lines[:6]))
    with pytest.raises(InputError, match=r"short\.csv: 5 usable rows of normal operation, .* give a longer one"):
        run(model, path, tmp_path / "a.onnx", short)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.csv", "short.csv"]


def test_another_recording_can_set_the_threshold(model: Path, labels_csv: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("".join(csv_lines(simulate(duration_s=14 * 86400, period_s=120, seed=9))))
    assert run(model, labels_csv, tmp_path / "a.onnx", other).after.bundle.calibration.n == 10080


def test_windows(windows_model: Path, normal_csv: Path, labels_csv: Path, tmp_path: Path) -> None:
    tuned = run(windows_model, labels_csv, tmp_path / "w.onnx", normal_csv)
    assert tuned.after.bundle.calibration.n == tuned.before.bundle.data.calibration
    assert event_rows(tuned.after.bundle) == 10
    x = tuned.after.golden_inputs()
    assert x.shape[1:] == (4, 8)
    assert not np.allclose(tuned.after.score(x).score, tuned.before.score(x).score, rtol=1e-3)
    assert tuned.after.bundle.parity.max_relative_error < 1e-4


@pytest.mark.parametrize(
    ("recipe", "selection"),
    [
        ("rbm", Selection(exclude=("state", "product"))),  # scores that may be negative
        ("cvae", Selection(class_column="product")),  # a class, and text
    ],
)
def test_other_scores_and_columns(
    two_weeks_csv: Path, labels_csv: Path, tmp_path: Path, recipe: str, selection: Selection
) -> None:
    def with_texts(path: Path) -> Path:
        header, *lines = path.read_text().splitlines()
        rows = [f"{'on' if i % 3 else 'off'},{'nut' if i % 2 else 'bolt'},{line}" for i, line in enumerate(lines)]
        written = tmp_path / path.name
        written.write_text("\n".join([f"state,product,{header}", *rows]) + "\n")
        return written

    normal, model = with_texts(two_weeks_csv), tmp_path / "model.onnx"
    config = configure({"recipe": recipe, "epochs": 2, "latent": 3})
    train(normal, model, config, selection=selection, layout=CSV, far="0.05")
    tuned = run(model, with_texts(labels_csv), tmp_path / "a.onnx", normal)
    assert tuned.after.bundle.calibration.n == tuned.before.bundle.data.calibration
    x = tuned.after.golden_inputs()
    change = tuned.after.score(x).score - tuned.before.score(x).score
    assert np.all(change[-4:-2] > 0)  # the last golden inputs are two confirmed faults and two false alarms
    assert np.all(change[-2:] < 0)


# --- what is refused -------------------------------------------------------------------------------------------------


def test_files_are_not_overwritten_unasked(tuned: Tuned, model: Path, labels_csv: Path, two_weeks_csv: Path) -> None:
    with pytest.raises(InputError, match=r"tuned\.onnx: exists already; pass --force"):
        run(model, labels_csv, tuned.after.path, two_weeks_csv)
    with pytest.raises(InputError, match=r"expected a file name that ends in \.onnx"):
        run(model, labels_csv, model.with_suffix(".pt"), two_weeks_csv)


def test_a_fine_tuned_detector_is_not_fine_tuned_again(
    tuned: Tuned, labels_csv: Path, two_weeks_csv: Path, tmp_path: Path
) -> None:
    parent = tuned.before.bundle.export_id
    with pytest.raises(InputError, match=rf"was fine-tuned already; start again from {parent}, the model that it came"):
        run(tuned.after.path, labels_csv, tmp_path / "again.onnx", two_weeks_csv)


def test_images_are_refused(images_model: Path, labels_csv: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a detector of images cannot be fine-tuned, only one of rows or windows"):
        run(images_model, labels_csv, tmp_path / "a.onnx")


def test_words_and_a_maintenance_log_are_labels_too(
    tuned: Tuned, model: Path, faulty: Day, labels_csv: Path, two_weeks_csv: Path, tmp_path: Path
) -> None:
    words = tmp_path / "words.csv"
    text = re.sub(r",0$", ",False Alarm", labels_csv.read_text(), flags=re.MULTILINE)
    words.write_text(re.sub(r",1$", ",leak", text, flags=re.MULTILINE))
    out, said = tmp_path / "words.onnx", list[str]()
    finetune(model, words, out, anomalous=["leak"], data=two_weeks_csv, layout=CSV, say=said.append)
    assert "anomalous is leak" in said[0]
    x = faulty.values[::50]
    np.testing.assert_array_equal(Detector.load(out, provider="cpu").score(x).score, tuned.after.score(x).score)
    recording = tmp_path / "recording.csv"
    recording.write_text("".join(faulty.lines))
    log = tmp_path / "log.csv"
    log.write_text("start,end\n2026-01-05 05:30,2026-01-05 05:40\n2026-01-05 16:30,2026-01-05 16:40\n")
    out = tmp_path / "log.onnx"
    finetune(model, recording, out, label_column=str(log), data=two_weeks_csv, layout=CSV, say=said.append)
    assert f"labels in {log}: 12 of 720 rows lie in 2 ranges of time" in said
    made = Detector.load(out, provider="cpu")
    assert made.bundle.finetuning is not None
    assert (made.bundle.finetuning.faults, made.bundle.finetuning.false_alarms) == (12, 0)


def test_labelled_events_of_a_service_are_labels(model: Path, faulty: Day, two_weeks_csv: Path, tmp_path: Path) -> None:
    state, recording = tmp_path / "state", tmp_path / "recording.csv"
    recording.write_text("".join(faulty.lines))
    store = EventStore(state / "events.sqlite")
    begin = 1_767_571_200.0  # 2026-01-05 00:00; a row every two minutes, the fault from 5 h on
    spans = [(5.5, 5 + 2 / 3), (1.0, 1.1), (2.0, 2.1)]
    for start, end in spans:
        event = Event(model="pump", start=begin + start * 3600, end=begin + end * 3600, state="ended")
        store.apply([Change(event, "started")])
    store.close()
    asked = ("--label", "1", "fault", "--label", "2", "false-alarm")
    labelled = run_here("events", "--state", state, *asked)
    assert (labelled.returncode, labelled.stdout) == (0, "")
    command = labelled.stderr.partition("vae-detect ")[2].split()
    places = {"MODEL": str(model), "RECORDING.csv": str(recording)}
    words = [places.get(word, word) for word in command]
    tuned = run_here(*words, "--data", two_weeks_csv, "--out", tmp_path / "a.onnx")
    assert tuned.returncode == 0, tuned.stderr
    made = Detector.load(tmp_path / "a.onnx", provider="cpu")
    assert made.bundle.finetuning is not None
    # 10 min and 6 min, a row every 2 min, both ends included; nobody said what the third was
    assert (made.bundle.finetuning.faults, made.bundle.finetuning.false_alarms) == (6, 4)


def test_wrong_columns_are_named(model: Path, labels_csv: Path, two_weeks_csv: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"--label-column '{COLUMNS[0]}' is a column that the model scores"):
        finetune(model, labels_csv, tmp_path / "a.onnx", label_column=COLUMNS[0], layout=CSV)
    with pytest.raises(InputError, match=r"normal\.csv: column 'label' is missing"):
        run(model, two_weeks_csv, tmp_path / "a.onnx")
    path = tmp_path / "lacks.csv"
    path.write_text(labels_csv.read_text().replace(COLUMNS[1], "other", 1))
    with pytest.raises(InputError, match=rf"lacks\.csv: column '{COLUMNS[1]}' is missing"):
        run(model, path, tmp_path / "a.onnx", two_weeks_csv)


def test_a_part_that_was_changed_is_refused(model: Path, labels_csv: Path, two_weeks_csv: Path, tmp_path: Path) -> None:
    for path in model.parent.glob("pump*.onnx"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "pump.encoder.onnx").unlink()
    with pytest.raises(Exception, match=r"pump\.encoder\.onnx: no such file"):
        run(tmp_path / "pump.onnx", labels_csv, tmp_path / "a.onnx", two_weeks_csv)
    assert not (tmp_path / "a.onnx").exists()


# --- as people use it ------------------------------------------------------------------------------------------------


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False)


def test_the_command(model: Path, labels_csv: Path, two_weeks_csv: Path, tmp_path: Path) -> None:
    for path in model.parent.glob("pump*.onnx"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    start, out = tmp_path / "pump.onnx", tmp_path / "pump.finetuned.onnx"
    made = command("finetune", "--model", start, "--labels", labels_csv, "--data", two_weeks_csv)
    assert made.returncode == 0, made.stderr
    assert made.stdout.split() == [
        str(out.with_name(f"pump.finetuned{part}.onnx")) for part in ("", ".encoder", ".decoder")
    ]
    assert "labels: 6 of faults, 6 of false alarms or normal rows" in made.stderr
    assert re.search(r"promised false-alarm rate 0\.05, really between", made.stderr)
    again = run_here("finetune", "-m", start, "--labels", labels_csv, "--data", two_weeks_csv)
    assert (again.returncode, again.stdout) == (2, "")
    assert "exists already; pass --force" in again.stderr
    as_json = run_here("finetune", "-m", start, "--labels", labels_csv, "--data", two_weeks_csv, "--force", "--json")
    assert json.loads(as_json.stdout)["finetuning"]["faults"] == 6
    shown = run_here("inspect", out)
    assert "fine-tuned from" in shown.stdout
    scored = run_here("score", labels_csv, "--model", out, "--out", tmp_path / "scores.csv")
    assert scored.returncode == 0, scored.stderr
    assert len((tmp_path / "scores.csv").read_text().splitlines()) == 721


def test_evaluate_and_serve_take_it(tuned: Tuned, faulty: Day, tmp_path: Path) -> None:
    lines, truth, values = faulty
    path = write_labels(tmp_path / "a.csv", lines, {row: str(int(fault)) for row, fault in enumerate(truth.tolist())})
    result = run_here("evaluate", path, "--labels", "label", "--model", tuned.after.path, "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["detector"]["roc_auc"] > 0.5
    (row,) = Client(tuned.after).results(values[300].tolist())
    assert row["score"] == pytest.approx(tuned.after.score(values[300:301]).score[0].item(), rel=1e-4)


def test_all_of_several_training_files_set_the_threshold_and_one_of_them_does_not(faulty: Day, tmp_path: Path) -> None:
    files = [tmp_path / "a.csv", tmp_path / "b.csv"]
    for seed, path in enumerate(files):
        path.write_text("".join(csv_lines(simulate(duration_s=86400, period_s=120, seed=seed))))
    config = TrainConfig(recipe="vae", hidden=(4,), latent=2, epochs=1)
    train(files, tmp_path / "m.onnx", config, selection=Selection(), layout=CSV, far="0.4")
    labels = write_labels(tmp_path / "labels.csv", faulty.lines, some_labels(faulty.truth, 3, 3))
    with pytest.raises(InputError, match=r"b\.csv: is one of the 2 files that the model was trained on"):
        finetune(tmp_path / "m.onnx", labels, tmp_path / "new.onnx", data=files[1], layout=CSV)
    assert not (tmp_path / "new.onnx").exists()
    of_all = finetune(tmp_path / "m.onnx", labels, tmp_path / "new.onnx", data=files, layout=CSV).bundle
    assert of_all.calibration.n == of_all.data.calibration  # the rows that training held out, of both
    others = [tmp_path / "c.csv", tmp_path / "d.csv"]
    for seed, path in enumerate(others, start=5):
        path.write_text("".join(csv_lines(simulate(duration_s=43200, period_s=120, seed=seed))))
    of_others = finetune(tmp_path / "m.onnx", labels, tmp_path / "new.onnx", data=others, layout=CSV, force=True).bundle
    assert of_others.calibration.n == 2 * (360 - of_others.window + 1)


def test_the_training_recording_is_read_as_it_was_for_the_training(faulty: Day, tmp_path: Path) -> None:
    """With steps that are no gaps for this model alone."""
    header, *lines = "".join(csv_lines(simulate(duration_s=2 * 86400, period_s=120, seed=3))).splitlines()
    kept = [line for number, line in enumerate(lines) if number % 7]
    data = tmp_path / "a.csv"
    data.write_text("\n".join([header, *kept]))
    config = TrainConfig(recipe="vae", kind="windows", window=8, hidden=(4,), latent=2, epochs=1)
    made = train(data, tmp_path / "m.onnx", config, selection=Selection(), layout=Layout(max_gap_s=600), far="0.4")
    assert made is not None
    values, rows = _held_out(made.bundle, [data], CSV)
    assert (len(values), len(rows)) == (len(kept), made.bundle.data.calibration)


def test_a_rate_at_the_edge_of_what_rows_support_gives_way_a_little(lenient: Path, tmp_path: Path) -> None:
    """A rate that nobody asked for is such a one: the smallest that the rows of the training supported."""
    bundle = Detector.load(lenient).bundle
    scores = np.random.default_rng(0).normal(size=60).cumsum().astype(np.float32)
    near = supported_rate(scores, dependence_rows=event_rows(bundle))
    normal, said = Normal(np.zeros((60, 8), np.float32), np.arange(60), scores, (tmp_path,)), list[str]()

    def calibrated(far: float) -> Calibration:
        asked = msgspec.structs.replace(bundle, calibration=msgspec.structs.replace(bundle.calibration, far=far))
        return _calibrate(asked, normal, said.append, of_labels=False)

    assert (calibrated(near).far, said) == (near, [])
    assert calibrated(near / 1.2).far == near
    assert said == [
        f"the promised false-alarm rate becomes {near:g}, from {near / 1.2:g}: these rows support no lower one"
    ]
    with pytest.raises(InputError):
        calibrated(near / 1.3)
