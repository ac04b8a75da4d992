"""Metrics by hand, labels from a column and a file, and the promise on real data."""

import json
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow
from sklearn.metrics import average_precision_score, roc_auc_score

from vae_detect.runtime.detector import Detector
from vae_detect.runtime.errors import InputError
from vae_detect.runtime.layout import Layout
from vae_detect.training.data.selection import Selection
from vae_detect.training.evaluation.evaluate import evaluate as evaluate_any
from vae_detect.training.evaluation.evaluate import trace_curves
from vae_detect.training.evaluation.event_figures import Events
from vae_detect.training.evaluation.figures import Evaluation, PromiseCheck
from vae_detect.training.evaluation.promise import NormalOnly, check_promise
from vae_detect.training.evaluation.vus import volumes
from vae_detect.training.settings.config import TrainConfig
from vae_detect.training.train import train

CSV = Layout()


def evaluate(
    detector: Detector, data: Path | list[Path], labels: str | None, layout: Layout, **options: Any
) -> Evaluation:
    """Of data with anomalies."""
    found = evaluate_any(detector, data, labels, layout, **options)
    assert isinstance(found, Evaluation)
    return found


# --- evaluations by hand ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def quiet(detector: Detector, normal_rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Normal rows that raise no alarm and lie within 3 standard deviations in every column."""
    center, scale = (np.array([getattr(c, n) for c in detector.bundle.columns]) for n in ("center", "scale"))
    near = (np.abs(normal_rows - center) < 3 * scale).all(axis=1)
    return np.asarray(normal_rows[near & ~detector.score(normal_rows).is_anomaly], np.float64)


def pushed(detector: Detector, row: NDArray[np.float64], deviations: float) -> NDArray[np.float64]:
    """The row with its first column so many standard deviations above its mean."""
    found = row.copy()
    found[0] = detector.bundle.columns[0].center + deviations * detector.bundle.columns[0].scale
    return found


def write(detector: Detector, path: Path, rows: list[NDArray[np.float64]], labels: str, *, times: bool = False) -> Path:
    """A recording with a column `label`, a row every 30 s."""
    start = datetime(2026, 1, 5)
    lines = [",".join([*(["timestamp"] if times else []), *detector.bundle.names, "label"])]
    for i, (row, label) in enumerate(zip(rows, labels, strict=True)):
        stamp = [str(start + timedelta(seconds=30 * i))] if times else []
        lines.append(",".join([*stamp, *map(str, row.tolist()), label]))
    path.write_text("\n".join(lines) + "\n")
    return path


def test_an_evaluation_by_hand(detector: Detector, quiet: NDArray[np.float64], tmp_path: Path) -> None:
    # deviations of the largest column: below 3, 40, 20, 30, below 3; alarms in the three middle rows
    rows = [quiet[0], *(pushed(detector, quiet[1], size) for size in (40, 20, 30)), quiet[2]]
    found = evaluate(detector, write(detector, tmp_path / "a.csv", rows, "00111", times=True), "label", CSV)
    assert (found.rows, found.scored, found.anomalous) == (5, 5, 3)
    # alarms: one wrong, two right; the fifth row is missed; one of two normal rows alarms
    assert found.at_threshold.precision == pytest.approx(2 / 3)
    assert found.at_threshold.recall == pytest.approx(2 / 3)
    assert found.at_threshold.false_alarm_rate == pytest.approx(1 / 2)
    assert found.at_threshold.f1 == pytest.approx(2 / 3)
    # one event of rows 2-4, found at once; the alarm of row 1 runs on into it, so that none is false
    assert found.events == Events(1, 1, 0.0, 0.0, 0, 0, 1.0, 1.0, 1.0, 0.0)
    assert found.vus_buffer_rows == 3
    assert found.promised_false_alarm_rate == detector.bundle.calibration.far
    text = found.describe()
    assert "5 rows, 5 scored, of them 3 anomalous (60.0%)" in text
    assert "precision         0.667" in text
    assert "found             1 of 1, median delay 0 rows (0 s), longest 0\n" in text
    assert "false             0, 0 a day" in text
    assert "VUS with buffers up to 3 rows" in text
    assert "calibration       rate out of the range; not reported as broken" in text


def test_an_adaptive_evaluation_is_of_the_adapted_verdicts(
    detector: Detector, quiet: NDArray[np.float64], tmp_path: Path
) -> None:
    path = write(detector, tmp_path / "a.csv", [pushed(detector, quiet[0], 30)] * 100 + [quiet[1]], "1" * 100 + "0")
    assert evaluate(detector, path, "label", CSV).at_threshold.recall == 1.0
    found = evaluate(detector, path, "label", CSV, adaptive=True)
    assert found.at_threshold.recall == 0.34  # see tests/runtime/service/test_app.py
    assert "at a threshold that follows the data" in found.describe()


def test_rankings_by_hand(detector: Detector, quiet: NDArray[np.float64], tmp_path: Path) -> None:
    # the first column at 10, 30, 40 and 20 deviations, labelled 0, 1, 0, 1
    rows = [pushed(detector, quiet[0], size) for size in (10, 30, 40, 20)]
    found = evaluate(detector, write(detector, tmp_path / "a.csv", rows, "0101"), "label", CSV)
    # of the 4 pairs of an anomalous and a normal row, 30 > 10 and 20 > 10 are right
    assert found.z_score.roc_auc == pytest.approx(0.5)
    # from the top: 40 wrong, 30 right (precision 1/2), 20 right (2/3)
    assert found.z_score.average_precision == pytest.approx((1 / 2 + 2 / 3) / 2)
    # far out the score is quadratic in the deviation, so the detector ranks the same way
    assert found.detector == found.z_score
    assert found.events is not None
    assert found.events.median_delay_s is None  # the file has no time stamps


def test_no_alarms_are_no_precision(detector: Detector, quiet: NDArray[np.float64], tmp_path: Path) -> None:
    found = evaluate(detector, write(detector, tmp_path / "a.csv", list(quiet[:4]), "0011"), "label", CSV)
    assert found.at_threshold.precision is None
    assert found.at_threshold.recall == 0.0
    assert found.at_threshold.f1 == 0.0
    assert "precision         no alarms" in found.describe()
    assert "found             0 of 1\n" in found.describe()


def test_rows_without_a_score_are_left_out_and_counted(
    detector: Detector, quiet: NDArray[np.float64], tmp_path: Path
) -> None:
    nan, huge = quiet[0].copy(), quiet[0].copy()
    nan[2], huge[1] = np.nan, 3e38  # a bad cell, and a score beyond float32
    rows = [quiet[0], nan, pushed(detector, quiet[1], 30), huge, quiet[2]]
    found = evaluate(detector, write(detector, tmp_path / "a.csv", rows, "01110"), "label", CSV)
    assert (found.rows, found.scored, found.anomalous) == (5, 3, 1)
    assert found.detector.roc_auc == 1.0
    assert found.at_threshold.recall == 1.0
    # Events are counted over all rows: the event begins with the bad row and is found one row later.
    assert found.events == Events(1, 1, 1.0, None, 0, 1, 1.0, 1.0, 1.0, None)


def test_the_random_baseline_is_fixed(detector: Detector, quiet: NDArray[np.float64], tmp_path: Path) -> None:
    path = write(detector, tmp_path / "a.csv", list(quiet[:100]), "01" * 50)
    first: Evaluation = evaluate(detector, path, "label", CSV)
    assert first == evaluate(detector, path, "label", CSV)
    assert 0.3 < first.random.roc_auc < 0.7


def test_labels_of_another_length_are_refused(detector: Detector, quiet: NDArray[np.float64], tmp_path: Path) -> None:
    path = write(detector, tmp_path / "a.csv", list(quiet[:3]), "010")
    labels = tmp_path / "labels.csv"
    labels.write_text("label\n0\n1\n")
    with pytest.raises(InputError, match=r"2 labels in .* for 3 rows"):
        evaluate(detector, path, str(labels), CSV)


def test_anomalies_alone_are_refused(detector: Detector, quiet: NDArray[np.float64], tmp_path: Path) -> None:
    path = write(detector, tmp_path / "a.csv", list(quiet[:3]), "111")
    with pytest.raises(InputError, match=r"all 3 scored rows are labelled as anomalies.* --labels none"):
        evaluate(detector, path, "label", CSV)
    bad = quiet[1].copy()
    bad[0] = np.nan
    with pytest.raises(InputError, match="all 1 scored rows are labelled as anomalies"):
        evaluate(detector, write(detector, tmp_path / "b.csv", [quiet[0], bad], "10"), "label", CSV)


def test_normal_rows_alone_give_the_realised_rate(
    detector: Detector, quiet: NDArray[np.float64], tmp_path: Path
) -> None:
    rows = list(quiet[:40])
    for at in (5, 6, 20):
        rows[at] = pushed(detector, rows[at], 40)
    path = write(detector, tmp_path / "a.csv", rows, "0" * 40, times=True)
    found = evaluate_any(detector, path, "label", CSV)
    assert found == evaluate_any(detector, path, "none", CSV)
    assert isinstance(found, NormalOnly)
    assert (found.rows, found.scored, found.alarms, found.false_alarm_rate) == (40, 40, 3, 3 / 40)
    assert found.events is not None
    assert found.events.false_events == 2
    assert found.events.false_events_per_day == pytest.approx(2 / (40 * 30 / 86400))
    text = found.describe()
    assert "40 rows, 40 scored, all of them normal" in text
    assert "  false alarms      3\n  false-alarm rate  0.0750   between " in text
    assert "  false             2, 144 a day" in text
    with pytest.raises(InputError, match="all of it is normal; --report and --point-adjust need anomalies"):
        evaluate(detector, path, "none", CSV, report=tmp_path / "a.html")
    assert not (tmp_path / "a.html").exists()


def test_ranges_of_time_are_labels(detector: Detector, quiet: NDArray[np.float64], tmp_path: Path) -> None:
    path = write(detector, tmp_path / "a.csv", [quiet[0], quiet[1], quiet[2], quiet[3]], "0110", times=True)
    log = tmp_path / "log.csv"
    log.write_text("start,end,what\n2026-01-05 00:00:30,2026-01-05 00:01:00,leak\n")
    assert evaluate(detector, path, str(log), CSV) == evaluate(detector, path, "label", CSV)


def test_files_are_recordings_of_their_own(detector: Detector, quiet: NDArray[np.float64], tmp_path: Path) -> None:
    faulty = pushed(detector, quiet[1], 30)
    first = write(detector, tmp_path / "a.csv", [quiet[0], quiet[2], faulty], "001", times=True)
    second = write(detector, tmp_path / "b.csv", [faulty, quiet[3]], "10", times=True)
    found = evaluate(detector, [first, second], "label", CSV)
    assert (found.rows, found.anomalous, found.at_threshold.recall) == (5, 2, 1.0)
    assert found.events is not None
    assert (found.events.events, found.events.found) == (2, 2)  # one at the end of a, one at the beginning of b
    assert found == evaluate(detector, tmp_path, "label", CSV)
    log = tmp_path / "log.txt"
    log.write_text("start,end\n2026-01-05 00:01:00,2026-01-05 00:01:00\n")  # the last row of a, and nothing in b
    with pytest.raises(InputError, match="is named twice"):
        evaluate(detector, [second, second], "label", CSV)
    assert evaluate(detector, [first, second], str(log), CSV).anomalous == 1


def test_a_recording_without_rows_is_refused(detector: Detector, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no rows after the header"):
        evaluate(detector, write(detector, tmp_path / "a.csv", [], ""), "label", CSV)


def test_windows_are_scored_from_the_first_full_one(
    windows_detector: Detector, normal_rows: NDArray[np.float32], tmp_path: Path
) -> None:
    rows = list(normal_rows[:20].astype(np.float64))
    found = evaluate(
        windows_detector, write(windows_detector, tmp_path / "a.csv", rows, "0" * 15 + "1" * 5), "label", CSV
    )
    assert (found.rows, found.scored, found.anomalous) == (20, 17, 5)  # a window of 4 is full at the fourth row
    assert found.events is not None
    assert found.events.events == 1


# --- real data -------------------------------------------------------------------------------------------------------


def test_cardio_with_the_defaults(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "tabular" / "cardio"
    out = tmp_path / "cardio.onnx"
    train(folder / "train.csv", out, TrainConfig(recipe="vae"), selection=Selection(), layout=CSV)
    detector = Detector.load(out, provider="cpu")

    found = evaluate(detector, folder / "test.csv", str(folder / "test_labels.csv"), CSV)

    assert (found.rows, found.scored, found.anomalous) == (1004, 1004, 176)
    assert found.detector.roc_auc >= 0.92
    assert found.detector.average_precision > found.random.average_precision + 0.3
    low, high = found.promised_range
    assert low <= found.at_threshold.false_alarm_rate <= high
    assert found.events is None  # rows of a table have no order
    assert found.detector.vus_pr is None
    assert "VUS" not in found.describe()


def test_false_events_are_counted_by_the_day(detector: Detector, quiet: NDArray[np.float64], tmp_path: Path) -> None:
    # rows every 30 s: 8 normal ones, two false events among them
    rows = list(quiet[:9])
    for at in (1, 5):
        rows[at] = pushed(detector, rows[at], 40)
    found = evaluate(detector, write(detector, tmp_path / "a.csv", rows, "000000010", times=True), "label", CSV)
    assert found.events is not None
    assert found.events.false_events == 2
    assert found.events.false_events_per_day == pytest.approx(2 / (8 * 30 / 86400))


def test_volumes_give_rows_without_a_score_the_lowest(
    detector: Detector, quiet: NDArray[np.float64], tmp_path: Path
) -> None:
    bad = quiet[1].copy()
    bad[0] = np.nan
    rows = [quiet[0], bad, pushed(detector, quiet[2], 40), *quiet[3:9]]
    found = evaluate(detector, write(detector, tmp_path / "a.csv", rows, "011000000"), "label", CSV)
    score = detector.score(np.array(rows)).score
    score[1] = np.nanmin(score)
    assert (found.detector.vus_roc, found.detector.vus_pr) == volumes([0, 1, 1, 0, 0, 0, 0, 0, 0], score)


def test_point_adjusted_figures_come_only_when_asked_for_and_with_a_warning(
    detector: Detector, quiet: NDArray[np.float64], tmp_path: Path
) -> None:
    # an event of 8 rows with one alarm, which point adjustment takes for 8, and a false alarm
    rows = list(quiet[:20])
    for at in (8, 15):
        rows[at] = pushed(detector, rows[at], 40)
    path = write(detector, tmp_path / "a.csv", rows, "00000111111110000000")
    plain = evaluate(detector, path, "label", CSV)
    assert plain.point_adjusted is None
    assert "adjusted" not in plain.describe()
    assert plain.at_threshold.recall == 1 / 8
    found = evaluate(detector, path, "label", CSV, point_adjusted=True)
    assert found.point_adjusted is not None
    assert found.point_adjusted.recall == 1.0
    assert found.point_adjusted.precision == pytest.approx(8 / 9)
    assert found.point_adjusted.f1 == pytest.approx(2 * 8 / (9 + 8))
    # two alarms at random hit the event with probability 1 - 12 * 11 / (20 * 19), and then almost all of it is right
    assert 0.3 < found.point_adjusted.coin_f1 < 0.9
    assert "random scores too" in found.describe()
    assert "Kim et al. 2022" in found.point_adjusted.warning


def test_point_adjusting_asks_for_an_order(images_detector: Detector, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="point-adjusted figures are for events of ordered data, and this model"):
        evaluate(images_detector, tmp_path, None, CSV, point_adjusted=True)


# --- curves ----------------------------------------------------------------------------------------------------------


def test_curves_by_hand() -> None:
    # from the top: right, wrong, right, wrong
    found = trace_curves(np.array([True, False, True, False]), np.array([4.0, 3.0, 2.0, 1.0]))
    assert found.roc == ((0, 0), (0, 0.5), (0.5, 0.5), (0.5, 1), (1, 1))
    assert found.precision_recall == ((0, 1), (0.5, 1), (0.5, 0.5), (1, 0.666667), (1, 0.5))


def test_long_curves_are_thinned_without_losing_their_area() -> None:
    generator = np.random.default_rng(0)
    truth = generator.random(20_000) < 0.03
    score = generator.normal(size=20_000) + 2 * truth
    found = trace_curves(truth, score)
    assert len(found.roc) <= len(found.precision_recall) + 200 <= 400
    assert (found.roc[0], found.roc[-1]) == ((0, 0), (1, 1))
    x, y = np.array(found.roc).T
    assert np.trapezoid(y, x) == pytest.approx(roc_auc_score(truth, score), abs=0.003)
    recall, precision = np.array(found.precision_recall).T
    assert np.trapezoid(precision, recall) == pytest.approx(average_precision_score(truth, score), abs=0.01)


def test_an_evaluation_holds_the_curves_of_detector_and_z_score(
    detector: Detector, quiet: NDArray[np.float64], tmp_path: Path
) -> None:
    path = write(detector, tmp_path / "a.csv", list(quiet[:40]), "01" * 20)
    found = json.loads(msgspec.json.encode(evaluate(detector, path, "label", CSV)))
    assert set(found["curves"]) == {"detector", "z_score"}
    assert found["curves"]["z_score"]["roc"][-1] == [1.0, 1.0]


# --- what is refused -------------------------------------------------------------------------------------------------


def test_images_without_normal_ones_are_refused(
    images_detector: Detector, photos: NDArray[np.uint8], tmp_path: Path
) -> None:
    (tmp_path / "bolt").mkdir()
    for number, pixels in enumerate(photos[:3]):
        Pillow.fromarray(pixels).save(tmp_path / "bolt" / f"{number}.png")
    with pytest.raises(InputError, match="none of the 3 images lie in a folder 'good'"):
        evaluate(images_detector, tmp_path, None, Layout())
    found = evaluate_any(images_detector, tmp_path, "none", Layout())
    assert isinstance(found, NormalOnly)
    assert "3 images, 3 scored, all of them normal" in found.describe()
    assert evaluate_any(images_detector, tmp_path, None, Layout(), normal=["bolt"]) == found
    (tmp_path / "bolt").rename(tmp_path / "good")
    assert evaluate_any(images_detector, tmp_path, None, Layout()) == found
    with pytest.raises(InputError, match="--labels is for tables; the labels of images are the names of their folders"):
        evaluate(images_detector, tmp_path, "label", Layout())


def test_a_detector_of_rows_is_not_evaluated_on_a_folder(detector: Detector, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no table"):
        evaluate(detector, tmp_path, "label", Layout())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("report.txt", r"expected a name that ends in \.html"),
        ("missing/report.html", "cannot be written: No such file or directory"),
        ("folder.html", "is no regular file"),
        ("taken.html", "exists already; pass --force to replace it"),
    ],
)
def test_a_report_that_cannot_be_written_is_refused_before_anything_is_scored(
    detector: Detector, tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "taken.html").write_text("mine")
    with pytest.raises(InputError, match=message):
        evaluate(detector, tmp_path / "no.csv", "label", CSV, report=tmp_path / name)
    assert (tmp_path / "taken.html").read_text() == "mine"


def test_a_failed_evaluation_leaves_no_report(detector: Detector, tmp_path: Path) -> None:
    (tmp_path / "taken.html").write_text("mine")
    with pytest.raises(InputError, match="no rows after the header"):
        evaluate(
            detector, write(detector, tmp_path / "a.csv", [], ""), "label", CSV,
            report=tmp_path / "taken.html", force=True,
        )  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "taken.html"]
    assert (tmp_path / "taken.html").read_text() == "mine"


# --- the promise ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("normal_alarms", "faults", "expected"),
    [
        # far_high of this detector is 0.0027, far_low nearly 0, a block 377 rows
        (20, 0, PromiseCheck(True, None, False)),
        (
            30,
            0,
            PromiseCheck(True, None, False),
        ),  # above it, but these rows are worth 94, of which that is less than one
        (5000, 0, PromiseCheck(False, 4 * 377, True)),
        (20, 10 * 377, PromiseCheck(True, None, False)),  # a fault that lasts no longer than one may
        (20, 20 * 377, PromiseCheck(True, 13 * 377, False)),  # one that does, and no fault of the calibration
    ],
)
def test_the_promise_by_hand(detector: Detector, normal_alarms: int, faults: int, expected: PromiseCheck) -> None:
    threshold = detector.bundle.calibration.threshold
    score, truth = np.zeros(5000 + faults, np.float32), np.zeros(5000 + faults, np.bool_)
    # False alarms are spread over the normal rows, which come after the faults but for one block.
    truth[377 : 377 + faults] = True
    normal = np.flatnonzero(~truth)
    apart = 5000 // normal_alarms
    score[normal[4 * apart // 5 :: apart][:normal_alarms]] = (
        2 * threshold
    )  # one of 20 in the first block, so it is quiet
    score[truth] = 2 * threshold
    assert check_promise(detector.bundle, truth, score, score > threshold) == expected


def test_adapted_verdicts_are_judged_by_their_own_rate(detector: Detector) -> None:
    score, truth = np.full(5000, 2 * detector.bundle.calibration.threshold, np.float32), np.zeros(5000, np.bool_)
    found = check_promise(detector.bundle, truth, score, np.arange(5000) < 20)
    assert found == PromiseCheck(True, 4 * 377, True)
    assert found.describe() == "rate in the range; reported after 1508 inputs as broken"


def test_alarms_by_limits_are_alarms_and_no_part_of_the_promise(
    limited_detector: Detector, normal_rows: NDArray[np.float32], tmp_path: Path
) -> None:
    beyond = normal_rows[normal_rows[:, 5].argmax()]  # by its score it is normal
    rows = [np.asarray(row, np.float64) for row in (normal_rows[0], beyond, normal_rows[1], beyond)]
    path = write(limited_detector, tmp_path / "a.csv", rows, "0101")
    found = evaluate(limited_detector, path, "label", CSV)
    assert (found.at_threshold.precision, found.at_threshold.recall) == (1, 1)
    normal = evaluate_any(limited_detector, path, "none", CSV)
    assert isinstance(normal, NormalOnly)
    assert (normal.alarms, normal.beyond_limits, normal.false_alarm_rate) == (0, 2, 0)
    assert "  beyond limits     2" in normal.describe().splitlines()
    many = write(limited_detector, tmp_path / "b.csv", rows[1:2] * 5000, "0" * 5000)
    judged = evaluate_any(limited_detector, many, "none", CSV)
    assert isinstance(judged, NormalOnly)
    assert (judged.alarms, judged.promise.reported_after) == (0, None)


def test_an_evaluation_needs_no_torch() -> None:
    of = "vae_detect.training.evaluation"
    code = f"import sys; import {of}.evaluate, {of}.importance; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
