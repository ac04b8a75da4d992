"""When a count of false alarms contradicts the promised range, and which labels cannot be judged by."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from vae_detect.runtime.detector import Detector
from vae_detect.runtime.errors import InputError
from vae_detect.runtime.layout import Layout
from vae_detect.training.evaluation.evaluate import evaluate
from vae_detect.training.evaluation.promise import is_plausible, rate_range


@pytest.mark.parametrize(
    ("alarms", "normal", "effective", "plausible"),
    [
        pytest.param(0, 100, 1000, True, id="(1 - 0.004)^100 = 0.67"),
        pytest.param(0, 1000, 1000, False, id="(1 - 0.004)^1000 = 0.018"),
        pytest.param(0, 1000, 300, True, id="worth 300 rows: 0.30"),
        pytest.param(4, 100, 1000, True, id="P(4 or more of 100 at 0.02) = 0.14"),
        pytest.param(6, 100, 1000, False, id="P(6 or more of 100 at 0.02) = 0.015"),
        pytest.param(10, 1000, 1000, True, id="in the range"),
        pytest.param(100, 100, 1000, False, id="all"),
    ],
)
def test_out_of_the_range_only_when_a_binomial_test_says_so(
    detector: Detector, alarms: int, normal: int, effective: float, plausible: bool
) -> None:
    calibration = msgspec.structs.replace(
        detector.bundle.calibration, n=1000, effective_n=effective, far=0.01, far_low=0.004, far_high=0.02
    )
    assert is_plausible(alarms, normal, calibration) == plausible


def test_labels_that_the_model_scores_are_refused(detector: Detector, normal_csv: Path) -> None:
    name = detector.bundle.names[0]
    with pytest.raises(InputError, match=f"column that the model scores.*--exclude {name}"):
        evaluate(detector, normal_csv, name, Layout())


@pytest.mark.parametrize(
    ("alarms", "normal", "effective", "expected"),
    [
        pytest.param(0, 100, 1000, (0.0, 1 - 0.05 ** (1 / 100)), id="the rule of three"),
        pytest.param(100, 100, 1000, (0.05 ** (1 / 100), 1.0), id="all"),
        pytest.param(10, 100, 1000, (0.0552632, 0.1637176), id="scipy.stats.binomtest(10, 100)"),
        pytest.param(100, 1000, 100, (0.0552632, 0.1637176), id="worth a tenth"),
    ],
)
def test_rates_that_explain_a_count(
    detector: Detector, alarms: int, normal: int, effective: float, expected: tuple[float, float]
) -> None:
    calibration = msgspec.structs.replace(detector.bundle.calibration, n=1000, effective_n=effective)
    assert rate_range(alarms, normal, calibration) == pytest.approx(expected, rel=1e-4)
