from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from vae_detect.runtime.bundle import Bundle, Calibration, Part, read_bundle, read_part
from vae_detect.runtime.detector import Detector
from vae_detect.runtime.errors import ModelError


def fields(detector: Detector) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(detector.bundle.to_json())
    return facts


def test_json_gives_the_same_bundle_back(detector: Detector, windows_detector: Detector) -> None:
    for bundle in (detector.bundle, windows_detector.bundle):
        assert read_bundle(bundle.to_json(), "pump.onnx") == bundle
        json.loads(bundle.to_json(), parse_constant=pytest.fail)  # no NaN or Infinity


def test_names_and_input_shape(detector: Detector, windows_detector: Detector) -> None:
    names = (
        *("speed_rpm", "flow_m3h", "suction_pressure_bar", "discharge_pressure_bar"),
        *("motor_current_a", "power_kw", "bearing_temperature_c", "vibration_mm_s"),
    )
    assert detector.bundle.names == windows_detector.bundle.names == names
    assert detector.bundle.input_shape == (8,)
    assert windows_detector.bundle.input_shape == (4, 8)


@pytest.mark.parametrize(("version", "advice"), [(0, "train and export the model again"), (2, "upgrade vae-detect")])
def test_another_schema_version_is_refused_with_advice(detector: Detector, version: int, advice: str) -> None:
    # what another version writes is not known here: only the number may be looked at
    text = json.dumps({"schema_version": version, "unheard_of": [1]})
    with pytest.raises(ModelError, match=rf"^pump\.onnx: metadata schema {version}, .* reads schema 1; {advice}$"):
        read_bundle(text, "pump.onnx")
    with pytest.raises(ModelError, match=advice):
        read_bundle(json.dumps({**fields(detector), "schema_version": version}), "pump.onnx")


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
        (lambda facts: facts.update(kind="images"), "Invalid enum value 'images'"),
        (lambda facts: facts["calibration"].update(threshold=None), "Expected `float`, got `null`"),
        (lambda facts: facts.update(columns=[]), "no columns"),
        (lambda facts: column(facts, "speed_rpm"), "a column name is repeated"),
        (lambda facts: facts.update(window=0), "window 0"),
        (lambda facts: facts.update(window=2), "window 2"),
        (lambda facts: facts["calibration"].update(far=0.0), r"false-alarm rate 0\.0"),
        (lambda facts: facts["calibration"].update(far=1.0), r"false-alarm rate 1\.0"),
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
    text = Part(schema_version=1, export_id="0123", part=part).to_json()
    with pytest.raises(ModelError, match=rf"this is the {part} of a detector; name its scorer instead"):
        read_bundle(text, "pump.onnx")
    assert read_part(text, "pump.onnx") == Part(schema_version=1, export_id="0123", part=part)


def test_a_scorer_is_not_a_part(detector: Detector) -> None:
    with pytest.raises(ModelError, match="damaged vae-detect metadata"):
        read_part(detector.bundle.to_json(), "pump.onnx")


def test_facts_leave_out_only_the_long_tables(detector: Detector) -> None:
    facts = json.loads(detector.bundle.facts_json())
    full = fields(detector)
    del full["golden"], full["calibration"]["knot_scores"], full["calibration"]["knot_log10_p"]
    assert facts == full


def test_description_shows_threshold_and_columns(detector: Detector, windows_detector: Detector) -> None:
    text = detector.bundle.describe()
    assert "recipe       vae, gaussian likelihood, 8 latent dimensions\n" in text
    assert f"calibration  Threshold {detector.bundle.calibration.threshold:.6g} from 4020 held-out" in text
    assert "data         20160 rows, a row every 30 s, time stamps in 'timestamp'" in text
    assert "licence      Apache-2.0\n" in text
    assert [line.split()[0] for line in text.splitlines()[-8:]] == list(detector.bundle.names)
    assert "windows of 4 rows, scored at the newest" in windows_detector.bundle.describe()
    assert "licence" not in windows_detector.bundle.describe()


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
    assert calibration().describe() == (
        "Threshold 2.5 from 1000 held-out normal scores: promised false-alarm rate 0.01, "
        "really between 0.006 and 0.015 in 9 cases of 10."
    )
    assert "scores (worth 40 independent ones): promised" in calibration(effective_n=40.2).describe()
    assert "between 0 and 0.015" in calibration(far_low=1e-9).describe()
    assert (
        calibration(method="extrapolated")
        .describe()
        .endswith("The rate is extrapolated: 1000 scores show nothing rarer than 0.001.")
    )


def test_a_bundle_cannot_be_changed(detector: Detector) -> None:
    bundle: Bundle = detector.bundle
    with pytest.raises(AttributeError):
        bundle.recipe = "ae"  # type: ignore[misc]
