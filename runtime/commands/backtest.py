"""vae-detect backtest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from ..alarms.backtest import backtest as run
from ..prometheus.address import Address
from .alarm_options import alarm_options, take_rule
from .options import adaptive_option, fdr_option, load_detector, model_options, table_form, table_options
from .prometheus_options import Asked, SourcePath, prometheus_options, tables_of


@click.command()
@click.argument("data", nargs=-1, required=True, type=SourcePath())
@model_options
@adaptive_option
@fdr_option
@alarm_options
@click.option("--json", "as_json", is_flag=True, help="Print days and events as JSON.")
@table_options
@prometheus_options
def backtest(
    data: tuple[Path | Address, ...],
    model: Path,
    provider: str,
    threads: int,
    adaptive: bool,
    fdr: float | None,
    as_json: bool,
    **form: Any,
) -> None:
    """Say which alarms a detector would have given over DATA, tables or a Prometheus, on which day and why.

    An event is an unbroken run of rows that alarm, unless --alarm and the like say otherwise. Each comes with the
    columns that contribute most at its peak, what they read and what was expected. Days are those of UTC.

    \b
    vae-detect backtest january.csv --model pump.onnx
    vae-detect backtest prometheus+http://127.0.0.1:9090/ --start -30d --model pump.onnx
    """
    asked, rule, detector = Asked.take(form), take_rule(form), load_detector(model, provider, threads)
    with tables_of(data, asked, table_form(**form), detector.bundle) as (tables, layout):
        found = run(detector, model.stem, tables, layout, adaptive=adaptive, fdr=fdr, rule=rule)
    click.echo(msgspec.json.encode(found) if as_json else found.describe())
