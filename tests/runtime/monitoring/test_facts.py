from pathlib import Path

import onnx
import pytest
from conftest import MODEL
from versions import change_facts, facts_of

from vae_detect.runtime.errors import ModelError
from vae_detect.runtime.graph import TERMS
from vae_detect.runtime.monitoring.facts import read_facts


def test_a_detector_tells_its_columns_with_their_unit_and_what_its_recipe_has() -> None:
    facts = read_facts("pump", MODEL)
    assert (facts.name, facts.terms, len(facts.columns)) == ("pump", TERMS, 8)
    assert facts.columns[0] == "speed_rpm 99.54"


def test_a_unit_is_told_where_the_recording_had_one_and_a_category_is_no_number(tmp_path: Path) -> None:
    model = onnx.load(MODEL)
    first, second, *others = facts_of(model)["columns"]
    category = second | {"treatment": "category", "levels": [0.0, 1.0]}
    change_facts(model, columns=[first | {"unit": "1/min", "scale": 12.3456}, category, *others])
    onnx.save(model, tmp_path / "units.onnx")
    columns = read_facts("pump", tmp_path / "units.onnx").columns
    assert (columns[0], len(columns)) == ("speed_rpm 12.35 1/min", 7)


def test_columns_without_series_of_their_own_are_not_told(tmp_path: Path) -> None:
    model = onnx.load(MODEL)
    first, *_ = facts_of(model)["columns"]
    change_facts(model, columns=[first | {"name": f"c{number}"} for number in range(30)])
    onnx.save(model, tmp_path / "wide.onnx")
    assert [text.partition(" ")[0] for text in read_facts("pump", tmp_path / "wide.onnx").columns] == [
        f"c{number}" for number in range(20)
    ]


def test_an_image_has_no_columns_that_a_dashboard_could_name(images_model: Path) -> None:
    assert read_facts("tiny", images_model).columns == ()


def test_a_term_is_shown_where_the_file_knows_its_buckets(tmp_path: Path) -> None:
    model = onnx.load(MODEL)
    change_facts(model, terms={"reconstruction_error": [1, 2, 3, 4, 5, 6, 7]})
    onnx.save(model, tmp_path / "ae.onnx")
    assert read_facts("pump", tmp_path / "ae.onnx").terms == ("reconstruction_error",)


def test_a_part_of_a_detector_has_no_dashboard() -> None:
    with pytest.raises(ModelError, match="name its scorer instead"):
        read_facts("pump", MODEL.with_name("vae.encoder.onnx"))
