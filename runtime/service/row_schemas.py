"""The rows that a served model takes, as JSON Schema, and an example of them from its golden rows."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec
import numpy as np

from ..bundle import Bundle
from ..rows.cells import FLOAT32_MAX
from ..rows.fields import UNKNOWN, Field, as_fields
from ..rows.pieces import MAX_ROWS

Schema = dict[str, Any]
"""What JSON Schema calls one."""

NUMBER: Schema = {"type": "number", "minimum": -FLOAT32_MAX, "maximum": FLOAT32_MAX}
_NUMBER: Schema = {"$ref": "#/components/schemas/Number"}
_KEY = "machine-1"
"""Of the examples for a model that knows a key."""

_METRIC: Schema = {
    "type": "object",
    "required": ["name", "fields"],
    "properties": {
        "name": {"type": "string"},
        "fields": {"type": "object"},
        "tags": {"type": "object", "additionalProperties": {"type": "string"}},
        "timestamp": {"type": "number"},
    },
}
TELEGRAF: Schema = {
    "description": "Metrics as Telegraf writes them; those of one time and the same tags are a row.",
    "anyOf": [
        {
            "type": "object",
            "required": ["metrics"],
            "properties": {"metrics": {"type": "array", "items": _METRIC, "minItems": 1}},
        },
        _METRIC,
    ],
}
"""The other form of JSON that is taken."""


def body_schema(row: Schema) -> Schema:
    """Of a body in JSON: one such row, or many."""
    return {
        "anyOf": [
            row,
            {"type": "array", "items": row, "minItems": 1, "maxItems": MAX_ROWS},
            {"$ref": "#/components/schemas/Telegraf"},
        ]
    }


@dataclass(frozen=True)
class RowSchema:
    """The rows of one model of rows or of windows."""

    bundle: Bundle

    @cached_property
    def _fields(self) -> tuple[Field, ...]:
        return as_fields(self.bundle.columns)

    def schema(self) -> Schema:
        """Of one row: a list in the order of training, or an object by column name."""
        cells = [self._cell(field) for field in self._fields]
        n = len(cells)
        plain = all(cell is _NUMBER for cell in cells)
        listed = {"items": _NUMBER} if plain else {"prefixItems": cells, "items": False}
        layout = self.bundle.data.layout
        others: dict[str, Schema] = {name: {} for name in (layout.stamps.columns if layout.stamps else ())}
        if layout.key is not None:
            others[layout.key] = {"description": "Whose row it is, unless the query says it for all of them."}
        names = [field.name for field in self._fields]
        needed = [field.name for field in self._fields if not field.optional and not layout.most_missing]
        return {
            "anyOf": [
                {"type": "array", **listed, "minItems": n, "maxItems": n, "description": ", ".join(names)},
                {"type": "object", "properties": others | dict(zip(names, cells, strict=True)), "required": needed},
            ]
        }

    def examples(self) -> dict[str, list[Any]]:
        """Rows that have no alarm, by how they are written; empty where no golden row is whole."""
        rows = self._golden()
        if not rows:
            return {}
        names, key = [field.name for field in self._fields], self.bundle.data.layout.key
        objects = [({key: _KEY} if key else {}) | dict(zip(names, row, strict=True)) for row in rows]
        return {"objects": objects} if key else {"lists": rows, "objects": objects}

    def in_csv(self, objects: Sequence[Mapping[str, Any]]) -> str:
        """Rows by column name as the recording was written."""
        written, text = self.bundle.data.layout.format, io.StringIO()
        out = csv.writer(text, delimiter=written.delimiter, lineterminator="\n")
        if written.header:
            out.writerow(objects[0])
        for row in objects:
            cells = [
                str(value).replace(".", written.decimal) if isinstance(value, float) else value
                for value in row.values()
            ]
            out.writerow(cells)
        return text.getvalue()

    def _golden(self) -> list[list[Any]]:
        """The rows of the first golden input that is whole and no anomaly."""
        golden = self.bundle.golden
        for x, is_anomaly in zip(golden.x, golden.is_anomaly, strict=False):
            values = np.array(x, np.float64)
            if not is_anomaly and values.size and np.isfinite(values).all():
                return [self._cells(row) for row in values.reshape(-1, len(self._fields)).tolist()]
        return []

    def _cells(self, row: Sequence[float]) -> list[Any]:
        """The values of the graph's input as a client writes them."""
        return [_cell(field, value) for field, value in zip(self._fields, row, strict=True)]

    def _cell(self, field: Field) -> Schema:
        may_lack = field.optional or self.bundle.data.layout.most_missing > 0
        if field.is_number:
            kinds: list[Schema] = [_NUMBER]
        else:
            kinds = [{"enum": [*(field.texts or field.levels)]}]
        if field.missing and not may_lack:
            kinds = [{"$ref": _NUMBER["$ref"], "not": {"enum": [*field.missing]}}]
        if field.knows_truths:
            kinds.append({"type": "boolean"})
        if may_lack:
            kinds.append({"type": "null"})
        return kinds[0] if len(kinds) == 1 else {"anyOf": kinds}


def _cell(field: Field, value: float) -> Any:
    if field.optional and value == UNKNOWN:
        return None
    return field.texts[int(value)] if field.texts else float(str(np.float32(value)))


def in_json_lines(rows: Sequence[Any]) -> str:
    """A row a line."""
    return "".join(f"{msgspec.json.encode(row).decode()}\n" for row in rows)


def infer_example(bundle: Bundle) -> Schema | None:
    """A request to infer for the first golden row, as one tensor; None where no row is whole."""
    for x in bundle.golden.x:
        values = np.array(x, np.float64)
        if np.isfinite(values).all():
            data = [float(str(np.float32(value))) for value in values.ravel().tolist()]
            shape = [1, *bundle.input_shape]
            assert len(data) == math.prod(shape)
            return {"inputs": [{"name": "x", "shape": shape, "datatype": "FP32", "data": data}]}
    return None
