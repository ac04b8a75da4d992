"""Reading what training wrote into a model file, and refusing what is damaged or of another version."""

from __future__ import annotations

import math
from typing import TypeVar

import msgspec

from .bundle import SCHEMA_VERSION, Bundle, Part, Prior
from .errors import ModelError

READABLE_SCHEMAS = (2, 3)
"""Of files that are loaded. A scorer of schema 2 has inputs with defaults beside X."""

T = TypeVar("T")


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
        (any(limit.column not in bundle.names for limit in bundle.limits), "a limit of no column"),
        (bool(bundle.image and bundle.limits), "limits of images"),
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
