"""The metadata that travels inside the ONNX file.

Training writes a `Bundle`, the runtime reads it; nothing else is agreed between the two halves.
It is stored as JSON under one key of the model's ``metadata_props``.
"""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

from .layout import Layout, Stamps

SCHEMA_VERSION = 3
"""Of the files that training writes."""

METADATA_KEY = "vae_detect"

Kind = Literal["rows", "windows", "images"]

Treatment = Literal["linear", "log", "logit", "binary", "category", "constant", "angle", "class"]

Operator = Literal["<", "<=", ">", ">="]


class Column(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One feature: a column of a table, or a channel of an image."""

    name: str
    """As in the header."""
    unit: str
    """From square brackets at the end of the header, "" where there are none."""
    center: float
    """What the graph subtracts: the mean of the training rows, in raw units for a linear column; of an angle the mean
    direction."""
    scale: float
    """What the graph divides by: the standard deviation of the training rows, likewise; 0 for a constant; of an angle
    the circular one."""
    treatment: Treatment = "linear"
    """What the graph does with a value before it is standardised; see docs/training.md."""
    knee: float = 1.0
    """Of a log column: below this the scale is nearly linear, above it logarithmic; raw units."""
    levels: tuple[float, ...] = ()
    """The values of a binary, category or class column, ascending, the one of a constant; the two ends of a logit
    column's range, and of an angle's, which are the same direction."""
    texts: tuple[str, ...] = ()
    """How the levels are written where the column holds text; the graph then takes the place in this list as x."""
    missing: tuple[float, ...] = ()
    """Numbers that stand for a missing value where rows are read, ascending."""


class Limit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What every reading of a column keeps in normal operation: one that does not is an anomaly, whatever the score."""

    column: str
    operator: Operator
    value: float
    """In raw units; readings are compared with it as float32."""

    @property
    def written(self) -> str:
        """The value in the fewest digits."""
        return str(self.value).removesuffix(".0")

    def __str__(self) -> str:
        return f"{self.column} {self.operator} {self.written}"


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


TERM_LEVELS = (0.0, 0.01, 0.1, 0.5, 0.9, 0.99, 1.0)
"""Where the quantiles of the terms of the score are taken."""


class Golden(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Inputs with the answers that the trained network gave; replayed wherever the file is loaded.

    `x` is nested like the graph input, in raw units, null where a cell is missing; empty for images, whose bytes
    are in `pixels`.
    """

    x: list[list[float | list[float | None] | None]]
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
    """What the detector was trained on. `sha256` is of the file as it was read, or of the digests of several."""

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
    layout: Layout = Layout()
    """How the recording was written; what is scored is asked to be written alike, unless it is declared otherwise."""
    files: tuple[str, ...] = ()
    """The sha256 of each file, where there were several."""

    def complete(self, layout: Layout) -> Layout:
        """A layout with the key and the grid of the recording, what makes it wide and what may be missing, its time
        stamps where none are named, its form where one is recognised."""
        layout = msgspec.structs.replace(
            layout,
            key=self.layout.key,
            long=self.layout.long,
            resampling=self.layout.resampling,
            most_missing=self.layout.most_missing,
        )
        declared = layout.declared
        if declared is not None:
            layout = msgspec.structs.replace(layout, format=self.layout.format)
        if layout.stamps is not None or self.time_column is None:
            return layout
        stamps = self.layout.stamps or Stamps(self.time_column)
        if declared is not None and declared.time_format is not None:
            stamps = msgspec.structs.replace(stamps, pattern=declared.time_format)
        if declared is not None and declared.time_zone is not None:
            stamps = msgspec.structs.replace(stamps, zone=declared.time_zone)
        return msgspec.structs.replace(layout, stamps=stamps)


class Recording(Protocol):
    """What says whether its rows have an order: what is kept of one, or a table that is being read."""

    @property
    def time_column(self) -> str | None: ...
    @property
    def ordered(self) -> bool: ...


def is_ordered(kind: Kind, data: Recording) -> bool:
    """Whether the inputs follow each other in time."""
    return kind == "windows" or data.time_column is not None or data.ordered


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
    """Of the file whose rows set the new threshold, or of the digests of several."""


class Recalibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the threshold comes from that `calibrate` set anew."""

    parent: str
    """Export id of the detector as it was before."""
    parent_threshold: float
    parent_alarms: float
    """Share of the new calibration scores above it."""
    source_sha256: str
    """Of the file whose rows set the new threshold, or of the digests of several; of the scores that were logged."""


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
    terms: dict[str, tuple[float, ...]] = {}
    """Quantiles of reconstruction error, ELBO and KL of calibration inputs, at `TERM_LEVELS`, nats: those that the
    recipe has; none in files that were written before they were kept."""
    calibration: Calibration
    limits: tuple[Limit, ...] = ()
    """Of columns of numbers: the graph tells an anomaly where the newest row breaks one, whatever its score."""
    golden: Golden
    parity: Parity
    parts: Parts
    data: DataFacts
    finetuning: Finetuning | None = None
    """None for a detector as it was trained."""
    recalibration: Recalibration | None = None
    """None for a detector whose threshold is that of its training or fine-tuning."""
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
