"""Addresses of sources and sinks: what is meant, and what is said of a mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from vae_detect.runtime.errors import InputError
from vae_detect.runtime.streams.addresses import (
    Broker,
    SinkAddress,
    SourceAddress,
    Standard,
    Tail,
    Target,
    Web,
    parse_sink,
    parse_source,
)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("-", Standard()),
        ("tail:log.csv", Tail(Path("log.csv"))),
        ("tail:/var/log/a b.csv", Tail(Path("/var/log/a b.csv"))),
        ("mqtt://box/plant/+/sensors", Broker("box", 1883, "plant/+/sensors")),
        ("MQTT://box:1884/a", Broker("box", 1884, "a")),
        ("mqtts://edge@box/plant/#", Broker("box", 8883, "plant/#", "edge", True)),
        ("mqtt://box//leading", Broker("box", 1883, "/leading")),
        ("mqtt://[::1]:1883/a", Broker("::1", 1883, "a")),
        ("mqtt://ed%40ge@box/a%20b", Broker("box", 1883, "a b", "ed@ge")),
        ("https://box/rows?machine=3#x", Web("https://box/rows?machine=3#x")),
        ("http://me@box:8080/rows", Web("http://box:8080/rows", "me")),
    ],
)
def test_sources_are_told_apart(text: str, meant: SourceAddress) -> None:
    assert parse_source(text) == meant


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("-", Standard()),
        ("out.jsonl", Target(Path("out.jsonl"))),
        ("file:out.jsonl", Target(Path("out.jsonl"))),
        ("/tmp/a/b", Target(Path("/tmp/a/b"))),
        ("mqtt://box/plant/{key}/verdict", Broker("box", 1883, "plant/{key}/verdict")),
        ("https://hook.local/x", Web("https://hook.local/x")),
    ],
)
def test_sinks_are_told_apart(text: str, meant: SinkAddress) -> None:
    assert parse_sink(text) == meant


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("mqtt://me:secret@box/a", "mqtt://me:...@box: a password in an address .* --password-file"),
        ("https://me:secret@box/a", "--password-file"),
        ("mqtt://box", "names no topic, expected one like plant/{key}/sensors"),
        ("mqtt://box/", "names no topic"),
        ("mqtt:///a", "names no host"),
        ("mqtt://box:70000/a", "the address is damaged"),
        ("mqtt://box/a/x{key}/b", "{key} must be one whole level"),
        ("mqtt://box/{key}/{key}", "{key} must be one whole level"),
        ("mqtt://box/a+/b", r"\+ and # must each be a whole level"),
        ("mqtt://box/#/b", "# can only be the last level"),
        ("mqtt://box/$share/group", r"expected \$share/GROUP/TOPIC"),
        ("kafka://box/a", r"kafka://\.\.\.: expected a source: -, tail:PATH"),
        ("tail:", "names no file"),
        ("./log.csv", r"to follow a file say tail:\./log\.csv"),
        ("nothing", "'nothing': expected a source"),
        ("", "'': expected a source"),
    ],
)
def test_mistakes_in_a_source_are_told_without_the_password(text: str, told: str) -> None:
    with pytest.raises(InputError, match=told) as raised:
        parse_source(text)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("mqtt://box/plant/+/verdict", "nothing can be published to"),
        ("mqtt://box/plant/#", "nothing can be published to"),
        ("tail:log.csv", "can only be read"),
        ("", "names no file"),
        ("kafka://box/a", "expected a sink: -, PATH"),
    ],
)
def test_mistakes_in_a_sink_are_told(text: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        parse_sink(text)


def test_the_key_is_the_level_of_the_topic_that_stands_for_it() -> None:
    broker = Broker("box", 1883, "plant/{key}/sensors/#")
    assert broker.filter == "plant/+/sensors/#"
    assert [broker.key_of(topic) for topic in ("plant/p1/sensors/a", "plant/ü x/sensors", "plant")] == ["p1", "ü x", ""]
    assert Broker("box", 1883, "plant/+/sensors").key_of("plant/p1/sensors") == ""
    assert Broker("box", 1883, "$share/scorers/plant/{key}").key_of("plant/p1") == "p1"


def test_what_people_see_of_an_address_holds_no_query() -> None:
    assert str(Web("https://box/rows?token=abc#y")) == "https://box/rows?..."
    assert str(Broker("::1", 1883, "a")) == "mqtt://[::1]:1883/a"
