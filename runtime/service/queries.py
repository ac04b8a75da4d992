"""What may stand behind the question mark of a request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl

from .refusals import RefusedError

MAX_KEY = 200
"""Characters of a key."""

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
        found: dict[str, str] = {}
        for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
            if name not in known:
                raise RefusedError(400, f"query {name[:20]!r} is unknown; expected {', '.join(known)}")
            expected = EXPECTED[name]
            if name in found:
                raise RefusedError(400, f"query {name!r} stands there more than once")
            if (expected and value not in expected) or not 0 < len(value) <= MAX_KEY:
                told = " or ".join(f"{name}={each}" for each in expected) or f"1 to {MAX_KEY} characters"
                raise RefusedError(400, f"query {name!r} is {value[:20]!r}, expected {told}")
            found[name] = value
        return cls(
            model=found.get("model"),
            explain="explain" in found,
            flag_bad=found.get("on_bad_row") == "flag",
            key=found.get("key"),
        )


PLAIN = Query()
"""Of a request that asks for nothing more."""
