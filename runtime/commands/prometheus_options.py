"""Options of the commands that read from a Prometheus, and what is read."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from msgspec.structs import replace

from ..bundle import Bundle
from ..errors import InputError, few
from ..layout import Declared, Layout, Stamps, TableFormat
from ..opening import read_whole
from ..prometheus.address import Address, is_address
from .options import DataPath, NamedPath, Whole
from .service_options import TOKEN
from .terminal import say

if TYPE_CHECKING:
    from ..prometheus.client import Client
    from ..prometheus.moments import Grid

MOST_POINTS = 10_000_000
"""Values that are read without another --most-points: a month of 58 columns every 15 s, about 100 MB of text."""

_TOKEN_BYTES = 1 << 16

_WARNINGS = 3
"""Of the server, that are told."""


class SourcePath(DataPath):
    """What `DataPath` takes, or the address of a Prometheus."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and is_address(value):
            return Address.parse(value)
        return super().convert(value, param, ctx)


if TYPE_CHECKING:
    _OfAddresses = click.ParamType[Address]
else:  # which takes no type before click 8.4
    _OfAddresses = click.ParamType


class ToAddress(_OfAddresses):
    """The address of a Prometheus."""

    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        return value if isinstance(value, Address) else Address.parse(value)


def prometheus_options(command: Any) -> Any:
    """What is read of DATA that is a Prometheus."""
    for option in reversed(
        [
            click.option(
                "--query",
                "queries",
                multiple=True,
                type=Whole(),
                metavar="NAME=PROMQL",
                help="A column and the query that gives it, of DATA that is a Prometheus; again for each.",
            ),
            click.option("--start", metavar="TIME", help="Of what is read: 2026-01-05T06:00:00Z, seconds, or -30d."),
            click.option("--end", default="now", show_default=True, metavar="TIME", help="Likewise, included."),
            click.option("--step", metavar="TIME", help="Time from row to row, like 15s.  [default: as the model has]"),
            click.option(
                "--most-points",
                default=MOST_POINTS,
                show_default=True,
                type=click.IntRange(1),
                help="Values that are read at most; more are refused before.",
            ),
            click.option(
                "--token-file",
                type=NamedPath(),
                help=f"The token that the Prometheus asks for is in this file. {TOKEN} may hold it instead.",
            ),
            click.option(
                "--ca-file",
                type=NamedPath(),
                help="Who may vouch for an https server (PEM).  [default: who the system trusts]",
            ),
        ]
    ):
        command = option(command)
    return command


class Asked(NamedTuple):
    """What these options say."""

    queries: tuple[str, ...]
    start: str | None
    end: str
    step: str | None
    most_points: int
    token_file: Path | None
    ca_file: Path | None

    @classmethod
    def take(cls, options: dict[str, Any]) -> Asked:
        """Takes them out of all options of a command."""
        return cls(**{name: options.pop(name) for name in cls._fields})

    def client(self, address: Address) -> Client:
        """Asks this server as these options say."""
        return client_of(address, self.token_file, self.ca_file, text=os.environ.get(TOKEN))


def files_in(data: Sequence[Path | Address]) -> list[Path]:
    """What is named that is a file."""
    return [path for path in data if isinstance(path, Path)]


@contextmanager
def tables_of(
    data: Sequence[Path | Address], asked: Asked, layout: Layout, bundle: Bundle | None = None
) -> Iterator[tuple[list[Path], Layout]]:
    """The files that are named, or one of what a Prometheus tells, which is there until the block ends; and how they
    are written.

    Parameters
    ----------
    bundle : of the detector that scores them, which may know queries and the step; None where one is to be trained
    """
    address = next((each for each in data if isinstance(each, Address)), None)
    if address is None:
        if asked.queries or asked.start is not None or asked.step is not None:
            raise click.UsageError("--query, --start and --step are for DATA like prometheus+http://HOST:9090/")
        yield files_in(data), layout
        return
    if len(data) > 1:
        raise click.UsageError("a Prometheus is read alone: name one address, and no file beside it")
    if layout.declared not in (None, Declared()) or layout.long is not None:
        raise click.UsageError("how text is written, like --delimiter, --time-format and --long, is for files")
    from ..prometheus.fetching import fetched
    from ..prometheus.range_reader import TIME, RangeReader

    key = layout.key if bundle is None else bundle.data.layout.key
    queries = queries_of(asked.queries, bundle, taken=(TIME, key))
    grid = _grid_of(asked, bundle)
    reader = RangeReader(asked.client(address), queries, key=key, most_points=asked.most_points)
    with fetched(reader, grid) as (path, rows):
        say(f"{address}: {rows} rows of {len(queries)} queries, {grid}")
        for warning in [*reader.warnings][:_WARNINGS]:
            say(f"{address} warns: {warning}")
        yield [path], replace(layout, format=TableFormat(), declared=None, stamps=Stamps(TIME), queries=queries)


def queries_of(given: Sequence[str], bundle: Bundle | None, *, taken: Sequence[str | None]) -> dict[str, str]:
    """PromQL by column: those of the model, and those that are given, which win."""
    found: dict[str, str] = {}
    for text in given:
        name, equals, promql = (part.strip() for part in text.partition("="))
        if not (name and equals and promql) or re.search(r'[{"\n]', name):
            raise click.UsageError(f"--query {text}: expected NAME=PROMQL, like 'flow=sum(rate(flow_total[5m]))'")
        if name in found or name in taken:
            raise click.UsageError(f"--query {text}: there is a column {name!r} already")
        found[name] = promql
    if bundle is None:
        if not found:
            raise click.UsageError("--query is missing: a NAME=PROMQL for each column")
        return found
    if bundle.image is not None:
        raise InputError("this model scores images, and a Prometheus has none")
    found = {name: promql for name, promql in bundle.data.layout.queries.items() if name in bundle.names} | found
    lacking = [each.name for each in bundle.columns if each.name not in found and each.treatment != "class"]
    if lacking:
        raise InputError(f"the model knows no query of {few(map(repr, lacking))}: --query '{lacking[0]}=PROMQL'")
    return found


def _grid_of(asked: Asked, bundle: Bundle | None) -> Grid:
    from ..prometheus.moments import Grid, parse_duration, parse_moment

    period_s = None if bundle is None else bundle.data.period_s
    if asked.start is None:
        raise click.UsageError("--start is missing: a time like 2026-01-05T06:00:00Z, or -30d")
    if asked.step is None and period_s is None:
        raise click.UsageError("--step is missing: the time from row to row, like 15s")
    step_ms = round((period_s or 0) * 1000) if asked.step is None else parse_duration(asked.step)
    if period_s is not None and abs(step_ms / 1000 / period_s - 1) > 0.01:
        say(f"--step is {step_ms / 1000:g} s, and the model was trained on a row every {period_s:g} s")
    now = time.time()
    return Grid.between(parse_moment(asked.start, now), parse_moment(asked.end, now), step_ms)


def client_of(
    address: Address,
    token_file: Path | None,
    ca_file: Path | None,
    *,
    text: str | None = None,
    option: str = "--token-file",
) -> Client:
    """Asks this server, with the token of the file that `option` names, or with that of the environment, `text`."""
    from ..prometheus.client import Client

    if token_file is not None and text is not None:
        raise InputError(f"the token comes from {option} or from {TOKEN}, not from both")
    token = None
    if token_file is not None:
        try:
            content = read_whole(token_file, most=_TOKEN_BYTES)
        except InputError as error:
            raise InputError(f"{token_file}: {error}") from None
        token = _token_in(content.decode(errors="replace"), str(token_file))
    elif text is not None:
        token = _token_in(text, TOKEN)
    if token is not None and not address.is_encrypted and not address.is_local:
        say(f"{address}: the token goes there unencrypted; prometheus+https:// would encrypt it")
    return Client(address, token=token, ca_file=ca_file, option=option)


def _token_in(text: str, source: str) -> str:
    """The only line that is neither blank nor a comment. Raises InputError without repeating any of it."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if len(lines) != 1 or not lines[0].isascii() or not lines[0].isprintable() or " " in lines[0]:
        raise InputError(f"{source}: expected one line, a token of printable ASCII without blanks")
    return lines[0]
