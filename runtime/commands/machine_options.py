"""Options of `serve` and `stream` about what is remembered of each machine, and when its alarms are events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from ..scoring.framing import MOST_KEYS
from ..streams.machines import Watching
from .alarm_options import alarm_options, take_rule
from .options import adaptive_option, fdr_option

_Command = TypeVar("_Command", bound=Callable[..., Any] | click.Command)


def machine_options(command: _Command) -> _Command:
    """What `take_watching` makes something of, and `max_keys`."""
    for option in reversed(
        [
            alarm_options,
            adaptive_option,
            fdr_option,
            click.option(
                "--fleet",
                is_flag=True,
                help="Let each key learn a threshold of its own from its first quiet rows; until then, the model's.",
            ),
            click.option(
                "--max-keys",
                default=MOST_KEYS,
                show_default=True,
                type=click.IntRange(1),
                help="Keys that are remembered; beyond so many the longest silent one is forgotten.",
            ),
        ]
    ):
        command = option(command)
    return command


def take_watching(form: dict[str, Any]) -> Watching:
    """How machines are watched, by the options that are taken out of what a command was given."""
    return Watching(take_rule(form), adaptive=form.pop("adaptive"), fdr=form.pop("fdr"), own=form.pop("fleet"))
