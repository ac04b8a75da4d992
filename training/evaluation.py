"""How good a detector is on labelled data: ranking, and what happens at the threshold that was shipped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
from scipy.special import logsumexp
from scipy.stats import norm
from sklearn.metrics import average_precision_score, roc_auc_score

from ..runtime import bundle as graph
from ..runtime.batch import find_images, refuse_folder
from ..runtime.bundle import Bundle, Kind, describe_range
from ..runtime.detector import Detector
from ..runtime.errors import InputError
from ..runtime.images import read_file
from ..runtime.recordings import Recording, score_images
from ..runtime.session import Session, read_model_file
from ..runtime.tables import TableFormat, read_column, read_rows, read_sample

if TYPE_CHECKING:
    from numpy.typing import NDArray

NORMAL_FOLDER = "good"
"""Name of the folder of normal images, as MVTec has it; images of every other one are anomalous."""

LIKELIHOOD_ROWS, LIKELIHOOD_CELLS = 500, 200_000
"""Normal inputs, at most, over which the log-likelihood is estimated; fewer where inputs are large."""

LIKELIHOOD_SAMPLES = 200
"""Importance samples for each of them."""

LABELS = {"0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True}


class Ranking(msgspec.Struct, frozen=True):
    """How well a score ranks anomalous rows above normal ones, at no threshold."""

    roc_auc: float
    average_precision: float


class AtThreshold(msgspec.Struct, frozen=True):
    """Row by row, at the threshold in the model file."""

    precision: float | None
    """Share of alarms that are right; None without any alarm."""
    recall: float
    """Share of anomalous rows with an alarm."""
    false_alarm_rate: float
    """Share of normal rows with an alarm."""


class Events(msgspec.Struct, frozen=True):
    """An event is an unbroken run of anomalous rows; it is found when any of its rows raises an alarm."""

    events: int
    found: int
    median_delay_rows: float | None
    """Rows from an event's first row to its first alarm; None when none was found."""
    median_delay_s: float | None
    """The same in seconds, None without time stamps."""
    false_events: int
    """Unbroken runs of alarms that touch no event."""


class LogLikelihood(msgspec.Struct, frozen=True):
    """How probable the model finds normal inputs, nats per standardised input, means over `inputs` of them."""

    inputs: int
    samples: int
    elbo: float
    """E_q[log p(x, z) / q(z | x)] over these samples, a lower bound. The score takes it at the posterior's mean."""
    log_likelihood: float
    """log 1/K sum_k p(x, z_k) / q(z_k | x) with K = `samples` (Burda et al. 2016, section 5)."""


class Evaluation(msgspec.Struct, frozen=True):
    """What `evaluate` found. Rows without a score (bad, or before the first full window) are left out, and counted."""

    rows: int
    scored: int
    anomalous: int
    promised_false_alarm_rate: float
    promised_range: tuple[float, float]
    detector: Ranking
    z_score: Ranking
    """The largest |x - mean| / standard deviation of the newest row, with the training rows' statistics."""
    random: Ranking
    at_threshold: AtThreshold
    events: Events | None
    """None for rows without an order."""
    log_likelihood: LogLikelihood | None = None
    """None for a recipe without a posterior."""
    kind: Kind = "rows"

    def describe(self) -> str:
        """A small table for the terminal."""
        low, high = self.promised_range
        at, precision = self.at_threshold, self.at_threshold.precision
        what = "images" if self.kind == "images" else "rows"
        rows = [("detector", self.detector), ("z-score", self.z_score), ("random", self.random)]
        lines = [
            f"{self.rows} {what}, {self.scored} scored, of them {self.anomalous} anomalous "
            f"({self.anomalous / self.scored:.1%})",
            "",
            f"{'':10} {'ROC-AUC':>9} {'average precision':>19}",
            *(f"{name:10} {rank.roc_auc:9.3f} {rank.average_precision:19.3f}" for name, rank in rows),
            "",
            "at the shipped threshold",
            f"  precision         {'no alarms' if precision is None else format(precision, '.3f')}",
            f"  recall            {at.recall:.3f}",
            f"  false-alarm rate  {at.false_alarm_rate:.4f}   promised {self.promised_false_alarm_rate:.3g}, "
            f"realised rate {describe_range(low, high)} allowed",
        ]
        return "\n".join(lines + self._event_lines() + self._likelihood_lines())

    def _event_lines(self) -> list[str]:
        if self.events is None:
            return []
        found = self.events
        delay = "" if found.median_delay_rows is None else f", median delay {found.median_delay_rows:g} rows"
        delay += "" if found.median_delay_s is None else f" ({found.median_delay_s:g} s)"
        return [
            "events",
            f"  found             {found.found} of {found.events}{delay}",
            f"  false             {found.false_events}",
        ]

    def _likelihood_lines(self) -> list[str]:
        if self.log_likelihood is None:
            return []
        found = self.log_likelihood
        return [
            f"log-likelihood of {found.inputs} normal inputs, nats",
            f"  ELBO              {found.elbo:.3f}",
            f"  estimate          {found.log_likelihood:.3f}   by {found.samples} importance samples each",
        ]


class _Recorded(NamedTuple):
    score: NDArray[np.float32]
    alarm: NDArray[np.bool_]
    scored: NDArray[np.bool_]
    z_score: NDArray[np.float64]
    values: NDArray[Any]
    """Rows or images, raw units."""
    times: NDArray[np.float64] | None


def evaluate(detector: Detector, data: Path, labels: str | None, form: TableFormat) -> Evaluation:
    """Score labelled data and compare.

    Parameters
    ----------
    data : a CSV, or for a detector of images a folder in which the images of the folder "good" are normal; of one laid
        out like MVTec its folder "test" is taken
    labels : name of a column of `data` with 0 for normal and 1 for anomalous rows, or the path of a CSV with one
        such column and a row for each row of `data`; None for images

    Raises
    ------
    InputError
        when the labels are missing, not 0 and 1, of another length, or all the same
    """
    if detector.bundle.kind == "images":
        if labels is not None:
            raise InputError("--labels is for tables; the labels of images are the names of their folders")
        recorded, truth = _score_folder(detector, data)
    else:
        if labels is None:
            raise InputError(f"{data}: needs --labels, a column of 0 and 1 or a CSV file with one")
        recorded = _score(detector, data, form)
        truth = read_labels(data, labels, form)
    if len(truth) != len(recorded.score):
        raise InputError(f"{len(truth)} labels for {len(recorded.score)} rows of {data}")
    kept = recorded.scored
    y, score, alarm = truth[kept], recorded.score[kept], recorded.alarm[kept]
    if y.all() or not y.any():
        raise InputError(_one_sided(detector, data, y))
    random = np.random.default_rng(0).random(len(y))
    calibration = detector.bundle.calibration
    ordered = detector.bundle.kind == "windows" or detector.bundle.data.time_column is not None
    return Evaluation(
        rows=len(truth),
        scored=int(kept.sum()),
        anomalous=int(y.sum()),
        promised_false_alarm_rate=calibration.far,
        promised_range=(calibration.far_low, calibration.far_high),
        detector=_rank(y, score),
        z_score=_rank(y, recorded.z_score[kept]),
        random=_rank(y, random),
        at_threshold=_at_threshold(y, alarm),
        events=count_events(truth, recorded.alarm, recorded.times) if ordered else None,
        log_likelihood=_log_likelihood(detector, recorded, np.flatnonzero(kept & ~truth)),
        kind=detector.bundle.kind,
    )


def _one_sided(detector: Detector, data: Path, y: NDArray[np.bool_]) -> str:
    """What is wrong with labels that are all the same, or none."""
    if not len(y):
        return f"{data}: none of the rows could be scored"
    if detector.bundle.kind == "images":
        lie = "none" if y.all() else "all"
        return (
            f"{data}: {lie} of the {len(y)} images lie in a folder {NORMAL_FOLDER!r}; an evaluation needs normal "
            "images in it, and anomalous ones in another"
        )
    return f"all {len(y)} scored rows have the same label; an evaluation needs normal and anomalous rows"


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


def _score(detector: Detector, data: Path, form: TableFormat) -> _Recorded:
    refuse_folder(detector, data)
    bundle = detector.bundle
    recording = Recording(detector)
    parts: list[_Recorded] = []
    for rows in read_rows(data, bundle.columns, form=form, time_column=bundle.data.time_column):
        scores = recording.push(rows).scores
        z_score = _z_score(rows.values, bundle)
        parts.append(_Recorded(scores.score, scores.is_anomaly, scores.scored, z_score, rows.values, rows.times))
    if not parts:
        raise InputError(f"{data}: no rows after the header")
    return _joined(parts)


def _score_folder(detector: Detector, folder: Path) -> tuple[_Recorded, NDArray[np.bool_]]:
    """The images of a folder, and which of them are anomalous by the folder they are in."""
    image = detector.bundle.image
    assert image is not None
    root = folder / "test" if (folder / "test").is_dir() else folder
    parts: list[_Recorded] = []
    truth: list[bool] = []
    for file in find_images(root).files:
        try:
            pixels = read_file(file, image)
        except InputError as error:
            raise InputError(f"{file.path}: {error}") from None
        scores = score_images(detector, len(truth), [pixels]).scores
        z_score = _z_score(pixels.reshape(1, -1, pixels.shape[-1]), detector.bundle)
        parts.append(_Recorded(scores.score, scores.is_anomaly, scores.scored, z_score, pixels[None], None))
        truth.append(NORMAL_FOLDER not in file.name.split("/")[:-1])
    return _joined(parts), np.array(truth)


def _z_score(values: NDArray[Any], bundle: Bundle) -> NDArray[np.float64]:
    """The largest deviation of any cell of an input, in standard deviations of its column: (inputs,)."""
    center = np.array([column.center for column in bundle.columns])
    scale = np.array([column.scale for column in bundle.columns])
    if any(column.treatment in ("log", "logit") for column in bundle.columns):
        import torch  # here, since it takes seconds to import and few models need it

        from .columns import Transform

        treated = Transform(bundle.columns).treat(torch.from_numpy(values)).numpy()
    else:
        treated = values
    deviation: NDArray[np.float64] = np.abs((treated - center) / scale).reshape(len(values), -1).max(axis=1)
    return deviation


def _joined(parts: Sequence[_Recorded]) -> _Recorded:
    score, alarm, scored, z_score, values = (np.concatenate(column) for column in list(zip(*parts, strict=True))[:5])
    times = [part.times for part in parts if part.times is not None]
    return _Recorded(score, alarm, scored, z_score, values, np.concatenate(times) if times else None)


def _log_likelihood(detector: Detector, recorded: _Recorded, normal: NDArray[np.intp]) -> LogLikelihood | None:
    """Estimated over a sample of these normal inputs, the same at every call."""
    bundle = detector.bundle
    if bundle.prior is None or bundle.active_units is None:
        return None
    most = max(20, min(LIKELIHOOD_ROWS, LIKELIHOOD_CELLS // int(np.prod(bundle.input_shape))))
    chosen = normal if len(normal) <= most else np.sort(np.random.default_rng(0).choice(normal, most, replace=False))
    places = chosen[:, None] + np.arange(1 - bundle.window, 1) if bundle.kind == "windows" else chosen
    x = recorded.values[places]
    log_weights = importance_weights(detector, x, samples=LIKELIHOOD_SAMPLES)
    estimate = logsumexp(log_weights, axis=0) - np.log(LIKELIHOOD_SAMPLES)
    return LogLikelihood(len(x), LIKELIHOOD_SAMPLES, float(log_weights.mean()), float(estimate.mean()))


def importance_weights(detector: Detector, x: NDArray[Any], *, samples: int, seed: int = 0) -> NDArray[np.float64]:
    """log p(x, z_k) - log q(z_k | x) at codes drawn from q, of the standardised inputs: (samples, inputs).

    From the ONNX files alone: the encoder gives q, the scorer's optional input `noise` chooses z_k.

    Parameters
    ----------
    x : inputs as the scorer takes them, of a recipe with a posterior
    """
    bundle = detector.bundle
    assert bundle.prior is not None
    encoder = detector.path.with_name(f"{detector.path.stem}.encoder.onnx")
    names, feeds = [graph.MEAN, graph.LOG_VARIANCE], {graph.X: x}
    mean, log_variance = Session(read_model_file(encoder), source=str(encoder)).run(names, feeds)
    scorer = Session(read_model_file(detector.path), source=str(detector.path))
    error, kl, elbo = scorer.run([graph.RECONSTRUCTION_ERROR, graph.KL, graph.ELBO], feeds)
    log_normaliser = float(np.median(-(elbo + error + kl).astype(np.float64)))
    scale = np.exp(0.5 * log_variance.astype(np.float64))
    points = int(str(bundle.settings["points"]))
    generator = np.random.default_rng(seed)
    log_weights: list[NDArray[np.float64]] = []
    for _ in range(samples):
        noise = generator.standard_normal((1, bundle.latent), dtype=np.float32)
        # Where the graph averages over several points, all are put at the same place.
        fed = noise if points == 1 else np.repeat(noise[None], points, axis=0)
        (error,) = scorer.run([graph.RECONSTRUCTION_ERROR], {**feeds, graph.NOISE: fed})
        z = mean.astype(np.float64) + scale * noise
        log_q = norm.logpdf(z, mean, scale).sum(axis=1)
        log_weights.append(-error - log_normaliser + log_prior(z, bundle.prior) - log_q)
    return np.array(log_weights)


def log_prior(z: NDArray[np.float64], prior: graph.Prior) -> NDArray[np.float64]:
    """log p(z) of codes (inputs, latent): (inputs,)."""
    each = norm.logpdf(z[:, None], np.array(prior.means), np.array(prior.scales)).sum(axis=2)  # (inputs, components)
    log_p: NDArray[np.float64] = logsumexp(each + np.log(prior.weights), axis=1)
    return log_p


def _rank(truth: NDArray[np.bool_], score: NDArray[np.floating]) -> Ranking:
    return Ranking(float(roc_auc_score(truth, score)), float(average_precision_score(truth, score)))


def _at_threshold(truth: NDArray[np.bool_], alarm: NDArray[np.bool_]) -> AtThreshold:
    return AtThreshold(
        precision=float(truth[alarm].mean()) if alarm.any() else None,
        recall=float(alarm[truth].mean()),
        false_alarm_rate=float(alarm[~truth].mean()),
    )


def count_events(
    truth: NDArray[np.bool_], alarm: NDArray[np.bool_], times: NDArray[np.float64] | None = None
) -> Events:
    """Events found, their delays, and false events, over all rows in order (a row without a score raises no alarm)."""
    delays = []
    for start, end in _runs(truth):
        fired = np.flatnonzero(alarm[start:end])
        if len(fired):
            delays.append((start, start + fired[0]))
    rows = [first - start for start, first in delays]
    seconds = [] if times is None else [times[first] - times[start] for start, first in delays]
    return Events(
        events=len(_runs(truth)),
        found=len(delays),
        median_delay_rows=float(np.median(rows)) if rows else None,
        median_delay_s=float(np.median(seconds)) if seconds else None,
        false_events=sum(not truth[start:end].any() for start, end in _runs(alarm)),
    )


def _runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First row and end of each unbroken run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]
