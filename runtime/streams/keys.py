"""What is remembered of each key, a machine or a client, of which there are not too many."""

from __future__ import annotations

from collections.abc import Callable, ItemsView
from typing import Generic, TypeVar

from ..scoring.framing import MOST_KEYS

_T = TypeVar("_T")


class Keyed(Generic[_T]):
    """Something for each key; beyond `most` keys the one that was asked for longest ago is forgotten.

    >>> counts = Keyed(lambda key: [key], most=2)
    >>> for key in "abac":
    ...     counts.of(key).append(1)
    >>> counts.of("a"), counts.of("b"), counts.forgotten
    (['a', 1, 1], ['b'], 2)

    Parameters
    ----------
    make : what a new key begins with
    forget : told of what is forgotten
    """

    def __init__(
        self, make: Callable[[str], _T], most: int = MOST_KEYS, *, forget: Callable[[_T], object] = lambda _: None
    ) -> None:
        self._make, self._most, self._forget = make, most, forget
        self._found: dict[str, _T] = {}
        self.forgotten = 0
        """How often a key was forgotten."""

    def __len__(self) -> int:
        return len(self._found)

    def items(self) -> ItemsView[str, _T]:
        """The keys and what is remembered of them, the one that was asked for longest ago first."""
        return self._found.items()

    def of(self, key: str) -> _T:
        """What is remembered of this key."""
        found = self._found.pop(key, None)
        if found is None:
            if len(self._found) >= self._most:
                self._forget(self._found.pop(next(iter(self._found))))
                self.forgotten += 1
            found = self._make(key)
        self._found[key] = found
        return found
