"""vae-detect evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ...runtime.commands.alarm_options import alarm_options, take_rule
from ...runtime.commands.options import (
    OutPath,
    adaptive_option,
    fdr_option,
    load_detector,
    model_files,
    model_options,
    table_form,
    table_options,
)
from ...runtime.commands.prometheus_options import Asked, SourcePath, files_in, prometheus_options, tables_of
from ...runtime.commands.terminal import needs, say
from ...runtime.output import keep_inputs
from ...runtime.prometheus.address import Address
from .label_options import anomaly_label_option


@click.command()
@click.argument("data", nargs=-1, required=True, type=SourcePath())
@model_options
@click.option(
    "--labels",
    help="Column of DATA with 0 and 1, normal and fault, or the like; a CSV file with one such column, or with ranges "
    "of time in columns start and end (./NAME where a column has that name); or none: all of it is normal.",
)
@anomaly_label_option
@click.option(
    "--normal",
    multiple=True,
    metavar="FOLDER",
    help="Of images: the name of a folder of normal ones; again for more.  [default: good]",
)
@adaptive_option
@fdr_option
@alarm_options
@click.option(
    "--report",
    type=OutPath(),
    metavar="FILE.html",
    help="Write a page with curves, calibration and the worst mistakes too.",
)
@click.option("--force", is_flag=True, help="Replace --report when it exists.")
@click.option(
    "--point-adjust", is_flag=True, help="Add point-adjusted figures, which flatter, to compare with papers that do."
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@table_options
@prometheus_options
def evaluate(
    data: tuple[Path | Address, ...],
    model: Path,
    provider: str,
    threads: int,
    labels: str | None,
    anomaly_label: tuple[str, ...],
    normal: tuple[str, ...],
    adaptive: bool,
    fdr: float | None,
    report: Path | None,
    force: bool,
    point_adjust: bool,
    as_json: bool,
    **form: Any,
) -> None:
    """Measure a detector on DATA, labelled tables or a folder of images, beside a z-score and chance.

    In a folder the images under "good" are normal, and those of every other folder are not. The threshold is the one
    in the model file; none is ever chosen on these labels.

    \b
    vae-detect evaluate faults.csv --labels label --model exported/vae.onnx --report faults.html
    vae-detect evaluate boards --model boards.onnx
    """
    keep_inputs([report], [*files_in(data), Path(labels or ""), *model_files(model)])
    with needs("train"):
        import msgspec

        from ..evaluation.evaluate import evaluate as run

        asked, rule, detector = Asked.take(form), take_rule(form), load_detector(model, provider, threads)
        with tables_of(data, asked, table_form(**form), detector.bundle) as (tables, layout):
            evaluation = run(
                detector,
                tables,
                labels,
                layout,
                anomalous=anomaly_label,
                normal=normal,
                adaptive=adaptive,
                fdr=fdr,
                rule=rule,
                point_adjusted=point_adjust,
                report=report,
                force=force,
                say=say,
            )
    click.echo(msgspec.json.encode(evaluation) if as_json else evaluation.describe())
