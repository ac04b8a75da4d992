"""Pictures: readable PNGs, equal for equal data, of the directions that vary most."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image as Pillow

from vae_detect.training.evaluation.code_plot import draw_codes, principal_components


def test_principal_components_are_the_axes_of_an_ellipse() -> None:
    generator = np.random.default_rng(0)
    plane = generator.normal(size=(5000, 2)) * (3, 1)
    rotation = np.linalg.qr(generator.normal(size=(4, 4)))[0][:2]
    values = (plane @ rotation + 7).astype(np.float32)
    points, shares = principal_components(values, np.ones(5000, np.bool_))
    np.testing.assert_allclose(shares, [0.9, 0.1], atol=0.01)
    for axis in (0, 1):
        assert abs(np.corrcoef(points[:, axis], plane[:, axis])[0, 1]) > 0.999


def test_anomalies_do_not_turn_the_axes() -> None:
    values = np.array([[-1, 0, 0], [1, 0, 0], [0, 0.1, 0], [0, -0.1, 0], [0, 0, 99]], np.float32)
    points, shares = principal_components(values, np.array([True] * 4 + [False]))
    expected = np.array([[-1, 0], [1, 0], [0, 0.1], [0, -0.1], [0, 0]])
    np.testing.assert_allclose(points, expected, atol=1e-6)
    np.testing.assert_allclose(shares, np.array([1, 0.01]) / 1.01)


def test_one_row_has_no_variance() -> None:
    points, shares = principal_components(np.ones((1, 3), np.float32), np.ones(1, np.bool_))
    assert (points.tolist(), shares.tolist()) == ([[0, 0]], [0, 0])


@pytest.mark.parametrize("latent", [1, 2, 5])
@pytest.mark.parametrize("anomalies", [0, 3, 40])
def test_codes_are_drawn(latent: int, anomalies: int) -> None:
    codes = np.random.default_rng(0).normal(size=(40, latent)).astype(np.float32)
    is_anomaly = np.arange(40) >= 40 - anomalies
    severity = np.where(is_anomaly, 2, 0.5).astype(np.float32)
    content = draw_codes(codes, severity, is_anomaly)
    picture = Pillow.open(io.BytesIO(content))
    assert (picture.format, picture.size) == ("PNG", (960, 780))
    colours = np.asarray(picture.convert("RGB")).reshape(-1, 3).astype(int)
    red = (colours[:, 0] > 200) & (colours[:, 1] < 150)
    assert red.any()  # the legend at least
    assert draw_codes(codes, severity, is_anomaly) == content


def test_drawing_needs_no_torch() -> None:
    code = "import sys; sys.modules['torch'] = None; import vae_detect.training.evaluation.code_plot"
    subprocess.run([sys.executable, "-c", code], check=True)
