"""Grafana's dashboards as they are in files and were until Grafana 12: a list of panels, each with its place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .grafana_panels import DATA_SOURCE, TYPES, field_config, options, references, target, transformations
from .panels import COLUMNS, TAG, Dashboard, Mark, Panel, Place, Row, Variable, places

_SCHEMA = 39
"""Grafana brings older ones up to date when it reads them; this one is of Grafana 10 to 11, which read it as it is."""

_SOURCE = {"type": "prometheus", "uid": DATA_SOURCE}
_ON_TIME_RANGE = 2
_BY_NAME = 1


def as_grafana_v1(dashboard: Dashboard) -> dict[str, Any]:
    """The dashboard as an object to be written as JSON."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": [TAG],
        "schemaVersion": _SCHEMA,
        "editable": False,
        "graphTooltip": 1,
        "time": {"from": f"now-{dashboard.hours}h", "to": "now"},
        "refresh": "30s",
        "timezone": "browser",
        "links": [
            {
                "title": "vae-detect",
                "type": "dashboards",
                "tags": [TAG],
                "asDropdown": False,
                "includeVars": True,
                "keepTime": True,
                "targetBlank": False,
                "icon": "external link",
                "tooltip": "",
                "url": "",
            }
        ],
        "annotations": {"list": [_annotation(mark) for mark in dashboard.marks]},
        "templating": {"list": [_SOURCE_VARIABLE, *map(_variable, dashboard.variables)]},
        "panels": list(_panels(dashboard)),
    }


_SOURCE_VARIABLE: dict[str, Any] = {
    "name": "datasource",
    "label": "Data source",
    "type": "datasource",
    "query": "prometheus",
    "current": {"text": "default", "value": "default"},
    "hide": 0,
    "includeAll": False,
    "multi": False,
    "options": [],
    "refresh": 1,
    "regex": "",
    "skipUrlSync": False,
}


def _variable(variable: Variable) -> dict[str, Any]:
    query = f"label_values({variable.selector}, {variable.name})"
    found: dict[str, Any] = {
        "name": variable.name,
        "label": variable.title,
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": variable.name},
        "hide": 0,
        "includeAll": variable.many,
        "multi": variable.many,
        "options": [],
        "refresh": _ON_TIME_RANGE,
        "regex": "",
        "skipUrlSync": False,
        "sort": _BY_NAME,
    }
    if variable.many:
        found |= {"allValue": ".+", "current": {"text": ["All"], "value": ["$__all"]}}
    elif variable.chosen:
        found["current"] = {"text": variable.chosen, "value": variable.chosen}
    return found


def _annotation(mark: Mark) -> dict[str, Any]:
    return {
        "name": mark.name,
        "datasource": _SOURCE,
        "enable": True,
        "hide": False,
        "iconColor": mark.colour,
        "target": {"refId": "Anno", "expr": mark.promql},
        "expr": mark.promql,  # where Grafana before 10 looks for it
        "titleFormat": mark.name,
        "textFormat": mark.text,
        "tagKeys": "model,instance",
        "useValueForTime": False,
    }


def _panels(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    number, top = 1, 0
    for row in dashboard.rows:
        heading: dict[str, Any] | None = None
        if row.title:
            heading, number = _heading(row, number, top), number + 1
            top += 1
            yield heading
        standing, bottom = places(row.panels, top)
        for panel, place in zip(row.panels, standing, strict=True):
            drawn = _panel(panel, place, number)
            number += 1
            if heading is not None and row.folded:
                heading["panels"].append(drawn)
            else:
                yield drawn
        top = top if row.folded else bottom


def _heading(row: Row, number: int, top: int) -> dict[str, Any]:
    return {
        "id": number,
        "type": "row",
        "title": row.title,
        "collapsed": row.folded,
        "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": 1},
        "panels": [],
    }


def _panel(panel: Panel, place: Place, number: int) -> dict[str, Any]:
    return {
        "id": number,
        "type": TYPES[panel.kind],
        "title": panel.title,
        "description": panel.description,
        "datasource": _SOURCE,
        "gridPos": {"x": place.x, "y": place.y, "w": place.width, "h": place.height},
        "targets": [
            {"refId": letter, "datasource": _SOURCE, **target(panel, query)} for letter, query in references(panel)
        ],
        "options": options(panel),
        "fieldConfig": field_config(panel),
        "transformations": [{"id": name, "options": given} for name, given in transformations(panel)],
    }
