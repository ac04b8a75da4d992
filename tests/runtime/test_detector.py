"""The detector against a bare onnxruntime session, against numpy, and against itself."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from conftest import MODEL
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray
from tiny_images import normal_images, write_detector

from vae_detect.runtime.bundle import Image, Prior
from vae_detect.runtime.detector import CHUNK_ROWS, Detector
from vae_detect.runtime.errors import InputError, ModelError

FLOAT32_MAX = float(np.finfo(np.float32).max)
Floats = NDArray[np.float32]


def bare(path: Path) -> onnxruntime.InferenceSession:
    """A session as any user of ONNX Runtime would open it, one thread like ours."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def spread(rows: Floats, n: int, seed: int = 0) -> Floats:
    """`n` rows: normal ones, each moved by up to six standard deviations, so that scores span the whole range."""
    generator = np.random.default_rng(seed)
    chosen = rows[generator.integers(len(rows), size=n)]
    moved = chosen + generator.uniform(0, 6, (n, 1)) * rows.std(0) * generator.standard_normal(chosen.shape)
    return np.asarray(moved, np.float32)


def windows_of(rows: Floats, window: int) -> Floats:
    return np.stack([rows[i : i + window] for i in range(len(rows) - window + 1)])


def one_by_one(detector: Detector, rows: Floats) -> list[tuple[float, ...]]:
    return [detector.score_one(row) for row in rows]


# --- scores ----------------------------------------------------------------------------------------------------------


def test_scores_are_those_of_a_bare_session_bit_for_bit(
    detector: Detector, windows_detector: Detector, normal_rows: Floats
) -> None:
    rows = spread(normal_rows, 500)
    for each, x in ((detector, rows), (windows_detector, windows_of(rows, 4))):
        score, p_value, is_anomaly = bare(each.path).run(["score", "p_value", "is_anomaly"], {"x": x})
        found = each.score(x)
        assert found.score.tobytes() == score.tobytes()
        assert found.p_value.tobytes() == p_value.tobytes()
        assert found.is_anomaly.tobytes() == is_anomaly.tobytes()
        assert found.scored.all()
        assert 0 < is_anomaly.mean() < 1  # both verdicts are among them


def test_score_one_is_a_bare_session_on_one_row_bit_for_bit(
    detector: Detector, windows_detector: Detector, normal_rows: Floats
) -> None:
    rows = spread(normal_rows, 60)
    for each, inputs in ((detector, rows), (windows_detector, windows_of(rows, 4))):
        session = bare(each.path)
        for x in inputs:
            score, p_value, is_anomaly = session.run(["score", "p_value", "is_anomaly"], {"x": x[None]})
            verdict = each.score_one(x)
            assert (verdict.score, verdict.p_value, verdict.is_anomaly) == (score[0], p_value[0], is_anomaly[0])
            assert each.score_one(x) == verdict
            assert each.score_one(x.tolist()) == verdict
        assert type(verdict.score) is type(verdict.severity) is type(verdict.p_value) is float
        assert type(verdict.is_anomaly) is bool


def test_severity_by_hand(detector: Detector, normal_rows: Floats) -> None:
    # far = 0.001: log10 alpha = -3, so that a p-value of 10^-6 has severity 2
    assert detector.bundle.calibration.far == 0.001
    found = detector.score(spread(normal_rows, 200))
    np.testing.assert_allclose(found.severity, -np.log10(found.p_value.astype(np.float64)) / 3, rtol=1e-5, atol=1e-7)
    verdict = detector.score_one(normal_rows[0])
    assert verdict.severity == pytest.approx(-math.log10(verdict.p_value) / 3, rel=1e-12)


def test_the_verdict_is_score_above_threshold(detector: Detector, normal_rows: Floats) -> None:
    found = detector.score(spread(normal_rows, 2000))
    assert np.array_equal(found.is_anomaly, found.score > np.float32(detector.bundle.calibration.threshold))
    # the severity says the same, up to the rounding of log10 at the boundary
    clear = np.abs(found.severity - 1) > 1e-4
    assert np.array_equal(found.is_anomaly[clear], found.severity[clear] > 1)


def test_p_value_is_the_interpolated_table(detector: Detector, windows_detector: Detector, normal_rows: Floats) -> None:
    rows = spread(normal_rows, 2000)
    for each, x in ((detector, rows), (windows_detector, windows_of(rows, 4))):
        found = each.score(x)
        table = each.bundle.calibration
        expected = np.interp(found.score.astype(np.float64), table.knot_scores, table.knot_log10_p)
        np.testing.assert_allclose(np.log10(found.p_value.astype(np.float64)), expected, rtol=1e-4, atol=1e-6)
        order = np.argsort(found.score)
        assert np.all(np.diff(found.p_value[order]) <= found.p_value[order][:-1] * 1e-6)


@settings(deadline=None, max_examples=25)
@given(sizes=st.lists(st.integers(0, 300), min_size=1, max_size=6), seed=st.integers(0, 5))
def test_batch_size_and_order_change_no_score(
    detector: Detector, normal_rows: Floats, sizes: list[int], seed: int
) -> None:
    rows = spread(normal_rows, sum(sizes), seed)
    whole = detector.score(rows)
    ends = np.cumsum(sizes)[:-1]
    in_parts = np.concatenate([detector.score(part).score for part in np.split(rows, ends)])
    np.testing.assert_allclose(in_parts, whole.score, rtol=1e-5)
    order = np.random.default_rng(seed).permutation(len(rows))
    np.testing.assert_allclose(detector.score(rows[order]).score, whole.score[order], rtol=1e-5)


@settings(deadline=None, max_examples=15)
@given(n=st.integers(CHUNK_ROWS - 2, 2 * CHUNK_ROWS + 2) | st.just(2 * CHUNK_ROWS))
def test_large_batches_are_scored_in_chunks(detector: Detector, normal_rows: Floats, n: int) -> None:
    rows = spread(normal_rows, n)
    found = detector.score(rows)
    assert all(values.shape == (n,) for values in found)
    expected = bare(MODEL).run(["score"], {"x": rows})[0]
    np.testing.assert_allclose(found.score, expected, rtol=1e-5)
    contribution, expected_values = detector.explain(rows)
    assert contribution.shape == expected_values.shape == (n, 8)


def test_one_by_one_equals_the_batch(detector: Detector, normal_rows: Floats) -> None:
    rows = spread(normal_rows, 200)
    singles = np.array(one_by_one(detector, rows))
    found = detector.score(rows)
    np.testing.assert_allclose(singles[:, 0], found.score, rtol=1e-5)
    np.testing.assert_allclose(singles[:, 2], found.p_value, rtol=1e-3)
    assert np.array_equal(singles[:, 3].astype(bool), found.is_anomaly)


def test_threads_do_not_disturb_each_other(detector: Detector, normal_rows: Floats) -> None:
    parts = np.split(spread(normal_rows, 1600), 8)
    expected = [one_by_one(detector, part) for part in parts]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda part: one_by_one(detector, part), parts)) == expected


def test_more_threads_within_a_run_give_the_same_scores(detector: Detector, normal_rows: Floats) -> None:
    two = Detector.load(MODEL, provider="cpu", threads=2)
    rows = spread(normal_rows, 600)
    np.testing.assert_allclose(two.score(rows).score, detector.score(rows).score, rtol=1e-5)


# --- rows that cannot be scored --------------------------------------------------------------------------------------

BAD = [math.nan, math.inf, -math.inf, 1e39, -1e39, 1e300, FLOAT32_MAX, -FLOAT32_MAX, 3.4e38]


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_row_is_flagged_and_its_neighbours_keep_their_bits(
    detector: Detector, normal_rows: Floats, bad: float
) -> None:
    clean = spread(normal_rows, 40).astype(np.float64)
    expected = detector.score(clean)
    for where in (0, 17, 39):
        for column in range(8):
            dirty = clean.copy()
            dirty[where, column] = bad
            found = detector.score(dirty)
            assert not found.scored[where]
            assert not found.is_anomaly[where]
            assert np.isnan([found.score[where], found.severity[where], found.p_value[where]]).all()
            for mine, theirs in zip(found, expected, strict=True):
                assert np.delete(mine, where).tobytes() == np.delete(theirs, where).tobytes()


def test_an_unscorable_window_is_flagged(windows_detector: Detector, normal_rows: Floats) -> None:
    x = windows_of(normal_rows[:20], 4).astype(np.float64)
    expected = windows_detector.score(x)
    x[5, 3, 2] = math.nan
    found = windows_detector.score(x)
    assert np.flatnonzero(~found.scored).tolist() == [5]
    assert np.delete(found.score, 5).tobytes() == np.delete(expected.score, 5).tobytes()
    with pytest.raises(InputError, match="column 'suction_pressure_bar' is not a finite float32 number"):
        windows_detector.score_one(x[5])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e39, -1e300])
def test_score_one_names_the_bad_column(detector: Detector, normal_rows: Floats, bad: float) -> None:
    row = normal_rows[0].astype(np.float64)
    before = detector.score_one(row)
    row[3] = bad
    for given_as in (row, row.tolist()):
        with pytest.raises(InputError, match="column 'discharge_pressure_bar' is not a finite float32") as caught:
            detector.score_one(given_as)
        assert caught.value.column == "discharge_pressure_bar"
    assert detector.score_one(normal_rows[0]) == before


def test_score_one_names_the_largest_column_when_the_score_overflows(detector: Detector, normal_rows: Floats) -> None:
    row = normal_rows[0].copy()
    row[[1, 5]] = 1e30, -3.4e38
    with pytest.raises(InputError, match="the score overflows float32; the largest value is in column 'power_kw'"):
        detector.score_one(row)


@pytest.mark.parametrize(
    "x",
    [
        5.0,
        [],
        [1.0] * 8,
        np.zeros((2, 7)),
        np.zeros((2, 9)),
        np.zeros((1, 2, 8)),
        [[1.0] * 8, [1.0] * 7],
        [["1"] * 8],
        [["1_0"] * 8],
        [["x"] * 8],
        np.array([["1"] * 8], dtype=object),
        np.full((1, 8), "2026-01-01", dtype="M8[s]"),
        np.full((1, 8), 1j),
        [[10**400] * 8],
        [[{}] * 8],
    ],
)
def test_what_is_no_batch_of_rows_is_refused(detector: Detector, x: Any) -> None:
    for method in (detector.score, detector.explain, detector.encode, detector.reconstruct):
        with pytest.raises(InputError, match=r"^rows (have shape .*, expected \(batch, 8\)|are not a numeric array)"):
            method(x)


@pytest.mark.parametrize(
    "row",
    [5.0, [], [5.0], [1.0] * 7, [1.0] * 9, [[1.0] * 8], np.zeros((8, 1)), ["1"] * 8, "12345678", None, [10**400] * 8],
)
def test_what_is_no_row_is_refused(detector: Detector, row: Any) -> None:
    with pytest.raises(InputError, match=r"^the row (has shape .*, expected \(8,\)|is not numeric)"):
        detector.score_one(row)


def test_a_row_is_no_window(windows_detector: Detector, normal_rows: Floats) -> None:
    with pytest.raises(InputError, match=r"the row has shape \(8,\), expected \(4, 8\)"):
        windows_detector.score_one(normal_rows[0])
    with pytest.raises(InputError, match=r"rows have shape \(4, 8\), expected \(batch, 4, 8\)"):
        windows_detector.score(normal_rows[:4])


def test_an_empty_batch_gives_empty_results(detector: Detector, windows_detector: Detector) -> None:
    for each in (detector, windows_detector):
        x = np.empty((0, *each.bundle.input_shape))
        found = each.score(x)
        assert [values.shape for values in found] == [(0,)] * 5
        assert [values.dtype.kind for values in found] == ["f", "f", "f", "b", "b"]
        assert each.explain(x).contribution.shape == each.reconstruct(x).shape == x.shape
        assert each.encode(x).shape == (0, each.bundle.latent)
        assert each.decode(np.empty((0, each.bundle.latent))).shape == x.shape


def test_missing_values_in_an_object_array_are_flagged(detector: Detector, normal_rows: Floats) -> None:
    rows = normal_rows[:3].astype(object)
    rows[1, 4] = None
    assert detector.score(rows).scored.tolist() == [True, False, True]


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int32])
def test_any_numeric_type_and_layout_is_read(detector: Detector, normal_rows: Floats, dtype: type[Any]) -> None:
    rows = normal_rows[:50].astype(dtype)
    expected = detector.score(rows.astype(np.float32)).score.tobytes()
    assert detector.score(rows).score.tobytes() == expected
    assert detector.score(np.asfortranarray(rows)).score.tobytes() == expected
    assert detector.score(np.repeat(rows, 2, axis=0)[::2]).score.tobytes() == expected


def test_scoring_leaves_the_input_as_it_was(detector: Detector, normal_rows: Floats) -> None:
    rows = spread(normal_rows, 50)
    rows[3] = np.nan
    before = rows.tobytes()
    detector.score(rows)
    detector.explain(rows)
    assert rows.tobytes() == before


# --- what the score is made of ---------------------------------------------------------------------------------------


def numpy_score(each: Detector, x: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Score and KL of the encoder's and decoder's files, and -log normaliser, in float64 numpy.

    (x - r)^2 / (2 s^2) summed, plus 1/2 sum(mu^2 + sigma^2 - log sigma^2 - 1); the density is of the standardised x.
    """
    encoder = bare(each.path.with_name(f"{each.path.stem}.encoder.onnx"))
    decoder = bare(each.path.with_name(f"{each.path.stem}.decoder.onnx"))
    mean, log_variance = (output.astype(np.float64) for output in encoder.run(["mean", "log_variance"], {"x": x}))
    latent = mean.astype(np.float32)
    reconstruction, scale = (
        output.astype(np.float64) for output in decoder.run(["reconstruction", "scale"], {"latent": latent})
    )
    axes = tuple(range(1, x.ndim))
    error = ((x - reconstruction) ** 2 / (2 * scale**2)).sum(axes)
    kl = 0.5 * (mean**2 + np.exp(log_variance) - log_variance - 1).sum(1)
    raw_scale = np.array([column.scale for column in each.bundle.columns])
    log_normaliser = (np.log(scale / raw_scale) + 0.5 * math.log(2 * math.pi)).sum(axes)
    return error + kl, kl, log_normaliser


@pytest.mark.parametrize("kind", ["rows", "windows"])
def test_the_score_is_the_negative_elbo_of_encoder_and_decoder(
    detector: Detector, windows_detector: Detector, normal_rows: Floats, kind: str
) -> None:
    rows = spread(normal_rows, 300)
    each, x = (detector, rows) if kind == "rows" else (windows_detector, windows_of(rows, 4))
    score, kl, log_normaliser = numpy_score(each, x)
    np.testing.assert_allclose(each.score(x).score, score, rtol=1e-4)
    elbo, graph_kl = bare(each.path).run(["elbo", "kl"], {"x": x})
    np.testing.assert_allclose(graph_kl, kl, rtol=1e-4)
    np.testing.assert_allclose(elbo, -score - log_normaliser, rtol=1e-4, atol=1e-3)


def test_contributions_sum_to_the_reconstruction_error(
    detector: Detector, windows_detector: Detector, normal_rows: Floats
) -> None:
    rows = spread(normal_rows, 300)
    for each, x in ((detector, rows), (windows_detector, windows_of(rows, 4))):
        contribution, expected = each.explain(x)
        assert contribution.shape == expected.shape == x.shape
        assert (contribution >= 0).all()
        error, kl = bare(each.path).run(["reconstruction_error", "kl"], {"x": x})
        total = contribution.astype(np.float64).sum(tuple(range(1, x.ndim)))
        np.testing.assert_allclose(total, error, rtol=1e-5)
        np.testing.assert_allclose(total + kl, each.score(x).score, rtol=1e-5)


def test_expected_is_the_decoded_code(detector: Detector, windows_detector: Detector, normal_rows: Floats) -> None:
    rows = spread(normal_rows, 100)
    for each, x in ((detector, rows), (windows_detector, windows_of(rows, 4))):
        expected = each.explain(x).expected
        assert each.reconstruct(x).tobytes() == expected.tobytes()
        codes = each.encode(x)
        assert codes.shape == (len(x), each.bundle.latent)
        np.testing.assert_allclose(each.decode(codes), expected, rtol=1e-4, atol=1e-4)


def test_the_moved_feature_contributes_most(detector: Detector, normal_rows: Floats) -> None:
    rows = normal_rows[:50].copy()
    rows[:, 7] += 30 * normal_rows[:, 7].std()  # vibration
    assert (detector.explain(rows).contribution.argmax(1) == 7).mean() > 0.9
    assert detector.score(rows).is_anomaly.all()


# --- images ----------------------------------------------------------------------------------------------------------


def test_images_score_like_a_bare_session_and_by_hand(images_detector: Detector, photos: NDArray[np.uint8]) -> None:
    score, verdict = bare(images_detector.path).run(["score", "is_anomaly"], {"x": photos})
    found = images_detector.score(photos)
    assert found.score.tobytes() == score.tobytes()
    assert np.array_equal(found.is_anomaly, verdict)
    assert found.is_anomaly.tolist() == [False] * 40 + [True]
    ramp = np.linspace(60, 160, 16)[:, None]
    above = photos - ramp
    residual = above - above.mean((1, 2, 3), keepdims=True)
    np.testing.assert_allclose(found.score, (residual**2).sum((1, 2, 3)) / 200, rtol=1e-4)
    for image in photos[[0, 40]]:
        one = images_detector.score_one(image)
        assert one == images_detector.score_one(image.tolist()) == images_detector.score_one(image.astype(np.int64))
        assert one.score == pytest.approx(images_detector.score(image[None]).score[0], rel=1e-5)


def test_a_heat_map_is_hot_where_the_image_is_odd(images_detector: Detector, photos: NDArray[np.uint8]) -> None:
    spotted = photos[:1].copy()
    spotted[0, 8:11, 3:6] = 255
    heat = images_detector.heat_map(np.concatenate([photos[:1], spotted]))
    assert heat.shape == (2, 12, 16)
    assert heat.dtype == np.float32
    assert np.unravel_index(heat[1].argmax(), (12, 16)) == (9, 4)
    assert heat[1].max() > 30 * images_detector.normal_heat
    assert heat[0].mean() == pytest.approx(images_detector.normal_heat, rel=0.3)
    contribution = images_detector.explain(spotted).contribution[0].sum(2)
    assert heat[1][9, 4] == pytest.approx(contribution[8:11, 3:6].mean(), rel=1e-4)


def test_images_are_explained_encoded_and_reconstructed(images_detector: Detector, photos: NDArray[np.uint8]) -> None:
    contribution, expected = images_detector.explain(photos)
    assert contribution.shape == expected.shape == photos.shape
    np.testing.assert_allclose(contribution.sum((1, 2, 3)), images_detector.score(photos).score, rtol=1e-4)
    codes = images_detector.encode(photos)
    assert codes.shape == (41, 2)
    np.testing.assert_allclose(images_detector.decode(codes), images_detector.reconstruct(photos), rtol=1e-5)


def test_images_are_scored_in_chunks_of_bounded_memory(tmp_path: Path, photos: NDArray[np.uint8]) -> None:
    large = Detector.load(write_detector(tmp_path / "large.onnx", Image(300, 200, "colour")), provider="cpu")
    assert large.chunk == 2**20 // (300 * 200 * 3) == 5
    x = np.random.default_rng(0).integers(0, 256, (12, 300, 200, 3), np.uint8)
    np.testing.assert_allclose(large.score(x).score, [large.score_one(each).score for each in x], rtol=1e-5)
    assert large.heat_map(x).shape == (12, 300, 200)
    assert large.decode(large.encode(x)).shape == x.shape


def test_an_empty_batch_of_images(images_detector: Detector) -> None:
    x = np.empty((0, 12, 16, 3), np.uint8)
    assert images_detector.score(x).score.shape == (0,)
    assert images_detector.heat_map(x).shape == (0, 12, 16)
    assert images_detector.encode(x).shape == (0, 2)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((1, 12, 16, 3), np.float32), "images hold float32, expected uint8: whole numbers 0 to 255"),
        (np.zeros((1, 12, 16, 3), np.bool_), "images hold bool, expected uint8"),
        (np.full((1, 12, 16, 3), 256), "images hold 256 to 256, expected whole numbers 0 to 255"),
        (np.full((1, 12, 16, 3), -1, np.int8), "images hold -1 to -1, expected"),
        (np.zeros((1, 16, 12, 3), np.uint8), r"images have shape \(1, 16, 12, 3\), expected \(batch, 12, 16, 3\)"),
        (np.zeros((12, 16, 3), np.uint8), r"images have shape \(12, 16, 3\), expected \(batch, 12, 16, 3\)"),
        (np.zeros((1, 12, 16, 1), np.uint8), "images have shape"),
        (np.array(3), "images have shape"),
        ([["a"]], "images hold <U1, expected"),
        ([[1], [1, 2]], "images are not an array"),
        ([[10**400]], "images hold object"),
    ],
)
def test_what_is_no_batch_of_images_is_refused(images_detector: Detector, x: Any, message: str) -> None:
    for method in (images_detector.score, images_detector.encode, images_detector.heat_map):
        with pytest.raises(InputError, match=f"^{message}"):
            method(x)


def test_one_image_of_another_shape_is_refused(images_detector: Detector) -> None:
    with pytest.raises(InputError, match=r"^the image has shape \(16, 12, 3\), expected \(12, 16, 3\)"):
        images_detector.score_one(np.zeros((16, 12, 3), np.uint8))
    with pytest.raises(InputError, match="images hold float64"):
        images_detector.score_one(np.zeros((12, 16, 3)))


def test_rows_have_no_heat_map(detector: Detector, normal_rows: Floats) -> None:
    with pytest.raises(ModelError, match="a detector of rows has no heat maps, only one of images"):
        detector.heat_map(normal_rows)


def test_a_decoder_that_unpools_needs_the_indices(tmp_path: Path, images_detector: Detector) -> None:
    path = write_detector(tmp_path / "tiny.onnx", Image(6, 5, "grey"), recipe="conv-unpool")
    unpooling = Detector.load(path, provider="cpu")
    x = normal_images(Image(6, 5, "grey"), 7)
    code, indices = bare(path.with_name("tiny.encoder.onnx")).run(["latent", "indices"], {"x": x})
    assert unpooling.encode(x).tobytes() == code.tobytes()
    np.testing.assert_allclose(unpooling.decode(code, indices), unpooling.reconstruct(x), rtol=1e-5)
    with pytest.raises(InputError, match="it needs the indices that its encoder file gives"):
        unpooling.decode(code)
    for wrong in (indices[:3], indices.astype(np.float32), indices[:, 0], np.repeat(indices, 2, axis=1)):
        with pytest.raises(InputError, match=r"indices are \w+ of shape .*, expected int64 of shape \(7, 1\)"):
            unpooling.decode(code, wrong)
    with pytest.raises(InputError, match="the decoder of recipe conv takes no indices"):
        images_detector.decode(np.zeros((7, 2)), indices)
    with pytest.raises(ModelError, match="recipe conv-unpool has no prior to sample from"):
        unpooling.sample(1)


def test_samples_come_from_the_mixture(tmp_path: Path) -> None:
    """The first code is the brightness: 1/4 around -30, 3/4 around 50."""
    prior = Prior((0.5, 1.5), ((-30.0, 0.0), (50.0, 0.0)), ((1.0, 1.0), (2.0, 1.0)))
    found = Detector.load(write_detector(tmp_path / "t.onnx", Image(4, 5, "grey"), prior=prior), provider="cpu")
    made = found.sample(4000, seed=5)
    assert made.shape == (4000, 4, 5, 1)
    assert found.sample(4000, seed=5).tobytes() == made.tobytes()
    brightness = (made - np.linspace(60, 160, 5)[:, None]).mean((1, 2, 3))
    dark = brightness < 0
    assert dark.mean() == pytest.approx(0.25, abs=0.03)
    assert (brightness[dark].mean(), brightness[dark].std()) == pytest.approx((-30, 1), abs=0.15)
    assert (brightness[~dark].mean(), brightness[~dark].std()) == pytest.approx((50, 2), abs=0.15)


# --- codes and samples -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codes", [[1.0] * 8, np.zeros((2, 7)), np.zeros((2, 2, 8)), [["1"] * 8], 3.0])
def test_what_is_no_batch_of_codes_is_refused(detector: Detector, codes: ArrayLike) -> None:
    with pytest.raises(InputError, match=r"^codes (have shape .*, expected \(batch, 8\)|are not a numeric array)"):
        detector.decode(codes)


def test_samples_are_seeded_and_look_like_the_training_rows(detector: Detector, windows_detector: Detector) -> None:
    rows = detector.sample(4000, seed=3)
    assert rows.shape == (4000, 8)
    assert rows.dtype == np.float32
    assert detector.sample(4000, seed=3).tobytes() == rows.tobytes()
    assert detector.sample(4000, seed=4).tobytes() != rows.tobytes()
    center = np.array([column.center for column in detector.bundle.columns])
    scale = np.array([column.scale for column in detector.bundle.columns])
    assert (np.abs(rows.mean(0) - center) < 0.5 * scale).all()
    assert detector.score(rows).is_anomaly.mean() < 0.05
    assert windows_detector.sample(5).shape == (5, 4, 8)
    assert detector.sample(0).shape == (0, 8)
    with pytest.raises(InputError, match="n is -1, expected 0 or more"):
        detector.sample(-1)
