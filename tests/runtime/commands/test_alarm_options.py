"""Rules as they are typed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from vae_detect.runtime.alarms.delivery import Sender
from vae_detect.runtime.alarms.event import Change, Event
from vae_detect.runtime.alarms.rule import AlarmRule, Gate
from vae_detect.runtime.alarms.store import EventStore
from vae_detect.runtime.commands.alarm_options import (
    SECRET,
    Deliveries,
    alarm_options,
    delivery_options,
    state_option,
    take_deliveries,
    take_rule,
)
from vae_detect.runtime.errors import InputError


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


class Kept:
    """Takes every event, anywhere."""

    def __init__(self, where: str) -> None:
        self.where, self.taken = where, list[bytes]()

    def send(self, event: bytes, key: str) -> None:
        self.taken.append(event)


def asked_for(words: list[str]) -> Deliveries:
    """What is made of options."""
    found: list[Deliveries] = []

    @click.command()
    @delivery_options
    def command(**form: Any) -> None:
        found.append(take_deliveries(form))
        assert form == {}

    command.main(words, standalone_mode=False)
    return found[0]


def test_events_are_sent_to_several_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SECRET, raising=False)
    asked = asked_for(["--alarms-to", "mqtt://broker/alarms", "--alarms-to", "HTTP://127.0.0.1:9/"])
    assert asked == Deliveries(("mqtt://broker/alarms", "HTTP://127.0.0.1:9/"), None, 3600.0)
    store, others, said = EventStore(None), dict[str, Kept](), list[str]()

    def publisher(address: str) -> Sender:
        return others.setdefault(address, Kept(address))

    opened = asked.open(store, said.append, publisher)
    store.apply([Change(Event(start=1.0), "started")])
    end = time.monotonic() + 10
    while not (others["mqtt://broker/alarms"].taken and said) and time.monotonic() < end:
        time.sleep(0.01)
    for delivery in opened:
        delivery.close()
    assert [*others] == ["mqtt://broker/alarms"]
    assert said == ["events wait: http://127.0.0.1:9: cannot be reached: Connection refused"]


def test_the_secret_comes_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "secret"
    file.write_text("of a file\n")
    words = ["--alarms-secret-file", str(file), "--quiet-after-ack", "5m"]
    monkeypatch.delenv(SECRET, raising=False)
    assert asked_for(words) == Deliveries((), b"of a file", 300.0)
    monkeypatch.setenv(SECRET, "whsec_aGlkZGVu")
    assert asked_for([]).secret == b"hidden"
    with pytest.raises(InputError, match="not from both"):
        asked_for(words)
    monkeypatch.delenv(SECRET)
    with pytest.raises(InputError, match=f"^{tmp_path / 'none'}: "):
        asked_for(["--alarms-secret-file", str(tmp_path / "none")])
