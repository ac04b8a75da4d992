"""Where samples come from and answers go to, as it is typed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit

from ..errors import InputError

SOURCES = "-, tail:PATH, mqtt://[USER@]HOST[:PORT]/TOPIC, mqtts://..., http(s)://... or prometheus+http(s)://..."
SINKS = "-, PATH, file:PATH, mqtt://[USER@]HOST[:PORT]/TOPIC, mqtts://... or http(s)://..."

KEY = "{key}"
"""What stands in a topic for the key."""

_PORTS = {"mqtt": 1883, "mqtts": 8883}
_ALIASES = {"mqtt+ssl": "mqtts", "tcp": "mqtt", "ssl": "mqtts"}
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?=://)")
_MOST_TOPIC = 65535
_SHARED = 2
"""Levels before the topic of a shared subscription: $share, and the name of the group."""


class Standard(NamedTuple):
    """Standard input, or output."""


class Tail(NamedTuple):
    """A file that grows."""

    path: Path


class Target(NamedTuple):
    """A file that answers are appended to."""

    path: Path


class Broker(NamedTuple):
    """A topic of an MQTT broker."""

    host: str
    port: int
    topic: str
    """May hold `KEY`, and of a source what MQTT takes for any: + and #."""
    user: str = ""
    is_encrypted: bool = False

    def __str__(self) -> str:
        return f"{self.server}/{self.topic}"

    @property
    def server(self) -> str:
        """The broker, without the topic."""
        named = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.is_encrypted else 'mqtt'}://{named}:{self.port}"

    @property
    def filter(self) -> str:
        """What is subscribed to."""
        return self.topic.replace(KEY, "+")

    def key_of(self, topic: str) -> str:
        """What stands in this topic at the place of the key, "" where it has none."""
        levels = self.topic.split("/")
        if KEY not in levels:
            return ""
        found = topic.split("/")
        place = levels.index(KEY) - (_SHARED if levels[0] == "$share" else 0)
        return found[place] if place < len(found) else ""


class Web(NamedTuple):
    """A URL of HTTP."""

    url: str
    user: str = ""

    def __str__(self) -> str:
        parts = urlsplit(self.url)
        return urlunsplit(parts._replace(query="..." if parts.query else "", fragment=""))

    @property
    def is_encrypted(self) -> bool:
        """Whether what goes there cannot be read on the way."""
        return self.url.startswith("https:")


SourceAddress = Standard | Tail | Broker | Web
SinkAddress = Standard | Target | Broker | Web


def parse_source(text: str) -> SourceAddress:
    """The source that is meant. Raises InputError for what is none, without repeating what may be a password.

    >>> str(parse_source("mqtt://broker/plant/{key}/sensors"))
    'mqtt://broker:1883/plant/{key}/sensors'
    """
    if text == "-":
        return Standard()
    if text.startswith("tail:") and not text.startswith("tail://"):
        return Tail(_path(text.removeprefix("tail:"), text))
    found = _parse_url(text, f"expected a source: {SOURCES}")
    if found is not None:
        return found
    if text and ("/" in text or Path(text).exists()):
        raise InputError(f"{text}: to follow a file say tail:{text}; a whole file is for `vae-detect score`")
    raise InputError(f"{text!r}: expected a source: {SOURCES}")


def parse_sink(text: str) -> SinkAddress:
    """The sink that is meant; raises as `parse_source`."""
    if text == "-":
        return Standard()
    if text.startswith("file:") and not text.startswith("file://"):
        return Target(_path(text.removeprefix("file:"), text))
    if text.startswith("tail:"):
        raise InputError(f"{text}: can only be read; expected a sink: {SINKS}")
    found = _parse_url(text, f"expected a sink: {SINKS}")
    if isinstance(found, Broker):
        check_published(found.topic, str(found))
    return Target(_path(text, text)) if found is None else found


def check_published(topic: str, where: str) -> None:
    """Raises InputError for a topic that nothing can be published to."""
    if "+" in topic or "#" in topic:
        raise InputError(f"{where}: nothing can be published to + or #; say {KEY} where the key belongs")


def _path(path: str, text: str) -> Path:
    if not path or path == "-":
        raise InputError(f"{text!r}: names no file")
    return Path(path)


def _parse_url(text: str, expected: str) -> Broker | Web | None:
    """None for what is no URL."""
    found = _SCHEME.match(text)
    if found is None:
        return None
    scheme = _ALIASES.get(found[0].lower(), found[0].lower())
    if scheme not in (*_PORTS, "http", "https"):
        raise InputError(f"{found[0]}://...: {expected}")
    # A topic may hold # and ?, which end the path of other URLs.
    rest = text[found.end() + 3 :]
    host_part, slash, path = rest.partition("/")
    try:
        parts = urlsplit(f"{scheme}://{host_part}")
        host, port, user, password = parts.hostname, parts.port, parts.username, parts.password
    except ValueError as error:
        raise InputError(f"{scheme}://...: the address is damaged ({error}); {expected}") from None
    if password is not None:
        raise InputError(
            f"{scheme}://{user}:...@{host}: a password in an address can be seen by every user of the machine; "
            "leave it out, and give it with --password-file"
        )
    if not host or any(map(str.isspace, rest)) or "#" in host_part or "?" in host_part:
        raise InputError(f"{scheme}://...: names no host; {expected}")
    user = unquote(user or "")
    if scheme in _PORTS:
        topic = unquote(path)
        _check_topic(topic, f"{scheme}://{host}/{topic}")
        return Broker(host, port or _PORTS[scheme], topic, user, scheme == "mqtts")
    shown = host_part.rpartition("@")[2]
    return Web(f"{scheme}://{shown}{slash}{path}", user)


def _check_topic(topic: str, where: str) -> None:
    """Raises InputError for what is no filter of topics."""
    levels = topic.split("/")
    if not topic:
        raise InputError(f"{where}: names no topic, expected one like plant/{KEY}/sensors")
    if len(topic.encode()) > _MOST_TOPIC or "\0" in topic:
        raise InputError(f"{where[:60]}...: is no topic of MQTT")
    if KEY in topic and levels.count(KEY) != 1:
        raise InputError(f"{where}: {KEY} must be one whole level of the topic, like plant/{KEY}/sensors")
    if any(("+" in level and level != "+") or ("#" in level and level != "#") for level in levels):
        raise InputError(f"{where}: + and # must each be a whole level of the topic")
    if "#" in levels[:-1]:
        raise InputError(f"{where}: # can only be the last level of the topic")
    if levels[0] == "$share" and (len(levels) < 3 or not levels[1]):
        raise InputError(f"{where}: expected $share/GROUP/TOPIC")
