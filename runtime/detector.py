"""The detector: one ONNX file, loaded, verified and ready to score."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import bundle as graph
from .bundle import Bundle, read_bundle, read_part
from .errors import InputError, ModelError
from .session import BoundRun, Session, first_line, read_model_file

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

CHUNK_ROWS = 2048
"""Rows per run of the graph; throughput is flat between 1024 and 4096."""

GOLDEN_TOLERANCE = 1e-4
"""Relative difference between recorded and replayed golden scores above which a model is refused."""

GOLDEN_P_TOLERANCE = 0.01
"""Absolute difference in log10 of the p-values, likewise: between two knots p may be steep."""

_VERDICT = (graph.SCORE, graph.P_VALUE, graph.IS_ANOMALY)


class Verdict(NamedTuple):
    """One row's result."""

    score: float
    """Higher is worse; nats above a perfect reconstruction."""
    severity: float
    """log10 p / log10 alpha: 1.0 is the boundary for every model, 2.0 is the squared p-value."""
    p_value: float
    """How often a normal row scores at least as high."""
    is_anomaly: bool
    """Whether the score exceeds the threshold."""


class Scores(NamedTuple):
    """Results of a batch, one element a row; the fields are those of `Verdict`, as arrays of shape (batch,).

    Where `scored` is False the row could not be scored, because a feature is not a finite float32 or
    because the score overflows float32; its score, severity and p-value are NaN and `is_anomaly` is False.
    """

    score: NDArray[np.float32]
    severity: NDArray[np.float32]
    p_value: NDArray[np.float32]
    is_anomaly: NDArray[np.bool_]
    scored: NDArray[np.bool_]


class Explanation(NamedTuple):
    """Why rows score as they do; both arrays have the shape of the input.

    `contribution` (nats, >= 0) sums over features to the reconstruction error; `expected` is the
    reconstruction in raw units.
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
        self._session = session
        self._threads = threading.local()
        self._parts: dict[str, Session] = {}
        self._parts_lock = threading.Lock()
        self._log10_far = math.log10(bundle.calibration.far)

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
        detector._check_graph()
        detector._replay_golden()
        return detector

    def score(self, x: ArrayLike) -> Scores:
        """Score, severity, p-value and verdict of each row.

        Parameters
        ----------
        x : shape (batch, features) for rows or (batch, window, features) for windows, in raw units and in the
            order of ``bundle.columns``; converted to float32

        Raises
        ------
        InputError
            when the shape does not fit; a bad value in a row does not raise, see `Scores`
        """
        batch = self._as_batch(x)
        score, p_value, is_anomaly = self._run(_VERDICT, batch)
        scored = np.isfinite(score)
        # NaN and infinity in a feature make the score NaN or infinite: no second look at the input is needed.
        if not scored.all():
            score[~scored] = p_value[~scored] = np.nan
            is_anomaly[~scored] = False
        severity = np.log10(p_value) / self._log10_far
        return Scores(score, severity, p_value, is_anomaly, scored)

    def score_one(self, row: Sequence[float] | NDArray[Any]) -> Verdict:
        """The verdict on one row, shape (features,), or one window, shape (window, features).

        Raises
        ------
        InputError
            when the shape does not fit, a value is not a finite float32, or the score overflows float32
        """
        ready = isinstance(row, np.ndarray) and row.dtype == np.float32
        values = np.asarray(row) if ready else _float32(row, "the row is not numeric")
        if values.shape != self.bundle.input_shape:
            raise InputError(f"the row has shape {values.shape}, expected {self.bundle.input_shape}")
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

    def encode(self, x: ArrayLike) -> NDArray[np.float32]:
        """The code of each row, shape (batch, latent): the posterior mean where there is a posterior."""
        encoder = self._part("encoder")
        output = graph.MEAN if graph.MEAN in encoder.outputs else graph.LATENT
        return encoder.run([output], {graph.X: self._as_batch(x)})[0]

    def decode(self, latent: ArrayLike) -> NDArray[np.float32]:
        """Reconstructions in raw units, shaped like a batch of inputs, from codes of shape (batch, latent)."""
        codes = _float32(latent, "codes are not a numeric array")
        if codes.ndim != 2 or codes.shape[1] != self.bundle.latent:
            raise InputError(f"codes have shape {codes.shape}, expected (batch, {self.bundle.latent})")
        return self._part("decoder").run([graph.RECONSTRUCTION], {graph.LATENT: codes})[0]

    def reconstruct(self, x: ArrayLike) -> NDArray[np.float32]:
        """What the detector expects instead of each row, in raw units: the input as the model can explain it."""
        return self._run((graph.RECONSTRUCTION,), self._as_batch(x))[0]

    def sample(self, n: int, *, seed: int = 0) -> NDArray[np.float32]:
        """`n` new rows: standard normal codes, decoded, shaped like a batch of inputs in raw units.

        Raises
        ------
        ModelError
            for a recipe without a prior, whose codes nobody knows how to draw
        """
        if graph.KL not in self._session.outputs:
            raise ModelError(f"recipe {self.bundle.recipe} has no prior to sample from; train recipe vae for that")
        if n < 0:
            raise InputError(f"n is {n}, expected 0 or more")
        codes = np.random.default_rng(seed).standard_normal((n, self.bundle.latent), dtype=np.float32)
        return self.decode(codes)

    def _as_batch(self, x: ArrayLike) -> NDArray[np.float32]:
        batch = _float32(x, "rows are not a numeric array")
        if batch.shape[1:] != self.bundle.input_shape:
            expected = ", ".join(map(str, self.bundle.input_shape))
            raise InputError(f"rows have shape {batch.shape}, expected (batch, {expected})")
        return batch

    def _run(self, outputs: Sequence[str], batch: NDArray[np.float32]) -> list[NDArray[Any]]:
        if not len(batch):  # the p-value table cannot broadcast against no rows
            one = np.zeros((1, *self.bundle.input_shape), np.float32)
            return [output[:0] for output in self._session.run(outputs, {graph.X: one})]
        if len(batch) <= CHUNK_ROWS:
            return self._session.run(outputs, {graph.X: batch})
        chunks = [
            self._session.run(outputs, {graph.X: batch[start : start + CHUNK_ROWS]})
            for start in range(0, len(batch), CHUNK_ROWS)
        ]
        return [np.concatenate(parts) for parts in zip(*chunks, strict=True)]

    def _bound(self) -> _BoundRow:
        try:
            bound: _BoundRow = self._threads.bound
        except AttributeError:
            bound = self._threads.bound = _BoundRow(self._session, self.bundle.input_shape)
        return bound

    def _unscorable(self, row: NDArray[np.float32]) -> InputError:
        bad = np.argwhere(~np.isfinite(row))
        if len(bad):
            column = self.bundle.names[bad[0][-1]]
            return InputError(f"column {column!r} is not a finite float32 number", column=column)
        column = self.bundle.names[np.unravel_index(np.abs(row).argmax(), row.shape)[-1]]
        return InputError(f"the score overflows float32; the largest value is in column {column!r}", column=column)

    def _part(self, name: str) -> Session:
        with self._parts_lock:
            if name not in self._parts:
                self._parts[name] = self._open_part(name)
            return self._parts[name]

    def _open_part(self, name: str) -> Session:
        path = self.path.with_name(f"{self.path.stem}.{name}.onnx")
        content = read_model_file(path)
        session = Session(content, source=str(path), provider=self.provider)
        found = read_part(session.metadata, str(path))
        if found.part != name or found.export_id != self.bundle.export_id:
            raise ModelError(
                f"{path}: {found.part} of export {found.export_id}, expected {name} of {self.bundle.export_id}"
            )
        expected = getattr(self.bundle.parts, f"{name}_sha256")
        if sha256(content).hexdigest() != expected:
            raise ModelError(f"{path}: the file was changed after export (its sha256 is not {expected[:12]}...)")
        return session

    def _check_graph(self) -> None:
        missing = [
            name for name in (*_VERDICT, graph.CONTRIBUTION, graph.RECONSTRUCTION) if name not in self._session.outputs
        ]
        if missing:
            raise ModelError(f"{self.path}: the graph has no output {missing[0]!r}")
        inputs = self._session.input_types
        if inputs != {graph.X: "tensor(float)"}:
            found = ", ".join(f"{name} of {kind}" for name, kind in inputs.items())
            raise ModelError(f"{self.path}: the graph asks for {found}, expected {graph.X} of tensor(float) only")
        shape = self._session.inputs[graph.X][1:]
        if tuple(shape) != self.bundle.input_shape:
            raise ModelError(f"{self.path}: the graph takes {shape}, its metadata says {list(self.bundle.input_shape)}")

    def _replay_golden(self) -> None:
        golden = self.bundle.golden
        try:
            replayed = self.score(golden.x)
            self.score_one(np.asarray(golden.x[0]))
        except Exception as error:  # the graph may fail in any way, and onnxruntime's classes share no base
            raise ModelError(f"{self.path}: the golden rows cannot be scored: {first_line(error)}") from None
        recorded = np.asarray(golden.score)
        difference = np.abs(replayed.score - recorded) / np.maximum(np.abs(recorded), 1e-6)
        if not np.all(difference <= GOLDEN_TOLERANCE):  # not all(<=), so that NaN fails too
            worst = int(np.nan_to_num(difference, nan=np.inf).argmax())
            raise ModelError(
                f"{self.path}: golden row {worst} scores {replayed.score[worst]:.6g} on {self.provider}, "
                f"recorded {recorded[worst]:.6g}; this file or this provider cannot be trusted"
            )
        if not np.allclose(np.log10(replayed.p_value), np.log10(golden.p_value), atol=GOLDEN_P_TOLERANCE):
            raise ModelError(f"{self.path}: a golden row has another p-value on {self.provider} than recorded")
        if replayed.is_anomaly.tolist() != golden.is_anomaly:
            raise ModelError(f"{self.path}: a golden row has another verdict on {self.provider} than recorded")


def _float32(x: ArrayLike, wrong: str) -> NDArray[np.float32]:
    """`x` as contiguous float32; a number beyond it becomes infinity, which is refused row by row.

    Raises InputError, beginning with `wrong`, for what is no numbers; numpy by itself would read "1_0" and dates.
    """
    try:
        array = np.asarray(x)
        has_text = array.dtype.kind == "O" and any(isinstance(value, str) for value in array.flat)
        if has_text or array.dtype.kind not in "biufO":
            raise TypeError(f"it holds {'text' if has_text else array.dtype}")
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(array, dtype=np.float32)
    except (TypeError, OverflowError, ValueError) as error:
        raise InputError(f"{wrong}: {error}") from None


class _BoundRow:
    """Buffers for one row and its verdict, bound to the graph once."""

    def __init__(self, session: Session, shape: tuple[int, ...]) -> None:
        self.x = np.zeros((1, *shape), np.float32)
        self.score = np.zeros(1, np.float32)
        self.p_value = np.zeros(1, np.float32)
        self.is_anomaly = np.zeros(1, np.bool_)
        outputs = {graph.SCORE: self.score, graph.P_VALUE: self.p_value, graph.IS_ANOMALY: self.is_anomaly}
        self.run: BoundRun = session.bind((graph.X, self.x), outputs)
