"""Options that several commands share, and what is made of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..detector import Detector
from ..layout import DELIMITERS, Declared, Layout
from ..rows.table_files import is_pattern
from ..rows.zones import check_zone
from ..session import PROVIDERS, Library, register_library
from ..verification import PARTS, part_file
from .terminal import say

if TYPE_CHECKING:
    _OfLibraries = click.ParamType[Library]
else:  # which takes no type before click 8.4
    _OfLibraries = click.ParamType


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


class Whole(click.types.StringParamType):
    """A text that may hold blanks, also where it is set in the environment, which click would cut at them."""

    def split_envvar_value(self, rv: str) -> list[str]:
        return [rv]


def model_files(model: Path) -> list[Path]:
    """A scorer, and the two parts beside it."""
    return [model, *(part_file(model, name) for name in PARTS)]


class _LibraryType(_OfLibraries):
    """NAME=PATH, and after commas the provider's own options; a comma within one of their values is part of it."""

    name = "library"
    envvar_list_splitter = os.pathsep

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Library:
        if isinstance(value, Library):
            return value
        name, _, rest = value.partition("=")
        path, *settings = rest.split(",")
        if not name or not path:
            self.fail(f"{value!r} is not NAME=PATH", param, ctx)
        if name in ("auto", *PROVIDERS):
            self.fail(f"{name!r} is what ONNX Runtime itself has; give the library another name", param, ctx)
        options: dict[str, str] = {}
        for setting in settings:
            key, equals, text = setting.partition("=")
            if equals and key:
                options[key] = text
            elif options:
                options[[*options][-1]] += f",{setting}"
            else:
                self.fail(f"{setting!r} after the path is not KEY=VALUE", param, ctx)
        return Library(name, Path(path), options)


class _ProviderType(click.Choice[str]):
    """The providers of ONNX Runtime, and those of the libraries that are named beside them."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        named = [] if ctx is None else [library.name for library in ctx.meta.get(_LIBRARIES, ())]
        return click.Choice([*self.choices, *named]).convert(value, param, ctx)


_LIBRARIES = f"{__name__}.libraries"
"""Where the libraries of this command line are kept for --provider, which is read after them."""


def _note_libraries(ctx: click.Context, param: click.Parameter, libraries: tuple[Library, ...]) -> tuple[Library, ...]:
    names = [library.name for library in libraries]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise click.BadParameter(f"{twice!r} is named twice", ctx, param)
    ctx.meta[_LIBRARIES] = libraries
    return libraries


def _register_libraries(ctx: click.Context, param: click.Parameter, libraries: tuple[Library, ...]) -> None:
    for library in _note_libraries(ctx, param, libraries):
        if not ctx.resilient_parsing:
            register_library(library)


def provider_options(command: Any) -> Any:
    """Where and how a model runs."""
    return _provider_options(command, expose_value=False, callback=_register_libraries)


def unregistered_provider_options(command: Any) -> Any:
    """The same for a command that registers the libraries itself, and is handed them as `ep_library`."""
    return _provider_options(command, callback=_note_libraries)


def _provider_options(command: Any, **of_libraries: Any) -> Any:
    for option in reversed(
        [
            click.option(
                "--ep-library",
                multiple=True,
                is_eager=True,
                type=_LibraryType(),
                metavar="NAME=PATH[,KEY=VALUE...]",
                **of_libraries,
                help="A plug-in library with an execution provider, for --provider NAME. Its code is run: name only "
                "what you trust.",
            ),
            click.option(
                "--provider",
                default="auto",
                show_default=True,
                type=_ProviderType(["auto", *PROVIDERS]),
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


def model_options(command: Any) -> Any:
    required = click.option("--model", "-m", required=True, type=NamedPath(), help="The scorer file, NAME.onnx.")
    return required(provider_options(command))


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


fdr_option = click.option(
    "--fdr",
    type=click.FloatRange(0, 0.5, min_open=True),
    metavar="SHARE",
    help="In place of the threshold keep the share of false alarms among the alarms remembered, like 0.1.  [default: "
    "the threshold of the model]",
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
