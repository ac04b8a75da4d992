"""vae-detect simulate."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click

from ..output import text_written_aside
from ..simulation import FAULTS, Fault, csv_lines, parse_duration
from ..simulation import simulate as run
from .options import OutPath


@click.command()
@click.option("--duration", default="1d", show_default=True, help="Length of the recording, like 90s, 15m, 2h or 7d.")
@click.option("--period", default="10s", show_default=True, help="Time between rows.")
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    help="Another seed is another history of the same station.",
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="NAME@START+DURATION[*SEVERITY]",
    help="A fault, like cavitation@2h+20m. Repeatable; --fault list names them.",
)
@click.option("--labels", is_flag=True, help="Add a column label, 1 while a fault is active.")
@click.option("--out", type=OutPath(), help="CSV to write.  [default: standard output]")
@click.option("--force", is_flag=True, help="Replace --out when it exists.")
@click.option("--live", is_flag=True, help="Print each row when its time has come.")
@click.option(
    "--speed",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="With --live, how many times faster than real.",
)
def simulate(
    duration: str,
    period: str,
    seed: int,
    faults: tuple[str, ...],
    labels: bool,
    out: Path | None,
    force: bool,
    live: bool,
    speed: float,
) -> None:
    """Simulate a pump station: normal operation, and faults by name and time, as CSV.

    \b
    vae-detect simulate --duration 7d --period 1m --out normal.csv
    vae-detect simulate --duration 1h --fault leak@30m+10m --live --speed 60
    """
    if "list" in faults:
        for name, text in FAULTS.items():
            click.echo(f"{name:16} {text}")
        return
    recording = run(
        duration_s=parse_duration(duration),
        period_s=parse_duration(period),
        seed=seed,
        faults=[Fault.parse(text) for text in faults],
    )
    lines = csv_lines(recording, labels=labels)
    if out is not None:
        with text_written_aside(out, force=force) as file:
            file.writelines(lines)
    elif live:
        _print_live(lines, parse_duration(period) / speed)
    else:
        sys.stdout.writelines(lines)
        sys.stdout.flush()


def _print_live(lines: Iterator[str], period_s: float) -> None:
    start = time.monotonic()
    for number, line in enumerate(lines):
        # The header comes at once; rows keep to the clock, so that slow readers do not make the rate drift.
        time.sleep(max(0.0, start + (number - 1) * period_s - time.monotonic()) if number else 0.0)
        sys.stdout.write(line)
        sys.stdout.flush()
