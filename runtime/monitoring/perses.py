"""Dashboards of Perses, which draws them without Grafana."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .panels import Dashboard, Kind, Name, Panel, Query, Row, Step, Unit, Variable, places

_PROJECT = "vae-detect"
_SOURCE = "$datasource"

_KINDS: dict[Kind, str] = {
    "number": "StatChart",
    "lines": "TimeSeriesChart",
    "bars": "TimeSeriesChart",
    "states": "StatusHistoryChart",
    "ranking": "BarChart",
    "table": "Table",
}
_UNITS: dict[Unit, str] = {
    "number": "decimal",
    "ratio": "percent-decimal",
    "seconds": "seconds",
    "bytes": "bytes",
    "cores": "decimal",
    "rows/s": "rows/sec",
    "requests/s": "requests/sec",
    "times": "decimal",
    "deviations": "decimal",
    "nats": "decimal",
    "state": "decimal",
}
_COLOURS = {
    "green": "#56a64b",
    "yellow": "#f2cc0c",
    "orange": "#ff9830",
    "red": "#e02f44",
    "dark-red": "#8f1d2c",
    "purple": "#8f3bb8",
    "blue": "#3274d9",
    "text": "#8e8e8e",
    "transparent": "#00000000",
}
"""Grafana knows colours by name; these are theirs."""


def as_perses(dashboard: Dashboard) -> dict[str, Any]:
    """The dashboard as an object to be written as JSON. What is marked in Grafana's pictures cannot be in these."""
    return {
        "kind": "Dashboard",
        "metadata": {"name": dashboard.uid, "project": _PROJECT},
        "spec": {
            "display": {"name": dashboard.title, "description": dashboard.description},
            "duration": f"{dashboard.hours}h",
            "refreshInterval": "30s",
            "variables": [_SOURCE_VARIABLE, *map(_variable, dashboard.variables)],
            "panels": {_key(number): _panel(panel) for number, panel in enumerate(dashboard.panels, start=1)},
            "layouts": _layouts(dashboard),
        },
    }


_SOURCE_VARIABLE: dict[str, Any] = {
    "kind": "ListVariable",
    "spec": {
        "name": "datasource",
        "display": {"name": "Data source"},
        "allowMultiple": False,
        "allowAllValue": False,
        "plugin": {"kind": "DatasourceVariable", "spec": {"datasourcePluginKind": "PrometheusDatasource"}},
    },
}


def _variable(variable: Variable) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "name": variable.name,
        "display": {"name": variable.title},
        "allowMultiple": variable.many,
        "allowAllValue": variable.many,
        "sort": "alphabetical-asc",
        "plugin": {
            "kind": "PrometheusLabelValuesVariable",
            # Of the default source: the plugin of Perses 0.53 takes the name of a variable here for that of a source.
            "spec": {"labelName": variable.name, "matchers": [variable.selector]},
        },
    }
    if variable.many:
        spec |= {"customAllValue": ".+", "defaultValue": ["$__all"]}
    elif variable.chosen:
        spec["defaultValue"] = variable.chosen
    return {"kind": "ListVariable", "spec": spec}


def _key(number: int) -> str:
    return f"panel-{number}"


def _panel(panel: Panel) -> dict[str, Any]:
    return {
        "kind": "Panel",
        "spec": {
            "display": {"name": panel.title, "description": panel.description},
            "plugin": {"kind": _KINDS[panel.kind], "spec": _options(panel)},
            "queries": [_query(panel, query) for query in panel.queries],
        },
    }


def _query(panel: Panel, query: Query) -> dict[str, Any]:
    spec = {"datasource": _SOURCE, "query": query.promql, "seriesNameFormat": query.legend}
    if panel.kind == "states":
        spec["minStep"] = "2m"  # each step is a tile of its own, with a white edge
    return {"kind": "TimeSeriesQuery", "spec": {"plugin": {"kind": "PrometheusTimeSeriesQuery", "spec": spec}}}


def _options(panel: Panel) -> dict[str, Any]:
    if panel.kind == "number":
        return {
            "calculation": "last-number",
            "format": _format(panel.unit, panel.decimals),
            "thresholds": _thresholds(panel.steps),
            "mappings": _mappings(panel.names, panel.empty),
        }
    if panel.kind == "states":
        return {"legend": {"position": "bottom", "mode": "list"}, "mappings": _mappings(panel.names, panel.empty)}
    if panel.kind == "ranking":
        return {"calculation": "last-number", "format": _format(panel.unit), "sort": "desc", "mode": "value"}
    if panel.kind == "table":
        return _table(panel)
    return _over_time(panel)


def _over_time(panel: Panel) -> dict[str, Any]:
    is_bars = panel.kind == "bars"
    axis: dict[str, Any] = {"format": _format(panel.unit, panel.decimals)}
    for name, value in (("min", panel.least), ("max", panel.most)):
        if value is not None:
            axis[name] = value
    visual = {
        "display": "line",  # hundreds of bars beside each other are a hatching
        "lineWidth": 1.25,
        "areaOpacity": 0.8 if is_bars else 0,
        "stack": "all" if is_bars else "none",
        "connectNulls": False,
        # The categorical one is easier to tell apart, and begins again after seven.
        "palette": {"mode": "auto" if panel.legend_table else "categorical"},
    }
    found = {
        "legend": {"position": "bottom", "mode": "list"},
        "yAxis": axis,
        "visual": visual,
        "querySettings": [
            {"queryIndex": place, **style} for place, query in enumerate(panel.queries) if (style := _style(query))
        ],
    }
    if panel.legend_table:
        found["legend"] = {"position": "right", "mode": "list"}
    if len(panel.steps) > 1:
        found["thresholds"] = _thresholds(panel.steps)
    return found


def _style(query: Query) -> dict[str, Any]:
    colour = {"colorMode": "fixed", "colorValue": _COLOURS[query.colour]} if query.colour else {}
    return colour | ({"lineStyle": "dashed"} if query.dashed else {})


def _table(panel: Panel) -> dict[str, Any]:
    single = len(panel.queries) == 1
    columns: list[dict[str, Any]] = [
        {"name": name, "header": heading, "enableSorting": True} for name, heading in panel.labels
    ]
    for number, query in enumerate(panel.queries, start=1):
        column: dict[str, Any] = {
            "name": "value" if single else f"value #{number}",
            "header": query.legend,
            "format": _format(query.unit or panel.unit),
            "align": "right",
            "enableSorting": True,
        }
        columns.append(column | ({"sort": "desc"} if query.legend == panel.sorted_by else {}))
    columns.append({"name": "timestamp", "hide": True})
    return {
        "density": "compact",
        "defaultColumnWidth": "auto",
        "columnSettings": columns,
        "cellSettings": [
            {"condition": {"kind": "Value", "spec": {"value": str(name.value)}}, "text": name.text}
            for query in panel.queries
            for name in query.names
        ],
        "transforms": [] if single else [{"kind": "MergeSeries", "spec": {}}],
    }


def _format(unit: Unit, decimals: int | None = None) -> dict[str, Any]:
    return {"unit": _UNITS[unit]} | ({} if decimals is None else {"decimalPlaces": decimals})


def _thresholds(steps: Sequence[Step]) -> dict[str, Any]:
    first, *others = steps
    return {
        "mode": "absolute",
        "defaultColor": _COLOURS[first.colour],
        "steps": [{"value": step.value, "color": _COLOURS[step.colour]} for step in others],
    }


def _mappings(names: Sequence[Name], empty: str) -> list[dict[str, Any]]:
    return [
        *(
            {
                "kind": "Value",
                "spec": {"value": str(each.value), "result": {"value": each.text, "color": _COLOURS[each.colour]}},
            }
            for each in names
        ),
        {"kind": "Misc", "spec": {"value": "NaN", "result": {"value": empty, "color": _COLOURS["text"]}}},
    ]


def _layouts(dashboard: Dashboard) -> list[dict[str, Any]]:
    found, number = [], 1
    for row in dashboard.rows:
        found.append(_grid(row, number))
        number += len(row.panels)
    return found


def _grid(row: Row, first: int) -> dict[str, Any]:
    items = [
        {
            "x": place.x,
            "y": place.y,
            "width": place.width,
            "height": place.height,
            "content": {"$ref": f"#/spec/panels/{_key(number)}"},
        }
        for number, place in enumerate(places(row.panels, 0)[0], start=first)
    ]
    display = {"display": {"title": row.title, "collapse": {"open": not row.folded}}} if row.title else {}
    return {"kind": "Grid", "spec": {**display, "items": items}}
