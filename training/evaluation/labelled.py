"""Labelled data, tables and folders of images, and what a detector says of every row and image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...runtime.batch.scores import find_images, refuse_folder
from ...runtime.bundle import Bundle
from ...runtime.detector import Detector, Scores
from ...runtime.errors import InputError
from ...runtime.images.reading import read_file
from ...runtime.rows.tables import TableFormat, read_column, read_rows, read_sample
from ...runtime.scoring.results import Recording, Watch, score_images

if TYPE_CHECKING:
    from numpy.typing import NDArray

NORMAL_FOLDER = "good"
"""Name of the folder of normal images, as MVTec has it; images of every other one are anomalous."""

LABELS = {"0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True}


class Labelled(NamedTuple):
    """Labelled rows or images in order, an element for each, and what the detector says of them."""

    truth: NDArray[np.bool_]
    score: NDArray[np.float32]
    p_value: NDArray[np.float32]
    alarm: NDArray[np.bool_]
    scored: NDArray[np.bool_]
    """False where there is no score, no p-value and no alarm: bad rows, and those before a full window."""
    z_score: NDArray[np.float64]
    """The largest |x - mean| / standard deviation of the newest row, with the training rows' statistics."""
    values: NDArray[Any]
    """Rows or images, raw units."""
    times: NDArray[np.float64] | None
    """Seconds, NaN where unreadable."""
    names: tuple[str, ...]
    """Of images, relative to their folder; empty for rows."""
    masks: Path | None
    """Folder with a mask for each anomalous image, where there is one."""

    def inputs(self, bundle: Bundle, places: NDArray[np.intp]) -> NDArray[Any]:
        """What the detector takes at these rows or images, where `scored`: windows that end there."""
        if bundle.kind == "windows":
            places = places[:, None] + np.arange(1 - bundle.window, 1)
        inputs: NDArray[Any] = self.values[places]
        return inputs


def is_ordered(bundle: Bundle) -> bool:
    """Whether the rows that a detector takes follow each other in time."""
    return bundle.kind == "windows" or bundle.data.time_column is not None


def score_labelled(
    detector: Detector, data: Path, labels: str | None, form: TableFormat, *, adaptive: bool = False
) -> Labelled:
    """Labels and scores of a CSV, or of a folder of images; see `evaluation.evaluate` for both and for what is raised.

    There are normal and anomalous ones among those with a score.
    """
    watch = Watch(detector, adaptive=adaptive)
    if detector.bundle.kind == "images":
        if labels is not None:
            raise InputError("--labels is for tables; the labels of images are the names of their folders")
        found = _score_folder(detector, data, watch)
    else:
        if labels is None:
            raise InputError(f"{data}: needs --labels, a column of 0 and 1 or a CSV file with one")
        found = _score_table(detector, data, form, watch)._replace(truth=read_labels(data, labels, form))
    if len(found.truth) != len(found.score):
        raise InputError(f"{len(found.truth)} labels for {len(found.score)} rows of {data}")
    kept = found.truth[found.scored]
    if kept.all() or not kept.any():
        raise InputError(_one_sided(detector, data, kept))
    return found


def _one_sided(detector: Detector, data: Path, truth: NDArray[np.bool_]) -> str:
    """What is wrong with labels that are all the same, or none."""
    if not len(truth):
        return f"{data}: none of the rows could be scored"
    if detector.bundle.kind == "images":
        lie = "none" if truth.all() else "all"
        return (
            f"{data}: {lie} of the {len(truth)} images lie in a folder {NORMAL_FOLDER!r}; an evaluation needs normal "
            "images in it, and anomalous ones in another"
        )
    return f"all {len(truth)} scored rows have the same label; an evaluation needs normal and anomalous rows"


def read_labels(data: Path, labels: str, form: TableFormat) -> NDArray[np.bool_]:
    """The labels as booleans (rows,), from a column of `data` or from a file of one column; raises like `evaluate`."""
    path, column = data, labels
    if Path(labels).is_file():
        path, form = Path(labels), TableFormat()
        header, _ = read_sample(path, form)
        if len(header) != 1:
            raise InputError(f"{path}: a file of labels has one column, this one has {len(header)}")
        column = header[0]
    cells = read_column(path, column, form)
    truth = np.zeros(len(cells), np.bool_)
    for row, cell in enumerate(cells):
        label = LABELS.get(cell.strip().lower())
        if label is None:
            raise InputError(f"{path}: row {row}, column {column!r}: holds {cell[:40]!r}, expected 0 or 1", row=row)
        truth[row] = label
    return truth


def _score_table(detector: Detector, data: Path, form: TableFormat, watch: Watch) -> Labelled:
    """The rows of a CSV, all normal until the labels are read."""
    refuse_folder(detector, data)
    bundle = detector.bundle
    recording = Recording(detector, watch=watch)
    parts: list[Labelled] = []
    for rows in read_rows(data, bundle.columns, form=form, time_column=bundle.data.time_column):
        normal = np.zeros(len(rows.values), np.bool_)
        found = recording.push(rows).scores
        parts.append(_labelled(normal, found, _z_score(rows.values, bundle), rows.values)._replace(times=rows.times))
    if not parts:
        raise InputError(f"{data}: no rows after the header")
    return _joined(parts)


def _score_folder(detector: Detector, folder: Path, watch: Watch) -> Labelled:
    """The images of a folder, anomalous or not by the folder they are in."""
    image = detector.bundle.image
    assert image is not None
    root = folder / "test" if (folder / "test").is_dir() else folder
    parts: list[Labelled] = []
    for file in find_images(root).files:
        try:
            pixels = read_file(file, image)
        except InputError as error:
            raise InputError(f"{file.path}: {error}") from None
        is_anomalous = np.array([NORMAL_FOLDER not in file.name.split("/")[:-1]])
        found = score_images(detector, len(parts), [pixels], watch).scores
        z_score = _z_score(pixels.reshape(1, -1, pixels.shape[-1]), detector.bundle)
        parts.append(_labelled(is_anomalous, found, z_score, pixels[None])._replace(names=(file.name,)))
    # MVTec has test/ and ground_truth/ side by side; below another folder the masks would be taken for images.
    beside = root.resolve()
    masks = beside.with_name("ground_truth") if beside.name == "test" else None
    return _joined(parts)._replace(masks=masks if masks and masks.is_dir() else None)


def _labelled(truth: NDArray[np.bool_], found: Scores, z_score: NDArray[np.float64], values: NDArray[Any]) -> Labelled:
    return Labelled(truth, found.score, found.p_value, found.is_anomaly, found.scored, z_score, values, None, (), None)


def _joined(parts: Sequence[Labelled]) -> Labelled:
    truth, score, p_value, alarm, scored, z_score, values = (
        np.concatenate(column) for column in list(zip(*parts, strict=True))[:7]
    )
    times = [part.times for part in parts if part.times is not None]
    names = tuple(name for part in parts for name in part.names)
    along = np.concatenate(times) if times else None
    return Labelled(truth, score, p_value, alarm, scored, z_score, values, along, names, None)


def _z_score(values: NDArray[Any], bundle: Bundle) -> NDArray[np.float64]:
    """The largest deviation of any cell of an input, in standard deviations of its column: (inputs,)."""
    center = np.array([column.center for column in bundle.columns])
    scale = np.array([column.scale for column in bundle.columns])
    if any(column.treatment in ("log", "logit") for column in bundle.columns):
        import torch  # here, since it takes seconds to import and few models need it

        from ..model.transform import Transform

        treated = Transform(bundle.columns).treat(torch.from_numpy(values)).numpy()
    else:
        treated = values
    deviation: NDArray[np.float64] = np.abs((treated - center) / scale).reshape(len(values), -1).max(axis=1)
    return deviation
