"""What can go wrong, as a caller would want to catch it.

VaeDetectError
├── InputError            data or settings that cannot be used: rows, columns, files, options (also a ValueError)
│   └── TooLargeError     more than a limit allows; less of it would do
├── ModelError            a file that is not a sound detector: graph, metadata, golden rows (also a ValueError)
├── ProviderError         an execution provider that was asked for cannot be had (also a RuntimeError)
├── MissingExtraError     a package of an optional extra is absent, or two exclude each other (also an ImportError)
└── ParityError           the exported graph does not compute what the trained network computes (also a RuntimeError)

Each message says what was wanted, what was found and what to do; the command line prints it as one line.
"""

from collections.abc import Iterable
from itertools import islice

EXIT_ANOMALY = 1
EXIT_USAGE = 2
EXIT_ENVIRONMENT = 3
EXIT_REFUSED = 4  # done, but some images of the folder could not be read
EXIT_BROKEN_PIPE = 141  # what a shell reports for a program that SIGPIPE ended


class VaeDetectError(Exception):
    """Base of every error that this package raises on purpose."""

    exit_code = EXIT_USAGE


class InputError(VaeDetectError, ValueError):
    """Data or settings cannot be used.

    Parameters
    ----------
    message : what was wrong and what was expected
    row, column : where, when one cell is to blame; rows count from 0 after the header
    rows : how many rows are refused with it, 0 where that cannot be told
    """

    def __init__(self, message: str, *, row: int | None = None, column: str | None = None, rows: int = 0) -> None:
        super().__init__(message)
        self.row = row
        self.column = column
        self.rows = rows


class TooLargeError(InputError):
    """The input is larger than a limit; less at a time can be used."""


class ModelError(VaeDetectError, ValueError):
    """A file is not a detector that this version can trust."""


class ProviderError(VaeDetectError, RuntimeError):
    """An execution provider was asked for by name and cannot be had."""

    exit_code = EXIT_ENVIRONMENT


class MissingExtraError(VaeDetectError, ImportError):
    """A package that this task needs is not installed, or two installed ones exclude each other."""

    exit_code = EXIT_ENVIRONMENT


class ParityError(VaeDetectError, RuntimeError):
    """The exported graph and the trained network disagree; nothing was written."""


def few(names: Iterable[object], most: int = 5) -> str:
    """Names for a message: the first ones, and how many more there are.

    >>> few("abcdefg", 3)
    'a, b, c and 4 more'
    """
    rest = iter(names)
    first = ", ".join(map(str, islice(rest, most)))
    more = sum(1 for _ in rest)
    return f"{first} and {more} more" if more else first
