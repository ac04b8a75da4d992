"""What confirmed faults and false alarms add to a score: Gaussian-process classification around the detector.

The log-odds that an input is a fault are what the detector says, plus a function that is learnt from the labels:

    f(x) = log((score(x) - low) / (even - low)) + g(x),    g ~ GP(0, k)

The detector is the mean function of the process (Rasmussen and Williams 2006, *Gaussian Processes for Machine
Learning*, sections 2.7 and 3.4), so that far from every label g is 0. The corrected score has f in place of the
detector's part: what is above `low`, which is 0 for most recipes, times exp(g).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor, nn

from ...runtime.bundle import Bundle, Calibration
from ...runtime.scoring.framing import windows_at
from ..model.filling import resting_values
from ..model.transform import Expansion, Transform
from .reviews import ScoredRows, in_parts

Floats = NDArray[np.float64]


class Reach(NamedTuple):
    """How far labels speak."""

    length: float
    """l, as a multiple of the distance between two normal inputs that have nothing in common."""
    variance: float
    """v, of g: one label moves the log-odds by no more than this."""
    constant: float
    """c, the variance of a constant beside g, which takes up that all labelled inputs score too high or too low."""


WIDE = Reach(0.7, 1.0, 25.0)
"""Labels speak for inputs of their kind."""

NARROW = Reach(0.1, 4.0, 0.0)
"""Labels speak, and louder, for hardly more than themselves. A shorter length would leave too few digits to float32."""

CLIP = 5.0
"""Inputs are compared clipped to so many standard deviations, or one far column would hide all others."""

FOLDS = 5
"""Parts into which the labels are cut, each of stretches that follow each other: the rows of one event are alike, and
would foretell each other even where no two events are (block cross-validation: Roberts et al. 2017)."""

LEAST_GAIN, LEAST_GAIN_IN_ORDER = 0.02, 0.1
"""Nats for each label by which the labels must be better foretold by one another to reach far; more for rows with an
order, whose events are never quite apart: with 0.02, 50 labels made the ranking of a third of the recordings worse."""

_SMALLEST = 1e-6

_P_EVEN = 0.05
"""p-value of the score that is as likely a fault as not."""


class Yardstick(NamedTuple):
    """What a detector's scores are measured with, from its own calibration."""

    low: float
    """The lowest normal score where that is negative, as a free energy may be; else 0."""
    even: float
    """The score that is as likely a fault as not."""

    @classmethod
    def of(cls, calibration: Calibration) -> Yardstick:
        scores, log10_p = np.array(calibration.knot_scores), np.array(calibration.knot_log10_p)
        low = min(0.0, float(scores[0]))
        even = float(np.interp(-np.log10(_P_EVEN), -log10_p, scores))
        return cls(low, max(even, low + _SMALLEST))

    def log_odds(self, scores: NDArray[np.floating]) -> Floats:
        """What the detector alone says, (inputs,)."""
        above = np.maximum(scores.astype(np.float64) - self.low, _SMALLEST)
        odds: Floats = np.log(above / (self.even - self.low))
        return odds

    def correct(self, score: Tensor, g: Tensor) -> Tensor:
        """low + (score - low) exp(g), below `low` exp(-g), so that a larger g always is a larger score: (inputs,)."""
        above = score - self.low
        return self.low + above * torch.exp(torch.where(above < 0, -g, g))


class Likeness(nn.Module):
    """Inputs in raw units to points (batch, cells), such that the likeness of two inputs is exp(-distance^2).

    It is exp(-|t(x) - t(x')|^2 / 2 l^2), t treated, standardised and clipped, averaged over the rows of a window. Two
    normal inputs that have nothing in common are sqrt(2 features) apart, and l is `length` times that.

    Parameters
    ----------
    middle : t that becomes the origin, (features,) as `prepare` gives it; near the labelled inputs, for the distances
        are differences of squares, whose rounding grows with them
    """

    middle: Tensor
    rest: Tensor

    def __init__(self, bundle: Bundle, length: float, middle: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("middle", torch.zeros(()) if middle is None else middle)
        self.transform, self.expansion = Transform(bundle.columns), Expansion(bundle.columns)
        self.may_miss = bundle.data.layout.most_missing > 0
        self.register_buffer("rest", torch.tensor(resting_values(bundle.columns)))
        self.divisor = 2 * length * float(np.sqrt(len(bundle.columns) * bundle.window))

    def prepare(self, x: Tensor) -> Tensor:
        """t(x): (..., features), with a place for each level of a category; of a missing cell that of the mean."""
        if self.may_miss:
            x = torch.where(torch.isnan(x), self.rest, x)
        return torch.clamp(self.expansion.expand(self.transform(x)), -CLIP, CLIP)

    def forward(self, x: Tensor) -> Tensor:
        return ((self.prepare(x) - self.middle) / self.divisor).flatten(1)


def likeness_of(points: Tensor, others: Tensor) -> Tensor:
    """From 0 to 1, of every pair: (points, others)."""
    squares = (points * points).sum(-1, keepdim=True) + (others * others).sum(-1) - 2 * points @ others.T
    return torch.exp(-torch.clamp(squares, min=0.0))


def fit_weights(k: Floats, log_odds: Floats, is_fault: NDArray[np.bool_], counts: Floats) -> Floats:
    """a of the most probable g(x) = sum_i a_i k(x, x_i): (labels,).

    Newton's method on sum_i n_i log sigma(y_i f_i) - 1/2 a' K a, y = 1 for a fault and -1 for a false alarm, which is
    concave (Rasmussen and Williams 2006, algorithm 3.1), each step halved until it is uphill.

    Parameters
    ----------
    k : covariance of every pair of labelled inputs, (labels, labels)
    log_odds : f without g, (labels,)
    counts : n_i, as how much of a label each counts, (labels,)
    """
    sign = np.where(is_fault, 1.0, -1.0)

    def log_posterior(a: Floats) -> float:
        g = k @ a
        return float(-counts @ np.logaddexp(0, -sign * (log_odds + g)) - 0.5 * a @ g)

    a = np.zeros(len(k))
    reached = log_posterior(a)
    for _ in range(100):
        g = k @ a
        p = expit(log_odds + g)
        curvature = counts * p * (1 - p)
        root = np.sqrt(curvature)
        b = curvature * g + counts * (is_fault - p)
        step = b - root * np.linalg.solve(np.eye(len(k)) + root[:, None] * k * root, root * (k @ b)) - a
        while (found := log_posterior(a + step)) < reached and np.abs(step).max() > 1e-12:
            step = step / 2
        if found <= reached + 1e-12 * (1 + abs(reached)):
            break
        a, reached = a + step, found
    return a


class Correction(nn.Module):
    """A score and its input to the score with what the labels say.

    Parameters
    ----------
    points : of the labelled inputs, as `Likeness` gives them
    weights : v a_i, with a_i as `fit_weights` gives them
    """

    points: Tensor
    weights: Tensor

    def __init__(self, likeness: Likeness, yardstick: Yardstick, points: Tensor, weights: Floats) -> None:
        super().__init__()
        self.likeness, self.yardstick = likeness, yardstick
        self.register_buffer("points", points)
        self.register_buffer("weights", torch.from_numpy(weights.astype(np.float32)))

    def forward(self, x: Tensor, score: Tensor) -> Tensor:
        return self.yardstick.correct(score, likeness_of(self.likeness(x), self.points) @ self.weights)


class Fit:
    """What the labels say, by all of them and without each of a few parts of them.

    Parameters
    ----------
    recording : the rows of the file with the labels
    labelled : which of them count as labels, ascending
    is_fault : for each of these
    near : rows at most so many apart are alike; 0 for rows without an order
    """

    def __init__(
        self,
        bundle: Bundle,
        recording: ScoredRows,
        labelled: NDArray[np.int64],
        is_fault: NDArray[np.bool_],
        *,
        near: int,
    ) -> None:
        self.bundle, self.labelled, self.is_fault = bundle, labelled, is_fault
        self.yardstick = Yardstick.of(bundle.calibration)
        self._log_odds = self.yardstick.log_odds(recording.score[labelled])
        self._x = torch.from_numpy(windows_at(recording.values, labelled, bundle.window))
        # Rows near a label are much like it: labels of a stretch count as one, and its rows are scored without them.
        self._near = near
        stretch: NDArray[np.int64] = np.cumsum(np.diff(labelled, prepend=labelled[:1]) > 2 * near, dtype=np.int64)
        parts = int(stretch[-1]) + 1
        self._fold = stretch * min(FOLDS, parts) // parts
        self._counts = shared_counts(stretch, is_fault)
        self._learn(WIDE)
        self.foretold = self._foretell()
        if not self.foretold:
            self._learn(NARROW)

    def _learn(self, reach: Reach) -> None:
        t = Likeness(self.bundle, reach.length).prepare(self._x)
        self.likeness = Likeness(self.bundle, reach.length, t.flatten(0, -2).mean(0)).eval()
        self.points = self.likeness(self._x)
        like = likeness_of(self.points, self.points).numpy().astype(np.float64)
        self._k = reach.variance * like + reach.constant
        self._a = self._fit(self._k)
        self.weights = reach.variance * self._a

    def _fit(self, k: Floats) -> Floats:
        """a (labels, 1 + folds): by all labels, then without those of each fold."""
        a = np.zeros((len(k), 2 + int(self._fold.max())))
        for column in range(a.shape[1]):
            used = self._fold != column - 1
            if used.any():
                a[used, column] = fit_weights(
                    k[np.ix_(used, used)], self._log_odds[used], self.is_fault[used], self._counts[used]
                )
        return a

    def _foretell(self) -> bool:
        """Whether the labels of a part are better foretold by the other parts than by the detector and a constant."""
        constant = np.full_like(self._k, WIDE.constant)
        gain = self._held_out(self._k, self._a) - self._held_out(constant, self._fit(constant))
        least = LEAST_GAIN_IN_ORDER if self._near else LEAST_GAIN
        return gain > least * float(self._counts.sum())

    def _held_out(self, k: Floats, a: Floats) -> float:
        """log-likelihood of the labels, each by the weights that do not know it."""
        f = self._log_odds + (k @ a)[np.arange(len(k)), self._fold + 1]
        return float(-self._counts @ np.logaddexp(0, np.where(self.is_fault, -f, f)))

    def describe(self) -> str:
        """What was learnt from, for the terminal."""
        faults = int(self.is_fault.sum())
        text = f"labels: {faults} of faults, {len(self.is_fault) - faults} of false alarms or normal rows"
        if self.foretold:
            return f"{text}; each part of them is foretold by the others, so they speak for all rows of their kind"
        return (
            f"{text}; they do not foretell each other well enough yet, so they speak only for rows nearly the same: "
            "more labels would reach farther"
        )

    def columns_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Which column of `weights` knows nothing of a row itself: (rows,)."""
        after = np.searchsorted(self.labelled, rows)
        columns = np.zeros(len(rows), np.int64)
        for nearest in (np.minimum(after, len(self.labelled) - 1), np.maximum(after - 1, 0)):
            near = np.abs(self.labelled[nearest] - rows) <= self._near
            columns[near] = self._fold[nearest[near]] + 1
        return columns

    def correct(
        self,
        values: NDArray[np.float32],
        rows: NDArray[np.int64],
        score: NDArray[np.float32],
        columns: NDArray[np.int64],
    ) -> NDArray[np.float32]:
        """Corrected scores of these rows of a recording, each with the weights of its column."""
        weights = torch.from_numpy(self.weights.astype(np.float32))
        parts = []
        for part in in_parts(np.arange(len(rows))):
            points = self.likeness(torch.from_numpy(windows_at(values, rows[part], self.bundle.window)))
            g = (likeness_of(points, self.points) @ weights)[np.arange(len(part)), columns[part]]
            parts.append(self.yardstick.correct(torch.from_numpy(score[part]), g).numpy())
        return np.concatenate(parts)

    def correction(self) -> Correction:
        """With all labels, for the graph."""
        return Correction(self.likeness, self.yardstick, self.points, self.weights[:, 0])


def shared_counts(stretch: NDArray[np.int64], is_fault: NDArray[np.bool_]) -> Floats:
    """As how much of a label each counts, when labels of a kind within a stretch count as one together: (labels,)."""
    _, which, sizes = np.unique(2 * stretch + is_fault, return_inverse=True, return_counts=True)
    counts: Floats = 1.0 / sizes[which]
    return counts
