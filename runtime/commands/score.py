"""vae-detect score."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from ..batch.inputs import one_of_images
from ..batch.scores import schema_of, score_files, score_tables, write_scores
from ..batch.summary import Summary
from ..detector import Detector
from ..errors import EXIT_ANOMALY, EXIT_REFUSED, InputError, RefusedError, few
from ..images.folders import ImageFile, find_images
from ..images.pictures import picture_paths
from ..layout import Layout
from ..output import keep_inputs, text_written_aside
from ..prometheus.address import Address
from ..rows.table_files import find_tables
from ..rows.writers import CsvWriter, JsonLinesWriter, Schema
from ..scoring.gaps import Gaps
from ..scoring.results import BAD, Results
from ..scoring.state import StreamState
from ..streams.lines import InputFormat, score_lines
from .options import (
    OutPath,
    adaptive_option,
    fdr_option,
    load_detector,
    model_files,
    model_options,
    table_form,
    table_options,
)
from .prometheus_options import Asked, SourcePath, files_in, prometheus_options, tables_of
from .sink_options import Sinks, sink_options
from .terminal import say


@click.command()
@click.argument("data", nargs=-1, required=True, type=SourcePath(dash=True))
@model_options
@click.option("--out", type=OutPath(), help="CSV to write.  [default: standard output]")
@click.option(
    "--heat-maps",
    type=OutPath(file=False, folder=True),
    metavar="DIR",
    help="Write the heat map of every image as a PNG of its name into DIR.",
)
@click.option("--force", is_flag=True, help="Replace --out and heat maps when they exist.")
@click.option(
    "--on-bad-row",
    default="flag",
    show_default=True,
    type=click.Choice(["flag", "fail"]),
    help="Answer a bad row or image with its reason and go on, or stop at the first.",
)
@click.option("--fail-on-anomaly", is_flag=True, help="Exit with 1 when a row or image is anomalous.")
@click.option(
    "--input-format",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "csv", "json"]),
    help="What standard input holds; by default the first line tells.",
)
@adaptive_option
@fdr_option
@table_options
@prometheus_options
@sink_options
def score(
    data: tuple[Path | Address, ...],
    model: Path,
    provider: str,
    threads: int,
    out: Path | None,
    heat_maps: Path | None,
    force: bool,
    on_bad_row: str,
    fail_on_anomaly: bool,
    input_format: InputFormat,
    adaptive: bool,
    fdr: float | None,
    **form: Any,
) -> None:
    """Score DATA: tables or a folder of images to a CSV, or - to score standard input line by line.

    Tables are files, folders of them and patterns like 'logs/*.csv', each file a recording of its own; or what a
    Prometheus tells, prometheus+http://HOST:9090/, by --query, --start and --end. They give
    row,time,score,severity,p_value,is_anomaly,status,reason,column with a line for every row, in order: time where the
    model knows time stamps, column the one to blame for an alarm; several have file before row. A folder of images, or
    one image, gives the same with file in place of row, and neither time nor column. Standard input takes a CSV or JSON
    lines and answers each line with a JSON line, at once.

    \b
    vae-detect score recording.csv --model exported/vae.onnx --out scores.csv
    vae-detect score photos/ --model tiles.onnx --out scores.csv --heat-maps heat/
    tail -n +1 -f live.csv | vae-detect score - --model exported/vae.onnx
    """
    is_stream = Path("-") in data
    _check_usage(data, is_stream=is_stream, out=out, input_format=input_format)
    keep_inputs([out, form["metrics_textfile"]], [*files_in(data), *model_files(model)])
    asked, detector = Asked.take(form), load_detector(model, provider, threads)
    if heat_maps is not None and detector.bundle.kind != "images":
        raise click.UsageError("--heat-maps is for models of images")
    sinks = Sinks.take(form, asked, detector.bundle, model, is_stream=is_stream)
    run = _Run(
        detector, StreamState(detector.bundle, adaptive=adaptive, fdr=fdr), on_bad_row == "fail", out, force, sinks
    )
    if is_stream:
        found, refused = _score_lines(run, table_form(**form), input_format)
    else:
        with tables_of(data, asked, table_form(**form), detector.bundle) as (paths, layout):
            found, refused = _score_stored(run, paths, layout, heat_maps)
    if found and fail_on_anomaly:
        sys.exit(EXIT_ANOMALY)
    if refused:
        sys.exit(EXIT_REFUSED)


def _check_usage(
    data: Sequence[Path | Address], *, is_stream: bool, out: Path | None, input_format: InputFormat
) -> None:
    if is_stream and len(data) > 1:
        raise click.UsageError("standard input, -, is scored alone")
    if is_stream and out is not None:
        raise click.UsageError("--out is for files; standard input is answered on standard output")
    if not is_stream and input_format == "json":
        raise click.UsageError("--input-format json is for standard input, -; a file is read as CSV")


class _Run(NamedTuple):
    """What scoring a file, a folder and standard input have in common."""

    detector: Detector
    state: StreamState
    stop_on_bad: bool
    out: Path | None
    force: bool
    sinks: Sinks


def _score_stored(run: _Run, data: Sequence[Path], layout: Layout, heat_maps: Path | None) -> tuple[bool, bool]:
    """Scores files; whether there was an anomaly, and whether they were refused."""
    if run.detector.bundle.kind == "images":
        summary = _score_images(run, one_of_images(data), heat_maps)
    else:
        summary = _score_tables(run, data, layout)
    say(summary.describe())
    if run.state.watch.monitor.first_report is not None:
        say(run.state.watch.monitor.describe())
    return bool(summary.anomalies), summary.refused


def _score_images(run: _Run, data: Path, heat_maps: Path | None) -> Summary:
    files, others = find_images(data)
    if others:
        say(f"{others} files in {data} passed over, since their names do not end like those of images")
    paths = [] if heat_maps is None else picture_paths(heat_maps, data, files, what="heat map", force=run.force)
    # One image that cannot be read is a mistake to be told, in many it is a result.
    stop_on_bad = run.stop_on_bad or not data.is_dir()
    scored = score_files(run.detector, files, run.state, stop_on_bad=stop_on_bad, heat_maps=paths)
    return _write(run, scored, schema_of(run.detector.bundle), files)


def _score_tables(run: _Run, data: Sequence[Path], layout: Layout) -> Summary:
    tables = find_tables(data)
    keep_inputs([run.out], tables.files)
    if told := tables.describe():
        say(told)

    def tell(path: Path, unused: list[str]) -> None:
        say(f"columns of {path} that the model does not use: {few(unused)}")

    scored = score_tables(run.detector, tables.files, layout, run.state, stop_on_bad=run.stop_on_bad, unused=tell)
    timed = layout.stamps is not None
    return _write(run, scored, schema_of(run.detector.bundle, several=len(tables.files) > 1, timed=timed))


def _write(run: _Run, results: Iterator[Results], columns: Schema, files: Sequence[ImageFile] = ()) -> Summary:
    gaps, results = Gaps.of(run.detector.bundle), run.sinks.seen(results)
    if run.out is None:
        summary = write_scores(results, CsvWriter(sys.stdout, columns), files, gaps=gaps)
    else:
        with text_written_aside(run.out, force=run.force) as file:
            summary = write_scores(results, CsvWriter(file, columns), files, gaps=gaps)
    run.sinks.finish()
    if gaps is not None and (told := gaps.describe()):
        say(told)
    stamps = run.detector.bundle.data.time_column
    if stamps is not None and not summary.timed:
        say(f"no time in column {stamps!r}, which the model knows: gaps between rows are not seen")
    return summary


def _score_lines(run: _Run, layout: Layout, input_format: InputFormat) -> tuple[bool, bool]:
    """Answers standard input; whether there was an anomaly, and whether it was refused."""
    if run.detector.bundle.kind == "images":
        raise InputError("standard input takes rows, this model scores images; name a folder or an image file")
    writer, monitor = JsonLinesWriter(sys.stdout), run.state.watch.monitor
    summary, held = Summary("rows", "scored", anomalies=0), True
    for results in score_lines(run.detector, sys.stdin.buffer, layout, run.state, input_format=input_format):
        if run.stop_on_bad and results.status == [BAD]:
            raise RefusedError(f"standard input: row {results.first}, {results.reason[0]}", row=results.first)
        writer.write(results.table("row"))
        summary.add(results.status, int(results.scores.is_anomaly.sum()))
        if monitor.holds is not held:
            held = monitor.holds
            say(monitor.describe())
    return bool(summary.anomalies), summary.refused
