from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_images import write_detector

from vae_detect.runtime.bundle import (
    SCHEMA_VERSION,
    Bundle,
    Image,
    Part,
)
from vae_detect.runtime.detector import Detector
from vae_detect.runtime.errors import ModelError
from vae_detect.runtime.metadata import read_bundle, read_part


def fields(detector: Detector) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(detector.bundle.to_json())
    return facts


def test_json_gives_the_same_bundle_back(detector: Detector, windows_detector: Detector) -> None:
    for bundle in (detector.bundle, windows_detector.bundle):
        assert read_bundle(bundle.to_json(), "pump.onnx") == bundle
        json.loads(bundle.to_json(), parse_constant=pytest.fail)  # no NaN or Infinity


def test_a_file_from_before_the_history_was_kept_is_read(detector: Detector) -> None:
    facts = fields(detector)
    facts.pop("history", None)
    assert read_bundle(json.dumps(facts), "pump.onnx").history is None


def test_names_and_input_shape(detector: Detector, windows_detector: Detector) -> None:
    names = (
        *("speed_rpm", "flow_m3h", "suction_pressure_bar", "discharge_pressure_bar"),
        *("motor_current_a", "power_kw", "bearing_temperature_c", "vibration_mm_s"),
    )
    assert detector.bundle.names == windows_detector.bundle.names == names
    assert detector.bundle.input_shape == (8,)
    assert windows_detector.bundle.input_shape == (4, 8)


@pytest.mark.parametrize(
    ("version", "advice"),
    [(1, "train and export the model again"), (4, "upgrade vae-detect")],
)
def test_another_schema_version_is_refused_with_advice(detector: Detector, version: int, advice: str) -> None:
    # what another version writes is not known here: only the number may be looked at
    text = json.dumps({"schema_version": version, "unheard_of": [1]})
    expected = rf"^pump\.onnx: metadata schema {version}, this version reads schemas 2 and 3; {advice}$"
    with pytest.raises(ModelError, match=expected):
        read_bundle(text, "pump.onnx")
    with pytest.raises(ModelError, match=advice):
        read_bundle(json.dumps({**fields(detector), "schema_version": version}), "pump.onnx")
    with pytest.raises(ModelError, match=expected):
        read_part(json.dumps({"schema_version": version, "part": "encoder", "unheard_of": [1]}), "pump.onnx")


@pytest.fixture
def images_bundle(tmp_path: Path) -> Bundle:
    path = write_detector(tmp_path / "tiny.onnx", Image(6, 5, "colour"))
    return Detector.load(path, provider="cpu").bundle


def test_a_bundle_of_images(images_bundle: Bundle) -> None:
    assert read_bundle(images_bundle.to_json(), "tiny.onnx") == images_bundle
    assert images_bundle.input_shape == (6, 5, 3)
    assert images_bundle.names == ("red", "green", "blue")
    assert len(images_bundle.golden.pixels) == 4 * 6 * 5 * 3


def test_files_from_before_a_field_was_there_are_read(images_bundle: Bundle) -> None:
    facts = json.loads(images_bundle.to_json())
    del facts["image"]["bits"], facts["data"]["stamp_s"]
    assert read_bundle(json.dumps(facts), "tiny.onnx") == images_bundle


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda facts: facts.update(image=None), "only images have a size and a mode, and must"),
        (lambda facts: facts["image"].update(mode="grey"), "3 columns for an image of"),
        (lambda facts: facts["image"].update(height=0), "3 columns for an image of .*height=0"),
        (lambda facts: facts["image"].update(bits=7), "not 8 to 16 bits: .*bits=7"),
        (lambda facts: facts["image"].update(bits=17), "not 8 to 16 bits: .*bits=17"),
        (lambda facts: facts["golden"].update(pixels=""), "no golden rows"),
        (lambda facts: facts["golden"].update(pixels="AAAA"), "golden rows of unequal length"),
        (lambda facts: facts["image"].update(height=7), "golden rows of unequal length"),
        (lambda facts: facts.update(window=2), "window 2"),
    ],
)
def test_damaged_metadata_of_images_is_refused(
    images_bundle: Bundle, damage: Callable[[dict[str, Any]], object], message: str
) -> None:
    facts = json.loads(images_bundle.to_json())
    damage(facts)
    with pytest.raises(ModelError, match=rf"^tiny\.onnx: damaged vae-detect metadata: .*{message}"):
        read_bundle(json.dumps(facts), "tiny.onnx")


def column(facts: dict[str, Any], name: str) -> None:
    facts["columns"][1]["name"] = name


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda facts: facts.update(colour="red"), "unknown field `colour`"),
        (lambda facts: facts["calibration"].update(colour="red"), r"unknown field `colour` - at `\$.calibration`"),
        (lambda facts: facts.pop("recipe"), "missing required field `recipe`"),
        (lambda facts: facts["golden"].pop("score"), r"missing required field `score` - at `\$.golden`"),
        (lambda facts: facts.pop("schema_version"), "missing required field `schema_version`"),
        (lambda facts: facts.update(schema_version="1"), "Expected `int`, got `str`"),
        (lambda facts: facts.update(latent="8"), r"Expected `int`, got `str` - at `\$.latent`"),
        (lambda facts: facts.update(kind="films"), "Invalid enum value 'films'"),
        (lambda facts: facts.update(kind="images"), "only images have a size and a mode, and must"),
        (lambda facts: facts.update(image={"height": 2, "width": 2, "mode": "grey"}), "only images have a size"),
        (lambda facts: facts.update(image={"height": 2, "width": 2, "mode": "sepia"}), "Invalid enum value 'sepia'"),
        (lambda facts: facts.update(prior={"weights": [1], "means": [[0] * 8], "scales": [[1] * 7]}), "a prior that"),
        (lambda facts: facts.update(prior={"weights": [], "means": [], "scales": []}), "a prior that is no mixture"),
        (lambda facts: facts.update(prior={"weights": [0], "means": [[0] * 8], "scales": [[1] * 8]}), "a prior that"),
        (lambda facts: facts["calibration"].update(threshold=None), "Expected `float`, got `null`"),
        (lambda facts: facts.update(columns=[]), "no columns"),
        (lambda facts: column(facts, "speed_rpm"), "a column name is repeated"),
        (lambda facts: facts.update(window=0), "window 0"),
        (lambda facts: facts.update(history={"training": [1, 2], "validation": [1]}), "unequal numbers of epochs"),
        (lambda facts: facts.update(window=2), "window 2"),
        (lambda facts: facts["calibration"].update(far=0.0), r"false-alarm rate 0\.0"),
        (lambda facts: facts["calibration"].update(far=1.0), r"false-alarm rate 1\.0"),
        (lambda facts: facts["calibration"].update(effective_n=0.0), r"worth 0\.0"),
        (lambda facts: facts["data"].update(period_s=1e-300), "a row every 1e-300 s"),
        (lambda facts: facts.update(limits=[{"column": "x", "operator": "<", "value": 8}]), "a limit of no column"),
        (lambda facts: facts.update(limits=[{"column": "flow_m3h", "operator": "=", "value": 8}]), "Invalid enum"),
        (lambda facts: facts["calibration"]["knot_log10_p"].pop(), "knots of unequal length"),
        (lambda facts: facts["calibration"].update(knot_scores=[], knot_log10_p=[]), "does not begin at 1"),
        (lambda facts: facts["calibration"]["knot_log10_p"].__setitem__(0, -1.0), "does not begin at 1"),
        (lambda facts: facts["golden"].update(x=[], score=[], p_value=[], is_anomaly=[]), "no golden rows"),
        (lambda facts: facts["golden"]["x"].pop(), "golden rows of unequal length"),
        (lambda facts: facts["golden"]["score"].pop(), "golden rows of unequal length"),
        (lambda facts: facts["golden"]["p_value"].pop(), "golden rows of unequal length"),
        (lambda facts: facts["golden"]["is_anomaly"].pop(), "golden rows of unequal length"),
    ],
)
def test_damaged_metadata_is_refused(
    detector: Detector, damage: Callable[[dict[str, Any]], object], message: str
) -> None:
    facts = fields(detector)
    damage(facts)
    with pytest.raises(ModelError, match=rf"^pump\.onnx: damaged vae-detect metadata: .*{message}"):
        read_bundle(json.dumps(facts), "pump.onnx")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "1", '{"schema_version": NaN}'])
def test_what_is_no_json_object_is_refused(text: str) -> None:
    with pytest.raises(ModelError, match=r"^pump\.onnx: damaged vae-detect metadata: "):
        read_bundle(text, "pump.onnx")


def test_a_file_without_metadata_is_refused() -> None:
    with pytest.raises(ModelError, match="no vae-detect metadata in this ONNX file; expected a file written by"):
        read_bundle(None, "pump.onnx")
    with pytest.raises(ModelError, match="no vae-detect metadata in this ONNX file; expected one written beside"):
        read_part(None, "pump.encoder.onnx")


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_a_part_is_not_a_scorer(part: Any) -> None:
    text = Part(schema_version=SCHEMA_VERSION, export_id="0123", part=part).to_json()
    with pytest.raises(ModelError, match=rf"this is the {part} of a detector; name its scorer instead"):
        read_bundle(text, "pump.onnx")
    assert read_part(text, "pump.onnx") == Part(schema_version=SCHEMA_VERSION, export_id="0123", part=part)


def test_a_scorer_is_not_a_part(detector: Detector) -> None:
    with pytest.raises(ModelError, match="damaged vae-detect metadata"):
        read_part(detector.bundle.to_json(), "pump.onnx")


def test_facts_leave_out_only_the_long_tables(detector: Detector) -> None:
    facts = json.loads(detector.bundle.facts_json())
    full = fields(detector)
    del full["golden"], full["calibration"]["knot_scores"], full["calibration"]["knot_log10_p"]
    assert facts == full


def test_a_bundle_cannot_be_changed(detector: Detector) -> None:
    bundle: Bundle = detector.bundle
    with pytest.raises(AttributeError):
        bundle.recipe = "ae"  # type: ignore[misc]
