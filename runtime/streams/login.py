"""What a broker or a web server is shown: user, password, certificates. Nothing of it is ever told."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import NamedTuple

from ..errors import InputError, of_system
from ..trust import trusting


class Login(NamedTuple):
    """Of one server."""

    user: str = ""
    password: str | None = None
    ca_file: Path | None = None
    """Who may vouch for the server, instead of those whom the system trusts."""
    cert_file: Path | None = None
    """The certificate that is shown, with its key unless that is in `key_file`."""
    key_file: Path | None = None

    def __repr__(self) -> str:
        return f"Login(user={self.user!r})"

    def trust(self) -> ssl.SSLContext:
        """For an encrypted connection. Raises InputError for files that hold no certificate or key."""
        context = trusting(self.ca_file)
        if self.cert_file is not None:
            try:
                context.load_cert_chain(self.cert_file, self.key_file, password=_no_password)
            except ssl.SSLError as error:
                files = f"{self.cert_file}" + (f" and {self.key_file}" if self.key_file is not None else "")
                raise InputError(f"{files}: hold no certificate with its key (PEM): {error.reason or error}") from None
            except OSError as error:
                raise of_system(error, str(error.filename or self.cert_file)) from None
        return context


def _no_password() -> str:
    """Of a key that is encrypted: a terminal must not be asked for it."""
    raise InputError("the key is encrypted; give one without a password, that only the service may read")
