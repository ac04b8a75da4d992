"""How Grafana draws a panel: what the two forms of its dashboards have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .panels import Kind, Name, Panel, Query, Step, Unit

DATA_SOURCE = "${datasource}"
"""The variable that says where the queries go."""

TYPES: dict[Kind, str] = {
    "number": "stat",
    "lines": "timeseries",
    "bars": "timeseries",
    "states": "state-timeline",
    "ranking": "bargauge",
    "table": "table",
}

UNITS: dict[Unit, str] = {
    "number": "short",
    "ratio": "percentunit",
    "seconds": "s",
    "bytes": "bytes",
    "cores": "suffix: cores",
    "rows/s": "rowsps",
    "requests/s": "reqps",
    "times": "suffix:×",
    "deviations": "suffix: σ",
    "nats": "suffix: nats",
    "state": "none",
}


def references(panel: Panel) -> list[tuple[str, Query]]:
    """Each query with the letter by which the rest of a panel refers to it."""
    return [(chr(ord("A") + place), query) for place, query in enumerate(panel.queries)]


def target(panel: Panel, query: Query) -> dict[str, Any]:
    """A query as the Prometheus source takes it."""
    is_table = panel.kind == "table"
    return {
        "editorMode": "code",
        "exemplar": query.exemplars,
        "expr": query.promql,
        "format": "table" if is_table else "time_series",
        "instant": panel.is_instant,
        "range": not panel.is_instant,
        "legendFormat": "__auto" if is_table else query.legend,
    }


def options(panel: Panel) -> dict[str, Any]:
    """The options of the kind of panel."""
    reduced = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    if panel.kind == "number":
        is_named = bool(panel.names)
        return {
            "colorMode": "background" if is_named else "value",
            "graphMode": "none",
            "justifyMode": "center",
            "orientation": "vertical",
            "percentChangeColorMode": "standard",
            "reduceOptions": reduced,
            "showPercentChange": False,
            "textMode": "value",
            "wideLayout": False,
        }
    if panel.kind == "ranking":
        return {
            "displayMode": "gradient",
            "legend": {"calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": False},
            "maxVizHeight": 40,
            "minVizHeight": 12,
            "minVizWidth": 8,
            "namePlacement": "left",
            "orientation": "horizontal",
            "reduceOptions": reduced,
            "showUnfilled": True,
            "sizing": "auto",
            "valueMode": "color",
        }
    if panel.kind == "table":
        sort = [{"displayName": panel.sorted_by, "desc": True}] if panel.sorted_by else []
        return {"cellHeight": "sm", "frameIndex": 0, "showHeader": True, "sortBy": sort}
    tooltip = {"hideZeros": panel.kind == "bars", "mode": "multi", "sort": "desc"}
    if panel.kind == "states":
        return {
            "alignValue": "left",
            "legend": {"calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": True},
            "mergeValues": True,
            "rowHeight": 0.9,
            "showValue": "never",
            "tooltip": tooltip,
        }
    legend = {"calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": True}
    if panel.legend_table:
        legend |= {"calcs": ["max"], "displayMode": "table", "placement": "right", "sortBy": "Max", "sortDesc": True}
    return {"legend": legend, "tooltip": tooltip}


def field_config(panel: Panel) -> dict[str, Any]:
    """Units, colours, limits and names of the values."""
    defaults: dict[str, Any] = {
        "unit": UNITS[panel.unit],
        "color": {"mode": "palette-classic" if panel.kind in ("lines", "bars") else "thresholds"},
        "thresholds": _thresholds(panel.steps),
        "mappings": _mappings(panel.names, panel.empty),
        "noValue": panel.empty,
        "custom": _drawing(panel),
    }
    for name, value in (("min", panel.least), ("max", panel.most), ("decimals", panel.decimals)):
        if value is not None:
            defaults[name] = value
    return {"defaults": defaults, "overrides": _overrides(panel)}


def transformations(panel: Panel) -> list[tuple[str, dict[str, Any]]]:
    """What makes one table of several queries, each as its name and its options."""
    if panel.kind != "table":
        return []
    value = "Value" if len(panel.queries) == 1 else "Value #{}"
    shown = dict(panel.labels)
    headings = shown | {value.format(letter): query.legend for letter, query in references(panel)}
    return [
        ("merge", {}),
        (
            "organize",
            {
                "excludeByName": {"Time": True},
                "indexByName": {name: place for place, name in enumerate(headings)},
                "renameByName": headings,
            },
        ),
    ]


def _thresholds(steps: Sequence[Step]) -> dict[str, Any]:
    return {"mode": "absolute", "steps": [{"value": step.value, "color": step.colour} for step in steps]}


def _mappings(names: Sequence[Name], empty: str) -> list[dict[str, Any]]:
    """Names of values, and a quiet grey one of NaN, which is no alarm but a model that is not there."""
    named = {
        str(each.value): {"color": each.colour, "index": place, "text": each.text} for place, each in enumerate(names)
    }
    nothing = {
        "type": "special",
        "options": {"match": "null+nan", "result": {"color": "text", "index": len(named), "text": empty}},
    }
    return [*([{"type": "value", "options": named}] if named else []), nothing]


def _drawing(panel: Panel) -> dict[str, Any]:
    if panel.kind == "states":
        return {"fillOpacity": 80, "lineWidth": 0}
    if panel.kind not in ("lines", "bars"):
        return {}
    is_bars, has_line = panel.kind == "bars", len(panel.steps) > 1
    return {
        "drawStyle": "bars" if is_bars else "line",
        "lineWidth": 0 if is_bars else 1,
        "fillOpacity": 80 if is_bars else 0,
        "showPoints": "never" if is_bars else "auto",
        "spanNulls": False,
        "stacking": {"group": "A", "mode": "normal" if is_bars else "none"},
        "scaleDistribution": {"type": "log", "log": 10} if panel.logarithmic else {"type": "linear"},
        "thresholdsStyle": {"mode": "line" if has_line else "off"},
    }


def _overrides(panel: Panel) -> list[dict[str, Any]]:
    if panel.kind == "table":
        found = [_override("byName", query.legend, _column(panel, query)) for query in panel.queries]
        if panel.link:
            heading, address = panel.link
            link = {"title": "Open", "url": address, "targetBlank": False}
            found.append(_override("byName", heading, {"links": [link]}))
        return found
    found = []
    for letter, query in references(panel):
        properties: dict[str, Any] = {}
        if query.colour and panel.kind == "number":
            # A count of 0 is nothing to colour.
            steps = (
                (Step(None, "text"), Step(1, query.colour)) if panel.unit == "number" else (Step(None, query.colour),)
            )
            properties["thresholds"] = _thresholds(steps)
        elif query.colour:
            properties["color"] = {"mode": "fixed", "fixedColor": query.colour}
        if query.dashed:
            properties["custom.lineStyle"] = {"fill": "dash", "dash": [8, 6]}
        if query.fill_to:
            properties |= {"custom.fillBelowTo": query.fill_to, "custom.fillOpacity": 12}
        if properties:
            found.append(_override("byFrameRefID", letter, properties))
    return found


def _column(panel: Panel, query: Query) -> dict[str, Any]:
    properties: dict[str, Any] = {"unit": UNITS[query.unit or panel.unit]}
    if query.names:
        properties["mappings"] = _mappings(query.names, panel.empty)
    if query.steps:
        properties["thresholds"] = _thresholds(query.steps)
    if query.names or query.steps:
        properties["custom.cellOptions"] = {"type": "color-background", "mode": "basic"}
    return properties


def _override(matcher: str, value: str, properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "matcher": {"id": matcher, "options": value},
        "properties": [{"id": name, "value": value} for name, value in properties.items()],
    }
