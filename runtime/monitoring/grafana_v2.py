"""Grafana's dashboards as its API has them from Grafana 13 on: elements by name, and a layout that names them."""

from __future__ import annotations

from typing import Any

from .grafana_panels import DATA_SOURCE, TYPES, field_config, options, references, target, transformations
from .panels import TAG, Dashboard, Mark, Panel, Row, Variable, places

_VERSION = "13.0.0"
"""Of the kinds of panel, which are part of Grafana."""


def as_grafana_v2(dashboard: Dashboard) -> dict[str, Any]:
    """The dashboard as an object to be written as JSON."""
    return {
        "apiVersion": "dashboard.grafana.app/v2",
        "kind": "Dashboard",
        "metadata": {"name": dashboard.uid},
        "spec": {
            "title": dashboard.title,
            "description": dashboard.description,
            "tags": [TAG],
            "editable": False,
            "cursorSync": "Crosshair",
            "preload": False,
            "timeSettings": {
                "timezone": "browser",
                "from": f"now-{dashboard.hours}h",
                "to": "now",
                "autoRefresh": "30s",
                "autoRefreshIntervals": ["10s", "30s", "1m", "5m", "15m", "1h"],
                "hideTimepicker": False,
                "fiscalYearStartMonth": 0,
            },
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
                }
            ],
            "annotations": [_annotation(mark) for mark in dashboard.marks],
            "variables": [_SOURCE_VARIABLE, *map(_variable, dashboard.variables)],
            "elements": {
                _element(number): _panel(panel, number) for number, panel in enumerate(dashboard.panels, start=1)
            },
            "layout": _layout(dashboard),
        },
    }


def _query(spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": "DataQuery",
        "group": "prometheus",
        "version": "v0",
        "datasource": {"name": DATA_SOURCE},
        "spec": spec,
    }


_SOURCE_VARIABLE: dict[str, Any] = {
    "kind": "DatasourceVariable",
    "spec": {
        "name": "datasource",
        "label": "Data source",
        "pluginId": "prometheus",
        "current": {"text": "default", "value": "default"},
        "allowCustomValue": False,
        "hide": "dontHide",
        "includeAll": False,
        "multi": False,
        "options": [],
        "refresh": "onDashboardLoad",
        "regex": "",
        "skipUrlSync": False,
    },
}


def _variable(variable: Variable) -> dict[str, Any]:
    chosen: dict[str, Any] = {"text": variable.chosen, "value": variable.chosen}
    spec = {
        "name": variable.name,
        "label": variable.title,
        "query": _query(
            {"qryType": 1, "query": f"label_values({variable.selector}, {variable.name})", "refId": variable.name}
        ),
        "current": {"text": ["All"], "value": ["$__all"]} if variable.many else chosen,
        "allowCustomValue": True,
        "hide": "dontHide",
        "includeAll": variable.many,
        "multi": variable.many,
        "options": [],
        "refresh": "onTimeRangeChanged",
        "regex": "",
        "skipUrlSync": False,
        "sort": "alphabeticalAsc",
    }
    return {"kind": "QueryVariable", "spec": spec | ({"allValue": ".+"} if variable.many else {})}


def _annotation(mark: Mark) -> dict[str, Any]:
    return {
        "kind": "AnnotationQuery",
        "spec": {
            "name": mark.name,
            "enable": True,
            "hide": False,
            "iconColor": mark.colour,
            "query": _query({"refId": "Anno", "expr": mark.promql}),
            "legacyOptions": {
                "titleFormat": mark.name,
                "textFormat": mark.text,
                "tagKeys": "model,instance",
                "useValueForTime": False,
            },
        },
    }


def _element(number: int) -> str:
    return f"panel-{number}"


def _panel(panel: Panel, number: int) -> dict[str, Any]:
    return {
        "kind": "Panel",
        "spec": {
            "id": number,
            "title": panel.title,
            "description": panel.description,
            "links": [],
            "data": {
                "kind": "QueryGroup",
                "spec": {
                    "queries": [
                        {
                            "kind": "PanelQuery",
                            "spec": {"refId": letter, "hidden": False, "query": _query(target(panel, query))},
                        }
                        for letter, query in references(panel)
                    ],
                    "queryOptions": {},
                    "transformations": [
                        {"kind": "Transformation", "group": name, "spec": {"options": given}}
                        for name, given in transformations(panel)
                    ],
                },
            },
            "vizConfig": {
                "kind": "VizConfig",
                "group": TYPES[panel.kind],
                "version": _VERSION,
                "spec": {"options": options(panel), "fieldConfig": field_config(panel)},
            },
        },
    }


def _layout(dashboard: Dashboard) -> dict[str, Any]:
    rows, number = [], 1
    for row in dashboard.rows:
        rows.append(_row(row, number))
        number += len(row.panels)
    return {"kind": "RowsLayout", "spec": {"rows": rows}}


def _row(row: Row, first: int) -> dict[str, Any]:
    items = [
        {
            "kind": "GridLayoutItem",
            "spec": {
                "x": place.x,
                "y": place.y,
                "width": place.width,
                "height": place.height,
                "element": {"kind": "ElementReference", "name": _element(number)},
            },
        }
        for number, place in enumerate(places(row.panels, 0)[0], start=first)
    ]
    return {
        "kind": "RowsLayoutRow",
        "spec": {
            "title": row.title,
            "collapse": row.folded,
            "hideHeader": not row.title,
            "layout": {"kind": "GridLayout", "spec": {"items": items}},
        },
    }
