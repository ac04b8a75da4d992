"""Options of the commands that make events of verdicts, and where state is kept."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from ..alarms.delivery import Delivery, Sender
from ..alarms.rule import AlarmRule, Gate
from ..alarms.store import FILE, EventStore
from ..alarms.webhook import Webhook, is_web, secret_of
from ..errors import InputError
from ..opening import read_whole
from ..output import make_folder
from ..prometheus.moments import parse_duration
from .options import NamedPath

if TYPE_CHECKING:
    _OfShares = click.ParamType[tuple[int, int]]
    _OfGates = click.ParamType[Gate]
    _OfSeconds = click.ParamType[float]
else:  # which takes no type before click 8.4
    _OfShares = _OfGates = _OfSeconds = click.ParamType


SECRET = "VAE_DETECT_ALARMS_SECRET"
"""The variable that may hold the secret; an option would show it to every user of the machine."""

_SECRET_BYTES = 1 << 12

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
    return AlarmRule(k, n, form.pop("clear"), form.pop("min_duration"), form.pop("most_events"), form.pop("gate"))


class Deliveries(NamedTuple):
    """Where events are sent."""

    addresses: tuple[str, ...]
    secret: bytes | None
    quiet_s: float

    def open(
        self, store: EventStore, say: Callable[[str], object], publisher: Callable[[str], Sender]
    ) -> list[Delivery]:
        """Begins to send, to web servers as `Webhook` does, to others by what `publisher` makes of their address.

        Raises InputError for what is no address.
        """
        senders = [
            Webhook(address, secret=self.secret) if is_web(address) else publisher(address)
            for address in self.addresses
        ]
        deliveries = [
            Delivery(store, sender, address, say=say, quiet_after_ack_s=self.quiet_s)
            for sender, address in zip(senders, self.addresses, strict=True)
        ]
        return [delivery.start() for delivery in deliveries]


def delivery_options(command: _Command) -> _Command:
    """Where events are sent; `take_deliveries` makes `Deliveries` of them."""
    for option in reversed(
        [
            click.option(
                "--alarms-to",
                multiple=True,
                metavar="ADDRESS",
                help="Send events to https://HOST/PATH, or to mqtt://HOST/TOPIC; again for more.",
            ),
            click.option(
                "--alarms-secret-file",
                type=NamedPath(),
                help=f"Sign what is sent to https:// by the secret in this file. {SECRET} may hold it instead.",
            ),
            click.option(
                "--quiet-after-ack",
                default="1h",
                show_default=True,
                type=Seconds(),
                help="After an event was acknowledged, send no others of its key for so long.",
            ),
        ]
    ):
        command = option(command)
    return command


def take_deliveries(form: dict[str, Any]) -> Deliveries:
    """What `delivery_options` say, which are taken out of what a command was given. Raises InputError for a secret
    that is none."""
    addresses, file, quiet_s = (form.pop(name) for name in ("alarms_to", "alarms_secret_file", "quiet_after_ack"))
    text = os.environ.get(SECRET)
    if file is not None and text is not None:
        raise InputError(f"the secret comes from --alarms-secret-file or from {SECRET}, not from both")
    if file is not None:
        try:
            text = read_whole(file, most=_SECRET_BYTES).decode(errors="replace")
        except InputError as error:
            raise InputError(f"{file}: {error}") from None
    return Deliveries(addresses, None if text is None else secret_of(text), quiet_s)


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


def events_in(state: Path | None, say: Callable[[str], object]) -> EventStore:
    """The events that a folder of state has, or none yet, in memory.

    Parameters
    ----------
    say : told in a line when they cannot be kept
    """
    if state is None:
        return EventStore(None)
    make_folder(state)
    return EventStore(state / FILE, say=say)
