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


class RefusedError(Exception):
    """A request that gets no score.

    Parameters
    ----------
    status : one of `STATUSES`
    rows : how many rows are refused with it, 0 where that cannot be told
    """

    def __init__(self, status: int, message: str, *, rows: int = 0) -> None:
        super().__init__(message)
        assert status in STATUSES
        self.status = status
        self.rows = rows

    @classmethod
    def of(cls, error: InputError) -> RefusedError:
        """What the client is told of an error in what it sent."""
        return cls(413 if isinstance(error, TooLargeError) else 400, str(error), rows=error.rows)
