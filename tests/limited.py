"""The committed detector with a limit, put into its graph by hand: training takes seconds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
from conftest import MODEL
from onnx import helper, numpy_helper


def limited_model(folder: Path, column: str, value: float) -> Path:
    """A copy whose verdict is also that readings of `column` stay below `value`."""
    path = folder / "limited.onnx"
    for part in ("encoder", "decoder"):
        shutil.copy(MODEL.with_name(f"vae.{part}.onnx"), folder / f"limited.{part}.onnx")
    model = onnx.load(MODEL)
    (entry,) = model.metadata_props
    facts = json.loads(entry.value)
    place = [each["name"] for each in facts["columns"]].index(column)
    main = model.graph
    for node in main.node:
        node.output[:] = ["by_score" if name == "is_anomaly" else name for name in node.output]
    main.initializer.append(numpy_helper.from_array(np.array(place), "limited_place"))
    main.initializer.append(numpy_helper.from_array(np.array(value, np.float32), "limited_value"))
    main.node.append(helper.make_node("Gather", ["x", "limited_place"], ["limited_reading"], axis=1))
    main.node.append(helper.make_node("GreaterOrEqual", ["limited_reading", "limited_value"], ["limited"]))
    main.node.append(helper.make_node("Or", ["by_score", "limited"], ["is_anomaly"]))
    facts["limits"] = [{"column": column, "operator": "<", "value": value}]
    golden = facts["golden"]
    golden["is_anomaly"] = [
        alarm or row[place] >= value for row, alarm in zip(golden["x"], golden["is_anomaly"], strict=True)
    ]
    entry.value = json.dumps(facts)
    onnx.save(model, path)
    return path
