"""Labelled data, tables and folders of images, and what a detector says of every row and image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...runtime.alarms.recorded import Recorded, RecordedAlarms
from ...runtime.alarms.rule import AlarmRule
from ...runtime.batch.inputs import one_of_images, refuse_several_keys
from ...runtime.bundle import Bundle
from ...runtime.detector import Detector, Scores
from ...runtime.errors import InputError
from ...runtime.images.folders import find_images, read_file
from ...runtime.layout import Layout
from ...runtime.observation import rounding_of, treat
from ...runtime.rows.chunk import Rows
from ...runtime.rows.table_files import find_tables, name_of
from ...runtime.rows.tables import read_rows
from ...runtime.rows.time_order import in_time_order
from ...runtime.scoring.results import Results
from ...runtime.scoring.score import score_images, score_rows, score_stream
from ...runtime.scoring.state import StreamState
from ..labels.origin import ALL_NORMAL, read_labels
from ..labels.words import FAULT

if TYPE_CHECKING:
    from numpy.typing import NDArray

NORMAL_FOLDER = "good"
"""Name of the folder of normal images, as MVTec has it; images of every other one are anomalous."""

_BEYOND = 1e30
"""Standard deviations of 0, as many as float32 and the ranking can bear."""


class AlarmEvent(NamedTuple):
    """The rows of an event that was told."""

    first: int
    last: int
    told: int
    """With which it had lasted long enough."""


@dataclass(frozen=True)
class Labelled:
    """Labelled rows or images in order, an element for each, and what the detector says of them."""

    truth: NDArray[np.bool_]
    score: NDArray[np.float32]
    p_value: NDArray[np.float32]
    alarm: NDArray[np.bool_]
    limited: NDArray[np.bool_]
    """Those that break a limit, and alarm whatever their score."""
    scored: NDArray[np.bool_]
    """False where there is no score, no p-value and no alarm: bad rows, and those before a full window."""
    z_score: NDArray[np.float64]
    """The largest |x - mean| / standard deviation of the newest row, with the training rows' statistics."""
    values: NDArray[Any]
    """Rows or images, raw units."""
    times: NDArray[np.float64] | None = None
    """Seconds, NaN where unreadable."""
    names: tuple[str, ...] = ()
    """Of images, relative to their folder; empty for rows."""
    masks: Path | None = None
    """Folder with a mask for each anomalous image, where there is one."""
    begins: tuple[int, ...] = ()
    """The first rows of the second recording and of those after it."""
    events: tuple[AlarmEvent, ...] = ()
    """Of alarms, in the order of their rows."""

    def by_score(self, threshold: float) -> NDArray[np.bool_]:
        """What alarms by its score: no limit was promised anything. Rows that break one go by this threshold."""
        return np.where(self.limited, self.score > threshold, self.alarm)


def score_labelled(
    detector: Detector,
    data: Path | Sequence[Path],
    labels: str | None,
    layout: Layout,
    *,
    anomalous: Sequence[str] = (),
    normal: Sequence[str] = (),
    adaptive: bool = False,
    fdr: float | None = None,
    rule: AlarmRule | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Labelled:
    """Labels and scores of tables, each a recording of its own, or of a folder of images.

    See `evaluation.evaluate` for both and for what is raised. There are normal ones among those with a score.
    """
    state = StreamState(detector.bundle, adaptive=adaptive, fdr=fdr)
    if detector.bundle.kind == "images":
        if labels not in (None, ALL_NORMAL) or anomalous:
            raise InputError("--labels is for tables; the labels of images are the names of their folders")
        found = _score_folder(detector, one_of_images(data), state, normal or (NORMAL_FOLDER,))
        if labels == ALL_NORMAL:
            found = replace(found, truth=np.zeros_like(found.truth))
    else:
        if labels is None:
            raise InputError(
                f"{name_of(data)}: needs --labels: a column of 0 and 1, a CSV file with one or with ranges of time, or "
                "none where all rows are normal"
            )
        if labels in detector.bundle.names:
            raise InputError(
                f"--labels {labels!r} is a column that the model scores, so that it was told the answers; train again "
                f"with --exclude {labels}"
            )
        files = find_tables(data).files
        for path in files:
            refuse_several_keys(detector, path, layout)
        form = detector.bundle.data.complete(layout)
        truth = read_labels(files, labels, form, anomalous=anomalous, say=say)
        found, numbers = _score_tables(detector, files, form, state, rule or AlarmRule())
        times = None if found.times is None else found.times[np.argsort(numbers)]
        found = replace(found, truth=(truth(len(found.score), times) == FAULT)[numbers])
    if found.truth[found.scored].all():
        raise InputError(_one_sided(detector, name_of(data), int(found.scored.sum())))
    return found


def _one_sided(detector: Detector, data: str, scored: int) -> str:
    """What is wrong with so many labels that are all of anomalies, or none."""
    if not scored:
        return f"{data}: none of the rows could be scored"
    if detector.bundle.kind == "images":
        return (
            f"{data}: none of the {scored} images lie in a folder {NORMAL_FOLDER!r}, or of the names that --normal "
            "gives; an evaluation needs normal ones. Name their folder, like --normal ok, or say --labels none"
        )
    return (
        f"all {scored} scored rows are labelled as anomalies; an evaluation needs normal rows. If they are normal, say "
        "--labels none, or what is anomalous with --anomaly-label"
    )


class _Parts:
    """Rows or images with what the detector says of them, a part at a time."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._found: list[Scores] = []
        self._limited: list[NDArray[np.bool_]] = []
        self._values: list[NDArray[Any]] = []
        self._z_score: list[NDArray[np.float64]] = []

    def add(self, values: NDArray[Any], results: Results) -> None:
        """More of them, raw units, and what was said of them."""
        self._values.append(values)
        self._found.append(results.scores)
        self._limited.append(np.zeros(len(values), np.bool_) if results.limited is None else results.limited)
        self._z_score.append(_z_score(values, self._bundle))

    def joined(self) -> Labelled:
        """All of them, none anomalous yet; there is at least one part."""
        found = Scores(*(np.concatenate(each) for each in zip(*self._found, strict=True)))
        return Labelled(
            truth=np.zeros(len(found.score), np.bool_),
            score=found.score,
            p_value=found.p_value,
            alarm=found.is_anomaly,
            limited=np.concatenate(self._limited),
            scored=found.scored,
            z_score=np.concatenate(self._z_score),
            values=np.concatenate(self._values),
        )


def _score_tables(
    detector: Detector, files: Sequence[Path], layout: Layout, state: StreamState, rule: AlarmRule
) -> tuple[Labelled, NDArray[np.int64]]:
    """The rows of tables one after the other, none of them anomalous yet, in order of time; and their numbers."""
    bundle = detector.bundle
    parts, begins, alarms = _Parts(bundle), [0], RecordedAlarms(bundle, rule)
    events: list[tuple[int, Recorded]] = []
    times: list[NDArray[np.float64]] = []
    numbers: list[NDArray[np.int64]] = []
    for path in files:
        state.begin()
        ordered = in_time_order(read_rows(path, bundle.columns, layout=layout))
        for rows in ordered.chunks:
            # Explained where a gate asks: it costs as much as a score.
            (results,) = (
                score_stream(detector, [rows], state, causes=True) if rule.gates else _accepted(detector, rows, state)
            )
            parts.add(rows.values, results)
            events += [(begins[-1], event) for event in alarms.add(results)]
            times.append(np.full(len(rows.values), np.nan) if rows.times is None else rows.times)
        end = sum(map(len, times))
        if end == begins[-1]:
            raise InputError(f"{path}: no rows after the header")
        own = np.arange(end - begins[-1]) if ordered.numbers is None else ordered.numbers
        numbers.append(begins[-1] + own)
        begins.append(end)
    told = tuple(
        AlarmEvent(*(begin + row for row in (each.event.first_row, each.event.last_row, each.event.told_row)))
        for begin, each in events
    )
    joined = np.concatenate(times)
    known = joined if np.isfinite(joined).any() else None
    return replace(parts.joined(), times=known, begins=tuple(begins[1:-1]), events=told), np.concatenate(numbers)


def _accepted(detector: Detector, rows: Rows, state: StreamState) -> tuple[Results]:
    results, framer = score_rows(detector, state.framer, rows)
    return (state.accept(results, framer)._replace(times=rows.times),)


def _score_folder(detector: Detector, folder: Path, state: StreamState, normal: Sequence[str]) -> Labelled:
    """The images of a folder, anomalous or not by the folder they are in."""
    image = detector.bundle.image
    assert image is not None
    root = folder / "test" if (folder / "test").is_dir() else folder
    parts, files = _Parts(detector.bundle), find_images(root, folder).files
    for number, file in enumerate(files):
        try:
            pixels = read_file(file, image)
        except InputError as error:
            raise InputError(f"{file.path}: {error}") from None
        parts.add(pixels[None], state.watch.accept(score_images(detector, number, [pixels])))
    truth = np.array([not {*normal} & {*file.name.split("/")[:-1]} for file in files])
    # MVTec has test/ and ground_truth/ side by side; below another folder the masks would be taken for images.
    beside = root.resolve()
    masks = beside.with_name("ground_truth") if beside.name == "test" else None
    names = tuple(file.name for file in files)
    return replace(parts.joined(), truth=truth, names=names, masks=masks if masks and masks.is_dir() else None)


def _z_score(values: NDArray[Any], bundle: Bundle) -> NDArray[np.float64]:
    """The largest deviation of any number of an input (inputs, ..., features), in its column's deviations: (inputs,).

    Categories and classes have no deviation, whatever their codes are; of a constant any other value is `_BEYOND` all.
    """
    largest = np.zeros(len(values))
    for at, column in enumerate(bundle.columns):
        cells = values[..., at].reshape(len(values), -1).astype(np.float64)
        if column.treatment in ("category", "class"):
            continue
        distance = np.abs(treat(cells, column) - column.center)
        if column.treatment == "constant":
            deviation = np.where(distance > rounding_of(column.center), _BEYOND, 0.0)
        else:
            deviation = distance / column.scale
        largest = np.fmax(largest, np.fmax.reduce(deviation, axis=1))  # a missing cell does not deviate
    return largest
