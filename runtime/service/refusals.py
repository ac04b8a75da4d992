"""How the service says no: the one place where errors become HTTP statuses."""

from __future__ import annotations

from ..errors import InputError, TooLargeError

STATUSES: dict[int, str] = {
    400: "a body, a query or an image that cannot be scored, or a request that was broken off",
    401: "no token, or a wrong one, where one is asked for",
    404: "no such model",
    405: "another method than POST",
    408: "a body that did not arrive in time",
    413: "more than a limit allows",
    415: "an encoded body, or not what the model takes",
    500: "a fault of ours",
    503: "not ready, or too much at once",
}
"""What POST /score answers with when it gives no score, and when."""

CODES = (200, *STATUSES)
"""Every status of POST /score; a fixed set, so that no client can make series."""


LIMITS: dict[str, str] = {
    "body": "more than 16 MiB, as it is sent or unpacked",
    "rows": "more than 100 000 rows, or 10 000 that are to be explained",
    "values": "more than 1 000 000 values",
    "row": "a row of more than 128 KiB and 256 bytes for each column",
    "depth": "JSON nested deeper than 64 levels",
    "head": "request line and headers of more than 64 KiB",
    "encoding": "a body that is encoded otherwise than by gzip",
    "time": "a head that takes more than 10 s, a body more than 30 s, or an answer that is not read in 30 s",
    "requests": "more than 256 requests at once",
    "memory": "more than 64 MiB in all requests together",
    "viewers": "more than 32 who look at the page at once",
}
"""What a request may exceed: a fixed set as well."""


class RefusedError(Exception):
    """A request that gets no score.

    Parameters
    ----------
    status : one of `STATUSES`
    rows : how many rows are refused with it, 0 where that cannot be told
    limit : which of `LIMITS` it exceeds, "" for none
    """

    def __init__(self, status: int, message: str, *, rows: int = 0, limit: str = "") -> None:
        super().__init__(message)
        assert status in STATUSES
        self.limit = limit
        self.status = status
        self.rows = rows

    @classmethod
    def of(cls, error: InputError) -> RefusedError:
        """What the client is told of an error in what it sent."""
        return cls(413 if isinstance(error, TooLargeError) else 400, str(error), rows=error.rows, limit=error.limit)

    @classmethod
    def left(cls, rows: int) -> RefusedError:
        """Of a client that does not wait for its answer any more; so many rows are not scored."""
        return cls(400, "the client has left", rows=rows)
