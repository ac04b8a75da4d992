"""A detector with a new threshold: what changes in its files, what does not, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from conftest import MODEL, ROOT
from numpy.typing import NDArray

from vae_detect.runtime import graph
from vae_detect.runtime.bundle import Calibration
from vae_detect.runtime.calibration.calibration import calibrate
from vae_detect.runtime.detector import Detector
from vae_detect.runtime.errors import InputError, ModelError, ParityError
from vae_detect.runtime.opening import digest
from vae_detect.training import recalibrate as module
from vae_detect.training.export.files import Files
from vae_detect.training.normal import Normal
from vae_detect.training.recalibrate import recalibrate


def drawn(n: int = 30_000, scale: float = 2.0, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).gamma(2, scale, size=n).astype(np.float32)


def normal(scores: NDArray[np.float32], **more: Any) -> Normal:
    return Normal(scores, "normal.csv", "ab" * 32, **more)


@pytest.fixture
def copied(tmp_path: Path) -> Detector:
    """The committed detector in a folder of its own."""
    for path in Files.named(MODEL):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return Detector.load(tmp_path / MODEL.name, provider="cpu")


def test_the_threshold_is_that_of_the_scores_and_nothing_else_changes(copied: Detector, normal_rows: Any) -> None:
    before, old = copied.score(normal_rows), copied.bundle
    made = recalibrate(copied, normal(drawn(), inputs=normal_rows))
    new = Detector.load(copied.path, provider="cpu")
    assert new.bundle == made.bundle
    assert new.bundle.calibration == calibrate(drawn(), far=old.calibration.far, dependence_rows=10)
    after = new.score(normal_rows)
    assert after.score.tobytes() == before.score.tobytes()
    threshold = new.bundle.calibration.threshold
    assert after.is_anomaly.tolist() == (before.score > threshold).tolist()
    knots = new.bundle.calibration
    np.testing.assert_allclose(
        np.log10(after.p_value), np.interp(after.score, knots.knot_scores, knots.knot_log10_p), atol=1e-5
    )
    changed = {name for name in old.__struct_fields__ if getattr(old, name) != getattr(new.bundle, name)}
    assert changed == {"export_id", "calibration", "golden", "terms", "parts", "recalibration"}
    assert (old.golden.x, old.golden.score) == (new.bundle.golden.x, new.bundle.golden.score)
    assert list(new.bundle.terms) == list(old.terms)
    facts = new.bundle.recalibration
    assert facts is not None
    assert (facts.parent, facts.parent_threshold) == (old.export_id, old.calibration.threshold)
    assert facts.parent_alarms == pytest.approx(np.mean(drawn() > old.calibration.threshold))


def test_encoder_and_decoder_go_with_it_and_the_old_files_stay(copied: Detector, normal_rows: Any) -> None:
    code = copied.encode(normal_rows[:9])
    recalibrate(copied, normal(drawn()))
    new = Detector.load(copied.path, provider="cpu")
    assert list(new.parts()) == ["encoder", "decoder"]
    np.testing.assert_array_equal(new.encode(normal_rows[:9]), code)
    kept = copied.path.with_name(f"vae.{copied.bundle.export_id}.onnx")
    assert digest(kept) == digest(MODEL)
    old = Detector.load(kept, provider="cpu")
    assert list(old.parts()) == ["encoder", "decoder"]
    names = {path.name for files in map(Files.named, (kept, copied.path)) for path in files}
    assert {path.name for path in kept.parent.iterdir()} == names


def test_the_same_scores_give_the_same_id_and_others_another(copied: Detector, tmp_path: Path) -> None:
    ids = [
        recalibrate(copied, normal(drawn(seed=seed)), out=tmp_path / f"{n}.onnx").bundle.export_id
        for n, seed in enumerate((0, 0, 1))
    ]
    assert ids[0] == ids[1] != ids[2]
    assert copied.bundle.export_id not in ids
    assert digest(copied.path) == digest(MODEL)  # --out leaves the model alone
    assert not list(tmp_path.glob(f"*{copied.bundle.export_id}*"))


def test_another_rate_may_be_promised(copied: Detector) -> None:
    made = recalibrate(copied, normal(drawn()), far=0.02)
    assert made.bundle.calibration.far == 0.02
    assert Detector.load(copied.path, provider="cpu").bundle.calibration.far == 0.02


def test_a_box_with_the_scorer_alone_is_told_what_that_means(copied: Detector) -> None:
    for path in Files.named(copied.path)[1:]:
        path.unlink()
    said: list[str] = []
    recalibrate(copied, normal(drawn()), say=said.append)
    new = Detector.load(copied.path, provider="cpu")
    assert new.parts() == {}
    assert f"stay those of export {copied.bundle.export_id}" in said[0]
    assert new.bundle.parts == copied.bundle.parts


def test_it_can_be_done_again_and_again(copied: Detector) -> None:
    detector = copied
    for seed in (1, 2, 3):
        parent = detector.bundle.export_id
        recalibrate(detector, normal(drawn(seed=seed)))
        detector = Detector.load(copied.path, provider="cpu")
        assert detector.bundle.recalibration is not None
        assert detector.bundle.recalibration.parent == parent
    assert len(list(copied.path.parent.glob("vae.*.encoder.onnx"))) == 3


def test_what_training_would_refuse_is_refused_and_nothing_is_written(copied: Detector) -> None:
    before = {path: digest(path) for path in copied.path.parent.iterdir()}
    for scores, words in (
        (drawn(50), r"normal\.csv: a false-alarm rate of 0\.001 needs 300 .* they support"),
        (np.full(5000, 1, np.float32).cumsum(), "depend on their neighbours"),
    ):
        with pytest.raises(InputError, match=words):
            recalibrate(copied, normal(scores))
    assert {path: digest(path) for path in copied.path.parent.iterdir()} == before


def test_a_recording_whose_level_moves_is_told(copied: Detector) -> None:
    scores = np.concatenate([drawn(2000), drawn(2000) + 12])
    said: list[str] = []
    with pytest.raises(InputError, match="depend on their neighbours"):
        recalibrate(copied, normal(scores), far=0.2, say=said.append)
    assert said[0].startswith("the level of the scores moves after 199")
    said.clear()
    recalibrate(copied, normal(drawn()), say=said.append)
    assert len(said) == 1


def test_scores_alone_leave_the_terms_as_they_were(copied: Detector) -> None:
    made = recalibrate(copied, normal(drawn(), dependence_rows=2))
    assert made.bundle.terms == copied.bundle.terms
    assert made.bundle.calibration == calibrate(drawn(), far=0.001, dependence_rows=2)


@pytest.mark.parametrize("of", ["windows", "schema 2"])
def test_every_kind_and_files_of_the_schema_before(of: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    if of == "schema 2":
        detector = Detector.load(ROOT / "tests" / "runtime" / "schema_2" / "pump.onnx", provider="cpu")
    else:
        detector = request.getfixturevalue("windows_detector")
    x = detector.golden_inputs()
    recalibrate(detector, normal(drawn(), inputs=x), out=tmp_path / "x.onnx", far=0.01)
    new = Detector.load(tmp_path / "x.onnx", provider="cpu")
    np.testing.assert_array_equal(new.score(x).score, detector.score(x).score)
    assert new.bundle.calibration.threshold != detector.bundle.calibration.threshold
    assert list(new.parts()) == ["encoder", "decoder"]


def test_a_graph_that_changed_on_the_way_is_not_written(copied: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    from vae_detect.training.export import constants

    replace = constants.replace_constants

    def spoil(model: onnx.ModelProto, values: Any) -> None:
        replace(model, values)
        for tensor in model.graph.initializer:
            if tensor.name == graph.THRESHOLD:
                tensor.CopyFrom(onnx.numpy_helper.from_array(np.array(1e-3, np.float32), graph.THRESHOLD))

    monkeypatch.setattr(constants, "replace_constants", spoil)
    with pytest.raises(ParityError, match="verdicts"):
        recalibrate(copied, normal(drawn()))
    assert digest(copied.path) == digest(MODEL)


def test_a_graph_without_its_constants_is_refused(copied: Detector) -> None:
    model = onnx.load(copied.path)
    for tensor in model.graph.initializer:
        if tensor.name == graph.KNOTS:
            tensor.name = "other"
    for node in model.graph.node:
        node.input[:] = ["other" if name == graph.KNOTS else name for name in node.input]
    onnx.save(model, copied.path)
    with pytest.raises(ModelError, match="holds no constant 'calibration_knots'"):
        recalibrate(Detector.load(copied.path, provider="cpu"), normal(drawn()))


def test_limits_stay_what_they_were(limited_detector: Detector, normal_rows: Any, tmp_path: Path) -> None:
    made = recalibrate(limited_detector, normal(drawn(), inputs=normal_rows), out=tmp_path / "x.onnx")
    new = Detector.load(tmp_path / "x.onnx", provider="cpu")
    assert made.bundle.limits == limited_detector.bundle.limits
    scores = new.score(normal_rows)
    expected = (scores.score > new.bundle.calibration.threshold) | (normal_rows[:, 5] >= 17)
    assert scores.is_anomaly.tolist() == expected.tolist()


def test_two_at_once_do_not_mix(copied: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    def again(*_: Any, **__: Any) -> Calibration:
        with pytest.raises(InputError, match="another calibration is at work"):
            recalibrate(copied, normal(drawn()))
        raise InputError("stop")

    write = module._write
    monkeypatch.setattr(module, "_write", lambda *a, **k: (monkeypatch.setattr(module, "_write", write), again())[1])
    with pytest.raises(InputError, match="stop"):
        recalibrate(copied, normal(drawn()))


def test_the_metadata_can_be_read_back(copied: Detector) -> None:
    made = recalibrate(copied, normal(drawn()))
    assert msgspec.json.decode(made.bundle.to_json())["recalibration"]["parent"] == copied.bundle.export_id
