"""vae-detect train."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...runtime.commands.options import OutPath, model_files
from ...runtime.commands.prometheus_options import Asked, SourcePath, files_in, prometheus_options, tables_of
from ...runtime.commands.terminal import leads, needs, say
from ...runtime.output import keep_inputs
from ...runtime.prometheus.address import Address, is_address
from .data_options import data_options, read_data_options
from .made import print_made

if TYPE_CHECKING:
    from ..fitting.fit import Epoch


def split_words(
    ctx: click.Context, parameter: click.Parameter, words: tuple[str, ...]
) -> tuple[list[Path | Address], list[str]]:
    """What is learnt from, and settings: words with = that are no files and no addresses."""
    settings = [word for word in words if "=" in word and not is_address(word) and not Path(word).exists()]
    data = [SourcePath().convert(word, parameter, ctx) for word in words if word not in settings]
    if not data:
        raise click.MissingParameter(ctx=ctx, param=parameter)
    return data, settings


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="DATA... [NAME=VALUE]...", callback=split_words)
@click.option(
    "--out",
    required=True,
    type=OutPath(),
    help="The scorer to write, NAME.onnx; NAME.encoder.onnx and NAME.decoder.onnx go beside it.",
)
@click.option(
    "--kind",
    type=click.Choice(["rows", "windows", "images"]),
    help="Rows on their own, windows of successive rows scored at the newest, or images.  [default: windows where rows "
    "follow each other in time, else rows; images when DATA is a folder of them]",
)
@click.option("--window", type=click.IntRange(2), help="Rows in a window.  [default: from the data]")
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
    "--normal",
    multiple=True,
    metavar="FOLDER",
    help="Of images: the name of a folder of normal ones, to learn from it alone; again for more.  [default: all]",
)
@data_options
@prometheus_options
@click.option(
    "--far",
    help="Promised false-alarm rate: 0.001 or 0.1% of rows, or 1/day.  [default: 0.01, or what the rows support]",
)
@click.option("--rate", metavar="RATE", help="Rows per time, like 10Hz or 1/min, for --far 1/day without time stamps.")
@click.option(
    "--device", default="auto", show_default=True, type=click.Choice(["auto", "cpu", "cuda"]), help="Where to train."
)
@click.option("--licence", default="", help="Licence of the model, kept in the file.")
@click.option(
    "--overridable",
    is_flag=True,
    help="Let threshold, noise and p-value table be inputs of the scorer, with defaults. ONNX Runtime warns of each.",
)
@click.option("--force", is_flag=True, help="Replace --out when it exists.")
@click.option(
    "--resume",
    is_flag=True,
    help="Go on from the checkpoint that a stopped run left beside --out, or begin where there is none yet.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was made as JSON.")
def train(
    words: tuple[list[Path | Address], list[str]],
    assignments: tuple[str, ...],
    config: Path | None,
    rate: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Learn from DATA, tables of normal operation or a folder of normal images, and export a detector.

    Tables are files, folders of them and patterns like 'logs/*.csv'; each file is a recording of its own. Or DATA is a
    Prometheus, prometheus+http://HOST:9090/, which is asked a --query for each column.

    \b
    vae-detect train normal.csv --out exported/vae.onnx
    vae-detect train normal.csv --kind windows --window 32 --far 1/day --out pump.onnx
    vae-detect train boards/train/good --recipe conv --size 64 --out boards.onnx
    """
    data, more_assignments = words
    keep_inputs(model_files(options["out"]), [*files_in(data), config])
    from ..settings.config import configure, read_settings
    from ..settings.rates import parse_rate

    settings = read_settings(config, (*assignments, *more_assignments))
    flags = {name: options.pop(name) for name in ("kind", "window", "stride", "recipe", "size")}
    settings.update({name: value for name, value in flags.items() if value is not None})
    if len(data) == 1 and _is_of_images(files_in(data)):
        settings.setdefault("kind", "images")
    chosen = configure({"kind": "windows", **settings})  # for what is wrong whatever the data
    options["rate_hz"] = parse_rate(rate) if rate else None
    with needs("train"):  # after the settings: wrong ones need not wait for torch, which takes seconds to import
        from ..train import train as run

        selection, layout = read_data_options(options)
        selection = replace(selection, normal=options.pop("normal"))
        out = options.pop("out")
        asked = Asked.take(options)
        if selection.time_column is not None and len(files_in(data)) < len(data):
            raise click.UsageError("--time-column is for files; a Prometheus tells the time itself")
        with tables_of(data, asked, layout) as (tables, form), _progress(chosen.epochs) as (talk, report):
            made = run(tables, out, settings, selection=selection, layout=form, say=talk, report=report, **options)
    if made is not None:
        print_made(made.files, made.bundle, as_json=as_json)


def _is_of_images(data: Sequence[Path]) -> bool:
    if not data or not data[0].is_dir():
        return False
    from ..data.inputs import holds_images

    return holds_images(data[0])


@contextmanager
def _progress(epochs: int) -> Iterator[tuple[Callable[[str], None], Callable[[Epoch], None]]]:
    """A bar on standard error: what writes a line above it, and what moves it. Without a terminal it is lines."""
    if not sys.stderr.isatty():
        yield say, Lines(epochs)
        return
    from tqdm import tqdm

    bar = tqdm(total=epochs, unit="epoch", disable=not leads(), file=sys.stderr)

    def report(epoch: Epoch) -> None:
        bar.update(epoch.number - bar.n)
        shown = {name: f"{getattr(epoch, name):.3f}" for name in ("loss", "reconstruction", "kl", "validation")}
        bar.set_postfix(shown)

    with bar:
        yield lambda text: bar.write(text, file=sys.stderr), report


class Lines:
    """Progress for a log: a line after an epoch, when none was written for `EVERY_S`."""

    EVERY_S = 10.0

    def __init__(self, epochs: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._epochs, self._clock = epochs, clock
        self._start = self._last = clock()
        self._first: int | None = None

    def __call__(self, epoch: Epoch) -> None:
        """Takes note of an epoch."""
        now = self._clock()
        if self._first is None:
            self._first = epoch.number - 1  # a resumed run begins later
        if now - self._last < self.EVERY_S:
            return
        self._last = now
        left_s = (now - self._start) / (epoch.number - self._first) * (self._epochs - epoch.number)
        left = f"{left_s / 60:.0f} min" if left_s > 120 else f"{left_s:.0f} s"
        say(
            f"epoch {epoch.number} of {self._epochs}: loss {epoch.loss:.3f}, validation {epoch.validation:.3f}, "
            f"at most {left} left"
        )
