"""Plots: readable SVG in both looks, equal for equal data, whatever the scores."""

from __future__ import annotations

import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure

from vae_detect.training.evaluation import plots

GENERATOR = np.random.default_rng(0)
SCORE = GENERATOR.exponential(10, size=3000)
TRUTH = GENERATOR.random(3000) < 0.1
ALPHA = np.geomspace(1e-3, 0.5, 10)
LINE = [(0.0, 0.0), (0.5, 0.8), (1.0, 1.0)]

DRAWN = {
    "curves": plots.curves({"detector": LINE, "z-score": LINE}, {"detector": LINE, "z-score": LINE}, (0.1, 0.5, 0.9)),
    "no alarm": plots.curves({"detector": LINE}, {"detector": LINE}, (0.0, 0.0, None)),
    "histogram": plots.histogram(SCORE, TRUTH, 30.0),
    "negative scores": plots.histogram(-SCORE, TRUTH, -1.0),
    "equal scores": plots.histogram(np.zeros(3000), TRUTH, 0.0),
    "enormous scores": plots.histogram(np.where(TRUTH, 1e30, SCORE), TRUTH, 30.0),
    "calibration": plots.calibration(ALPHA, ALPHA, ALPHA / 2, ALPHA * 2, 0.01),
    "nothing realised": plots.calibration(ALPHA, 0 * ALPHA, 0 * ALPHA, ALPHA, 0.01),
    "series": plots.series(np.where(np.arange(3000) < 9, np.nan, SCORE), [(50, 60), (2990, 3000)], [(1, 2)], 30.0),
    "short series": plots.series(SCORE[:3], [(0, 1)], [], 30.0),
    "dated series": plots.series(SCORE, [(50, 60)], [(1, 2)], 30.0, np.where(TRUTH, np.nan, 1.7e9 + np.arange(3000))),
    "losses": plots.losses([5.0, 4.0, 3.0], [6.0, 4.5, 5.0]),
    "one epoch": plots.losses([5.0], [6.0]),
}


@pytest.mark.parametrize("name", DRAWN)
def test_plots_are_small_svg_in_both_looks(name: str) -> None:
    looks = plots.svgs(DRAWN[name])
    for content, ink, other in ((looks.light, plots.LIGHT, plots.DARK), (looks.dark, plots.DARK, plots.LIGHT)):
        assert ElementTree.fromstring(content).tag == "{http://www.w3.org/2000/svg}svg"
        assert len(content) < 300_000
        text = content.decode()
        assert ink.text in text
        assert other.text not in text
        assert "<script" not in text
        assert "nan" not in text
    assert plots.svgs(DRAWN[name]) == looks


def test_a_series_keeps_its_peaks() -> None:
    score = np.ones(100_000)
    score[77_777] = 1000.0
    svg = plots.svgs(plots.series(score, [], [], 5.0)).light.decode()
    ticks = [part.split("-->")[0].strip() for part in svg.split("<!--")[1:]]
    assert "500" in ticks  # the axis reaches up to it


@pytest.mark.parametrize(
    ("start", "label", "first"), [(1767592800.0, "time, UTC", "2026-01-05\n06:00:00"), (10.0, "time, s", "10")]
)
def test_a_series_with_times_is_marked_by_them(start: float, label: str, first: str) -> None:
    figure = Figure()
    plots.series(SCORE, [], [], 5.0, start + 60 * np.arange(3000.0))(figure, plots.LIGHT)
    (axes,) = figure.axes
    assert axes.get_xlabel() == label
    assert axes.get_xticklabels()[0].get_text() == first
    assert len(axes.get_xticks()) == 6
    assert axes.get_xlim() == (0, 2999)  # bars and scores stay where their rows are


def test_an_axis_has_its_0_where_scores_are_hardly_negative() -> None:
    svg = plots.svgs(plots.histogram(SCORE - 0.02, TRUTH, 30.0)).light.decode()
    ticks = [part.split("-->")[0].strip() for part in svg.split("<!--")[1:]]
    assert ticks[:4] == ["0", "2", "5", "10"]


def test_heat_is_dark_where_there_is_none_and_bright_at_white() -> None:
    picture = plots.heat_picture(np.array([[0.0, 2.0], [4.0, 9.0]], np.float32), 4.0)
    assert picture.shape == (2, 2, 3)
    assert picture.dtype == np.uint8
    assert picture[0, 0].sum() < 20
    np.testing.assert_array_equal(picture[1, 0], picture[1, 1])
    assert picture[0, 0].sum() < picture[0, 1].sum() < picture[1, 0].sum()


def test_drawing_needs_no_torch() -> None:
    code = "import sys; sys.modules['torch'] = None; import vae_detect.training.evaluation.plots"
    subprocess.run([sys.executable, "-c", code], check=True)
