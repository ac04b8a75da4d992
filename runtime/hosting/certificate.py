"""The certificate and the key by which the service encrypts."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import NoReturn

from ..errors import InputError


class Certificate:
    """A certificate, those that vouch for it after it, and its key, as PEM files.

    Raises InputError when they cannot be used.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate, self._key = certificate, key
        self.context = self._loaded()
        """For the connections of a server; `reload` changes it in place."""

    def reload(self) -> None:
        """Reads both files again, for connections to come. Raises InputError, and changes nothing, if it cannot."""
        self._loaded()  # in a context of its own: half of a pair must not get into the one that is in use
        self.context.load_cert_chain(self._certificate, self._key)

    def _loaded(self) -> ssl.SSLContext:
        for path, what, mark in (
            (self._certificate, "certificate", b"BEGIN CERTIFICATE"),
            (self._key, "private key", b"PRIVATE KEY"),
        ):
            try:
                content = path.read_bytes()
            except OSError as error:  # of which the ssl module would not say about which file
                raise InputError(f"{path}: {error.strerror}") from None
            if mark not in content:
                raise InputError(f"{path}: holds no {what} in PEM form")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self._certificate, self._key, password=self._refuse_passphrase)
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                raise InputError(
                    f"the key {self._key} does not belong to the certificate {self._certificate}"
                ) from None
            reason = (error.reason or str(error)).lower().replace("_", " ")
            raise InputError(f"{self._certificate} and {self._key} cannot be used for TLS: {reason}") from None
        return context

    def _refuse_passphrase(self) -> NoReturn:
        """Without this OpenSSL would ask the terminal, and wait."""
        raise InputError(f"{self._key}: needs a passphrase; `openssl pkey -in {self._key}` writes the key without one")
