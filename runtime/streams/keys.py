"""What is remembered of each key, a machine or a client, of which there are not too many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from ..scoring.framing import MOST_KEYS

_T = TypeVar("_T")


class Keyed(Generic[_T]):
    """Something for each key; beyond `most` keys the one that was asked for longest ago is forgotten.

    >>> counts = Keyed(list, most=2)
    >>> for key in "abac":
    ...     counts.of(key).append(1)
    >>> counts.of("a"), counts.of("b"), counts.forgotten
    ([1, 1], [], 2)

    Parameters
    ----------
    make : what a new key begins with
    """

    def __init__(self, make: Callable[[], _T], most: int = MOST_KEYS) -> None:
        self._make, self._most = make, most
        self._found: dict[str, _T] = {}
        self.forgotten = 0
        """How often a key was forgotten."""

    def __len__(self) -> int:
        return len(self._found)

    def of(self, key: str) -> _T:
        """What is remembered of this key."""
        found = self._found.pop(key, None)
        if found is None:
            if len(self._found) >= self._most:
                del self._found[next(iter(self._found))]
                self.forgotten += 1
            found = self._make()
        self._found[key] = found
        return found
