"""Options that say what of the data is learnt from, and what is made of them; `look` and `train` share them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from msgspec.structs import replace

from ...runtime.commands.options import Whole, table_form, table_options
from ...runtime.errors import InputError
from ...runtime.layout import Layout, Long, Resampling

if TYPE_CHECKING:
    from ..data.selection import Selection


def column_names(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in value.split(",")) if value else ()


def missing_values(
    _ctx: click.Context, _parameter: click.Parameter, value: tuple[str, ...]
) -> tuple[float, ...] | None:
    if not value or value == ("none",):
        return () if value else None
    try:
        return tuple(map(float, value))
    except ValueError:
        raise click.BadParameter(f"{' '.join(value)} is no number, and not none alone") from None


def data_options(command: Any) -> Any:
    for option in reversed(
        [
            click.option(
                "--columns",
                multiple=True,
                type=Whole(),
                metavar="A,B,...",
                help="Columns to learn from; names may hold commas.  [default: all of numbers or a few texts, but for "
                "counters, dates and labels]",
            ),
            click.option(
                "--exclude", multiple=True, type=Whole(), metavar="A,B,...", help="Columns to leave out, likewise."
            ),
            click.option(
                "--treat",
                multiple=True,
                type=Whole(),
                metavar="A=HOW,...",
                help="What is done with a column: linear, log, logit, binary, category, constant or angle.  [default: "
                "chosen from its name and values]",
            ),
            click.option("--class-column", metavar="NAME", help="The class of each row, for recipe cvae."),
        ]
    ):
        command = option(command)
    return table_options(_rows_options(_values_options(command)))


def _values_options(command: Any) -> Any:
    """What the values of a column are, and what those that are missing."""
    for option in reversed(
        [
            click.option(
                "--missing-value",
                "missing_values",
                multiple=True,
                callback=missing_values,
                metavar="NUMBER",
                help="A number that stands for no value, like -999, in every column; once for each. none: all numbers "
                "are values.  [default: found, and said]",
            ),
            click.option(
                "--limit",
                "limits",
                multiple=True,
                type=Whole(),
                metavar="'NAME<NUMBER'",
                help="What readings of a column keep in normal operation, by <, <=, > or >=; again for more. Other "
                "readings are anomalies, whatever their score.",
            ),
            click.option(
                "--max-missing",
                type=click.FloatRange(0, 0.5),
                metavar="SHARE",
                help="Share of the cells of a row that may be missing: they are filled with what is expected there, "
                "also when scoring. 0: none.  [default: a fifth where more than a few rows miss some, else none]",
            ),
        ]
    ):
        command = option(command)
    return command


def _rows_options(command: Any) -> Any:
    """How rows are found: whose they are, and when."""
    for option in reversed(
        [
            click.option(
                "--key",
                metavar="NAME",
                help="The column that says whose row it is, where several machines share a file: windows, gaps and the "
                "split are then those of each.",
            ),
            click.option(
                "--long",
                callback=column_names,
                metavar="NAME,VALUE",
                help="The columns of a long table, which has a row for each time and name: each name becomes a column.",
            ),
            click.option(
                "--time-column",
                metavar="NAME",
                help="The time stamps; DATE,TIME where they are in two columns.  [default: recognised by name or "
                "content]",
            ),
            click.option(
                "--max-gap",
                metavar="TIME",
                help="Step in time that is still no gap, like 5min.  [default: one and a half periods]",
            ),
            click.option(
                "--resample",
                metavar="'TIME HOW'",
                help="Bring rows to a grid of time, '1min mean' or '1min last' of the rows in each minute; mean where "
                "none is said. What is scored is brought to it too.",
            ),
        ]
    ):
        command = option(command)
    return command


def read_data_options(options: dict[str, Any]) -> tuple[Selection, Layout]:
    """What is learnt from, and how it is written; takes its options out of all. Raises InputError for a bad --treat."""
    from ..data.columns import parse_treatments
    from ..data.declared_limits import parse_limits
    from ..data.selection import Selection
    from ..settings.rates import parse_duration

    names = ("columns", "exclude", "time_column", "class_column", "missing_values", "max_missing")
    selection = Selection(
        **{name: options.pop(name) for name in names},
        treatments=parse_treatments(options.pop("treat")),
        limits=parse_limits(options.pop("limits")),
    )
    key, columns = options.pop("key"), options.pop("long")
    if columns and len(columns) != 2:
        raise InputError(f"--long names {len(columns)} columns, expected that of the names and that of the values")
    long = Long(*columns) if columns else None
    said = ("delimiter", "decimal", "encoding", "no_header", "time_format", "time_zone")
    form = {name: options.pop(name) for name in said}
    layout, max_gap = replace(table_form(**form), key=key, long=long), options.pop("max_gap")
    layout = replace(layout, resampling=_resampling(options.pop("resample"), layout))
    return selection, layout if max_gap is None else replace(layout, max_gap_s=parse_duration(max_gap))


def _resampling(text: str | None, layout: Layout) -> Resampling | None:
    from ..settings.rates import parse_duration

    if text is None:
        return None
    period, _, how = text.strip().rpartition(" ")
    if how not in ("mean", "last"):
        period, how = text, "mean"
    if layout.key is not None:
        raise InputError("--resample does not go with --key: bring each machine's rows to a grid in a file of its own")
    return Resampling(parse_duration(period), "last" if how == "last" else "mean")


def as_typed(ctx: click.Context, *but: str) -> list[str]:
    """The options that the user gave, in words for a command line, `but` for these."""
    words: list[str] = []
    for parameter in ctx.command.params:
        name = str(parameter.name)
        given = ctx.get_parameter_source(name) in (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)
        if not isinstance(parameter, click.Option) or name in but or not given:
            continue
        value = ctx.params[name]
        values = value if parameter.multiple else [",".join(value) if isinstance(value, tuple) else value]
        for each in values:
            words += [parameter.opts[-1]] if parameter.is_flag else [parameter.opts[-1], str(each)]
    return words
