"""Sends events to a web server, signed as in Standard Webhooks (https://www.standardwebhooks.com, version 1)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import InputError, UnavailableError, first_line
from ..trust import trusting

TIMEOUT_S, WHOLE_S = 10.0, 30.0
"""Seconds without a byte of an answer, and of all of it."""

_NOT_THIS_ONE = (400, 410, 413, 422)
"""Statuses that say that this event is not wanted, now and later. All others may be about the server or about us."""
_PREFIX = "whsec_"
_MOST_HINT_S = 3600.0


class BusyError(UnavailableError):
    """It may go well later; `after_s` is how much later, as the server says."""

    def __init__(self, message: str, after: str | None = None) -> None:
        super().__init__(message)
        self.after_s = min(float(after), _MOST_HINT_S) if after is not None and after.isdecimal() else 0.0


def is_web(address: str) -> bool:
    """Whether it is one of a web server."""
    return address.lower().startswith(("http://", "https://"))


def secret_of(text: str) -> bytes:
    """The key that signs: text as it is, or what stands behind whsec_ in Base64.

    Raises InputError, which does not hold it, when it is empty or no Base64.
    """
    text = text.strip()
    secret = text.encode()
    if text.startswith(_PREFIX):
        try:
            secret = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            raise InputError(f"the secret of --alarms-to has no Base64 behind {_PREFIX}") from None
    if not secret:
        raise InputError("the secret of --alarms-to is empty")
    return secret


def signature(secret: bytes, message: str, timestamp: int, body: bytes) -> str:
    """What stands in the header webhook-signature: HMAC-SHA256 over number, time and body.

    >>> signature(b"key", "msg_1", 1767592800, b"{}")
    'v1,Z/0BxiyIbmgTSxsFzw2FOzCjbbie9RjXJjslRMFOmQM='
    """
    signed = hmac.new(secret, f"{message}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(signed).decode()}"


class Webhook:
    """One address.

    Parameters
    ----------
    secret : signs what is sent; None to send it unsigned
    ca_file : who may vouch for an https server, instead of those whom the system trusts
    clock : seconds since 1970
    """

    def __init__(
        self,
        url: str,
        *,
        secret: bytes | None = None,
        ca_file: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        try:
            parts = urlsplit(url)
            self._host, self._port = parts.hostname, parts.port
        except ValueError:
            raise InputError("--alarms-to: is no address like https://HOST/PATH") from None
        if parts.scheme not in ("http", "https") or not self._host:
            raise InputError("--alarms-to: expected an address like https://HOST/PATH")
        if parts.username is not None or parts.password is not None:
            raise InputError("--alarms-to: an address holds no password; --alarms-secret-file signs what is sent")
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._secret, self._clock = secret, clock
        self._trust = trusting(ca_file) if parts.scheme == "https" else None
        self.where = f"{parts.scheme}://{parts.netloc}"
        """As told to people: a path may be as good as a password."""

    def send(self, event: bytes, key: str) -> None:
        """Posts an event, as JSON.

        Raises
        ------
        InputError
            when the server does not want this one
        UnavailableError
            when it cannot be reached, or has another answer than yes; again may help
        """
        del key  # the event tells it
        connection = self._connection()
        watch = threading.Timer(WHOLE_S, _hang_up, [connection])
        watch.daemon = True
        try:
            watch.start()
            connection.request("POST", self._target, event, self._headers(event))
            with connection.getresponse() as reply:
                status, after = reply.status, reply.headers.get("Retry-After")
        except ssl.SSLCertVerificationError as error:
            raise BusyError(f"{self.where}: its certificate is not trusted: {error.verify_message}") from None
        except TimeoutError:
            raise BusyError(f"{self.where}: no answer within {TIMEOUT_S:g} s") from None
        except (OSError, HTTPException) as error:
            text = (error.strerror if isinstance(error, OSError) else None) or first_line(error)
            raise BusyError(f"{self.where}: cannot be reached: {text}") from None
        finally:
            watch.cancel()
            connection.close()
        if status in _NOT_THIS_ONE:
            raise InputError(f"{self.where}: does not want this event: status {status}")
        if not 200 <= status < 300:
            raise BusyError(f"{self.where}: status {status}", after)

    def _connection(self) -> HTTPConnection:
        assert self._host is not None
        if self._trust is not None:
            return HTTPSConnection(self._host, self._port, timeout=TIMEOUT_S, context=self._trust)
        return HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)

    def _headers(self, event: bytes) -> dict[str, str]:
        # The same event as it is has the same number however often it is sent, so that a receiver can tell.
        message, now = f"msg_{hashlib.sha256(event).hexdigest()[:32]}", int(self._clock())
        headers = {"Content-Type": "application/json", "User-Agent": "vae-detect"}
        headers |= {"webhook-id": message, "webhook-timestamp": str(now)}
        if self._secret is not None:
            headers["webhook-signature"] = signature(self._secret, message, now, event)
        return headers


def _hang_up(connection: HTTPConnection) -> None:
    """Ends a wait for a server that sends a byte now and then."""
    if connection.sock is not None:
        with suppress(OSError):
            connection.sock.shutdown(socket.SHUT_RDWR)
