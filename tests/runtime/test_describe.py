"""What `inspect` shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from tiny_images import write_detector

from vae_detect.runtime.bundle import Bundle, Calibration, Column, Image, Prior
from vae_detect.runtime.describe import describe, describe_calibration
from vae_detect.runtime.detector import Detector


@pytest.fixture
def images_bundle(tmp_path: Path) -> Bundle:
    path = write_detector(tmp_path / "tiny.onnx", Image(6, 5, "colour"))
    return Detector.load(path, provider="cpu").bundle


def test_description_shows_threshold_and_columns(detector: Detector, windows_detector: Detector) -> None:
    text = describe(detector.bundle)
    assert "recipe       vae, gaussian likelihood, 8 latent dimensions\n" in text
    assert f"calibration  Threshold {detector.bundle.calibration.threshold:.6g} from 15790 held-out" in text
    assert "data         80640 rows, a row every 30 s, time stamps in 'timestamp'" in text
    assert "licence      Apache-2.0\n" in text
    assert [line.split()[0] for line in text.splitlines()[-8:]] == list(detector.bundle.names)
    assert "windows of 4 rows, scored at the newest" in describe(windows_detector.bundle)
    assert "licence" not in describe(windows_detector.bundle)


def last_lines(bundle: Bundle, *columns: Column) -> list[str]:
    return describe(msgspec.structs.replace(bundle, columns=columns)).splitlines()[-len(columns) - 1 :]


def test_description_shows_the_treatment_of_each_column(detector: Detector) -> None:
    assert last_lines(
        detector.bundle,
        Column("flow", "m3/h", 138.2, 19.3),
        Column("packets", "1/s", 2.5, 0.75, "log", knee=4.0),
        Column("load", "%", -1.25, 0.5, "logit", levels=(0.0, 100.0)),
        Column("valve", "", 0.0, 2.0, "binary", levels=(0.0, 2.5)),
        Column("mode", "", 0.0, 1.0, "category", levels=(0.0, 1.0), texts=("auto", "by hand")),
        Column("shift", "", 0.0, 1.0, "class", levels=(1.0, 2.0, 3.0)),
    ) == [
        "columns      6, mean +- standard deviation while training; of a log or logit column, after that",
        "  flow            138.2 +- 19.3       m3/h",
        "  packets           2.5 +- 0.75       1/s  log, nearly linear below 4",
        "  load            -1.25 +- 0.5        %  logit, 0 to 100",
        "  valve    binary: 0, 2.5",
        "  mode     category: 'auto', 'by hand'",
        "  shift    class: 1, 2, 3",
    ]


def test_description_keeps_to_the_width_of_a_screen(detector: Detector) -> None:
    texts = tuple(f"recipe, no. {number}" for number in range(32))
    many = Column("product", "", 0.0, 1.0, "category", levels=tuple(map(float, range(32))), texts=texts)
    long = msgspec.structs.replace(many, name="n" * 120)

    line = last_lines(detector.bundle, many)[-1]

    assert len(line) <= 110
    assert line.startswith("  product  category: 'recipe, no. 0', 'recipe, no. 1', ")
    assert line.endswith("', ... (32)")
    assert last_lines(detector.bundle, long)[-1] == f"  {'n' * 120}  category: ... (32)"


@pytest.mark.parametrize(
    ("prior", "active", "line"),
    [
        (None, None, "none, so it cannot sample"),
        (Prior((1.0,), ((0.0,) * 8,), ((1.0,) * 8,)), None, "standard normal"),
        (Prior((1.0,), ((0.0,) * 8,), ((1.0,) * 8,)), 5, "standard normal; 5 of 8 dimensions active"),
        (Prior((1.0,), ((0.5,) * 8,), ((1.0,) * 8,)), 5, "mixture of 1 Gaussian; 5 of 8 dimensions active"),
        (
            Prior((0.4, 0.6), ((0.0,) * 8,) * 2, ((1.0,) * 8,) * 2),
            0,
            "mixture of 2 Gaussians; 0 of 8 dimensions active",
        ),
    ],
)
def test_description_shows_the_prior(detector: Detector, prior: Prior | None, active: int | None, line: str) -> None:
    bundle = msgspec.structs.replace(detector.bundle, prior=prior, active_units=active)
    assert f"\nprior        {line}\n" in describe(bundle)


def test_description_of_images_speaks_of_images(images_bundle: Bundle) -> None:
    text = describe(images_bundle)
    assert f"\ndata         {images_bundle.data.rows} images, sha256" in text
    assert "4 golden images reproduced here" in text
    assert "2 latent dimensions, colour images of 6 x 5 (height x width)\n" in text
    assert "\nchannels     3, mean +- standard deviation while training\n" in text


def calibration(**changes: Any) -> Calibration:
    made = Calibration(
        far=0.01,
        threshold=2.5,
        n=1000,
        effective_n=1000,
        far_low=0.006,
        far_high=0.015,
        method="conformal",
        resolution=1 / 1001,
        knot_scores=(0.0, 1.0),
        knot_log10_p=(0.0, -3.0),
    )
    return msgspec.structs.replace(made, **changes)


def test_description_of_a_calibration() -> None:
    assert describe_calibration(calibration()) == (
        "Threshold 2.5 from 1000 held-out normal scores: promised false-alarm rate 0.01, "
        "really between 0.006 and 0.015 in 9 cases of 10."
    )
    assert "scores (worth 40 independent ones): promised" in describe_calibration(calibration(effective_n=40.2))
    assert "between 0 and 0.015" in describe_calibration(calibration(far_low=1e-9))
    assert describe_calibration(calibration(method="extrapolated")).endswith(
        "The rate is extrapolated: 1000 scores show nothing rarer than 0.001."
    )
