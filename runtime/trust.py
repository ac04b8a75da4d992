"""Whose word is taken for who a server is."""

from __future__ import annotations

import ssl
from pathlib import Path

from .errors import InputError, of_system


def trusting(ca_file: Path | None) -> ssl.SSLContext:
    """What checks the certificates of servers: those of this file (PEM), or None for those that the system trusts.

    Raises InputError or UnavailableError when the file holds none, or cannot be read.
    """
    try:
        return ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError as error:
        raise InputError(f"{ca_file}: holds no certificate (PEM): {error.reason}") from None
    except OSError as error:
        raise of_system(error, str(ca_file)) from None
