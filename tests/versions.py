"""Other versions of the committed detector, made by hand: training takes seconds."""

from __future__ import annotations

import json
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from conftest import MODEL
from onnx import numpy_helper


def version_of(folder: Path, name: str, export_id: str, weight: float = 1.0, threshold: float | None = None) -> Path:
    """A detector like the committed one whose score is weight * reconstruction error + KL divergence."""
    path = folder / f"{name}.onnx"
    digests = {}
    for part in ("encoder", "decoder"):
        model = onnx.load(MODEL.with_name(f"vae.{part}.onnx"))
        change_facts(model, export_id=export_id)
        content = model.SerializeToString()
        path.with_name(f"{name}.{part}.onnx").write_bytes(content)
        digests[f"{part}_sha256"] = sha256(content).hexdigest()
    model = onnx.load(MODEL)
    change_initializer(model, "mul_38", np.sqrt(weight))  # 1 / sigma, whose square weighs the squared errors
    facts = facts_of(model)
    calibration = facts["calibration"]
    if threshold is not None:
        change_initializer(model, "threshold", threshold / calibration["threshold"])
        calibration["threshold"] = threshold
    score, p_value, is_anomaly = run(model, np.array(facts["golden"]["x"], np.float32))
    golden = facts["golden"] | {
        "score": score.astype(float).tolist(),
        "p_value": p_value.astype(float).tolist(),
        "is_anomaly": is_anomaly.tolist(),
    }
    change_facts(model, export_id=export_id, parts=digests, calibration=calibration, golden=golden)
    path.write_bytes(model.SerializeToString())
    return path


def copied(folder: Path, name: str = "vae", model: Path = MODEL) -> Path:
    """The three files of a detector under another name."""
    for part in ("", ".encoder", ".decoder"):
        shutil.copy(model.with_name(f"{model.stem}{part}.onnx"), folder / f"{name}{part}.onnx")
    return folder / f"{name}.onnx"


def facts_of(model: onnx.ModelProto) -> dict[str, Any]:
    (entry,) = model.metadata_props
    found: dict[str, Any] = json.loads(entry.value)
    return found


def change_facts(model: onnx.ModelProto, **changed: Any) -> None:
    (entry,) = model.metadata_props
    entry.value = json.dumps(facts_of(model) | changed)


def change_initializer(model: onnx.ModelProto, name: str, factor: float) -> None:
    (tensor,) = [each for each in model.graph.initializer if each.name == name]
    values = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array(np.asarray(values * factor, values.dtype).reshape(values.shape), name))


def run(model: onnx.ModelProto, x: Any) -> Any:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["score", "p_value", "is_anomaly"], {"x": x})
