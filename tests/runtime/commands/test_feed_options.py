"""From what is typed to sources and sinks: passwords from where they belong, and mistakes told."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from conftest import MODEL, run_here
from tiny_images import write_detector

from vae_detect.runtime.bundle import Image
from vae_detect.runtime.commands.feed_options import PASSWORD, TO_PASSWORD, Feeds, named_sources
from vae_detect.runtime.detector import Detector
from vae_detect.runtime.errors import InputError
from vae_detect.runtime.streams.addresses import Broker, Web, parse_sink
from vae_detect.runtime.streams.line_sinks import FileSink, StdoutSink
from vae_detect.runtime.streams.mqtt import MqttSink
from vae_detect.runtime.streams.mqtt_source import MqttSource
from vae_detect.runtime.streams.stdin import StdinSource
from vae_detect.runtime.streams.tail import TailSource
from vae_detect.runtime.streams.web import WebSink, WebSource

PLAIN = Feeds("auto", False, 1.0, (), None, "", False, None, None, None, None, None)


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        ("-", StdinSource, "stdin"),
        ("tail:later.csv", TailSource, "tail"),
        ("mqtt://box/plant/{key}", MqttSource, "mqtt"),
        ("https://box/rows", WebSource, "http"),
    ],
)
def test_sources(detector: Detector, text: str, kind: type, name: str) -> None:
    source = PLAIN.source(text, "pump", detector.bundle, lambda _: None)
    assert type(source) is kind
    assert source.name == name


def test_sinks(tmp_path: Path) -> None:
    for text, kind in (
        ("-", StdoutSink),
        (str(tmp_path / "a"), FileSink),
        ("mqtt://box/a", MqttSink),
        ("http://box", WebSink),
    ):
        sink = PLAIN.sink(text, "pump", ["-"])
        assert type(sink) is kind
        if isinstance(sink, FileSink):
            sink.close()


def test_the_password_of_a_sink_is_its_own_or_that_of_the_same_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one").write_text("first\n")
    feeds = PLAIN._replace(password_file=tmp_path / "one")
    source = "mqtts://edge@box/plant/{key}"

    def shown(address: str) -> tuple[str, str | None]:
        sink = parse_sink(address)
        assert isinstance(sink, Broker | Web)
        login = feeds._login_of_sink(sink, [source])
        return login.user, login.password

    assert shown("mqtts://box/verdicts") == ("edge", "first")
    assert shown("mqtts://edge@box/verdicts")[1] == "first"
    for other in ("mqtts://other/verdicts", "mqtt://box/verdicts", "mqtts://you@box/verdicts", "https://box/"):
        assert shown(other) == ("", None)
    monkeypatch.setenv(TO_PASSWORD, "second")
    assert shown("mqtts://other/verdicts") == ("", "second")


def test_a_password_comes_from_one_place_and_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "two").write_text("secret\nlines\n")
    with pytest.raises(InputError, match="two: expected one line, the password"):
        PLAIN._replace(password_file=tmp_path / "two")._login()
    with pytest.raises(InputError, match=r"missing: no such file"):
        PLAIN._replace(password_file=tmp_path / "missing")._login()
    monkeypatch.setenv(PASSWORD, "secret")
    assert PLAIN._login().password == "secret"
    with pytest.raises(InputError, match=f"the password comes from --password-file or from {PASSWORD}, not from both"):
        PLAIN._replace(password_file=tmp_path / "two")._login()


def test_sources_of_several_models_are_named() -> None:
    assert named_sources(["-", "pump=tail:a=b"], ["pump"]) == [("pump", "-"), ("pump", "tail:a=b")]
    assert named_sources(["fan=mqtt://box/a=b"], ["pump", "fan"]) == [("fan", "mqtt://box/a=b")]
    with pytest.raises(InputError, match="say whose rows these are: --from NAME=SOURCE, of pump, fan"):
        named_sources(["mqtt://box/a"], ["pump", "fan"])


def test_streams_are_of_rows(tmp_path: Path) -> None:
    bundle = Detector.load(write_detector(tmp_path / "tiles.onnx", Image(12, 16, "colour")), provider="cpu").bundle
    with pytest.raises(InputError, match="this model scores images"):
        PLAIN.source("-", "tiles", bundle)


def test_options_that_go_with_others_only(detector: Detector, tmp_path: Path) -> None:
    with pytest.raises(click.UsageError, match="--query is for"):
        PLAIN._replace(queries=("a=b",)).source("-", "pump", detector.bundle)
    with pytest.raises(click.UsageError, match="--home-assistant is for --to mqtt"):
        PLAIN._replace(home_assistant=True).sink("-", "pump", ["-"])
    with pytest.raises(InputError, match=r"--to needs \{key\} in its topic"):
        PLAIN._replace(home_assistant=True).sink("mqtt://box/verdict", "pump", ["mqtt://box/in/{key}"])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--from", "mqtt://me:pw@box/a"], "a password in an address can be seen"),
        (["--from", "kafka://box/a"], "expected a source"),
        (["--from", "mqtt://box/a/{key}", "--to", "mqtt://box/a/{key}"], "results would come back as samples"),
        (["--from", "mqtt://box/a/#", "--to", "mqtt://box/a/{key}/verdict"], "results would come back as samples"),
        (["--from", "-", "--alarms-to", "ftp://box/a"], "expected https://HOST/PATH or mqtt://HOST/TOPIC"),
        (["--from", "-", "--to", "nowhere/x.jsonl"], "nowhere/x.jsonl: cannot be written"),
        (["--from", "-", "--key-file", "a"], "--key-file needs --cert-file"),
        ([], "--from"),
    ],
)
def test_mistakes_end_the_command_at_once(arguments: list[str], told: str, own_folder: Path) -> None:
    result = run_here("stream", "-m", MODEL, *arguments)
    assert result.returncode == 2
    assert told in result.stderr
    assert "pw" not in result.stderr.replace("password", "")


def test_the_environment_says_where_samples_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAE_DETECT_STREAM_FROM", "kafka://box/a")
    result = run_here("stream", "-m", MODEL)
    assert "kafka://...: expected a source" in result.stderr
    monkeypatch.setenv("VAE_DETECT_SERVE_FROM", "kafka://box/a")
    result = run_here("serve", "-m", MODEL, "--port", "0")
    assert (result.returncode, "kafka://...: expected a source" in result.stderr) == (2, True)
