"""What the service answers, as types: they are encoded as they stand, and the OpenAPI document describes them."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, UnsetType

from ..alarms.event import Label

Status = Literal["ok", "filled", "warming", "gap", "late", "repeated", "bad", "overflow"]


class Contribution(msgspec.Struct, frozen=True, gc=False):
    """What a column adds to the score, with the value that came and the one that was expected."""

    column: str
    contribution: float
    actual: float
    expected: float


class LargestError(msgspec.Struct, frozen=True):
    """Where an image differs most from what is expected, in the model's pixels."""

    row: int
    column: int
    nats: float


class RowResult(msgspec.Struct, gc=False):
    """The result of one row, or of one image; null where there is no score."""

    row: int
    score: float | None
    severity: float | None
    p_value: float | None
    is_anomaly: bool | None
    status: Status
    reason: str | None
    time: str | UnsetType | None = UNSET
    key: str | UnsetType = UNSET
    contributions: list[Contribution] | UnsetType = UNSET
    heat_map: str | UnsetType = UNSET
    heat_map_white: float | UnsetType = UNSET
    largest_error: LargestError | UnsetType = UNSET


class ScoreAnswer(msgspec.Struct):
    """The answer of POST /score: the version that made it, and a result for each row."""

    model: str
    results: list[RowResult]


class ToldCause(msgspec.Struct):
    """What a column has to do with an event."""

    column: str
    contribution: float | None
    actual: float | None
    expected: float | None


class ToldEvent(msgspec.Struct):
    """An event, as `alarms.event.told` has it: times in ISO 8601, UTC."""

    id: int
    model: str
    source: str
    key: str
    start: str | None
    end: str | None
    peak_severity: float | None
    peak_score: float | None
    rows: int
    columns: list[ToldCause]
    reason: str
    state: Literal["running", "ended"]
    acknowledged: bool
    label: Label


class EventChange(msgspec.Struct, forbid_unknown_fields=True):
    """What a person says of an event: that it was seen, or not after all, and what it was."""

    acknowledged: bool | UnsetType = UNSET
    label: Label | UnsetType = UNSET


class NormalTime(msgspec.Struct, forbid_unknown_fields=True):
    """The last minutes of one machine, which were normal."""

    model: str
    key: str
    minutes: Annotated[float, msgspec.Meta(gt=0, le=1440)]


class Kept(msgspec.Struct):
    """The file in which they are kept."""

    file: str


class Frame(msgspec.Struct):
    """One of the last images, which GET /frames/NUMBER.png shows."""

    number: int
    time: float
    model: str
    is_anomaly: bool
    severity: float | None
    width: int
    height: int


class Refusal(msgspec.Struct):
    """What is wrong, where, and what was expected."""

    error: str


class Readiness(msgspec.Struct):
    """Ready; of several models, whether the calibration of each holds."""

    status: Literal["ready"]
    calibration: str


class Index(msgspec.Struct):
    """The answer of GET /: what each endpoint is for, by method and path."""

    endpoints: dict[str, str]


class Alive(msgspec.Struct):
    """The process answers."""

    status: Literal["ok"] = "ok"


# --- of the Open Inference Protocol ----------------------------------------------------------------------------------


class OutputParameters(msgspec.Struct):
    """How many bytes behind the JSON are an output's own."""

    binary_data_size: int


class OutputTensor(msgspec.Struct):
    """An output: its elements stand in `data`, row by row, or as bytes behind the JSON."""

    name: str
    datatype: str
    shape: list[int]
    parameters: OutputParameters | UnsetType = UNSET
    data: list[float | bool | None] | UnsetType = UNSET


class InferAnswer(msgspec.Struct):
    """The JSON of the answer of POST /v2/models/NAME/infer, which is written piece by piece."""

    model_name: str
    model_version: str
    outputs: list[OutputTensor]
    id: str | UnsetType = UNSET


State = Literal["LOADING", "READY", "UNAVAILABLE"]


class ServerMetadata(msgspec.Struct):
    """What answers, and which extensions of the protocol it has."""

    name: str
    version: str
    extensions: list[str]


class Live(msgspec.Struct):
    """The process answers."""

    live: bool = True


class Ready(msgspec.Struct):
    """All models that are wanted answer."""

    ready: bool = True


class ModelReady(msgspec.Struct):
    """This model answers."""

    name: str
    ready: bool = True


class TensorMetadata(msgspec.Struct):
    """An input or an output; -1 stands for any size."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(msgspec.Struct):
    """What a model takes and gives."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class TensorConfig(msgspec.Struct):
    """An input or an output, as Triton writes it."""

    name: str
    data_type: str
    dims: list[int]


class ModelConfig(msgspec.Struct):
    """A model's configuration, as clients of Triton ask for it."""

    name: str
    platform: str
    backend: str
    max_batch_size: int
    input: list[TensorConfig]
    output: list[TensorConfig]


class Took(msgspec.Struct):
    """How often something was done, and how long it took in all."""

    count: int = 0
    ns: int = 0


class InferenceStatistics(msgspec.Struct):
    """What became of the requests to infer, and where the time went."""

    success: Took
    fail: Took
    queue: Took
    compute_input: Took
    compute_infer: Took
    compute_output: Took


class BatchStatistics(msgspec.Struct):
    """Where the time went, of requests of any number of rows."""

    batch_size: int
    compute_input: Took
    compute_infer: Took
    compute_output: Took


class ModelStatistics(msgspec.Struct):
    """What is known of the requests to infer of a model since it was started, rows for inferences; the time of the
    last one in milliseconds since 1970."""

    name: str
    version: str
    last_inference: int
    inference_count: int
    execution_count: int
    inference_stats: InferenceStatistics
    batch_stats: list[BatchStatistics]


class Statistics(msgspec.Struct):
    """Of one model or of all that answer."""

    model_stats: list[ModelStatistics]


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An object without members."""


class LoadRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of load: no parameters; a model is loaded from the file that it was started with."""

    parameters: Nothing = Nothing()


class IndexRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of the repository's index: whether to leave out models that do not answer."""

    ready: bool = False


class ModelVersion(msgspec.Struct):
    """Which version of a model answers now, "" for none, after a change."""

    name: str
    version: str
    state: State


class IndexEntry(ModelVersion):
    """A model of the repository, and why no newer version of it is served."""

    reason: str
