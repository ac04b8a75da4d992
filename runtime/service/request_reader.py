"""From a body to rows, whatever it is written in: JSON, JSON lines, CSV, or the metrics of Telegraf."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

from ..bundle import Bundle
from ..errors import InputError
from ..images.reading import image_format
from ..layout import Declared, Layout
from ..rows.chunk import Rows, joined, refused
from ..rows.csv_bodies import CsvBody, as_utf8
from ..rows.fields import as_fields
from ..rows.json_pieces import Pieces
from ..rows.json_rows import RowReader
from ..rows.labels import Labels
from ..rows.pieces import PIECE, check_rows, check_values, spans, split_lines
from ..rows.telegraf import MetricRows, metrics_of
from .refusals import RefusedError

_LINES = frozenset(
    f"{kind}/{prefix}{name}"
    for kind in ("application", "text")
    for prefix in ("", "x-")
    for name in ("ndjson", "jsonl", "jsonlines", "json-lines", "nd-json")
)
_CSV = frozenset({"text/csv", "application/csv", "text/x-csv", "application/x-csv", "text/comma-separated-values"})
_ANYTHING = frozenset({"", "application/x-www-form-urlencoded", "text/plain", "application/octet-stream", "*/*"})
"""What clients say of JSON when nobody told them: curl -d, and libraries."""

_EXPECTED = "application/json, application/x-ndjson or text/csv"
_HEADERS = {"present": True, "absent": False}


_QUICK_BYTES, _QUICK_ROWS = 64 * 1024, 300


class Form(NamedTuple):
    """How a body is written, as its content type says."""

    kind: Literal["json", "lines", "csv"]
    header: bool | None = None
    """Of CSV: whether the first line is one; None where nobody said it."""
    charset: str | None = None
    is_said: bool = True
    """Whether the content type says so, and not only nothing else."""


class RowPieces:
    """The rows of a body, not yet read.

    Parameters
    ----------
    spans : the first row of each piece, and the first of the next
    parse : reads a piece; they are read in order
    flag_bad : whether a bad row is one of the rows, and not an error
    """

    def __init__(self, spans: Sequence[tuple[int, int]], parse: Callable[[int, int], Rows], *, flag_bad: bool) -> None:
        self._spans, self._parse, self._flag_bad = spans, parse, flag_bad

    def __len__(self) -> int:
        """How many rows there are."""
        return self._spans[-1][1]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """The first row of each piece, and the first of the next."""
        return iter(self._spans)

    def read(self, first: int, end: int) -> Rows:
        """The rows of a piece. Raises InputError for a bad one, unless these are flagged."""
        try:
            rows = self._parse(first, end)
        except InputError as error:
            if error.rows or len(self) == 1:
                raise
            raise InputError(f"rows from {first} on: {error}", rows=len(self)) from None
        if rows.bad and not self._flag_bad:
            raise refused(rows, len(self))
        return rows


class RequestReader:
    """Reads bodies for one version of a model of rows; several threads may use it."""

    def __init__(self, bundle: Bundle) -> None:
        layout = bundle.data.complete(Layout(declared=Declared()))  # CSV is written as the recording was
        self._columns, self._layout = as_fields(bundle.columns), layout
        self._reader = RowReader(self._columns, most_missing=layout.most_missing)

    def read(self, body: bytes, content_type: str = "", *, flag_bad: bool = False, key: str | None = None) -> Rows:
        """The rows of a body, at once.

        Parameters
        ----------
        content_type : as the header says; "" where there is none
        flag_bad : whether a bad row is one of the rows, told in `Rows.bad`, and not an error
        key : whose rows those are that do not say it; without it they are bad where the model knows a key

        Raises
        ------
        RefusedError
            with status 415, for a content type that is not known, and an image
        InputError
            for what is no rows, or too many; with `rows`, where they could be counted
        """
        form = _form_of(body, content_type)
        if form.kind != "json" or (body[:64].lstrip()[:1] == b"{" and metrics_of(body, self._columns) is not None):
            pieces = self.pieces(body, content_type, flag_bad=flag_bad, key=key)
            return joined([pieces.read(first, end) for first, end in pieces])
        is_bare = key is None and self._layout.key is None and b"{" not in body  # lists say neither time nor key
        labels = None if is_bare else Labels(self._layout, key=key)
        try:
            rows = self._reader.read(body, labels)
        except InputError as error:
            raise _hinted(error, form) from None
        if rows.bad and not flag_bad:
            raise refused(rows, len(rows.values))
        return rows

    def pieces(
        self, body: bytes, content_type: str = "", *, flag_bad: bool = False, key: str | None = None
    ) -> RowPieces:
        """The rows of a large body, to be read piece by piece; raises like `read`, which takes the same."""
        form = _form_of(body, content_type)
        labels = Labels(self._layout, key=key)
        if form.kind == "csv":
            return self._csv(body, form, key, flag_bad)
        columns = len(self._columns)
        lines = split_lines(body) if form.kind == "lines" else []
        if form.kind == "lines" and not lines:
            raise InputError("the body is empty, expected a row a line")
        metrics = metrics_of(lines[0] if lines else body, self._columns)
        if metrics is not None:
            found = MetricRows(lines or metrics, self._columns, self._layout.key)
            return RowPieces(
                found.spans, lambda first, end: found.read(self._reader, labels, first, end), flag_bad=flag_bad
            )
        if lines:
            check_rows(len(lines))
            check_values(body.count(b",") + len(lines))
            return RowPieces(
                spans(map(len, lines), columns, len(lines)),
                lambda first, end: self._reader.read_lines(lines[first:end], labels, first=first),
                flag_bad=flag_bad,
            )
        try:
            pieces = Pieces(body, columns)
        except InputError as error:
            raise _hinted(error, form) from None
        return RowPieces([*pieces], lambda first, end: pieces.read(self._reader, first, end, labels), flag_bad=flag_bad)

    def _csv(self, body: bytes, form: Form, key: str | None, flag_bad: bool) -> RowPieces:
        text = as_utf8(body, form.charset, self._layout)
        if text is None:
            encodings = " or ".join(dict.fromkeys(["utf-8", self._layout.format.encoding]))
            raise RefusedError(415, f"the charset is {str(form.charset)[:20]!r}, expected {encodings}")
        found = CsvBody(text, self._columns, self._layout, header=form.header, key=key)
        cut = spans(map(len, found.lines), len(self._columns), len(found.lines), piece=PIECE // 2)
        return RowPieces(cut, found.read, flag_bad=flag_bad)


def reads_at_once(body: bytes) -> bool:
    """Whether a body can be read within about 5 ms whatever it holds; others are read in pieces."""
    if len(body) > _QUICK_BYTES:
        return False
    return sum(map(body.count, (b"[", b"{", b"\n"))) <= _QUICK_ROWS


def _form_of(body: bytes, content_type: str) -> Form:
    form = form_of(content_type)
    if body[:1] not in (b"[", b"{") and image_format(body):
        raise RefusedError(415, f"the body is an image, and this model scores rows; expected {_EXPECTED}")
    return form


@lru_cache(64)
def form_of(content_type: str) -> Form:
    """How a body of this content type is written. Raises RefusedError when nobody can know.

    >>> form_of("text/csv; header=absent")
    Form(kind='csv', header=False, charset=None, is_said=True)
    """
    essence, *rest = (part.strip() for part in content_type.split(";"))
    kind = essence.lower()
    said = {name.strip().lower(): value.strip().strip('"') for name, _, value in (part.partition("=") for part in rest)}
    if kind in _ANYTHING:
        return Form("json", is_said=False)
    if kind.endswith(("/json", "+json")):
        return Form("json")
    if kind in _LINES:
        return Form("lines")
    if kind not in _CSV:
        raise RefusedError(415, f"the content type is {essence[:60]!r}, expected {_EXPECTED}")
    header = said.get("header", "").lower()
    if header and header not in _HEADERS:
        raise RefusedError(415, f"header is {header[:20]!r} in the content type, expected present or absent")
    return Form("csv", _HEADERS.get(header), said.get("charset"))


def _hinted(error: InputError, form: Form) -> InputError:
    """The error, with what else to say where the content type says nothing."""
    if form.is_said or "not valid JSON" not in str(error):
        return error
    return InputError(f"{error}; of CSV say Content-Type: text/csv, of a row a line application/x-ndjson")
