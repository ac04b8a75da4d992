"""A detector's metadata in words, for the terminal."""

from __future__ import annotations

import textwrap

from .bundle import Bundle, Calibration, Column, Finetuning

_WIDTH = 110
"""Columns of text in a description."""


def describe(bundle: Bundle) -> str:
    """What the detector is, in a screen of text."""
    data = bundle.data
    inputs = f", windows of {bundle.window} rows, scored at the newest" if bundle.kind == "windows" else ""
    if bundle.image is not None:
        inputs = f", {bundle.image.mode} images of {bundle.image.height} x {bundle.image.width} (height x width)"
        inputs += f", {bundle.image.bits} bits of 16-bit ones" if bundle.image.bits < 16 else ""
    inputs_are, features_are = ("rows", "columns") if bundle.image is None else ("images", "channels")
    period = f", a row every {data.period_s:.4g} s" if data.period_s else ""
    coarse = f" of {data.stamp_s:g} s" if data.stamp_s else ""
    time_column = f", time stamps{coarse} in {data.time_column!r}" if data.time_column is not None else ""
    width = max(len(column.name) for column in bundle.columns)
    heading = f"{len(bundle.columns)}, mean +- standard deviation while training"
    if any(column.treatment in ("log", "logit") for column in bundle.columns):
        heading += "; of a log or logit column, after that"
    lines = [
        f"recipe       {bundle.recipe}, {bundle.likelihood} likelihood, {bundle.latent} latent dimensions{inputs}",
        f"score        {bundle.score}",
        f"prior        {_describe_prior(bundle)}",
        textwrap.fill(
            describe_calibration(bundle.calibration),
            _WIDTH,
            initial_indent="calibration  ",
            subsequent_indent=13 * " ",
            break_on_hyphens=False,
        ),
        *([f"limits       {', '.join(map(str, bundle.limits))}"] if bundle.limits else []),
        *_describe_origin(bundle),
        f"data         {data.rows} {inputs_are}{period}{time_column}, sha256 {data.sha256[:16]}",
        *(
            [f"missing      up to {data.layout.most_missing} of {len(bundle.columns)} cells of a row are filled"]
            if data.layout.most_missing
            else []
        ),
        *_describe_queries(bundle),
        f"split        {data.train} train, {data.validation} validation, {data.calibration} calibration",
        f"parity       scores within {bundle.parity.max_relative_error:.1e} of PyTorch's, "
        f"{bundle.parity.verdict_flips} verdict flips; {len(bundle.golden.score)} golden {inputs_are} reproduced here",
        f"export       {bundle.export_id}, schema {bundle.schema_version}, "
        + ", ".join(f"{name} {version}" for name, version in bundle.versions.items()),
        *([f"licence      {bundle.licence}"] if bundle.licence else []),
        f"{features_are:13}{heading}",
        *(
            f"  {column.name:{width}}  {_describe_column(column, _WIDTH - width - 4)}".rstrip()
            for column in bundle.columns
        ),
    ]
    return "\n".join(lines)


def _describe_origin(bundle: Bundle) -> list[str]:
    """What became of the detector after its training."""
    labels, anew = bundle.finetuning, bundle.recalibration
    return [
        *([f"labels       {_describe_labels(labels)}"] if labels else []),
        *([f"calibrated   anew, from export {anew.parent}"] if anew else []),
    ]


def describe_calibration(calibration: Calibration) -> str:
    """The threshold, its promise and its honest range, in sentences for the terminal."""
    worth = (
        "" if calibration.effective_n == calibration.n else f" (worth {calibration.effective_n:.0f} independent ones)"
    )
    text = (
        f"Threshold {calibration.threshold:.6g} from {calibration.n} held-out normal scores{worth}: "
        f"promised false-alarm rate {calibration.far:.3g}, "
        f"really {describe_range(calibration.far_low, calibration.far_high)} in 9 cases of 10."
    )
    if calibration.method == "conformal":
        return text
    return (
        f"{text} The rate is extrapolated: {calibration.n} scores show nothing rarer than {calibration.resolution:.2g}."
    )


def describe_range(low: float, high: float) -> str:
    """A range of false-alarm rates for people, to whom 1e-15 is 0."""
    return f"between {low:.2g} and {high:.2g}" if low > high / 1e4 else f"between 0 and {high:.2g}"


def _describe_column(column: Column, width: int) -> str:
    """Statistics and treatment in a line; values of a category that do not fit into `width` are left out."""
    if column.treatment in ("binary", "category", "constant", "class"):
        names = list(map(repr, column.texts)) or [str(level).removesuffix(".0") for level in column.levels]
        text = f"{column.treatment}: {', '.join(names)}"
        for shown in range(len(names) - 1, -1, -1):
            if len(text) <= width:
                break
            text = f"{column.treatment}: {', '.join([*names[:shown], f'... ({len(names)})'])}"
        return text
    text = f"{column.center:>12.6g} +- {column.scale:<10.4g} {column.unit}".rstrip()
    if column.treatment == "log":
        return f"{text}  log, nearly linear below {column.knee:g}"
    if column.treatment == "linear":
        return text
    return f"{text}  {column.treatment}, {column.levels[0]:g} to {column.levels[1]:g}"


def _describe_labels(made: Finetuning) -> str:
    faults, false_alarms = (
        f"{count} confirmed {what}{'s' * (count != 1)}"
        for count, what in ((made.faults, "fault"), (made.false_alarms, "false alarm"))
    )
    return f"{faults} and {false_alarms}; fine-tuned from {made.parent}"


def _describe_queries(bundle: Bundle) -> list[str]:
    """A line for each column that was read from a Prometheus."""
    queries = {name: promql for name, promql in bundle.data.layout.queries.items() if name in bundle.names}
    width = max(map(len, queries), default=0)
    lines = [f"{name:{width}}  {promql}" for name, promql in queries.items()]
    return [f"{'queries' if not at else '':13}{line}" for at, line in enumerate(lines)]


def _describe_prior(bundle: Bundle) -> str:
    if bundle.prior is None:
        return "none, so it cannot sample"
    prior, parts = bundle.prior, len(bundle.prior.weights)
    is_standard = parts == 1 and not any(prior.means[0]) and set(prior.scales[0]) == {1.0}
    text = "standard normal" if is_standard else f"mixture of {parts} Gaussian{'s' * (parts > 1)}"
    return (
        text if bundle.active_units is None else f"{text}; {bundle.active_units} of {bundle.latent} dimensions active"
    )
