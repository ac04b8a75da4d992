"""Options of the commands that make events of verdicts, and where state is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..alarms.rule import AlarmRule, Gate
from ..errors import InputError
from ..prometheus.moments import parse_duration
from .options import NamedPath

if TYPE_CHECKING:
    _OfShares = click.ParamType[tuple[int, int]]
    _OfGates = click.ParamType[Gate]
    _OfSeconds = click.ParamType[float]
else:  # which takes no type before click 8.4
    _OfShares = _OfGates = _OfSeconds = click.ParamType


_Command = TypeVar("_Command", bound=Callable[..., Any] | click.Command)


class _Share(_OfShares):
    name = "k/n"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        k, slash, n = str(value).partition("/")
        if not (slash and k.isdecimal() and n.isdecimal()):
            self.fail(f"{value!r} is not K/N, like 3/5 for three of the last five rows", param, ctx)
        return int(k), int(n)


class _GateType(_OfGates):
    name = "gate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Gate:
        if isinstance(value, Gate):
            return value
        try:
            return Gate.parse(str(value))
        except InputError as error:
            self.fail(str(error), param, ctx)


class Seconds(_OfSeconds):
    """A duration, like 90s, 15m or 1h30m, or a number of seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float | int):
            return float(value)
        try:
            return parse_duration(str(value)) / 1000
        except InputError as error:
            self.fail(str(error), param, ctx)


def alarm_options(command: _Command) -> _Command:
    """When rows that alarm are an event; `take_rule` makes a rule of them."""
    for option in reversed(
        [
            click.option(
                "--alarm",
                default="1/1",
                show_default=True,
                type=_Share(),
                metavar="K/N",
                help="An event begins when K of the last N rows alarm, and goes on while they do.",
            ),
            click.option(
                "--clear",
                default=1.0,
                show_default=True,
                type=click.FloatRange(0, 1, min_open=True),
                metavar="SEVERITY",
                help="It goes on, too, while the severity is at least this; rows alarm from 1 on.",
            ),
            click.option(
                "--min-duration",
                default="0s",
                show_default=True,
                type=Seconds(),
                help="Events that end before they have lasted so long are told to nobody.",
            ),
            click.option(
                "--most-events",
                default=AlarmRule().most_an_hour,
                show_default=True,
                type=click.IntRange(1),
                help="In an hour, of a key; those beyond are counted, and told to nobody.",
            ),
            click.option(
                "--gate",
                "gates",
                multiple=True,
                type=_GateType(),
                metavar="GATE",
                help="Where this column contributes most, begin events only above ('pressure>') or below ('pressure<') "
                "what is expected, by 0.5 at least ('pressure>0.5', either way 'pressure~0.5') or by 5 percent "
                "('pressure>5%'); again for more.",
            ),
        ]
    ):
        command = option(command)
    return command


def take_rule(form: dict[str, Any]) -> AlarmRule:
    """The rule of `alarm_options`, which are taken out of what a command was given."""
    k, n = form.pop("alarm")
    return AlarmRule(
        k, n, form.pop("clear"), form.pop("min_duration"), form.pop("most_events"), tuple(form.pop("gates"))
    )


class _StatePath(NamedPath):
    """A folder; of several, as systemd separates them in STATE_DIRECTORY, the first."""

    def __init__(self) -> None:
        super().__init__(file=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(value if isinstance(value, Path) else str(value).partition(":")[0], param, ctx)


def state_option(*, required: bool = False) -> Callable[[_Command], _Command]:
    """The folder of `serve`, `stream` and `events`."""
    return click.option(
        "--state",
        required=required,
        type=_StatePath(),
        envvar=["VAE_DETECT_STATE", "STATE_DIRECTORY"],
        metavar="DIR",
        help="Folder for events, labels and what is remembered of each key; also VAE_DETECT_STATE, or what systemd "
        "gives." + ("" if required else "  [default: events are kept in memory]"),
    )
