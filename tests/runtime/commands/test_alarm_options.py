"""Rules as they are typed."""

from __future__ import annotations

from typing import Any

import click
import pytest
from click.testing import CliRunner

from vae_detect.runtime.alarms.rule import AlarmRule, Gate
from vae_detect.runtime.commands.alarm_options import alarm_options, state_option, take_rule


@click.command(context_settings={"auto_envvar_prefix": "VAE_DETECT_TRY"})
@state_option()
@alarm_options
def asked(state: Any, **form: Any) -> None:
    click.echo(repr((take_rule(form), form, str(state))))


def typed(*words: str, **env: str) -> str:
    result = CliRunner(env=env).invoke(asked, words)
    return result.stdout if result.exit_code == 0 else result.stderr.splitlines()[-1]


def test_the_defaults_are_those_of_the_rule() -> None:
    assert typed() == f"{(AlarmRule(), {}, 'None')!r}\n"


def test_everything_that_can_be_typed() -> None:
    rule = AlarmRule(3, 5, 0.5, 90.0, 4, (Gate("flow", ">", 5.0, is_share=True), Gate("power", "<")))
    words = ("--alarm", "3/5", "--clear", "0.5", "--min-duration", "1m30s", "--most-events", "4")
    assert typed(*words, "--gate", "flow>5%", "--gate", "power<") == f"{(rule, {}, 'None')!r}\n"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--alarm", "3"), "'3' is not K/N, like 3/5 for three of the last five rows"),
        (("--alarm", "-1/2"), "'-1/2' is not K/N"),
        (("--clear", "0"), "0.0 is not in the range 0<x<=1"),
        (("--min-duration", "soon"), "duration 'soon': expected one like 15s"),
        (("--gate", "flow"), "gate 'flow': expected a column and > or <"),
    ],
)
def test_wrong_words_are_one_line(words: tuple[str, str], expected: str) -> None:
    assert expected in typed(*words)


def test_state_comes_from_the_environment_too() -> None:
    assert "'/a'" in typed(VAE_DETECT_STATE="/a", STATE_DIRECTORY="/b")
    assert "'/b'" in typed(STATE_DIRECTORY="/b:/c")
    assert "'/d'" in typed(VAE_DETECT_TRY_STATE="/d")
