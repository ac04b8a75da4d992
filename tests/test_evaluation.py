"""Metrics by hand, labels from a column and a file, and the promise on real data."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow
from scipy.special import logsumexp
from scipy.stats import norm

from vae_detect.runtime.bundle import Prior
from vae_detect.runtime.detector import Detector
from vae_detect.runtime.errors import InputError
from vae_detect.runtime.session import Session, read_model_file
from vae_detect.runtime.simulation import simulate
from vae_detect.runtime.tables import TableFormat
from vae_detect.training.data import Selection
from vae_detect.training.evaluation import (
    Evaluation,
    Events,
    PromiseCheck,
    check_promise,
    count_events,
    evaluate,
    importance_weights,
    log_prior,
    read_labels,
)
from vae_detect.training.recipes import TrainConfig
from vae_detect.training.train import train

CSV = TableFormat()


def flags(text: str) -> NDArray[np.bool_]:
    return np.array([letter == "x" for letter in text])


# --- events ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("truth", "alarm", "expected"),
    [
        # one event of rows 2-5, first alarm in its second row; a false event in rows 7-8
        ("..xxxx...", "...xx..xx", Events(1, 1, 1.0, None, 1)),
        # events at the very start and the very end, found at once and after 2 rows: the median is 1
        ("xx...xxx", "x......x", Events(2, 2, 1.0, None, 0)),
        # three events, the middle one missed: delays 0 and 4, median 2
        ("x.x.xxxxx", "x.......x", Events(3, 2, 2.0, None, 0)),
        # a run of alarms that begins before its event touches it, so it is not false; the delay is 0
        ("..xx", ".xxx", Events(1, 1, 0.0, None, 0)),
        # one run of alarms over two events
        ("x.x", "xxx", Events(2, 2, 0.0, None, 0)),
        # a false event at the start and one at the end
        (".xx.", "x..x", Events(1, 0, None, None, 2)),
        # no alarms at all; no events at all; all of it one event
        (".xx.", "....", Events(1, 0, None, None, 0)),
        ("....", ".x.x", Events(0, 0, None, None, 2)),
        ("xxxx", "xxxx", Events(1, 1, 0.0, None, 0)),
        ("", "", Events(0, 0, None, None, 0)),
    ],
)
def test_events_by_hand(truth: str, alarm: str, expected: Events) -> None:
    assert count_events(flags(truth), flags(alarm)) == expected


def test_delays_in_seconds_follow_the_time_stamps() -> None:
    times = np.array([0.0, 10.0, 20.0, 50.0, 60.0, 70.0])
    # rows 1-3, found at row 3: 40 s later; row 5, found at once
    found = count_events(flags(".xxx.x"), flags("...x.x"), times)
    assert (found.median_delay_rows, found.median_delay_s) == (1.0, 20.0)


# --- the promise ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("normal_alarms", "faults", "expected"),
    [
        # far_high of this detector is 0.0057, far_low nearly 0, a block 177 rows
        (20, 0, PromiseCheck(True, None, False)),
        (30, 0, PromiseCheck(False, None, False)),
        (5000, 0, PromiseCheck(False, 4 * 177, True)),
        (20, 10 * 177, PromiseCheck(True, None, False)),  # a fault that lasts no longer than one may
        (20, 20 * 177, PromiseCheck(True, 13 * 177, False)),  # one that does, and no fault of the calibration
    ],
)
def test_the_promise_by_hand(detector: Detector, normal_alarms: int, faults: int, expected: PromiseCheck) -> None:
    threshold = detector.bundle.calibration.threshold
    score, truth = np.zeros(5000 + faults, np.float32), np.zeros(5000 + faults, np.bool_)
    # False alarms are spread over the normal rows, which come after the faults but for one block.
    truth[177 : 177 + faults] = True
    normal = np.flatnonzero(~truth)
    score[normal[:: 5000 // normal_alarms][:normal_alarms] if normal_alarms < 5000 else normal] = 2 * threshold
    score[truth] = 2 * threshold
    assert check_promise(detector.bundle, truth, score, score > threshold) == expected


def test_adapted_verdicts_are_judged_by_their_own_rate(detector: Detector) -> None:
    score, truth = np.full(5000, 2 * detector.bundle.calibration.threshold, np.float32), np.zeros(5000, np.bool_)
    found = check_promise(detector.bundle, truth, score, np.arange(5000) < 20)
    assert found == PromiseCheck(True, 4 * 177, True)
    assert found.describe() == "rate in the range; reported after 708 inputs as broken"


# --- labels ----------------------------------------------------------------------------------------------------------


def test_labels_from_a_column(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("v,label\n1,0\n2,1\n3, 1.0 \n4,0.0\n5,TRUE\n6,false\n")
    assert read_labels(path, "label", CSV).tolist() == [False, True, True, False, True, False]


def test_labels_from_a_file(tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("is_bad\n0\n1\n")
    # the data may be written otherwise: its format is not that of the labels
    found = read_labels(tmp_path / "a.csv", str(labels), TableFormat(delimiter=";", decimal=","))
    assert found.tolist() == [False, True]


@pytest.mark.parametrize("cell", ["2", "", "yes", "nan", "-1", "normal"])
def test_wrong_labels_are_refused_with_their_row(tmp_path: Path, cell: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"v,label\n1,0\n2,{cell}\n")
    with pytest.raises(InputError, match=rf"a\.csv: row 1, column 'label': holds '{cell}', expected 0 or 1") as refused:
        read_labels(path, "label", CSV)
    assert refused.value.row == 1


def test_labels_that_are_missing_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("v,label\n1,0\n")
    with pytest.raises(InputError, match="column 'truth' is missing; the header has 'v', 'label'"):
        read_labels(path, "truth", CSV)


def test_a_file_of_labels_has_one_column(tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("row,is_bad\n0,1\n")
    with pytest.raises(InputError, match="a file of labels has one column, this one has 2"):
        read_labels(tmp_path / "a.csv", str(labels), CSV)


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
    # one event of rows 2-4, found at once; the alarm of row 1 runs on into it
    assert found.events == Events(1, 1, 0.0, 0.0, 0)
    assert found.promised_false_alarm_rate == detector.bundle.calibration.far
    text = found.describe()
    assert "5 rows, 5 scored, of them 3 anomalous (60.0%)" in text
    assert "precision         0.667" in text
    assert "found             1 of 1, median delay 0 rows (0 s)" in text
    assert "calibration       rate out of the range; not reported as broken" in text


def test_an_adaptive_evaluation_is_of_the_adapted_verdicts(
    detector: Detector, quiet: NDArray[np.float64], tmp_path: Path
) -> None:
    path = write(detector, tmp_path / "a.csv", [pushed(detector, quiet[0], 30)] * 100 + [quiet[1]], "1" * 100 + "0")
    assert evaluate(detector, path, "label", CSV).at_threshold.recall == 1.0
    found = evaluate(detector, path, "label", CSV, adaptive=True)
    assert found.at_threshold.recall == 0.34  # see tests/test_service.py
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
    assert found.events == Events(1, 1, 1.0, None, 0)


def test_the_random_baseline_is_fixed(detector: Detector, quiet: NDArray[np.float64], tmp_path: Path) -> None:
    path = write(detector, tmp_path / "a.csv", list(quiet[:100]), "01" * 50)
    first: Evaluation = evaluate(detector, path, "label", CSV)
    assert first == evaluate(detector, path, "label", CSV)
    assert 0.3 < first.random.roc_auc < 0.7


def test_labels_of_another_length_are_refused(detector: Detector, quiet: NDArray[np.float64], tmp_path: Path) -> None:
    path = write(detector, tmp_path / "a.csv", list(quiet[:3]), "010")
    labels = tmp_path / "labels.csv"
    labels.write_text("label\n0\n1\n")
    with pytest.raises(InputError, match="2 labels for 3 rows of"):
        evaluate(detector, path, str(labels), CSV)


@pytest.mark.parametrize("labels", ["000", "111"])
def test_one_class_alone_is_refused(
    detector: Detector, quiet: NDArray[np.float64], tmp_path: Path, labels: str
) -> None:
    path = write(detector, tmp_path / "a.csv", list(quiet[:3]), labels)
    with pytest.raises(InputError, match="all 3 scored rows have the same label"):
        evaluate(detector, path, "label", CSV)


def test_one_class_among_the_scored_rows_is_refused(
    detector: Detector, quiet: NDArray[np.float64], tmp_path: Path
) -> None:
    bad = quiet[1].copy()
    bad[0] = np.nan
    path = write(detector, tmp_path / "a.csv", [quiet[0], bad], "01")
    with pytest.raises(InputError, match="all 1 scored rows have the same label"):
        evaluate(detector, path, "label", CSV)


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
    train(folder / "train.csv", out, TrainConfig(), selection=Selection(), form=CSV)
    detector = Detector.load(out, provider="cpu")

    found = evaluate(detector, folder / "test.csv", str(folder / "test_labels.csv"), CSV)

    assert (found.rows, found.scored, found.anomalous) == (1004, 1004, 176)
    assert found.detector.roc_auc >= 0.92
    assert found.detector.average_precision > found.random.average_precision + 0.3
    low, high = found.promised_range
    assert low <= found.at_threshold.false_alarm_rate <= high
    assert found.events is None  # rows of a table have no order


# --- the log-likelihood ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"), [("good", "all of the 3 images lie in a folder 'good'"), ("bolt", "none of the 3 images lie")]
)
def test_images_all_in_one_kind_of_folder_are_refused(
    images_detector: Detector, photos: NDArray[np.uint8], tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / name).mkdir()
    for number, pixels in enumerate(photos[:3]):
        Pillow.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    with pytest.raises(InputError, match=message):
        evaluate(images_detector, tmp_path, None, TableFormat())
    with pytest.raises(InputError, match="--labels is for tables; the labels of images are the names of their folders"):
        evaluate(images_detector, tmp_path, "label", TableFormat())


def test_a_detector_of_rows_is_not_evaluated_on_a_folder(detector: Detector, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder, and this model scores rows; expected a CSV file"):
        evaluate(detector, tmp_path, "label", TableFormat())


def test_importance_weights_are_those_of_the_encoder_and_decoder_files(detector: Detector) -> None:
    """log p(x | z) + log p(z) - log q(z | x), with p(x | z) from the decoder's file instead of the scorer's noise."""
    x = simulate(duration_s=600, period_s=30, seed=9).values.astype(np.float32)
    scale_of_columns = np.array([column.scale for column in detector.bundle.columns])

    found = importance_weights(detector, x, samples=3, seed=5)

    encoder, decoder = (
        Session(read_model_file(path), source=str(path), provider="cpu")
        for path in (detector.path.with_name(f"vae.{part}.onnx") for part in ("encoder", "decoder"))
    )
    mean, log_variance = encoder.run(["mean", "log_variance"], {"x": x})
    noise = np.random.default_rng(5)
    for weights in found:
        z = mean + np.exp(log_variance / 2) * noise.standard_normal((1, mean.shape[1]), dtype=np.float32)
        expected, scale = decoder.run(["reconstruction", "scale"], {"latent": z.astype(np.float32)})
        log_likelihood = norm.logpdf(x, expected, scale).sum(1) + np.log(scale_of_columns).sum()
        log_ratio = norm.logpdf(z).sum(1) - norm.logpdf(z, mean, np.exp(log_variance / 2)).sum(1)
        np.testing.assert_allclose(weights, log_likelihood + log_ratio, rtol=1e-3, atol=2e-2)


def test_more_samples_give_a_higher_bound(detector: Detector) -> None:
    x = simulate(duration_s=3600, period_s=30, seed=9).values.astype(np.float32)

    weights = importance_weights(detector, x, samples=64)

    bounds = []
    for count in (1, 4, 16, 64):
        groups = weights.reshape(-1, count, len(x))
        bounds.append(float((logsumexp(groups, axis=1) - np.log(count)).mean()))
    assert bounds == sorted(bounds)


def test_the_prior_of_a_mixture_is_a_mixture(detector: Detector) -> None:
    z = np.array([[0.5, -1.0], [3.0, 0.0]])
    prior = Prior(weights=(0.25, 0.75), means=((0.0, 0.0), (3.0, 1.0)), scales=((1.0, 1.0), (2.0, 0.5)))

    first, second = norm.pdf(z, (0, 0), (1, 1)).prod(1), norm.pdf(z, (3, 1), (2, 0.5)).prod(1)

    np.testing.assert_allclose(log_prior(z, prior), np.log(0.25 * first + 0.75 * second))
