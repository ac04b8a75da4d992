"""What a run over a file or a folder came to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..bundle import Kind
from ..scoring.results import BAD, OK, OVERFLOW


@dataclass
class Summary:
    """Counts of a run, for its last line."""

    kind: Kind
    done: str
    """What was done to those whose status is ok, like "encoded"."""
    anomalies: int | None = None
    """None where no verdict is given."""
    by_status: Counter[str] = field(default_factory=Counter)

    def add(self, status: Iterable[str], anomalies: int = 0) -> None:
        """Counts the next rows or images."""
        self.by_status.update(status)
        if self.anomalies is not None:
            self.anomalies += anomalies

    @property
    def refused(self) -> bool:
        """Whether an image could not be read, or no row could be used because of bad ones."""
        bad = self.by_status[BAD] + self.by_status[OVERFLOW]
        return bool(self.by_status[BAD]) if self.kind == "images" else bad > 0 and not self.by_status[OK]

    def describe(self) -> str:
        """One line for the terminal."""
        what = "images" if self.kind == "images" else "rows"
        ok = self.by_status[OK]
        text = f"{self.by_status.total()} {what}: {ok} {self.done}"
        if self.anomalies is not None:
            text += f", {self.anomalies} anomalies" + (f" ({self.anomalies / ok:.2%})" if ok else "")
        return text + "".join(f", {count} {status}" for status, count in self.by_status.items() if status != OK)
