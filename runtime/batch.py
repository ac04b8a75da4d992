"""A CSV file to a CSV of scores, in memory that does not grow with the file."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import IO, Any, NamedTuple

from .detector import Detector
from .errors import InputError
from .recordings import OK, Recording, Results
from .tables import TableFormat, read_rows, read_sample

COLUMNS = ("row", "score", "severity", "p_value", "is_anomaly", "status", "reason")


class Summary(NamedTuple):
    """What a run over a file came to."""

    rows: int
    anomalies: int
    by_status: dict[str, int]

    def describe(self) -> str:
        """One line for the terminal."""
        scored = self.by_status.get(OK, 0)
        share = f" ({self.anomalies / scored:.2%})" if scored else ""
        others = "".join(f", {count} {status}" for status, count in self.by_status.items() if status != OK)
        return f"{self.rows} rows: {scored} scored, {self.anomalies} anomalies{share}{others}"


def score_file(detector: Detector, path: Path, form: TableFormat, *, stop_on_bad: bool = False) -> Iterator[Results]:
    """Results of a CSV file, chunk by chunk and in order, one for every row.

    Raises
    ------
    InputError
        when the file is no CSV text, a column of the detector is missing or stands twice in its header, or, with
        `stop_on_bad`, at the first bad row
    """
    recording = Recording(detector)
    facts = detector.bundle
    for rows in read_rows(path, facts.names, form=form, time_column=facts.data.time_column):
        if stop_on_bad and rows.bad:
            index, why = next(iter(rows.bad.items()))
            raise InputError(f"{path}: row {rows.first + index}, {why}", row=rows.first + index, column=why.column)
        yield recording.push(rows)


def write_scores(scored: Iterable[Results], out: IO[str]) -> Summary:
    """Writes a header and a line for every row; returns what was counted."""
    writer = csv.writer(out, lineterminator="\n")
    scored = iter(scored)
    first = next(scored, None)  # before the header: a file that is refused writes nothing
    writer.writerow(COLUMNS)
    rows, anomalies, by_status = 0, 0, Counter[str]()
    for results in chain([] if first is None else [first], scored):
        writer.writerows(_lines(results))
        rows += len(results.status)
        anomalies += int(results.scores.is_anomaly.sum())
        by_status.update(results.status)
    return Summary(rows, anomalies, dict(by_status))


def _lines(results: Results) -> Iterator[tuple[Any, ...]]:
    scores = results.scores
    # str of a float32 has the fewest digits that read back as the same float32.
    texts = [values.astype(str).tolist() for values in (scores.score, scores.severity, scores.p_value)]
    verdicts = scores.is_anomaly.astype(int).tolist()
    for index, (status, reason) in enumerate(zip(results.status, results.reason, strict=True)):
        if status == OK:
            yield (results.first + index, *(text[index] for text in texts), verdicts[index], status, reason)
        else:
            yield results.first + index, "", "", "", "", status, reason


@contextmanager
def written_aside(path: Path, *, force: bool = False) -> Iterator[IO[str]]:
    """A text file that appears under its name only when complete; an existing one is kept unless `force`.

    Raises InputError when the file exists or cannot be written.
    """
    aside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: is no regular file")
        if path.exists() and not force:
            raise InputError(f"{path}: exists already; pass --force to replace it")
        with aside.open("w", encoding="utf-8", newline="") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        aside.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        with suppress(OSError):
            aside.unlink()


def ignored_columns(detector: Detector, path: Path, form: TableFormat) -> list[str]:
    """Columns of a file that the detector does not use, in their order."""
    header, _ = read_sample(path, form, rows=1)
    used = {*detector.bundle.names, detector.bundle.data.time_column}
    return [name for name in header if name not in used] if form.header else []
