"""vae-detect calibrate."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...runtime.commands.options import DataPath, NamedPath, OutPath, model_files, table_form, table_options
from ...runtime.commands.terminal import needs, say
from ...runtime.describe import describe_calibration, describe_range
from ...runtime.detector import Detector
from ...runtime.output import keep_existing, keep_inputs
from ..settings.rates import parse_duration, parse_far
from .made import print_made

if TYPE_CHECKING:
    from ...runtime.bundle import Bundle
    from ..normal import Normal


@click.command()
@click.argument("data", nargs=-1, type=DataPath())
@click.option("--model", "-m", required=True, type=NamedPath(), help="The scorer to calibrate, NAME.onnx.")
@click.option(
    "--far", metavar="RATE", help="The false-alarm rate to promise, like 0.001 or 1/day.  [default: the model's]"
)
@click.option(
    "--from-events",
    is_flag=True,
    help="In place of DATA, by the scores that a service logged in --state: those outside events, and of events that "
    "were false alarms.",
)
@click.option("--state", type=NamedPath(file=False), help="With --from-events: the folder of `serve --state`.")
@click.option(
    "--since", default="7d", show_default=True, metavar="TIME", help="With --from-events: how far to look back."
)
@click.option(
    "--out",
    type=OutPath(),
    help="The scorer to write, its encoder and decoder beside it.  [default: the model itself, whose old files are "
    "kept as NAME.ID.onnx, ID being their export id]",
)
@click.option("--force", is_flag=True, help="Replace --out when it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print what was made as JSON.")
@table_options
def calibrate(
    data: tuple[Path, ...],
    model: Path,
    far: str | None,
    from_events: bool,
    state: Path | None,
    since: str,
    out: Path | None,
    force: bool,
    as_json: bool,
    **form: Any,
) -> None:
    """Set the threshold of a detector anew by DATA, recordings of normal operation, on the box and without PyTorch.

    The weights stay, and with them every score; threshold, p-values and export id are new. A service that runs with
    --watch, or gets SIGHUP, goes on with the new file. DATA are tables, or a folder of normal images.

    \b
    vae-detect calibrate --model pump.onnx normal.csv
    vae-detect calibrate --model pump.onnx normal.csv --far 1/day --out pump2.onnx
    vae-detect calibrate --model pump.onnx --from-events --state /var/lib/vae-detect
    """
    if from_events == bool(data) or from_events != (state is not None):
        raise click.UsageError(
            "name recordings of normal operation, or --from-events and --state DIR, the one or the other"
        )
    if out is not None:
        keep_inputs(model_files(out), [*data, *model_files(model)])
        keep_existing(model_files(out), force=force)
    with needs("calibrate"):
        from ..logged import of_log
        from ..normal import of_recordings
        from ..recalibrate import recalibrate

        detector = Detector.load(model, provider="cpu")
        period_s = detector.bundle.data.period_s
        rate = None if far is None else parse_far(far, rate_hz=1 / period_s if period_s else None)
        if state is None:
            normal = of_recordings(detector, data, table_form(**form))
        else:
            normal = of_log(detector, state, since_s=parse_duration(since), now=time.time())
        say(normal.told)
        made = recalibrate(detector, normal, out=out, far=rate, say=say)
    _tell(detector.bundle, made.bundle, normal)
    print_made((path for path in made.files if path.exists()), made.bundle, as_json=as_json)


def _tell(old: Bundle, new: Bundle, normal: Normal) -> None:
    before, after, facts = old.calibration, new.calibration, new.recalibration
    assert facts is not None
    promised = f"promised {before.far:.3g}, {describe_range(before.far_low, before.far_high)}"
    say(f"the old threshold {before.threshold:.6g} alarmed in {facts.parent_alarms:.3g} of these scores; {promised}")
    say(describe_calibration(after))
    say(f"export {new.export_id}, from {old.export_id}")
