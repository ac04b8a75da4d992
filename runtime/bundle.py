"""The metadata that travels inside the ONNX file.

Training writes a `Bundle`, the runtime reads it; nothing else is agreed between the two halves.
It is stored as JSON under one key of the model's ``metadata_props``.
"""

from __future__ import annotations

import math
from typing import Literal, TypeVar

import msgspec

from .errors import ModelError

SCHEMA_VERSION = 3
"""Of the files that training writes."""

READABLE_SCHEMAS = (2, 3)
"""Of files that are loaded. A scorer of schema 2 has inputs with defaults beside X."""

METADATA_KEY = "vae_detect"

T = TypeVar("T")

Kind = Literal["rows", "windows", "images"]

Treatment = Literal["linear", "log", "logit", "binary", "category", "constant", "class"]


class Column(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One feature: a column of a table, or a channel of an image."""

    name: str
    """As in the header."""
    unit: str
    """From square brackets at the end of the header, "" where there are none."""
    center: float
    """What the graph subtracts: the mean of the training rows, in raw units for a linear column."""
    scale: float
    """What the graph divides by: the standard deviation of the training rows, likewise; 0 for a constant."""
    treatment: Treatment = "linear"
    """What the graph does with a value before it is standardised; see docs/training.md."""
    knee: float = 1.0
    """Of a log column: below this the scale is nearly linear, above it logarithmic; raw units."""
    levels: tuple[float, ...] = ()
    """The values of a binary, category or class column, ascending, the one of a constant; the two ends of a logit
    column's range."""
    texts: tuple[str, ...] = ()
    """How the levels are written where the column holds text; the graph then takes the place in this list as x."""


class Image(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What images are brought to before the graph sees them."""

    height: int
    width: int
    mode: Literal["grey", "colour"]
    bits: int = 16
    """Of 8 to 16: how many of a 16-bit sample are used. 2^bits - 1 becomes 255, and what is above it too."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return self.height, self.width, 1 if self.mode == "grey" else 3


class Prior(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """p(z) as a mixture of diagonal Gaussians, from which new codes are drawn; one component for a standard normal."""

    weights: tuple[float, ...]
    means: tuple[tuple[float, ...], ...]
    scales: tuple[tuple[float, ...], ...]


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The threshold, what it promises, and the table from scores to p-values.

    The graph computes log10 p(s) by linear interpolation between the knots and holds the ends.
    """

    far: float
    """Promised false-alarm rate alpha: the share of normal rows that score above `threshold`."""
    threshold: float
    """A row is anomalous when its score exceeds this; exactly representable in float32."""
    n: int
    """Number of held-out normal scores."""
    effective_n: float
    """`n` reduced by the clustering of exceedances in ordered data; equals `n` for exchangeable rows."""
    far_low: float
    """5 % quantile of the realised false-alarm rate that this calibration size allows."""
    far_high: float
    """95 % quantile of the same."""
    method: Literal["conformal", "extrapolated"]
    """"extrapolated" when `far` is below what `n` rows support and a peaks-over-threshold fit stands in."""
    resolution: float
    """1 / (n + 1): p-values below it come from the fitted tail, not from observed rows."""
    knot_scores: tuple[float, ...]
    """Strictly increasing scores, float32."""
    knot_log10_p: tuple[float, ...]
    """log10 of the p-value at each knot, non-increasing, float32."""


class Golden(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Inputs with the answers that the trained network gave; replayed wherever the file is loaded.

    `x` is nested like the graph input, in raw units; empty for images, whose bytes are in `pixels`.
    """

    x: list[list[float | list[float]]]
    score: list[float]
    p_value: list[float]
    is_anomaly: list[bool]
    pixels: bytes = b""
    """The golden images, uint8, one after the other in C order."""


class Parity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far ONNX Runtime was from the trained network at export.

    `max_relative_error` is over the scores of `rows` rows, in batches of the sizes `batches`.
    """

    max_relative_error: float
    verdict_flips: int
    rows: int
    batches: tuple[int, ...]


class Parts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """sha256 of the encoder and decoder files that belong to a scorer."""

    encoder_sha256: str
    decoder_sha256: str


class DataFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the detector was trained on. `sha256` is of the file as it was read."""

    sha256: str
    rows: int
    train: int
    validation: int
    calibration: int
    period_s: float | None = None
    time_column: str | None = None
    stamp_s: float = 0.0
    """Seconds between time stamps that several rows share; 0 where every row has its own, as in files without this."""
    ordered: bool = False
    """Whether neighbouring rows are so much alike that they follow each other, time stamps or not."""


class History(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Mean loss of each epoch of training, nats per input; the weights are those of the lowest validation loss."""

    training: tuple[float, ...]
    validation: tuple[float, ...]


class Finetuning(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What labels made of a trained detector."""

    parent: str
    """Export id of the detector that was fine-tuned."""
    method: str
    """How, in words."""
    faults: int
    """Confirmed faults in the graph."""
    false_alarms: int
    """Confirmed false alarms and normal rows in the graph."""
    labels_sha256: str
    """Of the file with the labels."""
    calibration_sha256: str
    """Of the file whose rows set the new threshold."""


class Bundle(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything about a detector but its weights."""

    schema_version: int
    export_id: str
    """Shared by the scorer, its encoder and its decoder; made from the weights and settings."""
    recipe: str
    kind: Kind
    columns: tuple[Column, ...]
    window: int
    """Rows per input; 1 for kind "rows"."""
    stride: int
    """Rows between training windows. Scoring gives a result for every row."""
    latent: int
    likelihood: str
    image: Image | None = None
    """For kind "images"."""
    prior: Prior | None = None
    """None for a recipe whose codes nobody knows how to draw."""
    active_units: int | None = None
    """Latent dimensions whose posterior mean varies over the data by more than 0.01 (Burda et al. 2016)."""
    score: str
    """What the score is, in words."""
    calibration: Calibration
    golden: Golden
    parity: Parity
    parts: Parts
    data: DataFacts
    finetuning: Finetuning | None = None
    """None for a detector as it was trained."""
    settings: dict[str, str | int | float | bool | list[int] | None]
    """The training settings, for the record."""
    versions: dict[str, str]
    """Versions of the libraries that trained and exported."""
    licence: str = ""
    history: History | None = None
    """None in files that were written before it was kept."""

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in the order of the graph input."""
        return tuple(column.name for column in self.columns)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input without the batch axis: (features,), (window, features) or (height, width, channels)."""
        if self.image is not None:
            return self.image.shape
        return (len(self.columns),) if self.kind == "rows" else (self.window, len(self.columns))

    def to_json(self) -> str:
        return msgspec.json.encode(self).decode()

    def facts_json(self) -> str:
        """Everything but the golden rows and the p-value table, for people and programs that ask what this is."""
        facts = msgspec.to_builtins(self)
        del facts["golden"]
        for name in ("knot_scores", "knot_log10_p"):
            del facts["calibration"][name]
        return msgspec.json.format(msgspec.json.encode(facts), indent=2).decode()


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Metadata of an encoder or decoder file: which detector it belongs to."""

    schema_version: int
    export_id: str
    part: Literal["encoder", "decoder"]

    def to_json(self) -> str:
        return msgspec.json.encode(self).decode()


class _Versioned(msgspec.Struct):
    schema_version: int
    part: str = "scorer"


def read_bundle(text: str | None, source: str) -> Bundle:
    """The `Bundle` in a scorer's metadata.

    Raises
    ------
    ModelError
        naming `source`, when there is none, it is of another schema version, or a field is wrong
    """
    if text is None:
        raise ModelError(
            f"{source}: no vae-detect metadata in this ONNX file; expected a file written by 'vae-detect train'"
        )
    found = _decode(text, _Versioned, source)
    if found.part != "scorer":
        raise ModelError(f"{source}: this is the {found.part} of a detector; name its scorer instead (NAME.onnx)")
    _check_version(found, source)
    bundle = _decode(text, Bundle, source)
    _check(bundle, source)
    return bundle


def read_part(text: str | None, source: str) -> Part:
    """The `Part` in an encoder's or decoder's metadata; raises like `read_bundle`."""
    if text is None:
        raise ModelError(f"{source}: no vae-detect metadata in this ONNX file; expected one written beside a scorer")
    _check_version(_decode(text, _Versioned, source), source)
    return _decode(text, Part, source)


def _check_version(found: _Versioned, source: str) -> None:
    if found.schema_version not in READABLE_SCHEMAS:
        readable = " and ".join(map(str, READABLE_SCHEMAS))
        raise ModelError(
            f"{source}: metadata schema {found.schema_version}, this version reads schemas {readable}; "
            + ("upgrade vae-detect" if found.schema_version > SCHEMA_VERSION else "train and export the model again")
        )


def _decode(text: str, kind: type[T], source: str) -> T:
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.MsgspecError as error:
        raise ModelError(f"{source}: damaged vae-detect metadata: {error}") from None


def _check(bundle: Bundle, source: str) -> None:
    calibration, golden, prior = bundle.calibration, bundle.golden, bundle.prior
    per_image = max(1, math.prod(bundle.image.shape)) if bundle.image else 1
    golden_inputs = len(golden.pixels) / per_image if bundle.image else len(golden.x)
    problems = [
        (not bundle.columns, "no columns"),
        (len(set(bundle.names)) != len(bundle.names), "a column name is repeated"),
        (bundle.window < 1 or (bundle.kind != "windows" and bundle.window != 1), f"window {bundle.window}"),
        ((bundle.kind == "images") != (bundle.image is not None), "only images have a size and a mode, and must"),
        (bundle.image is not None and not 8 <= bundle.image.bits <= 16, f"not 8 to 16 bits: {bundle.image}"),
        (
            bundle.image is not None and (min(bundle.image.shape) < 1 or len(bundle.columns) != bundle.image.shape[2]),
            f"{len(bundle.columns)} columns for an image of {bundle.image}",
        ),
        (prior is not None and not _is_sound(prior, bundle.latent), "a prior that is no mixture of Gaussians"),
        (not 1e-12 < calibration.far < 1, f"false-alarm rate {calibration.far}"),
        (
            not (0 < calibration.n < 10**12 and 1e-3 < calibration.effective_n < 10**12),
            f"{calibration.n} calibration scores, worth {calibration.effective_n}",
        ),
        (
            bundle.data.period_s is not None and not 1e-12 < bundle.data.period_s < 1e12,
            f"a row every {bundle.data.period_s} s",
        ),
        (calibration.knot_log10_p[:1] != (0.0,), "the p-value table does not begin at 1"),
        (len(calibration.knot_scores) != len(calibration.knot_log10_p), "calibration knots of unequal length"),
        (not golden_inputs, "no golden rows"),
        (
            not golden_inputs == len(golden.score) == len(golden.p_value) == len(golden.is_anomaly),
            "golden rows of unequal length",
        ),
        (
            bundle.history is not None and len(bundle.history.training) != len(bundle.history.validation),
            "losses of training and validation over unequal numbers of epochs",
        ),
    ]
    for wrong, what in problems:
        if wrong:
            raise ModelError(f"{source}: damaged vae-detect metadata: {what}")


def _is_sound(prior: Prior, latent: int) -> bool:
    """Whether there is a positive weight, a mean and a scale of `latent` numbers for every component."""
    tables = (prior.means, prior.scales)
    return (
        len(prior.weights) > 0
        and min(prior.weights) > 0
        and all([len(row) for row in table] == [latent] * len(prior.weights) for table in tables)
    )
