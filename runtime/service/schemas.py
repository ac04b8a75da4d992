"""What the service answers, as types: they are encoded as they stand, and the OpenAPI document describes them."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

Status = Literal["ok", "filled", "warming", "gap", "bad", "overflow"]


class Contribution(msgspec.Struct, frozen=True):
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


class RowResult(msgspec.Struct):
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


class Refusal(msgspec.Struct):
    """What is wrong, where, and what was expected."""

    error: str


class Readiness(msgspec.Struct):
    """Ready; of several models, whether the calibration of each holds."""

    status: Literal["ready"]
    calibration: str
