"""The command line: parse, call one library function, print. Data goes to stdout, talk to stderr."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vae_detect import __version__
from vae_detect.runtime.errors import (
    EXIT_ANOMALY,
    EXIT_BROKEN_PIPE,
    EXIT_REFUSED,
    InputError,
    MissingExtraError,
    VaeDetectError,
)

if TYPE_CHECKING:
    from vae_detect.runtime.batch.codes import Draw
    from vae_detect.runtime.batch.inputs import Outcome
    from vae_detect.runtime.batch.scores import Summary
    from vae_detect.runtime.bundle import Bundle
    from vae_detect.runtime.detector import Detector
    from vae_detect.runtime.images.reading import ImageFile
    from vae_detect.runtime.rows.tables import TableFormat
    from vae_detect.runtime.scoring.results import Results, Watch

EPILOG = (
    "Exit codes: 0 fine; 1 anomalies found, with --fail-on-anomaly; 2 bad usage or input; "
    "3 something is not installed; 4 done, but some images could not be read."
)


class _Commands(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError:
            _let_the_first_speak()
            raise
        except VaeDetectError as error:
            _let_the_first_speak()
            _say(f"Error: {error}")
            ctx.exit(error.exit_code)
        except BrokenPipeError:
            # The reader (`| head`) has gone: nobody to talk to, which must not fail again when Python flushes.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(EXIT_BROKEN_PIPE)


@contextmanager
def _needs(extra: str) -> Iterator[None]:
    """Turns a missing third-party package into one sentence that names the extra to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("vae_detect"):
            raise
        raise MissingExtraError(
            f"this command needs {error.name}, which is not installed: pip install 'vae-detect[{extra}]'"
        ) from None


def _leads() -> bool:
    """Whether this is the first of the processes that torchrun started, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def _let_the_first_speak() -> None:
    """Waits, before a process that is not the first ends with an error, for the first to say the same.

    torchrun ends all processes as soon as one ends with an error. What only this process met is said after the wait.
    """
    if not _leads():
        time.sleep(10)


def _say(text: str) -> None:
    click.echo(text, err=True)


@click.group(
    cls=_Commands, epilog=EPILOG, context_settings={"auto_envvar_prefix": "VAE_DETECT", "max_content_width": 100}
)
@click.version_option(__version__, prog_name="vae-detect")
def commands() -> None:
    """Anomaly detection with autoencoders: train on a workstation, score on the box next to the machine.

    Every option can also be set in the environment, as VAE_DETECT_COMMAND_OPTION: VAE_DETECT_SERVE_PORT=9000.
    """


def main() -> None:
    """Entry point of ``vae-detect`` and ``python -m vae_detect``."""
    commands(prog_name="vae-detect")


def _model_options(command: Any) -> Any:
    for option in reversed(
        [
            click.option(
                "--model", "-m", required=True, type=click.Path(path_type=Path), help="The scorer file, NAME.onnx."
            ),
            click.option(
                "--provider",
                default="auto",
                show_default=True,
                type=click.Choice(["auto", "cpu", "cuda", "tensorrt", "openvino"]),
                help="Where to run; anything but auto must be available.",
            ),
            click.option(
                "--threads",
                default=1,
                show_default=True,
                type=click.IntRange(1),
                help="Threads within one run of the model.",
            ),
        ]
    ):
        command = option(command)
    return command


def _cell_options(command: Any) -> Any:
    for option in reversed(
        [
            click.option("--delimiter", default=",", show_default=True, help="What separates cells."),
            click.option(
                "--decimal", default=".", show_default=True, type=click.Choice([".", ","]), help="The decimal mark."
            ),
        ]
    ):
        command = option(command)
    return command


_adaptive_option = click.option(
    "--adaptive",
    is_flag=True,
    help="Let the threshold follow the data so that the alarm rate stays as promised; a lasting fault is learnt as "
    "normal.",
)


def _table_options(command: Any) -> Any:
    no_header = click.option(
        "--no-header", is_flag=True, help="The file has no header; columns stand in training order."
    )
    return _cell_options(no_header(command))


def _form(delimiter: str, decimal: str, no_header: bool = False) -> TableFormat:
    from vae_detect.runtime.rows.tables import TableFormat

    return TableFormat("\t" if delimiter in ("\\t", "tab") else delimiter, decimal, not no_header)


def _load(model: Path, provider: str, threads: int) -> Detector:
    from vae_detect.runtime.detector import Detector

    return Detector.load(model, provider=provider, threads=threads)


def _names(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in value.split(",")) if value else ()


@commands.command()
@click.argument("data", type=click.Path(exists=True, path_type=Path))
@click.argument("more_assignments", nargs=-1, metavar="[NAME=VALUE]...")
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The scorer to write, NAME.onnx; NAME.encoder.onnx and NAME.decoder.onnx go beside it.",
)
@click.option(
    "--kind",
    type=click.Choice(["rows", "windows", "images"]),
    help="Rows on their own, windows of successive rows scored at the newest, or images.  [default: rows, or images "
    "when DATA is a folder]",
)
@click.option("--window", type=click.IntRange(2), help="Rows in a window.  [default: 16 with --kind windows]")
@click.option("--stride", type=click.IntRange(1), help="Rows between the starts of training windows.  [default: 1]")
@click.option("--recipe", help="Family of autoencoder; 'vae-detect recipes' lists them.  [default: ensemble]")
@click.option(
    "--size", metavar="PIXELS", help="What images are resized to: 64, or 64,96 for height,width.  [default: 64]"
)
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="NAME=VALUE",
    help="A training setting, like latent=8 or hidden=64,32; see docs/training.md. More may follow it, or stand alone.",
)
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Settings from a TOML file; --set wins over it.",
)
@click.option(
    "--columns",
    callback=_names,
    metavar="A,B,...",
    help="Columns to learn from.  [default: all of numbers or a few texts]",
)
@click.option("--exclude", callback=_names, metavar="A,B,...", help="Columns to leave out.")
@click.option(
    "--treat",
    default="",
    metavar="A=HOW,...",
    help="What is done with a column: linear, log, logit, binary or category.  [default: chosen from its values]",
)
@click.option("--class-column", metavar="NAME", help="The class of each row, for recipe cvae.")
@click.option("--time-column", metavar="NAME", help="The time stamps.  [default: recognised by name or content]")
@click.option(
    "--far", default="0.01", show_default=True, help="Promised false-alarm rate: 0.001 or 0.1% of rows, or 1/day."
)
@click.option("--rate", metavar="RATE", help="Rows per time, like 10Hz or 1/min, for --far 1/day without time stamps.")
@click.option(
    "--device", default="auto", show_default=True, type=click.Choice(["auto", "cpu", "cuda"]), help="Where to train."
)
@click.option("--licence", default="", help="Licence of the model, kept in the file.")
@click.option("--resume", is_flag=True, help="Go on from the checkpoint that a stopped run left beside --out.")
@click.option("--json", "as_json", is_flag=True, help="Print what was made as JSON.")
@_table_options
def train(
    data: Path,
    more_assignments: tuple[str, ...],
    out: Path,
    kind: str | None,
    window: int | None,
    stride: int | None,
    recipe: str | None,
    size: str | None,
    assignments: tuple[str, ...],
    config: Path | None,
    columns: tuple[str, ...],
    exclude: tuple[str, ...],
    treat: str,
    class_column: str | None,
    time_column: str | None,
    far: str,
    rate: str | None,
    device: str,
    licence: str,
    resume: bool,
    as_json: bool,
    **form: Any,
) -> None:
    """Learn from DATA, a CSV of normal operation or a folder of normal images, and export a detector.

    \b
    vae-detect train normal.csv --out exported/vae.onnx
    vae-detect train normal.csv --kind windows --window 32 --far 1/day --out pump.onnx
    vae-detect train boards/train/good --recipe conv --size 64 --out boards.onnx
    """
    from vae_detect.training.settings.rates import parse_rate
    from vae_detect.training.settings.recipes import configure, read_settings

    settings = read_settings(config, (*assignments, *more_assignments))
    flags = {"kind": kind, "window": window, "stride": stride, "recipe": recipe, "size": size}
    settings.update({name: value for name, value in flags.items() if value is not None})
    if data.is_dir():
        settings.setdefault("kind", "images")
    chosen = configure(settings)
    rate_hz = parse_rate(rate) if rate else None
    with _needs("train"):  # after the settings: wrong ones need not wait for torch, which takes seconds to import
        from tqdm import tqdm

        from vae_detect.training.data.columns import parse_treatments
        from vae_detect.training.data.loading import Selection
        from vae_detect.training.fitting.fit import Epoch
        from vae_detect.training.train import train as run
    bar = tqdm(total=chosen.epochs, unit="epoch", disable=None if _leads() else True, file=sys.stderr)

    def report(epoch: Epoch) -> None:
        bar.update(epoch.number - bar.n)
        bar.set_postfix(
            loss=f"{epoch.loss:.3f}",
            reconstruction=f"{epoch.reconstruction:.3f}",
            kl=f"{epoch.kl:.3f}",
            validation=f"{epoch.validation:.3f}",
        )

    with bar:
        outcome = run(
            data,
            out,
            chosen,
            selection=Selection(columns, exclude, time_column, class_column, parse_treatments(treat)),
            form=_form(**form),
            far=far,
            rate_hz=rate_hz,
            device=device,
            licence=licence,
            resume=resume,
            say=lambda text: bar.write(text, file=sys.stderr),
            report=report,
        )
    if outcome is None:
        return
    _print_made(outcome.files, outcome.bundle, as_json=as_json)


@commands.command()
@click.option(
    "--model", "-m", required=True, type=click.Path(path_type=Path), help="The scorer to start from, NAME.onnx."
)
@click.option(
    "--labels",
    required=True,
    type=click.Path(exists=True, path_type=Path),
    help="CSV with the model's columns and one with labels: 1 a confirmed fault, 0 a confirmed false alarm or a normal "
    "row, empty where nobody has looked.",
)
@click.option("--label-column", default="label", show_default=True, metavar="NAME", help="The column with the labels.")
@click.option(
    "--data",
    type=click.Path(exists=True, path_type=Path),
    help="Recording of normal operation to set the new threshold by; the one that the model was trained on will do.  "
    "[default: the rows of --labels that are no confirmed faults]",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The scorer to write; its encoder and decoder go beside it.  [default: NAME.finetuned.onnx beside the model]",
)
@click.option("--force", is_flag=True, help="Replace --out when it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print what was made as JSON.")
@_cell_options
def finetune(
    model: Path,
    labels: Path,
    label_column: str,
    data: Path | None,
    out: Path | None,
    force: bool,
    as_json: bool,
    **form: Any,
) -> None:
    """Correct a detector by a handful of confirmed faults and false alarms.

    Rows like a confirmed fault score higher afterwards, rows like a confirmed false alarm lower; far from all labels
    nothing changes. The threshold is set anew, for the false-alarm rate that the model promised. The model stays as it
    is; to add labels later, start from it again with all of them.

    \b
    vae-detect finetune --model pump.onnx --labels reviewed.csv
    vae-detect finetune --model pump.onnx --labels reviewed.csv --data normal.csv --out pump2.onnx
    """
    with _needs("train"):
        from vae_detect.training.finetune import finetune as run
    outcome = run(
        model,
        labels,
        out or model.with_name(f"{model.stem}.finetuned.onnx"),
        label_column=label_column,
        data=data,
        form=_form(**form),
        force=force,
        say=_say,
    )
    _print_made(outcome.files, outcome.bundle, as_json=as_json)


def _print_made(files: Iterable[Path], bundle: Bundle, *, as_json: bool) -> None:
    if as_json:
        click.echo(bundle.facts_json())
    else:
        for path in files:
            click.echo(path)


@commands.command()
def recipes() -> None:
    """List the recipes, the families of autoencoders that `train --recipe NAME` knows."""
    from vae_detect.training.settings.recipes import RECIPES  # needs no torch

    for name, recipe in RECIPES.items():
        click.echo(f"{name:16} {recipe.summary} ({recipe.source})")


@commands.command()
@click.argument("data", type=click.Path(exists=True, allow_dash=True, path_type=Path))
@_model_options
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="CSV to write.  [default: standard output]"
)
@click.option(
    "--heat-maps",
    type=click.Path(file_okay=False, path_type=Path),
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
@_adaptive_option
@_table_options
def score(
    data: Path,
    model: Path,
    provider: str,
    threads: int,
    out: Path | None,
    heat_maps: Path | None,
    force: bool,
    on_bad_row: str,
    fail_on_anomaly: bool,
    adaptive: bool,
    **form: Any,
) -> None:
    """Score DATA: a CSV or a folder of images to a CSV, or - to score standard input line by line.

    A CSV gives row,score,severity,p_value,is_anomaly,status,reason with a line for every row, in order. A folder, or
    one image, gives the same with file in place of row, sorted by file. Standard input takes a CSV or JSON lines and
    answers each line with a JSON line, at once.

    \b
    vae-detect score recording.csv --model exported/vae.onnx --out scores.csv
    vae-detect score photos/ --model tiles.onnx --out scores.csv --heat-maps heat/
    tail -f live.csv | vae-detect score - --model exported/vae.onnx
    """
    detector = _load(model, provider, threads)
    stop_on_bad, is_images = on_bad_row == "fail", detector.bundle.kind == "images"
    if heat_maps is not None and not is_images:
        raise click.UsageError("--heat-maps is for models of images")
    watch = _watch(detector, adaptive)
    refused = False
    if str(data) == "-":
        if out is not None:
            raise click.UsageError("--out is for files; standard input is answered on standard output")
        if is_images:
            raise InputError("standard input takes rows, this model scores images; name a folder or an image file")
        found = _score_stdin(detector, _form(**form), watch, stop_on_bad)
    elif is_images:
        summary = _score_images(detector, data, out, heat_maps, watch, force=force, stop_on_bad=stop_on_bad)
        found, refused = summary.anomalies > 0, "bad" in summary.by_status
    else:
        summary = _score_csv(detector, data, out, _form(**form), watch, force=force, stop_on_bad=stop_on_bad)
        found = summary.anomalies > 0
    if found and fail_on_anomaly:
        sys.exit(EXIT_ANOMALY)
    if refused:
        sys.exit(EXIT_REFUSED)


def _watch(detector: Detector, adaptive: bool) -> Watch:
    from vae_detect.runtime.scoring.results import Watch

    return Watch(detector, adaptive=adaptive)


def _score_images(
    detector: Detector,
    data: Path,
    out: Path | None,
    heat_maps: Path | None,
    watch: Watch,
    *,
    force: bool,
    stop_on_bad: bool,
) -> Summary:
    from vae_detect.runtime.batch.scores import find_images, picture_paths, score_files

    files, others = find_images(data)
    if others:
        _say(f"{others} files in {data} passed over, since their names do not end like those of images")
    paths = [] if heat_maps is None else picture_paths(heat_maps, data, files, what="heat map", force=force)
    # One image that cannot be read is a mistake to be told, in many it is a result.
    stop_on_bad = stop_on_bad or not data.is_dir()
    results = score_files(detector, files, stop_on_bad=stop_on_bad, heat_maps=paths, watch=watch)
    summary = _write(results, out, files, force=force)
    _say(summary.describe("images"))
    _say_if_broken(watch)
    return summary


def _score_csv(
    detector: Detector, data: Path, out: Path | None, form: TableFormat, watch: Watch, *, force: bool, stop_on_bad: bool
) -> Summary:
    from vae_detect.runtime.batch.scores import ignored_columns, refuse_folder, score_file

    refuse_folder(detector, data)
    ignored = ignored_columns(detector, data, form)
    if ignored:
        _say(f"columns of {data} that the model does not use: {', '.join(ignored)}")
    summary = _write(score_file(detector, data, form, stop_on_bad=stop_on_bad, watch=watch), out, force=force)
    _say(summary.describe())
    _say_if_broken(watch)
    return summary


def _say_if_broken(watch: Watch) -> None:
    if watch.monitor.first_report is not None:
        _say(watch.monitor.describe())


def _write(results: Iterator[Results], out: Path | None, files: Sequence[ImageFile] = (), *, force: bool) -> Summary:
    from vae_detect.runtime.batch.scores import write_scores, written_aside

    if out is None:
        return write_scores(results, sys.stdout, files)
    with written_aside(out, force=force) as file:
        return write_scores(results, file, files)


def _score_stdin(detector: Detector, form: TableFormat, watch: Watch, stop_on_bad: bool) -> bool:
    import msgspec

    from vae_detect.runtime.scoring.results import BAD
    from vae_detect.runtime.streams.lines import score_lines

    found, held = False, True
    for result in score_lines(detector, sys.stdin.buffer, form, watch=watch):
        if stop_on_bad and result["status"] == BAD:
            raise InputError(f"standard input: row {result['row']}, {result['reason']}", row=result["row"])
        sys.stdout.write(msgspec.json.encode(result).decode() + "\n")
        sys.stdout.flush()
        found = found or bool(result["is_anomaly"])
        if watch.monitor.holds is not held:
            held = watch.monitor.holds
            _say(watch.monitor.describe())
    return found


@commands.command()
@_model_options
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 takes a free one."
)
@_adaptive_option
def serve(model: Path, provider: str, threads: int, host: str, port: int, adaptive: bool) -> None:
    """Serve a detector over HTTP: POST /score, GET /model /healthz /readyz /metrics.

    \b
    vae-detect serve --model exported/vae.onnx
    curl -d '[1450, 172.1, 0.33, 3.3, 33.1, 19.4, 40.2, 1.9]' 'http://127.0.0.1:8000/score?explain=1'
    """
    with _needs("serve"):
        from vae_detect.runtime.service.server import serve as run
    run(lambda: _load(model, provider, threads), host=host, port=port, announce=_say, adaptive=adaptive)


@commands.command()
@click.option("--url", default="http://127.0.0.1:8000", show_default=True, help="Where the service listens.")
@click.option("--timeout", default=5.0, show_default=True, type=click.FloatRange(0.1), help="Seconds to wait.")
def health(url: str, timeout: float) -> None:
    """Exit with 0 when a running service is ready, for container health checks."""
    from vae_detect.runtime.service.server import check

    problem = check(f"{url.rstrip('/')}/readyz", timeout)
    if problem:
        raise InputError(problem)
    click.echo("ready")


@commands.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Everything but the golden rows, as JSON.")
def inspect(model: Path, as_json: bool) -> None:
    """Show what the detector MODEL is."""
    bundle = _load(model, "cpu", 1).bundle
    click.echo(bundle.facts_json() if as_json else bundle.describe())


@commands.command()
@click.argument("data", type=click.Path(exists=True, path_type=Path))
@_model_options
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The table to write, NAME.csv or NAME.parquet.",
)
@click.option(
    "--picture", type=click.Path(dir_okay=False, path_type=Path), help="A PNG to draw too: the codes as points."
)
@click.option("--force", is_flag=True, help="Replace --out and --picture when they exist.")
@_table_options
def encode(
    data: Path, model: Path, provider: str, threads: int, out: Path, picture: Path | None, force: bool, **form: Any
) -> None:
    """Write the code of every row of DATA, a CSV, or of every image of DATA, a folder.

    \b
    vae-detect encode recording.csv --model exported/vae.onnx --out codes.csv --picture codes.png
    """
    from vae_detect.runtime.batch.codes import write_codes

    draw: Draw | None = None
    if picture is not None:
        with _needs("train"):
            from vae_detect.training.evaluation.pictures import draw_codes

            draw = draw_codes
    detector = _load(model, provider, threads)
    outcome = write_codes(detector, data, out, form=_form(**form), picture=picture, draw=draw, force=force)
    _end(outcome)


@commands.command()
@click.argument("data", type=click.Path(exists=True, path_type=Path))
@_model_options
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="The CSV to write; for images the folder to write PNGs into.",
)
@click.option("--force", is_flag=True, help="Replace --out, or images in it, when they exist.")
@_table_options
def reconstruct(data: Path, model: Path, provider: str, threads: int, out: Path, force: bool, **form: Any) -> None:
    """Write what the model expects instead of every row of DATA, a CSV, or instead of every image of DATA, a folder.

    \b
    vae-detect reconstruct recording.csv --model exported/vae.onnx --out expected.csv
    """
    from vae_detect.runtime.batch.reconstructions import write_reconstructions

    outcome = write_reconstructions(_load(model, provider, threads), data, out, form=_form(**form), force=force)
    _end(outcome)


def _end(outcome: Outcome) -> None:
    _say(outcome.describe())
    if outcome.kind == "images" and "bad" in outcome.by_status:
        sys.exit(EXIT_REFUSED)


@commands.command()
@_model_options
@click.option("--n", default=64, show_default=True, type=click.IntRange(1), help="How many rows, windows or images.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Another seed gives other samples.")
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The CSV to write; for images a PNG with all of them.",
)
@click.option("--force", is_flag=True, help="Replace --out when it exists.")
def sample(model: Path, provider: str, threads: int, n: int, seed: int, out: Path, force: bool) -> None:
    """Write new rows, windows or images like those that the model learnt from.

    \b
    vae-detect sample --model exported/vae.onnx --n 100 --out new.csv
    """
    from vae_detect.runtime.batch.reconstructions import write_samples

    write_samples(_load(model, provider, threads), n, out, seed=seed, force=force)


@commands.command()
@click.argument("data", type=click.Path(exists=True, path_type=Path))
@_model_options
@click.option("--labels", help="Column of DATA with 0 and 1, or a CSV file with one such column; not for images.")
@_adaptive_option
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.html",
    help="Write a page with curves, calibration and the worst mistakes too.",
)
@click.option("--force", is_flag=True, help="Replace --report when it exists.")
@click.option(
    "--point-adjust", is_flag=True, help="Add point-adjusted figures, which flatter, to compare with papers that do."
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@_table_options
def evaluate(
    data: Path,
    model: Path,
    provider: str,
    threads: int,
    labels: str | None,
    adaptive: bool,
    report: Path | None,
    force: bool,
    point_adjust: bool,
    as_json: bool,
    **form: Any,
) -> None:
    """Measure a detector on DATA, a labelled CSV or a folder of images, beside a z-score and chance.

    In a folder the images under "good" are normal, and those of every other folder are not. The threshold is the one
    in the model file; none is ever chosen on these labels.

    \b
    vae-detect evaluate faults.csv --labels label --model exported/vae.onnx --report faults.html
    vae-detect evaluate boards --model boards.onnx
    """
    with _needs("train"):
        import msgspec

        from vae_detect.training.evaluation.evaluate import evaluate as run
    evaluation = run(
        _load(model, provider, threads),
        data,
        labels,
        _form(**form),
        adaptive=adaptive,
        point_adjusted=point_adjust,
        report=report,
        force=force,
    )
    click.echo(msgspec.json.encode(evaluation) if as_json else evaluation.describe())


@commands.command()
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
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="CSV to write.  [default: standard output]"
)
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
    from vae_detect.runtime.batch.scores import written_aside
    from vae_detect.runtime.simulation import FAULTS, Fault, csv_lines, parse_duration
    from vae_detect.runtime.simulation import simulate as run

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
        with written_aside(out, force=force) as file:
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
