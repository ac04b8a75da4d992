"""Options of the commands that read streams, and the sources and sinks that they name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from ..alarms.delivery import Sender
from ..alarms.store import EventStore
from ..bundle import Bundle
from ..errors import InputError
from ..opening import read_whole
from ..prometheus.address import Address, is_address
from ..streams.addresses import KEY, SINKS, SOURCES, Broker, Standard, Tail, Target, Web, parse_sink, parse_source
from ..streams.login import Login
from .alarm_options import Deliveries, Seconds
from .options import NamedPath, Whole
from .terminal import needs, say

if TYPE_CHECKING:
    from ..streams.mqtt import Publisher
    from ..streams.payloads import PayloadFormat
    from ..streams.samples import Sink, Source

PASSWORD, TO_PASSWORD = "VAE_DETECT_PASSWORD", "VAE_DETECT_TO_PASSWORD"
"""Variables that may hold passwords; options would show them to every user of the machine."""

_PASSWORD_BYTES = 1 << 16
_MOST_POINTS = 1_000_000

_Command = TypeVar("_Command", bound=Callable[..., Any] | click.Command)


def feed_options(command: _Command) -> _Command:
    """How sources are read and sinks written; `Feeds.take` makes something of them."""
    for option in reversed(
        [
            click.option(
                "--input-format",
                default="auto",
                show_default=True,
                type=click.Choice(["auto", "csv", "json", "influx"]),
                help="Of the payloads; by default each tells what it is. influx is line protocol, and answered in it.",
            ),
            click.option("--from-start", is_flag=True, help="Of tail:PATH, read the lines that are there already too."),
            click.option(
                "--every",
                default="1s",
                show_default=True,
                type=Seconds(),
                help="Of https://..., ask again so long after the last time, if the response has ended by then.",
            ),
            click.option(
                "--query",
                "queries",
                multiple=True,
                type=Whole(),
                metavar="NAME=PROMQL",
                help="Of prometheus+http://..., a column and its query; again for each.  [default: as the model has]",
            ),
        ]
    ):
        command = option(command)
    return _server_options(command)


def _server_options(command: _Command) -> _Command:
    """What brokers and servers are told and shown."""
    for option in reversed(
        [
            click.option(
                "--client-id",
                metavar="NAME",
                help="By which an MQTT broker knows whose messages it keeps.  [default: of machine, model and topic]",
            ),
            click.option(
                "--error-topic",
                default="",
                metavar="TOPIC",
                help="Where samples that hold no row are told.  [default: their own topic with /errors]",
            ),
            click.option(
                "--home-assistant", is_flag=True, help="Announce the topics of --to mqtt://... to Home Assistant."
            ),
            click.option(
                "--password-file",
                type=NamedPath(),
                help=f"The password for --from, one line; without a user a token. {PASSWORD} may hold it instead.",
            ),
            click.option(
                "--to-password-file",
                type=NamedPath(),
                help=f"Likewise for --to; {TO_PASSWORD}.  [default: as for --from, where that is the same server]",
            ),
            click.option(
                "--ca-file",
                type=NamedPath(),
                help="Who may vouch for encrypted servers (PEM).  [default: who the system trusts]",
            ),
            click.option("--cert-file", type=NamedPath(), help="The certificate that is shown to them (PEM)."),
            click.option("--key-file", type=NamedPath(), help="The key of --cert-file (PEM, no passphrase)."),
        ]
    ):
        command = option(command)
    return command


class Feeds(NamedTuple):
    """What `feed_options` say."""

    input_format: PayloadFormat
    from_start: bool
    every: float
    queries: tuple[str, ...]
    client_id: str | None
    error_topic: str
    home_assistant: bool
    password_file: Path | None
    to_password_file: Path | None
    ca_file: Path | None
    cert_file: Path | None
    key_file: Path | None

    @classmethod
    def take(cls, options: dict[str, Any]) -> Feeds:
        """Takes them out of all options of a command."""
        found = cls(**{name: options.pop(name) for name in cls._fields})
        if found.key_file is not None and found.cert_file is None:
            raise click.UsageError("--key-file needs --cert-file")
        return found

    def source(self, text: str, model: str, bundle: Bundle, tell: Callable[[str], object] = say) -> Source:
        """What --from names.

        Parameters
        ----------
        model : its name
        tell : told what happens, in lines

        Raises InputError for what is no source of rows, and as the sources do.
        """
        if bundle.image is not None:
            raise InputError("this model scores images, and streams are of rows")
        if is_address(text):
            return self._prometheus(Address.parse(text), bundle, tell)
        if self.queries:
            raise click.UsageError("--query is for --from prometheus+http://HOST:9090/")
        address = parse_source(text)
        if isinstance(address, Standard):
            from ..streams.stdin import StdinSource

            return StdinSource()
        if isinstance(address, Tail):
            from ..streams.tail import TailSource

            return TailSource(address.path, from_start=self.from_start, say=tell)
        if isinstance(address, Web):
            from ..streams.web import WebSource

            return WebSource(address, self._login(), every_s=self.every, say=tell)
        with needs("mqtt"):
            from ..streams.mqtt_source import MqttSource, default_client_id
        name = self.client_id or default_client_id(model, address)
        return MqttSource(address, self._login(), client_id=name, error_topic=self.error_topic, say=tell)

    def sink(self, text: str, model: str, sources: Sequence[str], tell: Callable[[str], object] = say) -> Sink:
        """What --to names; raises like `source`.

        Parameters
        ----------
        sources : what --from names, whose password may be that of the sink
        """
        address = parse_sink(text)
        if self.home_assistant and not isinstance(address, Broker):
            raise click.UsageError("--home-assistant is for --to mqtt://...")
        if isinstance(address, Standard):
            from ..streams.line_sinks import StdoutSink

            return StdoutSink()
        if isinstance(address, Target):
            from ..streams.line_sinks import FileSink

            return FileSink(address.path)
        if isinstance(address, Web):
            from ..streams.web import WebSink

            return WebSink(address, self._login_of_sink(address, sources), say=tell)
        _refuse_circle(address, sources)
        if self.home_assistant and KEY not in address.topic and any(KEY in source for source in sources):
            raise InputError(f"--home-assistant: --to needs {KEY} in its topic, since --from has it")
        with needs("mqtt"):
            from ..streams.mqtt import MqttSink
            from ..streams.mqtt_source import default_client_id
        name = f"{self.client_id}-results" if self.client_id else default_client_id(model, address, "results")
        announced_as = model if self.home_assistant else ""
        login = self._login_of_sink(address, sources)
        return MqttSink(address, login, client_id=name, announced_as=announced_as, say=tell)

    def publisher(
        self, address: Broker, model: str, sources: Sequence[str], tell: Callable[[str], object]
    ) -> Publisher:
        """What sends events to a topic."""
        with needs("mqtt"):
            from ..streams.mqtt import Publisher
            from ..streams.mqtt_source import default_client_id
        name = f"{self.client_id}-events" if self.client_id else default_client_id(model, address, "events")
        return Publisher(address, self._login_of_sink(address, sources), client_id=name, say=tell)

    def _login(self) -> Login:
        password = _password(self.password_file, "--password-file", PASSWORD)
        return Login("", password, self.ca_file, self.cert_file, self.key_file)

    def _login_of_sink(self, address: Broker | Web, sources: Sequence[str]) -> Login:
        password = _password(self.to_password_file, "--to-password-file", TO_PASSWORD)
        user = ""
        if password is None:
            for source in sources:
                other = None if is_address(source) else parse_source(source)
                if isinstance(other, Broker | Web) and _server_of(other) == _server_of(address):
                    own = _user_of(address) in ("", _user_of(other))
                    user, password = (_user_of(other), self._login().password) if own else (user, password)
        return Login(user, password, self.ca_file, self.cert_file, self.key_file)

    def _prometheus(self, address: Address, bundle: Bundle, tell: Callable[[str], object]) -> Source:
        from ..prometheus.live_source import LiveSource
        from ..prometheus.range_reader import TIME, RangeReader
        from .prometheus_options import client_of, queries_of

        layout, period_s = bundle.data.layout, bundle.data.period_s
        if period_s is None:
            raise InputError("the model knows no time from row to row, and a Prometheus is asked for rows in time")
        time_column = TIME if layout.stamps is None else layout.stamps.column
        client = client_of(
            address, self.password_file, self.ca_file, text=os.environ.get(PASSWORD), option="--password-file"
        )
        queries = queries_of(self.queries, bundle, taken=(TIME, layout.key))
        reader = RangeReader(client, queries, key=layout.key, most_points=_MOST_POINTS)
        return LiveSource(reader, round(period_s * 1000), time_column=time_column, say=tell)


@contextmanager
def delivering(
    deliveries: Deliveries, feeds: Feeds, events: EventStore, sources: Sequence[str], say: Callable[[str], object]
) -> Iterator[None]:
    """Sends events while the block runs.

    Parameters
    ----------
    sources : what --from names, whose password may be that of --alarms-to
    """

    def publisher(text: str) -> Sender:
        address = parse_sink(text) if text.startswith(("mqtt", "tcp:", "ssl:")) else None
        if not isinstance(address, Broker):
            raise InputError(f"--alarms-to {text}: expected https://HOST/PATH or mqtt://HOST/TOPIC")
        return feeds.publisher(address, "events", sources, say)

    opened = deliveries.open(events, say, publisher)
    try:
        yield
    finally:
        for delivery in opened:
            delivery.close()


def named_sources(texts: Sequence[str], models: Sequence[str]) -> list[tuple[str, str]]:
    """The model of each --from [NAME=]SOURCE, and the source. Raises InputError where no model is meant, or several.

    >>> named_sources(["pump=-"], ["pump", "fan"])
    [('pump', '-')]
    """
    found = []
    for text in texts:
        name, equals, rest = text.partition("=")
        if equals and name in models:
            found.append((name, rest))
        elif len(models) == 1:
            found.append((models[0], text))
        else:
            raise InputError(f"--from {text}: say whose rows these are: --from NAME=SOURCE, of {', '.join(models)}")
    return found


def from_help(several: bool) -> str:
    """Of --from."""
    return f"Where samples come from: {SOURCES}" + ("; again for several." if several else ".")


def to_help() -> str:
    """Of --to."""
    return f"Where results go: {SINKS}."


def _refuse_circle(sink: Broker, sources: Sequence[str]) -> None:
    """Raises InputError where results would come back as samples."""
    with needs("mqtt"):
        from paho.mqtt.client import topic_matches_sub
    for text in sources:
        source = None if is_address(text) else parse_source(text)
        if not isinstance(source, Broker) or source.server != sink.server:
            continue
        if topic_matches_sub(source.filter, sink.topic.replace(KEY, "key")):
            raise InputError(f"--to {sink}: is what --from reads, so that results would come back as samples")


def _server_of(address: Broker | Web) -> str:
    return address.server if isinstance(address, Broker) else "/".join(address.url.split("/")[:3])


def _user_of(address: Broker | Web) -> str:
    return address.user


def _password(file: Path | None, option: str, variable: str) -> str | None:
    """The password of a file or of the environment. Raises InputError without repeating any of it."""
    text = os.environ.get(variable)
    if file is not None and text is not None:
        raise InputError(f"the password comes from {option} or from {variable}, not from both")
    if file is not None:
        try:
            text = read_whole(file, most=_PASSWORD_BYTES).decode()
        except UnicodeDecodeError:
            raise InputError(f"{file}: is not UTF-8 text") from None
        except InputError as error:
            raise InputError(f"{file}: {error}") from None
    if text is None:
        return None
    password = text.strip("\r\n")
    if not password or "\n" in password:
        raise InputError(f"{file or variable}: expected one line, the password")
    return password
