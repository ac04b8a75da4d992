"""Where a request comes from: pages of other sites must change nothing here, nor take a place from people."""

from __future__ import annotations

from collections.abc import Iterable

from .refusals import RefusedError

_OWN = (b"same-origin", b"none")


def refuse_other_sites(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Raises RefusedError for what a browser sends for the page of another site.

    Browsers tell it by Sec-Fetch-Site where they trust the connection, else by Origin. Other clients send neither.
    """
    told = dict(headers)
    site, origin, host = told.get(b"sec-fetch-site"), told.get(b"origin"), told.get(b"host", b"")
    if site is not None:
        if site not in _OWN:
            raise RefusedError(400, "this request comes from a page of another site")
    elif origin is not None and origin.rpartition(b"//")[2].lower() != host.lower():
        raise RefusedError(
            400,
            f"this request comes from a page of {origin.decode('latin-1')[:100]}, and this is "
            f"{host.decode('latin-1')[:100]}; a proxy in front must pass the header Host",
        )


def refuse_forms(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Raises RefusedError for a body that is not said to be JSON, which is all that pages of other sites can send."""
    content_type = dict(headers).get(b"content-type", b"")
    if content_type.partition(b";")[0].strip().lower() != b"application/json":
        raise RefusedError(415, "this endpoint takes JSON, with Content-Type: application/json")
