"""What a check has found, and how findings are shown."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

State = Literal["fine", "look", "wrong", "unknown"]
"""Whether what was found is in order, worth a look, wrong, or could not be seen."""

_WIDTH = 110
"""Columns of text."""


@dataclass(frozen=True)
class Finding:
    """One line of the answer."""

    check: str
    state: State
    found: str
    advice: str = ""
    """What to do, with what to type; for what is worth a look or wrong."""
    facts: Mapping[str, object] = field(default_factory=dict[str, object])
    """The same for programs: numbers in base units."""


def guarded(check: str, look: Callable[[], Finding | list[Finding] | None]) -> list[Finding]:
    """What a check finds; where it fails in a way that nobody thought of, that, since the others shall go on."""
    try:
        found = look()
    except Exception as error:  # a machine that is odd enough to be looked at may be odd in any way
        return [Finding(check, "unknown", f"could not be looked at: {type(error).__name__}: {error}")]
    return found if isinstance(found, list) else [found] if found else []


def as_text(findings: Sequence[Finding]) -> str:
    """A line for each finding, its advice below it, and a last line with the sum."""
    indent = max(len(finding.check) for finding in findings) + 11
    lines = []
    for finding in findings:
        start = f"{finding.state:7}  {finding.check}".ljust(indent)
        lines.append(_filled(finding.found, start, indent))
        if finding.advice:
            lines.append(_filled(finding.advice, f"{'':{indent}}-> ", indent + 3))
    return "\n".join([*lines, "", _sum(findings)])


def as_json(findings: Sequence[Finding]) -> str:
    """The same as one JSON object."""
    checks = {
        finding.check: {
            "state": finding.state,
            "found": finding.found,
            "advice": finding.advice or None,
            **finding.facts,
        }
        for finding in findings
    }
    worst = next((state for state in ("wrong", "look") if any(finding.state == state for finding in findings)), "fine")
    return msgspec.json.format(msgspec.json.encode({"state": worst, "checks": checks}), indent=2).decode()


def _filled(text: str, start: str, indent: int) -> str:
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent=start,
        subsequent_indent=" " * indent,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _sum(findings: Sequence[Finding]) -> str:
    wrong, look = (sum(finding.state == state for finding in findings) for state in ("wrong", "look"))
    return f"{wrong or 'nothing'} wrong, {look or 'nothing'} worth a look"
