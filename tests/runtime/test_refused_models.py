"""Files that are made to look like a detector, in ways that no export has: refused in a line, and soon."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import MODEL
from onnx import TensorProto, helper, numpy_helper
from server_process import command
from versions import change_facts, copied, facts_of

from vae_detect.runtime.detector import Detector
from vae_detect.runtime.errors import ModelError

Change = Callable[[onnx.ModelProto], object]


def outside(where: str) -> Change:
    """Takes the weights of a layer from another file."""

    def change(model: onnx.ModelProto) -> None:
        (tensor,) = [each for each in model.graph.initializer if each.name == "model.decoder.layers.2.weight"]
        size = len(tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", where), ("offset", "0"), ("length", str(size))):
            tensor.external_data.add(key=key, value=value)

    return change


def newer_operators(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 999


def newer_format(model: onnx.ModelProto) -> None:
    model.ir_version = 99


def foreign_operator(model: onnx.ModelProto) -> None:
    model.opset_import.add(domain="com.evil", version=1)
    model.graph.node.append(helper.make_node("RunShell", ["x"], ["y"], domain="com.evil"))
    model.graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, None))


def circle(model: onnx.ModelProto) -> None:
    model.graph.node[0].input[0] = model.graph.node[-1].output[0]


def much_memory(model: onnx.ModelProto) -> None:
    """The first product has a terabyte in it."""
    model.graph.initializer.append(numpy_helper.from_array(np.array([1 << 38], np.int64), "size"))
    model.graph.node.insert(0, helper.make_node("ConstantOfShape", ["size"], ["ones"]))
    model.graph.node.insert(1, helper.make_node("ReduceSum", ["ones"], ["one"], keepdims=0))
    model.graph.node.insert(2, helper.make_node("Add", ["x", "one"], ["more"]))
    model.graph.node[3].input[0] = "more"


def another_width(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 9


def two_inputs(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("secret", TensorProto.FLOAT, [1]))


def no_inputs(model: onnx.ModelProto) -> None:
    del model.graph.input[:]


def facts(**changed: object) -> Change:
    return lambda model: change_facts(model, **changed)


def part_of_facts(name: str, **changed: object) -> Change:
    return lambda model: change_facts(model, **{name: facts_of(model)[name] | changed})


def nested_facts(model: onnx.ModelProto) -> None:
    model.metadata_props[0].value = "[" * 100_000


CHANGES: dict[str, Change] = {
    "weights in a file above": outside("../weights.bin"),
    "weights in a file by its whole path": outside("/etc/passwd"),
    "weights in a file beside it": outside("weights.bin"),
    "weights behind a link": outside("link.bin"),
    "weights in a device": outside("/dev/zero"),
    "newer operators": newer_operators,
    "a newer format": newer_format,
    "a foreign operator": foreign_operator,
    "a circle": circle,
    "a terabyte": much_memory,
    "another width": another_width,
    "two inputs": two_inputs,
    "no input": no_inputs,
    "another schema": facts(schema_version=99),
    "a field that nobody knows": facts(surprise=1),
    "no columns": facts(columns=[]),
    "a window of nothing": facts(window=0),
    "an export id of another type": facts(export_id=7),
    "a threshold that is no number": part_of_facts("calibration", threshold=float("nan")),
    "a promise beyond 1": part_of_facts("calibration", far=2.0),
    "no golden rows": part_of_facts("golden", x=[], score=[], p_value=[], is_anomaly=[]),
    "golden rows without scores": part_of_facts("golden", score=[]),
    "a golden score that is no number": part_of_facts("golden", score=[float("nan")] * 8),
    "parts without a digest": facts(parts={}),
    "facts that are nested too deep": nested_facts,
}


@pytest.mark.parametrize("kind", CHANGES)
def test_what_no_export_writes_is_refused_in_a_line(kind: str, tmp_path: Path) -> None:
    path = copied(tmp_path, "pump")
    (tmp_path / "weights.bin").write_bytes(bytes(10_000))
    (tmp_path / "link.bin").symlink_to("/etc/passwd")
    model = onnx.load(path)
    CHANGES[kind](model)
    path.write_bytes(model.SerializeToString())
    started = time.monotonic()
    with pytest.raises(ModelError) as refused:
        Detector.load(path, provider="cpu")
    assert time.monotonic() - started < 10
    assert str(refused.value).startswith(str(path))
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 600


def test_the_facts_of_another_version_do_not_help_a_graph(tmp_path: Path, windows_model: Path) -> None:
    path = copied(tmp_path, "pump")
    model, other = onnx.load(path), onnx.load(windows_model)
    model.metadata_props[0].value = other.metadata_props[0].value
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"the graph (takes|asks)"):
        Detector.load(path, provider="cpu")


def test_a_part_may_be_a_link_to_what_it_is(tmp_path: Path, windows_model: Path) -> None:
    """What counts is what stands there: the same bytes, wherever they are; and no others."""
    path = copied(tmp_path, "pump")
    encoder = path.with_name("pump.encoder.onnx")
    for target in (MODEL.with_name("vae.encoder.onnx"), windows_model, Path("/dev/zero")):
        encoder.unlink()
        encoder.symlink_to(target)
        found = Detector.load(path, provider="cpu")
        if target.parent == MODEL.parent:
            assert list(found.parts()) == ["encoder", "decoder"]
            continue
        with pytest.raises(ModelError, match=r"pump\.encoder\.onnx"):
            found.parts()


@pytest.mark.parametrize("kind", ["a part of another export", "NaN", "a pipe"])
def test_the_service_ends_before_it_is_ready(kind: str, tmp_path: Path, windows_model: Path) -> None:
    path = copied(tmp_path, "pump")
    if kind == "a part of another export":
        copied(tmp_path, "other", windows_model)
        (tmp_path / "other.decoder.onnx").replace(tmp_path / "pump.decoder.onnx")
    elif kind == "NaN":
        model = onnx.load(path)
        (tensor,) = [each for each in model.graph.initializer if each.name == "model.encoder.layers.0.bias"]
        tensor.CopyFrom(numpy_helper.from_array(np.full(tensor.dims, np.nan, np.float32), tensor.name))
        path.write_bytes(model.SerializeToString())
    else:
        path.unlink()
        os.mkfifo(path)
    started = time.monotonic()
    with command("--port", "0", model=path) as (running, said):
        assert running.wait(10) == 2
    assert time.monotonic() - started < 10
    (line, _) = said
    assert line.startswith("Error: ") or "pump" in line
    assert "serving" not in line
