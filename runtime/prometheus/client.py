"""Asking a Prometheus: one request at a time, with limits of time and size, again where that is safe."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, HTTPSHandler, Request, build_opener

import msgspec

from ..errors import InputError, TooLargeError, UnavailableError, VaeDetectError, first_line
from ..trust import trusting
from .address import Address

TIMEOUT_S = 120.0
"""Without a byte of an answer; Prometheus gives up a query after 120 s itself."""

MOST_BYTES = 64 << 20
"""Of an answer; a piece of one series is 0.5 MB at most."""

ATTEMPTS = 5
"""Of a request, while the server says that it is busy, or hangs up; the pauses in between add up to 15 s."""

_LONGEST_PAUSE_S = 60.0

_TOLD_BYTES = 1 << 16
"""That are read of an answer that says what is wrong."""


class _Told(msgspec.Struct, frozen=True):
    """What Prometheus answers when something is wrong."""

    error: str


class RequestRefusedError(InputError):
    """The server understands the request and does not want it; the message is what it says."""


class _NoRedirects(HTTPRedirectHandler):
    """Nothing is asked of another place than the one that was named: a token would go there too."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        return None


class Client:
    """Of one server.

    Parameters
    ----------
    token : shown with every request
    ca_file : who may vouch for an https server, instead of those whom the system trusts
    option : which names the file of the token, for messages
    pause : how to wait, for tests
    """

    def __init__(
        self,
        address: Address,
        *,
        token: str | None = None,
        ca_file: Path | None = None,
        option: str = "--token-file",
        timeout_s: float = TIMEOUT_S,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self.address = address
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._option, self._timeout_s, self._pause = option, timeout_s, pause
        self._opener = build_opener(_NoRedirects, HTTPSHandler(context=trusting(ca_file)))

    def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
        """The answer to a request that may be repeated.

        Raises
        ------
        InputError
            when the server refuses it, with what it says
        UnavailableError
            when it cannot be reached, or goes on to say that it is busy
        """
        for attempt in range(ATTEMPTS):
            try:
                return self._ask(path, body, headers)
            except _BusyError as busy:
                if attempt == ATTEMPTS - 1:
                    raise UnavailableError(f"{busy}; tried {ATTEMPTS} times") from None
                self._pause(min(max(busy.after_s, 2.0**attempt), _LONGEST_PAUSE_S))
        raise AssertionError("the last attempt answers or raises")

    def _ask(self, path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
        where = f"{self.address}{path}"
        request = Request(where, body, {**self._headers, **headers, "User-Agent": "vae-detect"}, method="POST")
        try:
            with self._opener.open(request, timeout=self._timeout_s) as reply:
                content: bytes = reply.read(MOST_BYTES + 1)
        except HTTPError as error:
            raise self._refusal(error) from None
        except URLError as error:
            raise self._unreachable(error.reason) from None
        except (ConnectionError, HTTPException) as error:
            raise _BusyError(f"{self.address}: hung up: {first_line(error)}") from None
        except OSError as error:
            raise self._unreachable(error) from None
        if len(content) > MOST_BYTES:
            raise TooLargeError(f"{self.address}: answers with more than {MOST_BYTES >> 20} MiB at once; ask for less")
        return content

    def _unreachable(self, why: Any) -> VaeDetectError:
        if isinstance(why, ssl.SSLCertVerificationError):
            return UnavailableError(
                f"{self.address}: its certificate is not trusted: {why.verify_message}; --ca-file names who vouches"
            )
        if isinstance(why, TimeoutError):
            return UnavailableError(f"{self.address}: no answer within {self._timeout_s:g} s")
        if isinstance(why, ConnectionResetError | BrokenPipeError):
            return _BusyError(f"{self.address}: hung up: {first_line(why)}")
        text = (why.strerror if isinstance(why, OSError) else None) or first_line(why)
        return UnavailableError(f"{self.address}: cannot be reached: {text}")

    def _refusal(self, error: HTTPError) -> VaeDetectError:
        """What an answer means that is none of what was asked for."""
        with error:
            said = _said(error.read(_TOLD_BYTES))
        status, where = error.code, str(self.address)
        if 300 <= status < 400:
            target = error.headers.get("Location", "elsewhere")
            return InputError(f"{where}: sends to {first_line(target)}; name that address, if you trust it")
        if status in (401, 403):
            asked = "refuses the token" if self._headers else f"asks for a token: {self._option}"
            return InputError(f"{where}: {asked} (status {status})")
        if status == 404:
            return InputError(
                f"{where}: no Prometheus answers here (status 404: {said}); the address ends in its prefix"
            )
        if status == 429 or status >= 500:
            return _BusyError(f"{where}: status {status}: {said}", error.headers.get("Retry-After"))
        return RequestRefusedError(said or f"status {status}")


class _BusyError(UnavailableError):
    """It may go well a moment later."""

    def __init__(self, message: str, after: str | None = None) -> None:
        super().__init__(message)
        self.after_s = float(after) if after is not None and after.isdecimal() else 0.0


def _said(content: bytes) -> str:
    """What an answer says is wrong, in one line."""
    with suppress(msgspec.MsgspecError):
        return first_line(msgspec.json.decode(content, type=_Told).error)
    text = content.decode(errors="replace").strip()
    return first_line(text) if text else ""
