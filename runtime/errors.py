"""What can go wrong, as a caller would want to catch it.

VaeDetectError
├── InputError            data or settings that cannot be used: rows, columns, files, options (also a ValueError)
│   ├── TooLargeError     more than a limit allows; less of it would do
│   └── RefusedError      a bad row or image where the caller wants none
├── UnavailableError      a file or stream that this machine does not let us use: full, read-only (also an OSError)
├── ModelError            a file that is not a sound detector: graph, metadata, golden rows (also a ValueError)
├── ProviderError         an execution provider that was asked for cannot be had (also a RuntimeError)
├── MissingExtraError     a package of an optional extra is absent, or two exclude each other (also an ImportError)
└── ParityError           the exported graph does not compute what the trained network computes (also a RuntimeError)

Each message says what was wanted, what was found and what to do; the command line prints it as one line.
"""

import errno
from collections.abc import Iterable
from itertools import islice

EXIT_ANOMALY = 1
EXIT_USAGE = 2
EXIT_ENVIRONMENT = 3
EXIT_REFUSED = 4  # done, but some images could not be read, or no row could be used
EXIT_BUG = 5
EXIT_BROKEN_PIPE = 141  # what a shell reports for a program that SIGPIPE ended; stopping.py has those of other signals

_WRONG_NAMES = {
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST),
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL),
}
"""What the system answers when a path can be no such file, on whatever machine."""


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
    limit : which limit of a service it passes, "" for none
    """

    def __init__(
        self, message: str, *, row: int | None = None, column: str | None = None, rows: int = 0, limit: str = ""
    ) -> None:
        super().__init__(message)
        self.limit = limit
        self.row = row
        self.column = column
        self.rows = rows


class TooLargeError(InputError):
    """The input is larger than a limit; less at a time can be used."""


class RefusedError(InputError):
    """A row or an image is bad, and the caller wants to stop at the first."""

    exit_code = EXIT_REFUSED


class UnavailableError(VaeDetectError, OSError):
    """A file or a stream cannot be used on this machine as it is now: no space, no permission, closed."""

    exit_code = EXIT_ENVIRONMENT


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


def of_system(error: OSError, what: str = "") -> InputError | UnavailableError:
    """An error of the operating system as ours; `what` says what could not be done, by default only to which file."""
    what = what or str(error.filename or "")
    kind = InputError if error.errno in _WRONG_NAMES else UnavailableError
    return kind(f"{what}: {error.strerror or error}".removeprefix(": "))


def first_line(error: Exception | str) -> str:
    """The first line of what others say is wrong, for a message of one line; the name of an error that says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
