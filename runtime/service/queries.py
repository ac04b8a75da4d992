"""What may stand behind the question mark of a request."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl

from .refusals import RefusedError

MAX_KEY = 200
"""Characters of a key."""
MOST_EVENTS, MOST_SINCE = 1000, 1e11
"""Events at once, and the largest time, seconds since 1970, since when they are told."""

EXPECTED: dict[str, tuple[str, ...]] = {
    "model": (),
    "explain": ("1", "true"),
    "on_bad_row": ("refuse", "flag"),
    "key": (),
}
"""What may stand there, and the values that it may have; () for any."""


@dataclass(frozen=True, slots=True)
class Query:
    """What POST /score is asked for beside the scores."""

    model: str | None = None
    """None for the only one."""
    explain: bool = False
    """Whether to tell the largest contributions."""
    flag_bad: bool = False
    """Whether a bad row gets a result that says why, rather than refuse the whole request."""
    key: str | None = None
    """Whose rows these are; None where the request stands alone."""

    @classmethod
    def parse(cls, query: bytes, known: Sequence[str] = (*EXPECTED,)) -> Query:
        """Raises RefusedError for what is not `known`, repeated or has another value than expected."""
        if not query:
            return PLAIN
        found = pairs(query, {name: EXPECTED[name] for name in known})
        return cls(
            model=found.get("model"),
            explain="explain" in found,
            flag_bad=found.get("on_bad_row") == "flag",
            key=found.get("key"),
        )


def pairs(query: bytes, expected: Mapping[str, Sequence[str]], *, empty: Sequence[str] = ()) -> dict[str, str]:
    """What stands there, by name; raises RefusedError for what is not `expected`, repeated or has another value.

    Parameters
    ----------
    expected : the values that each may have; () for any
    empty : those that may be empty
    """
    found: dict[str, str] = {}
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name not in expected:
            raise RefusedError(400, f"query {name[:20]!r} is unknown; expected {', '.join(expected)}")
        if name in found:
            raise RefusedError(400, f"query {name!r} stands there more than once")
        least = 0 if name in empty else 1
        if (expected[name] and value not in expected[name]) or not least <= len(value) <= MAX_KEY:
            told = " or ".join(f"{name}={each}" for each in expected[name]) or f"{least} to {MAX_KEY} characters"
            raise RefusedError(400, f"query {name!r} is {value[:20]!r}, expected {told}")
        found[name] = value
    return found


def number(found: Mapping[str, str], name: str, default: float, least: float, most: float) -> float:
    """A number that stands there; raises RefusedError when it is none, or not in its range."""
    try:
        value = float(found.get(name, default))
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        raise RefusedError(400, f"query {name!r} is {found[name][:20]!r}, expected a number from {least:g} to {most:g}")
    return value


PLAIN = Query()
"""Of a request that asks for nothing more."""
