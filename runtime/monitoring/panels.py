"""What a dashboard is made of, whoever draws it: the words of the tables in fleet.py, model.py and service.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

COLUMNS = 24
"""Of the grid that panels stand in, of Grafana and of Perses."""

_MATCHERS = {
    "@service": 'job=~"$job", instance=~"$instance"',
    "@model": 'job=~"$job", instance=~"$instance", model=~"$model"',
}
"""What stands in the braces of a selector: which services, or which models of which services, were chosen."""

Kind = Literal["number", "lines", "bars", "states", "ranking", "table"]
"""number: one, in large. bars: stacked, over time. states: a named one for each time. ranking: bars side by
side, of now. table: a row for each set of labels, a column for each query."""

Unit = Literal[
    "number", "ratio", "seconds", "bytes", "cores", "rows/s", "requests/s", "times", "deviations", "nats", "state"
]


@dataclass(frozen=True)
class Step:
    """From this value on things have this colour; from minus infinity on where it is None."""

    value: float | None
    colour: str


@dataclass(frozen=True)
class Name:
    """How a value is called, and its colour."""

    value: int
    text: str
    colour: str


@dataclass(frozen=True, kw_only=True)
class Query:
    """A question to Prometheus, with `@service` or `@model` in the braces of every selector.

    In a table it is a column: `legend` is its heading, and it may have a unit, steps and names of its own.
    """

    expr: str
    legend: str
    colour: str = ""
    dashed: bool = False
    fill_to: str = ""
    """The legend of the series down to which the area below this one is filled."""
    exemplars: bool = False
    """Whether single requests are shown as points, where Prometheus keeps them."""
    unit: Unit | None = None
    steps: tuple[Step, ...] = ()
    names: tuple[Name, ...] = ()

    @property
    def promql(self) -> str:
        """As it is sent, but for the variables that whoever draws it fills in."""
        text = self.expr
        for mark, matchers in _MATCHERS.items():
            text = text.replace(mark, matchers)
        return text


def quantiles(metric: str, shares: Mapping[float, str], *, by: str = "", of: str = "@model") -> tuple[Query, ...]:
    """Below which value each of these shares of a histogram lies, with its legend; apart by labels like ", route"."""
    buckets = f"sum by (le{by}) (rate({metric}_bucket{{{of}}}[$__rate_interval]))"
    return tuple(Query(expr=f"histogram_quantile({share}, {buckets})", legend=text) for share, text in shares.items())


HIGH = {0.99: "99 % are below", 0.9: "90 % are below", 0.5: "median"}
"""Shares for `quantiles`, where large values matter."""

LOW = {0.5: "median", 0.1: "10 % are below", 0.01: "1 % are below"}


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One picture, and what a person reads beside it."""

    title: str
    description: str
    kind: Kind
    unit: Unit
    queries: tuple[Query, ...]
    width: int
    height: int
    steps: tuple[Step, ...] = (Step(None, "green"),)
    names: tuple[Name, ...] = ()
    empty: str = "none"
    """Said where there is nothing to show, or only NaN: while no model is loaded."""
    least: float | None = None
    most: float | None = None
    """The ends of the axis; None where the data says."""
    decimals: int | None = None
    logarithmic: bool = False
    legend_table: bool = False
    """Whether the legend stands at the right with the maxima, largest first: for many series that are mostly 0."""
    labels: tuple[tuple[str, str], ...] = ()
    """Of a table: the labels that are shown, and their headings."""
    sorted_by: str = ""
    """Of a table: the heading of the column whose largest values stand first."""
    link: tuple[str, str] | None = None
    """Of a table: the heading of the column that leads elsewhere, and the address."""

    @property
    def is_instant(self) -> bool:
        """Whether only what holds now is asked for."""
        return self.kind in ("number", "ranking", "table")


@dataclass(frozen=True)
class Row:
    """Panels under a heading; "" for those at the top, which have none and cannot be folded."""

    title: str
    panels: tuple[Panel, ...]
    folded: bool = False


@dataclass(frozen=True)
class Place:
    """Where a panel stands, in cells of the grid."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Mark:
    """What is marked in every picture when it happens."""

    name: str
    expr: str
    text: str
    colour: str

    @property
    def promql(self) -> str:
        """As it is sent, but for the variables."""
        return Query(expr=self.expr, legend="").promql


@dataclass(frozen=True)
class Variable:
    """What is chosen at the top: a label's values among the series that a selector finds."""

    name: str
    title: str
    selector: str
    many: bool = True
    """Whether several can be chosen, and all of them."""
    chosen: str = ""
    """At first; "" for all, or for the first where one is to be chosen."""


@dataclass(frozen=True, kw_only=True)
class Dashboard:
    """A page of panels."""

    uid: str
    title: str
    description: str
    variables: tuple[Variable, ...]
    rows: tuple[Row, ...]
    marks: tuple[Mark, ...] = ()
    hours: int = 6
    """Shown at first, up to now."""

    @property
    def panels(self) -> Iterator[Panel]:
        """All of them, from top to bottom."""
        for row in self.rows:
            yield from row.panels


TAG = "vae-detect"
"""Of every dashboard: they find each other by it."""

JOB = Variable("job", "Job", "vae_detect_ready")
INSTANCE = Variable("instance", "Instance", 'vae_detect_ready{job=~"$job"}')
MODEL = Variable("model", "Model", 'vae_detect_threshold{job=~"$job", instance=~"$instance"}')


def one_model(chosen: str) -> Variable:
    """The variable of a dashboard that shows one model, at first this one."""
    return replace(MODEL, many=False, chosen=chosen)


def places(panels: tuple[Panel, ...], top: int) -> tuple[list[Place], int]:
    """Where panels stand that flow from left to right, and the first line below them."""
    found: list[Place] = []
    x, y, height = 0, top, 0
    for panel in panels:
        if x + panel.width > COLUMNS:
            x, y, height = 0, y + height, 0
        found.append(Place(x, y, panel.width, panel.height))
        x, height = x + panel.width, max(height, panel.height)
    return found, y + height
