"""Options that several commands share, and what is made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..detector import Detector
from ..layout import DELIMITERS, Declared, Layout
from ..rows.table_files import is_pattern
from ..rows.zones import check_zone
from .terminal import say


class NamedPath(click.Path):
    """A path; an empty name, like that of an unset variable, is none."""

    def __init__(self, *, file: bool = True, folder: bool = True) -> None:
        super().__init__(file_okay=file, dir_okay=folder, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not str(value):
            self.fail("is empty; name a file", param, ctx)
        return super().convert(value, param, ctx)


class OutPath(NamedPath):
    """A file, or a folder, that a command writes."""

    def __init__(self, *, file: bool = True, folder: bool = False) -> None:
        super().__init__(file=file, folder=folder)


class DataPath(click.Path):
    """A file or a folder that exists, or a pattern of files."""

    def __init__(self, *, dash: bool = False) -> None:
        super().__init__(exists=True, allow_dash=dash, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return Path(value) if is_pattern(Path(value)) else super().convert(value, param, ctx)


def model_files(model: Path) -> list[Path]:
    """A scorer, and the two parts beside it."""
    return [model, *(model.with_name(f"{model.stem}.{part}.onnx") for part in ("encoder", "decoder"))]


def model_options(command: Any) -> Any:
    for option in reversed(
        [
            click.option("--model", "-m", required=True, type=NamedPath(), help="The scorer file, NAME.onnx."),
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


def cell_options(command: Any) -> Any:
    for option in reversed(
        [
            click.option("--delimiter", help="What separates cells: , ; | tab or space.  [default: recognised]"),
            click.option("--decimal", type=click.Choice([".", ","]), help="The decimal mark.  [default: recognised]"),
            click.option("--encoding", help="Of the text, like cp1252.  [default: recognised]"),
            click.option(
                "--time-format",
                metavar="FORMAT",
                help="Of the time stamps, like '%d.%m.%Y %H:%M', or s, ms, us, ns of numbers.  [default: recognised]",
            ),
            click.option(
                "--time-zone",
                metavar="ZONE",
                help="Of time stamps that name none, like Europe/Berlin.  [default: UTC, or that of the training data]",
            ),
        ]
    ):
        command = option(command)
    return command


class PortOption(click.Option):
    """A port, of which Kubernetes may tell something else: for a service that is named like the variable of this option
    it sets the variable to tcp://ADDRESS:PORT, in every container."""

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        value = super().resolve_envvar_value(ctx)
        if value is None or "://" not in value:
            return value
        name = f"{ctx.auto_envvar_prefix}_{str(self.name).upper()}"
        say(f"{name} is {value}, an address that Kubernetes sets and no port; it is ignored")
        return None


adaptive_option = click.option(
    "--adaptive",
    is_flag=True,
    help="Let the threshold follow the data so that the alarm rate stays as promised; a lasting fault is learnt as "
    "normal.",
)


def table_options(command: Any) -> Any:
    no_header = click.option(
        "--no-header/--header",
        default=None,
        help="Whether the first row names the columns; without one they are found by their place.  [default: "
        "recognised]",
    )
    return cell_options(no_header(command))


def table_form(
    delimiter: str | None,
    decimal: str | None,
    encoding: str | None,
    no_header: bool | None = None,
    time_format: str | None = None,
    time_zone: str | None = None,
) -> Layout:
    """What was said of how a table is written; the rest is to be recognised."""
    return Layout(
        declared=Declared(
            DELIMITERS.get(delimiter, delimiter) if delimiter else None,
            decimal,
            encoding,
            None if no_header is None else not no_header,
            "" if time_format == "iso" else time_format,
            None if time_zone is None else check_zone(time_zone).key,
        )
    )


def load_detector(model: Path, provider: str, threads: int) -> Detector:
    return Detector.load(model, provider=provider, threads=threads)
