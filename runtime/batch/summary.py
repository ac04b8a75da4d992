"""What a run over a file or a folder came to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..bundle import Kind
from ..scoring.results import BAD, FILLED, OVERFLOW, SCORED


@dataclass
class Summary:
    """Counts of a run, for its last line."""

    kind: Kind
    done: str
    """What was done to those that could be scored, like "encoded"."""
    anomalies: int | None = None
    """None where no verdict is given."""
    by_status: Counter[str] = field(default_factory=Counter)
    timed: bool = False
    """Whether any time could be read."""
    cpu_s: float | None = field(default=None, compare=False)
    """CPU time of the process for all of it, reading and writing too; None where nobody took it."""

    def add(self, status: Iterable[str], anomalies: int = 0) -> None:
        """Counts the next rows or images."""
        self.by_status.update(status)
        if self.anomalies is not None:
            self.anomalies += anomalies

    @property
    def refused(self) -> bool:
        """Whether an image could not be read, or no row could be used because of bad ones."""
        bad = self.by_status[BAD] + self.by_status[OVERFLOW]
        return bool(self.by_status[BAD]) if self.kind == "images" else bad > 0 and not self.scored

    @property
    def scored(self) -> int:
        """How many had a score, whatever was made of them."""
        return sum(self.by_status[status] for status in SCORED)

    def describe(self) -> str:
        """One line for the terminal."""
        what = "images" if self.kind == "images" else "rows"
        scored, filled = self.scored, self.by_status[FILLED]
        text = f"{self.by_status.total()} {what}: {scored} {self.done}"
        text += f" ({filled} with filled cells)" if filled else ""
        if self.anomalies is not None:
            text += f", {self.anomalies} anomalies" + (f" ({self.anomalies / scored:.2%})" if scored else "")
        text += "".join(f", {count} {status}" for status, count in self.by_status.items() if status not in SCORED)
        return text if self.cpu_s is None or not scored else f"{text}; {self.cpu_s / scored * 1e6:.3g} us CPU each"
