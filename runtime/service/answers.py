"""From rows to an answer: scored, accepted, encoded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from functools import partial
from itertools import repeat
from time import perf_counter

import msgspec
import numpy as np

from ..arrays import short
from ..detector import Detector
from ..errors import InputError
from ..rows.chunk import Rows, joined
from ..scoring.framing import Framer
from ..scoring.results import COLUMNS, OVERFLOW, Results
from ..scoring.score import explain_framed, score_framed
from ..streams.parts import Part, parts_by_key
from .jobs import Job
from .models import Served, Stream
from .queries import Query
from .refusals import RefusedError
from .request_reader import reads_at_once
from .schemas import Contribution, RowResult

MAX_EXPLAINED = 10_000
"""Rows of a request that asks for explanations: one takes as long as ten plain answers."""

_EXPLAINED_AT_ONCE = 128
"""Rows that are explained within about 5 ms."""

_KEYS_AT_ONCE = 100
"""Keys that are looked up within about 5 ms."""

_RAW_ROW, _ANSWER, _CONTRIBUTION = 64, 160, 120
"""Bytes, about: of a row that is not yet read, beside its text; of an answer; of a contribution, beside its name."""
_LARGEST = 5


async def read_rows(served: Served, body: bytes, content_type: str, query: Query, job: Job) -> Rows:
    """The rows of a body, a large one piece by piece. Raises RefusedError when one cannot be read."""
    reader = served.reader
    try:
        if reads_at_once(body):
            return reader.read(body, content_type, flag_bad=query.flag_bad, key=query.key)
        pieces = await job.worker.run(
            partial(reader.pieces, flag_bad=query.flag_bad, key=query.key), body, content_type
        )
        total, columns = len(pieces), len(served.detector.bundle.columns)
        check_explained(query.explain, total)
        job.share.hold(len(body) + total * (_RAW_ROW + 4 * columns), rows=total)
        read = []
        for first, end in pieces:
            job.check(total)
            read.append(await job.worker.run(pieces.read, first, end))
        return joined(read)
    except InputError as error:
        raise RefusedError.of(error) from None


async def answer_rows(served: Served, rows: Rows, query: Query, job: Job) -> list[bytes]:
    """The answer to rows, in parts, all or none of them: watch and metrics see them only when the last has a score.

    Raises RefusedError when a row cannot be scored and the query does not want it flagged.
    """
    total = len(rows.values)
    size = rows.values.nbytes + total * _ANSWER
    if query.explain:
        check_explained(query.explain, total)
        names = served.detector.bundle.names
        size += rows.values.nbytes * 2 + total * _LARGEST * (_CONTRIBUTION + max(map(len, names)))
    job.share.hold(size, rows=total)
    step = min(_EXPLAINED_AT_ONCE, served.at_once) if query.explain else served.at_once
    has_keys = query.key is not None or rows.keys is not None
    async with _streams(served, rows, query) if has_keys else _NO_STREAMS as streams:
        parts = await job.run(total > step, _all_framed, served.framer, rows, query, streams, step)
        scored = await score_parts(served, parts, query, job)
    await job.tell_all(served, parts, scored)
    if len(parts) == 1:
        return [encoded(served, parts[0], scored[0], query.explain)]
    written, before = [], served.head + b"["
    for own, results in zip(parts, scored, strict=True):
        text = await job.worker.run(_encode, served.detector, own, results, query.explain)
        written.append(before + text[1:-1])
        before = b","
    return [*written, b"]}"]


def check_explained(explain: bool, rows: int) -> None:
    """Raises RefusedError for more rows than are explained at once."""
    if explain and rows > MAX_EXPLAINED:
        raise RefusedError(
            413, f"the body holds {rows} rows, expected at most {MAX_EXPLAINED} with explain=1", rows=rows, limit="rows"
        )


_NO_STREAMS: nullcontext[dict[str, Stream]] = nullcontext({})


@asynccontextmanager
async def _streams(served: Served, rows: Rows, query: Query) -> AsyncIterator[dict[str, Stream]]:
    """What is remembered of the keys of these rows, for this request alone until the end of the block."""
    keys = [query.key] if query.key is not None else sorted(set(rows.keys or ()))
    async with AsyncExitStack() as stack:
        streams = {}
        for number, key in enumerate(keys, start=1):  # sorted, so that two requests never wait for each other
            streams[key] = served.stream(key)
            await stack.enter_async_context(streams[key].turn)
            if number % _KEYS_AT_ONCE == 0:
                await asyncio.sleep(0)
        yield streams


def _piece(rows: Rows, first: int, end: int) -> Rows:
    if first == 0 and end >= len(rows.values):
        return rows
    cut = slice(first, end)
    bad = {index - first: why for index, why in rows.bad.items() if first <= index < end}
    times = None if rows.times is None else rows.times[cut]
    return Rows(first, rows.values[cut], bad, times, None if rows.keys is None else rows.keys[cut])


def _all_framed(plain: Framer, rows: Rows, query: Query, streams: dict[str, Stream], step: int) -> list[list[Part]]:
    """The parts of the rows, so many rows at a time."""
    framers = dict[str, Framer]()
    pieces = (_piece(rows, first, first + step) for first in range(0, len(rows.values), step))
    return [_framed(plain, piece, query, streams, framers) for piece in pieces]


def _framed(
    plain: Framer, rows: Rows, query: Query, streams: dict[str, Stream], framers: dict[str, Framer]
) -> list[Part]:
    """What is asked of the graph for these rows, by key; `framers` go on to those of the next rows."""
    if not streams:
        return [unkeyed(plain, rows)]
    if query.key is not None:
        rows = rows._replace(keys=[query.key] * len(rows.values))
    return parts_by_key(rows, lambda key: streams[key].machine, framers)


def unkeyed(framer: Framer, rows: Rows) -> Part:
    """What is asked of the graph for rows of a recording that nothing is remembered of."""
    return Part(framer.frame(rows)[0], rows, range(rows.first, rows.first + len(rows.values)))


def _judged(detector: Detector, parts: Sequence[Part], query: Query) -> Callable[[Sequence[Results]], None]:
    """What raises RefusedError where a request of these parts is not to be answered with its results."""
    return _accepted if query.flag_bad else partial(refuse_overflow, detector, parts)


def _accepted(_: Sequence[Results]) -> None:
    """What is bad is told in the results."""


def refuse_overflow(detector: Detector, parts: Sequence[Part], found: Sequence[Results]) -> None:
    """Raises RefusedError for a row whose score exceeds float32."""
    for part, results in zip(parts, found, strict=True):
        if OVERFLOW in results.status:
            index = results.status.index(OVERFLOW)
            row = part.rows.values[index]
            where = f", column {detector.bundle.names[int(np.nanargmax(np.abs(row)))]!r}" if row.size else ""
            text = f"row {part.numbers[index]}{where}: the score exceeds float32; expected smaller values"
            raise RefusedError(400, text, rows=_total(parts))


def _total(parts: Sequence[Part]) -> int:
    return sum(len(part.numbers) for part in parts)


async def score_parts(served: Served, parts: list[list[Part]], query: Query, job: Job) -> list[list[Results]]:
    """Accepted results of a request, all or none of them: with whatever else is there, or of several slices one after
    the other, beside the event loop."""
    if len(parts) == 1:
        judge = _judged(served.detector, parts[0], query)
        return [await served.turns.score(parts[0], judge, gone=job.gone)]
    total = sum(map(_total, parts))
    scored = []
    for own in parts:
        job.check(total)
        results, seconds = await job.worker.run(_score, served.detector, own)
        try:
            _judged(served.detector, own, query)(results)
        except RefusedError as refusal:
            refusal.rows = total
            raise
        scored.append((list(zip(own, results, strict=True)), seconds))
    job.check(total)
    accepted = []
    for pairs, seconds in scored:
        accepted.append(served.accept(pairs, seconds))
        await asyncio.sleep(0)  # others have a turn; of a thousand keys a slice takes 10 ms
    return accepted


def _score(detector: Detector, parts: Sequence[Part]) -> tuple[list[Results], float]:
    """Results of the parts, and the seconds that they took."""
    started = perf_counter()
    results = score_framed(detector, [(part.framed, part.rows.values) for part in parts])
    return results, perf_counter() - started


def encoded(served: Served, parts: Sequence[Part], found: Sequence[Results], explain: bool = False) -> bytes:
    """The answer to a request of these parts."""
    return b"%b%b}" % (served.head, _encode(served.detector, parts, found, explain))


def _encode(detector: Detector, parts: Sequence[Part], found: Sequence[Results], explain: bool) -> bytes:
    """The results of parts of a request as a list in JSON, in the order of its rows."""
    told: list[RowResult] = []
    for part, results in zip(parts, found, strict=True):
        own = row_results(part, results)
        if explain:
            _tell_contributions(detector, part, results, own)
        told += own
    if len(parts) > 1:
        told.sort(key=_number)
    return msgspec.json.encode(told)  # a float32 so that it is read back equal


def row_results(part: Part, results: Results) -> list[RowResult]:
    """What the answer tells of each row of a part."""
    rows = part.rows
    if results.all_scored and rows.times is None and rows.keys is None:  # half the time of the general way
        columns = [each.tolist() for each in results.scores[:4]]
        reasons = [why or None for why in results.reason] if any(results.reason) else repeat(None)
        return list(map(RowResult, part.numbers, *columns, results.status, reasons))
    table = results._replace(times=rows.times, keys=rows.keys).table("row")
    columns = [
        values.tolist() if isinstance(values, np.ndarray) else values for values in (table[name] for name in COLUMNS)
    ]
    told = list(map(RowResult, part.numbers, *columns))
    for name in ("time", "key"):
        for one, value in zip(told, table.get(name, ()), strict=False):
            setattr(one, name, value)
    return told


def _number(result: RowResult) -> int:
    return result.row


def _tell_contributions(detector: Detector, part: Part, results: Results, told: list[RowResult]) -> None:
    """Adds what explains each score: the largest contributions, with the actual and the expected value."""
    names, explanation = detector.bundle.names, explain_framed(detector, part.framed)
    for index in np.flatnonzero(results.scores.scored).tolist():
        contribution, expected = (values[index] for values in explanation)
        largest = np.argsort(-contribution, kind="stable")[:_LARGEST].tolist()
        told[index].contributions = [
            Contribution(
                names[place],
                short(contribution[place]),
                short(part.rows.values[index, place]),
                short(expected[place]),
            )
            for place in largest
        ]
