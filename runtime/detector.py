"""The detector: one ONNX file, loaded, verified and ready to score."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import graph
from .arrays import as_float32, as_indices, as_uint8
from .bound_row import BoundRow
from .bundle import Bundle
from .errors import InputError, ModelError, first_line
from .limits import breaks_any
from .metadata import read_bundle
from .observation import observe
from .opening import read_model_file
from .session import Session
from .verification import PARTS, VERDICT, check_graph, check_part, check_replay, part_file

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

CHUNK_ROWS = 2048
"""Rows per run of the graph; throughput is flat between 1024 and 4096."""

CHUNK_VALUES = 1 << 20
"""Numbers in one run of the graph: fewer windows or images at once where they are large, for the network's sake, whose
inner layers hold many times its input."""

HEAT_WHITE = 16.0
"""White in a picture of a heat map, as a multiple of `Detector.normal_heat`: about the hottest spot of one normal image
in ten (14 on magnetic tiles, 18 on circuit boards, for a linear model with 32 codes)."""


class Verdict(NamedTuple):
    """One row's result."""

    score: float
    """Higher is worse; what it is made of stands in the bundle's `score`."""
    severity: float
    """log10 p / log10 alpha: 1.0 is the boundary for every model, 2.0 is the squared p-value."""
    p_value: float
    """How often a normal row scores at least as high."""
    is_anomaly: bool
    """Whether the score exceeds the threshold, or a limit is broken."""


class Scores(NamedTuple):
    """Results of a batch, one element a row; the fields are those of `Verdict`, as arrays of shape (batch,).

    Where `scored` is False the row could not be scored, because a feature is not a finite float32 or
    because the score overflows float32; its score, severity and p-value are NaN and `is_anomaly` is False, unless its
    newest row breaks a limit.
    """

    score: NDArray[np.float32]
    severity: NDArray[np.float32]
    p_value: NDArray[np.float32]
    is_anomaly: NDArray[np.bool_]
    scored: NDArray[np.bool_]


class Explanation(NamedTuple):
    """Why rows score as they do; both arrays have the shape of the input.

    `contribution` (>= 0) sums over features to the reconstruction error, of recipe ensemble to the score; `expected`
    is the reconstruction in raw units.
    """

    contribution: NDArray[np.float32]
    expected: NDArray[np.float32]


class Detector:
    """A trained detector. Make one with `Detector.load`; safe to use from several threads.

    >>> detector = Detector.load("exported/vae.onnx")
    >>> len(detector.bundle.columns)
    8
    """

    def __init__(self, session: Session, bundle: Bundle, path: Path) -> None:
        self.bundle = bundle
        self.path = path
        self.provider = session.provider
        self.session = session
        """The scorer's graph, opened."""
        self._threads = threading.local()
        self._parts: dict[str, Session] = {}
        self._parts_lock = threading.Lock()
        self._log10_far = math.log10(bundle.calibration.far)
        self._is_images = bundle.kind == "images"
        self._dtype = np.dtype(np.uint8 if self._is_images else np.float32)
        self.chunk = max(1, min(CHUNK_ROWS, CHUNK_VALUES // math.prod(bundle.input_shape)))
        """Inputs per run of the graph."""

    @classmethod
    def load(cls, path: str | Path, *, provider: str = "auto", threads: int = 1) -> Detector:
        """A verified detector from a scorer file.

        The golden rows in its metadata are replayed on the provider that will serve, which is also the warm-up.

        Parameters
        ----------
        path : the scorer, NAME.onnx
        provider : "cpu", "cuda", "tensorrt", "openvino", or "auto" (CUDA where it works, else the CPU)
        threads : threads within one run of the graph

        Raises
        ------
        ModelError
            when the file is not a detector, or does not reproduce its golden scores here
        ProviderError
            when `provider` was asked for by name and cannot be had
        MissingExtraError
            when ONNX Runtime is not installed
        """
        path = Path(path)
        session = Session(read_model_file(path), source=str(path), provider=provider, threads=threads)
        detector = cls(session, read_bundle(session.metadata, str(path)), path)
        check_graph(session, detector.bundle)
        detector._replay_golden()
        return detector

    def score(self, x: ArrayLike) -> Scores:
        """Score, severity, p-value and verdict of each row.

        Parameters
        ----------
        x : shape (batch, features) for rows or (batch, window, features) for windows, in raw units and in the
            order of ``bundle.columns``, converted to float32; (batch, height, width, channels) for images, whole
            numbers 0 to 255, as `images.read_image` gives them

        Raises
        ------
        InputError
            when the shape does not fit, or an image is not of whole numbers 0 to 255; a bad value in a row does not
            raise, see `Scores`
        """
        batch = self._as_batch(x)
        score, p_value, is_anomaly = self._run_one(batch) if len(batch) == 1 else self._run(VERDICT, batch)
        scored = np.isfinite(score)
        # NaN and infinity in a feature make the score NaN or infinite: no second look at the input is needed.
        if not scored.all():
            score[~scored] = p_value[~scored] = np.nan
            is_anomaly[~scored] = breaks_any(batch[~scored], self.bundle.limits, self.bundle.names)
        severity = np.log10(p_value) / self._log10_far
        return Scores(score, severity, p_value, is_anomaly, scored)

    def score_one(self, row: Sequence[float] | NDArray[Any]) -> Verdict:
        """The verdict on one row (features,), one window (window, features) or one image (height, width, channels).

        Raises
        ------
        InputError
            when the shape does not fit, a value is not a finite float32, or the score overflows float32
        """
        ready = isinstance(row, np.ndarray) and row.dtype == self._dtype
        values = np.asarray(row) if ready else self._converted(row, "the row is not numeric")
        if values.shape != self.bundle.input_shape:
            one = "image" if self._is_images else "row"
            raise InputError(f"the {one} has shape {values.shape}, expected {self.bundle.input_shape}")
        bound = self._bound()
        bound.x[0] = values
        bound.run()
        score = bound.score.item()
        if not math.isfinite(score):
            raise self._unscorable(bound.x[0])
        p_value = bound.p_value.item()
        return Verdict(score, math.log10(p_value) / self._log10_far, p_value, bound.is_anomaly.item())

    def explain(self, x: ArrayLike) -> Explanation:
        """Contributions and expected values for the same input as `score`."""
        return Explanation(*self._run((graph.CONTRIBUTION, graph.RECONSTRUCTION), self._as_batch(x)))

    def terms(self, x: ArrayLike) -> dict[str, NDArray[np.float32]]:
        """What scores are made of, by name, each (batch,) in nats: those of `graph.TERMS` that the recipe has."""
        names = [name for name in graph.TERMS if name in self.session.outputs]
        return dict(zip(names, self._run(names, self._as_batch(x)), strict=True))

    def heat_map(self, x: ArrayLike) -> NDArray[np.float32]:
        """Where images differ from what is expected, shape (batch, height, width): nats per pixel, smoothed.

        Raises
        ------
        ModelError
            for a detector of rows or windows; `explain` tells their contributions
        """
        if not self._is_images:
            raise ModelError(f"{self.path}: a detector of {self.bundle.kind} has no heat maps, only one of images")
        return self._run((graph.HEAT_MAP,), self._as_batch(x))[0]

    @cached_property
    def normal_heat(self) -> float:
        """Mean heat of the normal ones among the golden images, nats per pixel: what other heat is held against."""
        normal = self.golden_inputs()[~np.array(self.bundle.golden.is_anomaly)]
        return max(float(self.heat_map(normal).mean()), float(np.finfo(np.float32).tiny)) if len(normal) else 1.0

    def encode(self, x: ArrayLike) -> NDArray[np.float32]:
        """The code of each row, shape (batch, latent): the posterior mean where there is a posterior."""
        encoder = self._part("encoder")
        output = graph.MEAN if graph.MEAN in encoder.outputs else graph.LATENT
        return self._in_chunks(encoder, [output], {graph.X: self._as_batch(x)})[0]

    def decode(self, latent: ArrayLike, indices: ArrayLike | None = None) -> NDArray[np.float32]:
        """Reconstructions in raw units, shaped like a batch of inputs, from codes of shape (batch, latent).

        Parameters
        ----------
        indices : int64 (batch, n), for a decoder that unpools: the encoder file's output of this name
        """
        codes = as_float32(latent, "codes are not a numeric array")
        if codes.ndim != 2 or codes.shape[1] != self.bundle.latent:
            raise InputError(f"codes have shape {codes.shape}, expected (batch, {self.bundle.latent})")
        decoder = self._part("decoder")
        feeds: dict[str, NDArray[Any]] = {graph.LATENT: codes}
        if graph.INDICES in decoder.inputs:
            feeds[graph.INDICES] = as_indices(indices, (len(codes), decoder.inputs[graph.INDICES][1]))
        elif indices is not None:
            raise InputError(f"the decoder of recipe {self.bundle.recipe} takes no indices")
        return self._in_chunks(decoder, [graph.RECONSTRUCTION], feeds)[0]

    def reconstruct(self, x: ArrayLike) -> NDArray[np.float32]:
        """What the detector expects instead of each row, in raw units: the input as the model can explain it."""
        return self._run((graph.RECONSTRUCTION,), self._as_batch(x))[0]

    def sample(self, n: int, *, seed: int = 0) -> NDArray[np.float32]:
        """`n` new inputs in raw units, shaped like a batch: codes drawn from the prior, decoded, rows with their noise.

        Rows and windows are drawn from p(x | z), so that they vary like the data; images are E[x | z].

        Raises
        ------
        ModelError
            for a recipe without a prior, whose codes nobody knows how to draw
        """
        prior = self.bundle.prior
        if prior is None:
            raise ModelError(
                f"recipe {self.bundle.recipe} has no prior to sample from; train one that has, like vae or mixture-vae"
            )
        if n < 0:
            raise InputError(f"n is {n}, expected 0 or more")
        generator = np.random.default_rng(seed)
        weights = np.array(prior.weights)
        component = generator.choice(len(weights), size=n, p=weights / weights.sum())
        means, scales = np.array(prior.means, np.float32)[component], np.array(prior.scales, np.float32)[component]
        codes = means + scales * generator.standard_normal((n, self.bundle.latent), dtype=np.float32)
        if self._is_images:
            return self.decode(codes)
        names = (graph.RECONSTRUCTION, graph.SCALE)
        expected, scale = self._in_chunks(self._part("decoder"), names, {graph.LATENT: codes})
        return observe(expected, scale, self.bundle, generator)

    def _converted(self, x: ArrayLike, wrong: str) -> NDArray[Any]:
        return as_uint8(x) if self._is_images else as_float32(x, wrong)

    def _as_batch(self, x: ArrayLike) -> NDArray[Any]:
        batch = self._converted(x, "rows are not a numeric array")
        if batch.shape[1:] != self.bundle.input_shape:
            expected = ", ".join(map(str, self.bundle.input_shape))
            many = "images" if self._is_images else "rows"
            raise InputError(f"{many} have shape {batch.shape}, expected (batch, {expected})")
        return batch

    def _run(self, outputs: Sequence[str], batch: NDArray[Any]) -> list[NDArray[Any]]:
        if not len(batch):  # the p-value table cannot broadcast against no rows
            one = np.zeros((1, *self.bundle.input_shape), self._dtype)
            return [output[:0] for output in self.session.run(outputs, {graph.X: one})]
        return self._in_chunks(self.session, outputs, {graph.X: batch})

    def _run_one(self, batch: NDArray[Any]) -> list[NDArray[Any]]:
        """The verdict on a batch of one."""
        bound = self._bound()
        bound.x[:] = batch
        bound.run()
        return [bound.score.copy(), bound.p_value.copy(), bound.is_anomaly.copy()]

    def _in_chunks(
        self, session: Session, outputs: Sequence[str], feeds: dict[str, NDArray[Any]]
    ) -> list[NDArray[Any]]:
        n = len(next(iter(feeds.values())))
        if n <= self.chunk:
            return session.run(outputs, feeds)
        chunks = [
            session.run(outputs, {name: values[start : start + self.chunk] for name, values in feeds.items()})
            for start in range(0, n, self.chunk)
        ]
        return [np.concatenate(parts) for parts in zip(*chunks, strict=True)]

    def _bound(self) -> BoundRow:
        try:
            bound: BoundRow = self._threads.bound
        except AttributeError:
            bound = self._threads.bound = BoundRow(self.session, self.bundle.input_shape, self._dtype)
        return bound

    def _unscorable(self, row: NDArray[Any]) -> InputError:
        bad = np.argwhere(~np.isfinite(row))
        if len(bad):
            column = self.bundle.names[bad[0][-1]]
            return InputError(f"column {column!r} is not a finite float32 number", column=column)
        column = self.bundle.names[np.unravel_index(np.abs(row).argmax(), row.shape)[-1]]
        return InputError(f"the score overflows float32; the largest value is in column {column!r}", column=column)

    def _part(self, name: str) -> Session:
        with self._parts_lock:
            if name not in self._parts:
                self._parts[name], _ = self.open_part(name)
            return self._parts[name]

    def parts(self) -> dict[str, Session]:
        """The encoder and the decoder, opened, those of which there is a file.

        Raises ModelError when one belongs to another export or was changed.
        """
        return {name: self._part(name) for name in PARTS if part_file(self.path, name).exists()}

    def open_part(self, name: str) -> tuple[Session, bytes]:
        """The "encoder" or the "decoder", opened, and the bytes of its file.

        Raises ModelError when the file is missing, belongs to another export or was changed.
        """
        path = part_file(self.path, name)
        content = read_model_file(path)
        session = Session(content, source=str(path), provider=self.provider)
        check_part(session, content, name, self.bundle)
        return session, content

    def golden_inputs(self) -> NDArray[Any]:
        """The inputs in the metadata whose scores every load replays."""
        if self._is_images:
            return np.frombuffer(self.bundle.golden.pixels, np.uint8).reshape(-1, *self.bundle.input_shape)
        return as_float32(self.bundle.golden.x, "rows are not a numeric array")

    def _replay_golden(self) -> None:
        try:
            x = self.golden_inputs()
            replayed = self.score(x)
            self.score_one(x[0])
        except Exception as error:  # the graph may fail in any way, and onnxruntime's classes share no base
            raise ModelError(f"{self.path}: the golden rows cannot be scored: {first_line(error)}") from None
        found = (replayed.score, replayed.p_value, replayed.is_anomaly)
        check_replay(self.bundle, *found, source=str(self.path), provider=self.provider)
