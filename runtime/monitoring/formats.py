"""The formats of dashboards, and the files that they are written to."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from .fleet import fleet
from .grafana_v1 import as_grafana_v1
from .grafana_v2 import as_grafana_v2
from .model import MODEL_UID, model
from .panels import Dashboard
from .perses import as_perses
from .service import service

if TYPE_CHECKING:
    from .facts import Facts

MIXIN = "mixin"
"""Jsonnet, of which other tools make Grafana's dashboards."""

_MIXIN_FILE = "mixin.libsonnet"

_RENDERERS: dict[str, Callable[[Dashboard], dict[str, Any]]] = {
    "grafana-v1": as_grafana_v1,
    "grafana-v2": as_grafana_v2,
    "perses": as_perses,
    MIXIN: as_grafana_v1,
}

FORMATS = tuple(_RENDERERS)

_LONGEST_UID = 40
"""In Grafana, of letters, digits, '-' and '_'."""


def of_model(facts: Facts | None) -> Dashboard:
    """The dashboard that is made to the measure of a model, or that of whichever is chosen."""
    return model(facts, MODEL_UID if facts is None else _uid(facts.name))


def all_dashboards(models: Sequence[Facts]) -> dict[str, Dashboard]:
    """By the name of their file: those that need no model, and one for each model that is given."""
    ready = {"fleet": fleet(MODEL_UID), "model": of_model(None), "service": service()}
    return ready | {f"model-{facts.name}": of_model(facts) for facts in models}


def text_of(dashboard: Dashboard, form: str) -> str:
    """One dashboard in one of `FORMATS`."""
    if form == MIXIN:
        return _mixin({dashboard.uid: dashboard})
    return _json(_RENDERERS[form](dashboard))


def files_of(dashboards: Mapping[str, Dashboard], form: str) -> dict[str, str]:
    """The text of each file by its name: one for each dashboard, of a mixin one for all."""
    if form == MIXIN:
        return {_MIXIN_FILE: _mixin({each.uid: each for each in dashboards.values()})}
    return {f"{name}.json": text_of(dashboard, form) for name, dashboard in dashboards.items()}


def _json(found: dict[str, Any]) -> str:
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


def _mixin(dashboards: Mapping[str, Dashboard]) -> str:
    """JSON is Jsonnet already; what remains is where a mixin has it."""
    inside = {f"{uid}.json": _RENDERERS[MIXIN](dashboard) for uid, dashboard in dashboards.items()}
    return f"{{\n  grafanaDashboards+:: {_json(inside).rstrip()},\n}}\n"


def _uid(name: str) -> str:
    uid = f"{MODEL_UID}-{name}"
    plain = re.sub(r"[^A-Za-z0-9_-]", "-", uid)
    if plain == uid and len(uid) <= _LONGEST_UID:
        return uid
    return f"{plain[: _LONGEST_UID - 9]}-{sha256(name.encode()).hexdigest()[:8]}"
