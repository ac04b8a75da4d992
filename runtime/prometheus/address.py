"""Where a Prometheus is, as it is typed: prometheus+http://HOST:PORT/."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

from ..errors import InputError

_SCHEMES = ("prometheus+http", "prometheus+https")

EXPECTED = "prometheus+http://HOST[:PORT][/PREFIX]/ or prometheus+https://..."


def is_address(text: str) -> bool:
    """Whether this names a Prometheus, soundly or not, and no file."""
    return text.lower().startswith(tuple(f"{scheme}:" for scheme in _SCHEMES))


class Address(NamedTuple):
    """A server that speaks the HTTP API of Prometheus."""

    url: str
    """http://HOST:PORT/PREFIX, without a slash at its end and without a password."""
    host: str
    """HOST:PORT, which is shown a token."""
    is_encrypted: bool

    @classmethod
    def parse(cls, text: str) -> Address:
        """Raises InputError for what is none, without repeating what may be a password."""
        try:
            parts = urlsplit(text)
            scheme, host, port = parts.scheme.lower(), parts.hostname, parts.port
        except ValueError as error:
            raise InputError(f"an address of Prometheus is damaged ({error}); expected {EXPECTED}") from None
        if "@" in parts.netloc:
            raise InputError(
                f"{scheme}://...@{host}: a name and a password in an address can be seen by every user of the machine; "
                "leave them out, and give a token with --token-file"
            )
        if scheme not in _SCHEMES or not host or parts.query or parts.fragment or any(map(str.isspace, text)):
            raise InputError(f"{text}: expected {EXPECTED}")
        plain = scheme.removeprefix("prometheus+")
        named = f"[{host}]" if ":" in host else host
        where = f"{named}:{port or (443 if plain == 'https' else 80)}"
        shown = f"{named}:{port}" if port is not None else named
        return cls(f"{plain}://{shown}{parts.path.rstrip('/')}", where, plain == "https")

    @property
    def is_local(self) -> bool:
        """Whether it is this machine."""
        return self.host.rpartition(":")[0] in ("localhost", "127.0.0.1", "[::1]")

    def __str__(self) -> str:
        return self.url
