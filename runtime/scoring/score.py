"""Scoring, which remembers nothing: rows and images to results, by a detector alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import short
from ..detector import Detector, Explanation, Scores
from ..limits import broken_limits, describe_broken
from ..rows.chunk import Rows
from .framing import Framed, Framer, fill
from .results import BAD, OK, OVERFLOW, Cause, Results

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .state import StreamState


MOST_CAUSES = 5
"""Columns that an alarm is explained by."""


def score_rows(detector: Detector, framer: Framer, rows: Rows, *, explain: bool = False) -> tuple[Results, Framer]:
    """Results of the next rows of a recording, and the framer for those after; how rows are cut changes no result.

    Verdicts are those of the threshold in the model file.

    Parameters
    ----------
    framer : what is left of the rows before; ``Framer.of(detector.bundle)`` at the beginning
    explain : also contributions and expected values, of windows summed and at the newest row
    """
    framed, after = framer.frame(rows)
    (results,) = score_framed(detector, [(framed, rows.values)])
    return results._replace(explanation=explain_framed(detector, framed)) if explain else results, after


def score_framed(detector: Detector, parts: Sequence[tuple[Framed, NDArray[np.float32]]]) -> list[Results]:
    """Results of the inputs of several recordings, and their newest rows, (rows, features), in one run of the graph.

    A score differs from that of its input alone by rounding, 1e-5 relative at most.
    """
    one = len(parts) == 1
    joint = detector.score(parts[0][0].inputs if one else np.concatenate([framed.inputs for framed, _ in parts]))
    whole, results, first = bool(joint.scored.all()), [], 0
    for framed, values in parts:
        cut = slice(first, first := first + len(framed.inputs))
        scores = joint if one else Scores._make([each[cut] for each in joint])
        if whole and len(framed.inputs) == len(framed.status):  # two looks at every row less
            placed = Results(framed.first, scores, framed.status, framed.reason, None)
        else:
            placed = _placed(framed, scores)
        results.append(_within_limits(detector, values, placed))
    return results


def score_stream(
    detector: Detector, chunks: Iterable[Rows], state: StreamState, *, causes: bool = False
) -> Iterator[Results]:
    """Results of a stream chunk by chunk, in order; each is accepted by the state before the next is scored.

    They tell the times, where the detector knows a column of them, and of rows that alarm the column to blame, or with
    `causes` the columns that contribute most, with what was expected.
    """
    is_timed = detector.bundle.data.time_column is not None
    for rows in chunks:
        framed, framer = state.framer.frame(rows)
        (scored,) = score_framed(detector, [(framed, rows.values)])
        results = state.accept(scored, framer)
        times = np.full(len(framed.status), np.nan) if is_timed and rows.times is None else rows.times
        keys = rows.keys or [""] * len(framed.status) if detector.bundle.data.layout.key is not None else None
        if causes:
            yield results._replace(times=times, keys=keys, causes=_of_alarms(detector, framed, rows.values, results))
        else:
            yield results._replace(times=times, keys=keys, blamed=blamed_of(detector, framed, rows.values, results))


def score_images(detector: Detector, first: int, images: Sequence[NDArray[np.uint8] | str]) -> Results:
    """Results of images as `images.reading.read_image` gives them; a text in place of one is why it cannot be read.

    Parameters
    ----------
    first : number of the first of these images
    """
    full = np.array([not isinstance(image, str) for image in images], np.bool_)
    status = [OK if readable else BAD for readable in full]
    reason = [image if isinstance(image, str) else "" for image in images]
    pixels = [image for image in images if not isinstance(image, str)]
    inputs = np.stack(pixels) if pixels else np.empty((0, *detector.bundle.input_shape), np.uint8)
    framed = Framed(first, inputs, full, status, reason)
    return _score(detector, framed)


def _score(detector: Detector, framed: Framed) -> Results:
    return _placed(framed, detector.score(framed.inputs))


def _placed(framed: Framed, scored: Scores) -> Results:
    """The scores of the inputs at the places where there is one; what overflows is marked in status and reason."""
    if not scored.scored.all():
        for index in np.flatnonzero(framed.full)[~scored.scored]:
            framed.status[index] = OVERFLOW
            framed.reason[index] = "the score exceeds float32"
    if not framed.full.all():
        scored = Scores(*(fill(values, framed.full, len(framed.full)) for values in scored))
    return Results(framed.first, scored, framed.status, framed.reason, None)


def _within_limits(detector: Detector, values: NDArray[np.float32], results: Results) -> Results:
    """The same where the reasons say which limits rows (rows, features) break: these alarm, also those without a score.

    A window that is not yet full holds nothing back that one reading tells. Of a bad row no reading is known.
    """
    limits = detector.bundle.limits
    if not limits:
        return results
    names = detector.bundle.names
    broken = broken_limits(values, limits, names)
    limited = np.asarray(broken.any(axis=1))
    for index in np.flatnonzero(limited).tolist():
        why = describe_broken(values[index], broken[index], limits, names)
        results.reason[index] = f"{results.reason[index]}; {why}" if results.reason[index] else why
    scores = results.scores._replace(is_anomaly=results.scores.is_anomaly | limited)
    return results._replace(scores=scores, limited=limited)


def blamed_of(detector: Detector, framed: Framed, values: NDArray[np.float32], results: Results) -> list[str]:
    """The column that contributes most, of every row that alarms, or whose limit it breaks; "" of others."""
    blamed = [""] * len(values)
    alarm = results.scores.is_anomaly & results.scores.scored
    if alarm.any():
        largest = _summed(detector.explain(framed.inputs[alarm[framed.full]])).contribution.argmax(axis=1)
        for index, place in zip(np.flatnonzero(alarm).tolist(), largest.tolist(), strict=True):
            blamed[index] = detector.bundle.names[place]
    if results.limited is not None:
        limits, beyond = detector.bundle.limits, np.flatnonzero(results.limited)
        first = broken_limits(values[beyond], limits, detector.bundle.names).argmax(axis=1)
        for index, place in zip(beyond.tolist(), first.tolist(), strict=True):
            blamed[index] = limits[place].column
    return blamed


def _of_alarms(
    detector: Detector, framed: Framed, values: NDArray[np.float32], results: Results
) -> list[tuple[Cause, ...]]:
    """The causes of every row that alarms, none of others."""
    causes: list[tuple[Cause, ...]] = [()] * len(values)
    alarms = np.flatnonzero(results.scores.is_anomaly)
    for index, told in zip(alarms.tolist(), causes_of(detector, framed, values, results, alarms), strict=True):
        causes[index] = told
    return causes


def causes_of(
    detector: Detector, framed: Framed, values: NDArray[np.float32], results: Results, rows: NDArray[np.intp]
) -> list[tuple[Cause, ...]]:
    """The columns that contribute most to these rows, by their places, the largest first; before them those whose limit
    a row breaks. Of a row without a score these alone, of images none.

    Parameters
    ----------
    values : the rows (rows, features) that `framed` and `results` are of
    """
    names = detector.bundle.names
    causes: list[tuple[Cause, ...]] = [()] * len(rows)
    scored = results.scores.scored[rows]
    if scored.any() and detector.bundle.image is None:
        places = np.cumsum(framed.full)[rows[scored]] - 1
        explained = _summed(detector.explain(framed.inputs[places]))
        for index, contribution, expected in zip(np.flatnonzero(scored).tolist(), *explained, strict=True):
            largest = np.argsort(-contribution, kind="stable")[:MOST_CAUSES].tolist()
            told = [(contribution[place], values[rows[index], place], expected[place]) for place in largest]
            causes[index] = tuple(
                Cause(names[place], *map(_short, each)) for place, each in zip(largest, told, strict=True)
            )
    if results.limited is not None:
        limits, beyond = detector.bundle.limits, np.flatnonzero(results.limited[rows])
        broken = broken_limits(values[rows[beyond]], limits, names)
        for index, which in zip(beyond.tolist(), broken, strict=True):
            columns = {limits[place].column for place in np.flatnonzero(which).tolist()}
            known = {cause.column: cause for cause in causes[index]}
            first = [
                known.pop(name, Cause(name, None, _short(values[rows[index], names.index(name)]), None))
                for name in sorted(columns)
            ]
            causes[index] = (*first, *known.values())
    return causes


def _short(value: np.float32) -> float | None:
    return short(value) if np.isfinite(value) else None


def _summed(explanation: Explanation) -> Explanation:
    """Of windows the contributions summed, and what was expected at the newest row."""
    contribution, expected = explanation
    return Explanation(contribution.sum(axis=1), expected[:, -1]) if contribution.ndim == 3 else explanation


def explain_framed(detector: Detector, framed: Framed) -> Explanation:
    """Per row and column: the contribution summed over the window, and the value expected at the newest row."""
    n = len(framed.full)
    explained = _summed(detector.explain(framed.inputs))
    filled: list[NDArray[Any]] = [fill(values, framed.full, n) for values in explained]
    return Explanation(*filled)
