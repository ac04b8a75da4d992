"""Asking a running service whether it is well."""

from __future__ import annotations

import json
import socket
import ssl
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

UNIX = "unix:"


def check(
    url: str, path: str, timeout_s: float, *, ca_file: Path | None = None, certificate: Path | None = None
) -> str | None:
    """Why the service at this address, like http://127.0.0.1:8000 or unix:PATH, is unhealthy; None when it is well.

    Parameters
    ----------
    url, path : of the service, and what it is asked for
    ca_file : who may vouch for an https service, instead of those whom the system trusts
    certificate : of the service, on the machine itself; whatever name it is for
    """
    try:
        connection = _connection(url, timeout_s, ca_file, certificate)
        try:
            connection.request("GET", urlsplit(url).path + path if not url.startswith(UNIX) else path)
            reply = connection.getresponse()
            if reply.status == 200:
                return None
            with suppress(ValueError, TypeError, KeyError):
                return f"{url}{path}: {json.loads(reply.read(4096))['error']}"
            return f"{url}{path}: status {reply.status}"
        finally:
            connection.close()
    except ssl.SSLCertVerificationError as error:
        return f"{url}{path}: its certificate is not trusted: {error.verify_message}"
    except (OSError, ValueError, HTTPException) as error:
        return f"{url}{path}: {error}"


def _connection(url: str, timeout_s: float, ca_file: Path | None, certificate: Path | None) -> HTTPConnection:
    """To a service, never through a proxy."""
    if url.startswith(UNIX):
        return _UnixConnection(url.removeprefix(UNIX), timeout_s)
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("expected http://HOST:PORT, https://HOST:PORT or unix:PATH")
    if parts.scheme == "http":
        return HTTPConnection(parts.hostname, parts.port, timeout=timeout_s)
    trusted = ssl.create_default_context(cafile=ca_file or certificate)
    if certificate is not None and ca_file is None:
        # Trusted is this one certificate, which nobody but the service can show; it is for another name than localhost.
        trusted.check_hostname = False
        trusted.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return HTTPSConnection(parts.hostname, parts.port, timeout=timeout_s, context=trusted)


class _UnixConnection(HTTPConnection):
    """To a Unix socket."""

    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
