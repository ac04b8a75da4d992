"""Who may ask: tokens, an application that asks for one, and one that has some of the paths only."""

from __future__ import annotations

import hashlib
import hmac
import re
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ..errors import InputError, of_system
from ..hosting.certificate import Certificate
from ..hosting.logs import Log
from .page_files import is_page
from .requests import Application, Exchange, Pending
from .routes import route_of
from .schemas import Refusal

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

SHORTEST = 16
"""Characters of a token; fewer could be guessed."""
HEALTH = frozenset({"/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"})
"""Paths that answer everybody: what asks them, like a load balancer, has no token."""
METRICS_PATH = "/metrics"

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750: what a header can carry


class Tokens:
    """The tokens of which a request must bear one: each line of a text, without blank ones and those that begin with #.

    Only their SHA-256 is kept, which also makes all of one length, so that comparing takes the same time for all.

    Parameters
    ----------
    source : a file, which `reload` reads again, or the text itself
    called : how messages name it; they never show a token
    """

    def __init__(self, source: Path | str, called: str) -> None:
        self._source, self._called = source, called
        self._digests: list[bytes] = []
        self.reload()

    def reload(self) -> None:
        """Reads the tokens again. Raises InputError, and keeps those that were, when they cannot be used."""
        if isinstance(self._source, Path):
            try:
                text = self._source.read_text()
            except UnicodeDecodeError:
                raise InputError(f"{self._called}: is no text of tokens, one a line") from None
            except OSError as error:
                raise InputError(f"{self._called}: {error.strerror}") from None
        else:
            text = self._source
        self._digests = [_digest(token.encode()) for token in self._lines(text)]

    def admit(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Whether a request with these headers bears one of the tokens."""
        given = [value for name, value in headers if name == b"authorization"]
        scheme, _, token = given[0].partition(b" ") if len(given) == 1 else (b"", b"", b"")
        digest = _digest(token.strip())
        found = [hmac.compare_digest(digest, one) for one in self._digests]  # all of them, whichever it is
        return scheme.lower() == b"bearer" and any(found)

    def _lines(self, text: str) -> list[str]:
        tokens = []
        for number, line in enumerate(text.splitlines(), start=1):
            token = line.strip()
            if not token or token.startswith("#"):
                continue
            if len(token) < SHORTEST:
                raise InputError(
                    f"{self._called}, line {number}: the token has {len(token)} characters, expected {SHORTEST} or "
                    "more; `openssl rand -hex 32` makes one"
                )
            if not _TOKEN.fullmatch(token):
                raise InputError(
                    f"{self._called}, line {number}: a token has no characters but A-Z a-z 0-9 . _ ~ + / - ="
                )
            tokens.append(token)
        if not tokens:
            raise InputError(f"{self._called}: holds no token; `openssl rand -hex 32` makes one")
        return tokens


@dataclass(frozen=True)
class Access:
    """What is asked of clients: a token, or nothing; TLS, or not."""

    tokens: Tokens | None = None
    certificate: Certificate | None = None

    def reload(self, log: Log) -> None:
        """Reads tokens and certificate again; those that cannot be used leave in force what was read before."""
        for part in (self.tokens, self.certificate):
            try:
                if part is not None:
                    part.reload()
            except InputError as error:
                log.event("access_kept", f"{error}; what was read before stays in force", level="error")

    def missing(self) -> str:
        """What an address that others may reach should not be without; "" when it has all."""
        if self.tokens is None and self.certificate is None:
            return "this service asks for no token (--token-file) and does not encrypt (--tls-cert)"
        if self.tokens is None:
            return "this service asks for no token (--token-file)"
        if self.certificate is None:
            return "tokens and data go there unencrypted (--tls-cert)"
        return ""


OPEN = Access()
"""Everybody may ask, and nothing is encrypted."""


class Guarded:
    """An application that answers 401 to who has no token, but for health and for the page, which asks for it."""

    def __init__(self, app: Application, tokens: Tokens, log: Log, count: Callable[[str, int], object]) -> None:
        self._app, self._tokens, self._log, self._count = app, tokens, log, count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_open = scope["path"] in HEALTH or scope["method"] == "OPTIONS" or is_page(scope)
        if is_open or self._tokens.admit(scope["headers"]):
            await self._app(scope, receive, send)
            return
        message, exchange = "a token is needed: Authorization: Bearer TOKEN", Exchange(scope, receive, send)
        self._count(route_of(scope["path"]), 401)
        self._log.refused(401, message, request_id=exchange.request_id)
        await _refuse(exchange, 401, message, (b"www-authenticate", b"Bearer"))

    def take(self, scope: Scope, body: bytes, pending: Pending) -> bool:
        """As `requests.Application` has it, for who has a token."""
        return self._tokens.admit(scope["headers"]) and self._app.take(scope, body, pending)


class Door:
    """An application by a way to which some of its paths do not belong."""

    def __init__(self, app: Application, belongs: Callable[[str], bool], elsewhere: str) -> None:
        self._app, self._belongs, self._elsewhere = app, belongs, elsewhere

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._belongs(scope["path"]):
            await self._app(scope, receive, send)
        else:
            await _refuse(Exchange(scope, receive, send), 404, self._elsewhere)

    def take(self, scope: Scope, body: bytes, pending: Pending) -> bool:
        """As `requests.Application` has it, for what belongs here."""
        return self._belongs(scope["path"]) and self._app.take(scope, body, pending)


def doors(
    app: Application, access: Access, *, log: Log, count: Callable[[str, int], object], split: bool
) -> tuple[Application, Application]:
    """The application as its own sockets have it, and as those for metrics do.

    Parameters
    ----------
    log, count : are told of requests that have no token, `count` by route and status
    split : whether there are sockets for metrics
    """
    main = Guarded(app, access.tokens, log, count) if access.tokens is not None else app
    if not split:
        return main, main
    return (
        Door(main, lambda path: path != METRICS_PATH, "no such path here; metrics have a port of their own"),
        Door(app, lambda path: path == METRICS_PATH or path in HEALTH, "this port is for /metrics and health"),
    )


async def _refuse(exchange: Exchange, status: int, message: str, *headers: tuple[bytes, bytes]) -> None:
    """Answers with an error, and closes the connection."""
    body = msgspec.json.encode(Refusal(message))
    told = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), (b"connection", b"close")]
    await exchange.answer(status, [*told, *headers], [body])


def readable_by_others(path: Path) -> str:
    """A warning about a file of secrets that other users of the machine may read; "" when they may not."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise of_system(error) from None
    return f"warning: {path} can be read by other users (mode {mode:04o}): chmod 600 {path}" if mode & 0o044 else ""


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
