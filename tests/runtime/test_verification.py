"""Files that cannot be trusted: another graph, other golden rows, parts of another detector."""

from __future__ import annotations

import base64
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import onnx
import pytest
from conftest import MODEL
from limited import limited_model
from numpy.typing import NDArray
from tiny_images import write_detector

from vae_detect.runtime.bundle import Bundle, Golden, Image
from vae_detect.runtime.detector import Detector, Scores
from vae_detect.runtime.errors import ModelError
from vae_detect.runtime.verification import check_replay, flipped, relative_errors

Floats = NDArray[np.float32]


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The committed detector's three files, to be damaged."""
    for part in ("", ".encoder", ".decoder"):
        shutil.copy(MODEL.with_name(f"vae{part}.onnx"), tmp_path / f"pump{part}.onnx")
    return tmp_path / "pump.onnx"


def change_facts(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    model = onnx.load(path)
    [entry] = [prop for prop in model.metadata_props if prop.key == "vae_detect"]
    facts = json.loads(entry.value)
    change(facts)
    entry.value = json.dumps(facts)
    onnx.save(model, path)


def change_weight(path: Path, name: str, change: Callable[[Floats], object]) -> None:
    model = onnx.load(path)
    [weight] = [tensor for tensor in model.graph.initializer if tensor.name == name]
    values = onnx.numpy_helper.to_array(weight).copy()
    change(values)
    weight.CopyFrom(onnx.numpy_helper.from_array(values, name))
    onnx.save(model, path)


def test_an_untouched_copy_loads(copied: Path, detector: Detector, normal_rows: Floats) -> None:
    change_facts(copied, lambda _: None)
    found = Detector.load(str(copied), provider="cpu")
    assert found.score(normal_rows).score.tobytes() == detector.score(normal_rows).score.tobytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda golden: golden["score"].__setitem__(2, golden["score"][2] * 1.001), r"golden row 2 scores .* on cpu"),
        (lambda golden: golden["score"].__setitem__(7, 1e30), "golden row 7 scores .* cannot be trusted"),
        (lambda golden: golden["x"][1].__setitem__(4, golden["x"][1][4] + 10), "golden row 1 scores"),
        (lambda golden: golden["x"][0].__setitem__(0, 1e39), "the golden rows cannot be scored: column 'speed_rpm'"),
        (lambda golden: golden["x"][3].__setitem__(0, 1e39), "golden row 3 scores nan"),
        (lambda golden: golden["x"][3].pop(), "the golden rows cannot be scored: rows are not a numeric array"),
        (
            lambda golden: [row.pop() for row in golden["x"]],
            r"the golden rows cannot be scored: rows have shape \(8, 7",
        ),
        (lambda golden: golden["p_value"].__setitem__(2, golden["p_value"][2] / 2), "has another p-value on cpu"),
        (lambda golden: golden["is_anomaly"].__setitem__(0, not golden["is_anomaly"][0]), "has another verdict on cpu"),
    ],
)
def test_golden_rows_that_are_not_reproduced_refuse_the_file(
    copied: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    change_facts(copied, lambda facts: change(facts["golden"]))
    with pytest.raises(ModelError, match=message) as caught:
        Detector.load(copied, provider="cpu")
    assert "\n" not in str(caught.value)


def test_a_difference_below_the_tolerance_is_accepted(copied: Path) -> None:
    change_facts(copied, lambda facts: facts["golden"]["score"].__setitem__(2, facts["golden"]["score"][2] * 1.00005))
    Detector.load(copied, provider="cpu")


def test_flipped_verdicts_by_hand() -> None:
    #                           below, above, within rounding of the threshold, not finite
    expected = np.array([1.0, 3.0, 2.0001, np.nan], np.float32)
    above = expected > 2.0
    assert flipped(expected, np.array([False, True, False, True]), above, 2.0).tolist() == []
    assert flipped(expected, np.array([True, True, False, True]), above, 2.0).tolist() == [0]
    assert flipped(expected, np.array([True, False, True, True]), above, 2.0).tolist() == [0, 1]


def test_a_limit_that_is_broken_leaves_no_doubt_at_the_threshold() -> None:
    expected = np.array([2.0001, np.nan, 2.0001], np.float32)
    alarm, limited = np.ones(3, np.bool_), np.array([True, True, False])
    assert flipped(expected, ~alarm, alarm, 2.0, limited).tolist() == [0, 1]


def test_a_graph_without_the_limit_of_its_metadata_is_refused(tmp_path: Path) -> None:
    path = limited_model(tmp_path, "power_kw", 17.0)
    Detector.load(path, provider="cpu")
    model = onnx.load(path)
    for node in model.graph.node:
        node.input[:] = ["by_score" if name == "limited" else name for name in node.input]
    onnx.save(model, path)
    with pytest.raises(ModelError, match="a golden row has another verdict"):
        Detector.load(path, provider="cpu")


def test_errors_of_scores_by_hand() -> None:
    expected = np.array([100.0, 1.0, 0.0, np.nan, np.inf, np.nan, 5.0], np.float32)
    found = np.array([101.0, 1.01, 0.01, np.nan, np.nan, 5.0, np.inf], np.float32)
    # at a threshold of 20 scores below 2 are compared as if they were 2
    np.testing.assert_allclose(
        relative_errors(expected, found, 20.0), [0.01, 0.005, 0.005, 0, 0, np.inf, np.inf], rtol=1e-4
    )


class Row(NamedTuple):
    """A golden row: what was recorded of it, and what another engine makes of it."""

    score: float
    p_value: float
    is_anomaly: bool


def replay(bundle: Bundle, recorded: Row, found: Row) -> None:
    """The check of a model whose first golden row is this one."""
    golden = bundle.golden
    score, p_value = [recorded.score, *golden.score[1:]], [recorded.p_value, *golden.p_value[1:]]
    is_anomaly = [recorded.is_anomaly, *golden.is_anomaly[1:]]
    changed = msgspec.structs.replace(bundle, golden=Golden(golden.x, score, p_value, is_anomaly))
    here = np.array(score, np.float32), np.array(p_value, np.float32), np.array(is_anomaly)
    for array, value in zip(here, found, strict=True):
        array[0] = value
    check_replay(changed, *here, source="pump.onnx", provider="cpu")


def test_one_ulp_at_the_threshold_is_no_other_verdict_and_no_other_p_value(detector: Detector) -> None:
    at = np.float32(detector.bundle.calibration.threshold)
    above, below = (float(np.nextafter(at, np.float32(way))) for way in (np.inf, -np.inf))
    calibration = detector.bundle.calibration
    log10_p = list(calibration.knot_log10_p)
    log10_p[calibration.knot_scores.index(below)] = -2.995
    calibration = msgspec.structs.replace(calibration, knot_log10_p=tuple(log10_p))
    bundle = msgspec.structs.replace(detector.bundle, calibration=calibration)
    under, over = (
        Row(score, 10 ** float(np.interp(score, calibration.knot_scores, calibration.knot_log10_p)), bool(score > at))
        for score in (below, above)
    )
    assert under.p_value > 1.01 * over.p_value  # the table has a step there
    for recorded, found in ((under, over), (over, under), (under, under), (over, over)):
        replay(bundle, recorded, found)


@pytest.mark.parametrize("p_value", [0.0, -1.0])
def test_what_is_no_p_value_is_refused(detector: Detector, p_value: float) -> None:
    golden = detector.bundle.golden
    wrong = Row(golden.score[0], p_value, golden.is_anomaly[0])
    with pytest.raises(ModelError, match="another p-value"):
        replay(detector.bundle, wrong, wrong)


def test_clear_of_the_threshold_a_verdict_and_a_p_value_must_be_those_recorded(detector: Detector) -> None:
    calibration = detector.bundle.calibration
    score = 1.001 * calibration.threshold
    p_value = 10 ** float(np.interp(score, calibration.knot_scores, calibration.knot_log10_p))
    right = Row(score, p_value, True)
    replay(detector.bundle, right, right)
    for wrong, what in (
        (right._replace(is_anomaly=False), "another verdict on cpu"),
        (right._replace(p_value=1.1 * p_value), "another p-value on cpu"),
        (right._replace(score=1.0002 * score), "golden row 0 scores"),
        (right._replace(score=calibration.threshold), "golden row 0 scores"),
    ):
        with pytest.raises(ModelError, match=rf"^pump\.onnx: .*{what}"):
            replay(detector.bundle, right, wrong)


@pytest.mark.parametrize("value", [0.5, math.nan, math.inf])
@pytest.mark.parametrize(
    "name", ["model.encoder.layers.0.bias", "model.decoder.layers.2.weight", "model.transform.center"]
)
def test_a_changed_weight_refuses_the_file(copied: Path, name: str, value: float) -> None:
    change_weight(copied, name, lambda values: values.__iadd__(value))
    with pytest.raises(ModelError, match=r"golden row"):
        Detector.load(copied, provider="cpu")


def test_a_changed_threshold_in_the_graph_refuses_the_file(copied: Path) -> None:
    change_weight(copied, "threshold", lambda values: values.fill(0))
    with pytest.raises(ModelError, match="another verdict"):
        Detector.load(copied, provider="cpu")


def rename_output(model: onnx.ModelProto) -> None:
    [output] = [output for output in model.graph.output if output.name == "contribution"]
    model.graph.output.remove(output)


def require_threshold(model: onnx.ModelProto) -> None:
    [tensor] = [tensor for tensor in model.graph.initializer if tensor.name == "threshold"]
    model.graph.initializer.remove(tensor)
    if "threshold" not in {item.name for item in model.graph.input}:
        model.graph.input.append(onnx.helper.make_tensor_value_info("threshold", onnx.TensorProto.FLOAT, []))


def take_double(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        node.input[:] = ["x32" if name == "x" else name for name in node.input]
    model.graph.node.insert(0, onnx.helper.make_node("Cast", ["x"], ["x32"], to=onnx.TensorProto.FLOAT))
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE


def forget_width(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "features"


def drop_metadata(model: onnx.ModelProto) -> None:
    del model.metadata_props[:]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename_output, "the graph has no output 'contribution'"),
        (require_threshold, r"asks for x of tensor\(float\), threshold of tensor\(float\), expected x of"),
        (take_double, r"asks for x of tensor\(double\), expected x of tensor\(float\) only"),
        (forget_width, r"the graph takes \['features'\], its metadata says \[8\]"),
        (drop_metadata, "no vae-detect metadata in this ONNX file"),
    ],
)
def test_another_graph_is_refused(copied: Path, change: Callable[[onnx.ModelProto], None], message: str) -> None:
    model = onnx.load(copied)
    change(model)
    onnx.save(model, copied)
    with pytest.raises(ModelError, match=message):
        Detector.load(copied, provider="cpu")


def test_a_part_is_not_loaded_as_a_detector(copied: Path) -> None:
    for part in ("encoder", "decoder"):
        with pytest.raises(ModelError, match=f"this is the {part} of a detector; name its scorer instead"):
            Detector.load(copied.with_name(f"pump.{part}.onnx"), provider="cpu")


def test_parts_of_another_export_are_refused(copied: Path, windows_model: Path, normal_rows: Floats) -> None:
    shutil.copy(windows_model.with_name("windows.encoder.onnx"), copied.with_name("pump.encoder.onnx"))
    found = Detector.load(copied, provider="cpu")
    own = found.bundle.export_id
    with pytest.raises(ModelError, match=rf"encoder of export \w+, expected encoder of {own}"):
        found.encode(normal_rows)
    shutil.copy(MODEL.with_name("vae.encoder.onnx"), copied.with_name("pump.decoder.onnx"))
    with pytest.raises(ModelError, match=f"encoder of export {own}, expected decoder of {own}"):
        found.decode(np.zeros((1, 8)))


def test_changed_and_missing_parts_are_refused(copied: Path, normal_rows: Floats) -> None:
    found = Detector.load(copied, provider="cpu")
    change_weight(
        copied.with_name("pump.encoder.onnx"), "model.encoder.layers.0.bias", lambda values: values.__iadd__(1)
    )
    with pytest.raises(ModelError, match="the file was changed after export"):
        found.encode(normal_rows)
    copied.with_name("pump.decoder.onnx").unlink()
    with pytest.raises(ModelError, match=r"pump\.decoder\.onnx: no such file"):
        found.sample(1)


def test_files_damaged_after_loading_change_nothing(copied: Path, normal_rows: Floats) -> None:
    found = Detector.load(copied, provider="cpu")
    before: Scores = found.score(normal_rows)
    codes = found.encode(normal_rows)
    for path in (copied, copied.with_name("pump.encoder.onnx")):
        with path.open("r+b") as file:
            file.truncate(100)
    assert found.score(normal_rows).score.tobytes() == before.score.tobytes()
    assert found.encode(normal_rows).tobytes() == codes.tobytes()
    assert found.score_one(normal_rows[0]) == Detector.load(MODEL, provider="cpu").score_one(normal_rows[0])


def test_golden_images_that_are_not_reproduced_refuse_the_file(tmp_path: Path) -> None:
    path = write_detector(tmp_path / "tiny.onnx", Image(6, 5, "grey"))

    def swap(facts: dict[str, Any]) -> None:
        pixels = base64.b64decode(facts["golden"]["pixels"])
        facts["golden"]["pixels"] = base64.b64encode(pixels[30:] + pixels[:30]).decode()

    change_facts(path, swap)
    with pytest.raises(ModelError, match=r"golden row \d scores"):
        Detector.load(path, provider="cpu")


def drop_heat_map(model: onnx.ModelProto) -> None:
    [output] = [output for output in model.graph.output if output.name == "heat_map"]
    model.graph.output.remove(output)


def take_float_pixels(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop_heat_map, "the graph has no output 'heat_map'"),
        (take_float_pixels, r"asks for x of tensor\(float\), expected x of tensor\(uint8\) only"),
    ],
)
def test_another_graph_of_images_is_refused(
    tmp_path: Path, change: Callable[[onnx.ModelProto], None], message: str
) -> None:
    path = write_detector(tmp_path / "tiny.onnx", Image(6, 5, "grey"))
    model = onnx.load(path)
    change(model)
    onnx.save(model, path)
    with pytest.raises(ModelError, match=message):
        Detector.load(path, provider="cpu")
