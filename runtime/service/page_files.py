"""The files of the page that people see at GET /, and the headers that keep it to itself. They hold no data."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import Scope

HTML = "text/html; charset=utf-8"
_KINDS = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}
FOLDER = "/page/"

NAMES = (
    *("page.css", "page.js", "link.js", "dom.js", "words.js", "chart.js", "machines.js", "detail.js", "events.js"),
    *("models.js", "frames.js"),
)
"""What is asked for at /page/NAME; a closed list, so that no path leads elsewhere."""

PAGE_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
}
"""Nothing from elsewhere, nothing to elsewhere, and in no frame of another page."""

DATA_HEADERS = {"x-content-type-options": "nosniff", "cache-control": "no-store"}
"""Of what the page asks for."""


@cache
def content_of(name: str) -> bytes:
    """One of the files."""
    return files(__package__).joinpath("page", name).read_bytes()


def media_type(name: str) -> str:
    """What it is."""
    return _KINDS[name.rpartition(".")[2]]


def wants_page(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a request is one of a browser, which asks for HTML; curl and clients get JSON."""
    return any(name == b"accept" and b"text/html" in value.lower() for name, value in headers)


def is_page(scope: Scope) -> bool:
    """Whether a request is for the page without its data."""
    path: str = scope["path"]
    if path == "/":
        return scope["method"] in ("GET", "HEAD") and wants_page(scope["headers"])
    return path.startswith(FOLDER) and path.removeprefix(FOLDER) in NAMES
