"""Options of `score` about where else its results go, and what takes them there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from ..bundle import Bundle
from ..prometheus.address import Address
from ..scoring.results import Results
from .options import NamedPath, OutPath
from .prometheus_options import Asked, ToAddress, client_of

if TYPE_CHECKING:
    from ..prometheus.remote_write import RemoteWriter
    from ..prometheus.textfile import RunCounts


def sink_options(command: Any) -> Any:
    for option in reversed(
        [
            click.option(
                "--to",
                type=ToAddress(),
                metavar="URL",
                help="Write scores and verdicts to a Prometheus too, prometheus+http://HOST:9090/, by remote write.",
            ),
            click.option("--to-token-file", type=NamedPath(), help="The token that --to asks for is in this file."),
            click.option(
                "--metrics-textfile",
                type=OutPath(),
                metavar="PATH.prom",
                help="Write what the run came to for the textfile collector of node_exporter; replaced each time.",
            ),
        ]
    ):
        command = option(command)
    return command


class Sinks(NamedTuple):
    """What sees the results on their way."""

    writer: RemoteWriter | None
    counts: RunCounts | None
    textfile: Path | None

    @classmethod
    def take(cls, options: dict[str, Any], asked: Asked, bundle: Bundle, model: Path, *, is_stream: bool) -> Sinks:
        """Takes these options out of all of a command."""
        to, token_file, textfile = (options.pop(name) for name in ("to", "to_token_file", "metrics_textfile"))
        if is_stream and (to is not None or textfile is not None):
            raise click.UsageError("--to and --metrics-textfile are for files; standard input has no end")
        if token_file is not None and to is None:
            raise click.UsageError("--to-token-file goes with --to, which says whose token it is")
        return cls(
            None if to is None else _writer(to, token_file, asked, bundle, model),
            None if textfile is None else _counts(textfile, bundle, model),
            textfile,
        )

    def seen(self, results: Iterator[Results]) -> Iterator[Results]:
        """The same results, seen."""
        for each in results:
            if self.writer is not None:
                self.writer.add(each)
            if self.counts is not None:
                self.counts.add(each)
            yield each

    def finish(self) -> None:
        """All results were seen."""
        if self.counts is not None and self.textfile is not None:
            self.counts.write(self.textfile)


def _writer(to: Address, token_file: Path | None, asked: Asked, bundle: Bundle, model: Path) -> RemoteWriter:
    from ..prometheus.remote_write import RemoteWriter

    if bundle.kind == "images":
        raise click.UsageError("--to writes scores at the times of rows, and this model scores images")
    return RemoteWriter(client_of(to, token_file, asked.ca_file, option="--to-token-file"), model.stem)


def _counts(textfile: Path, bundle: Bundle, model: Path) -> RunCounts:
    from ..prometheus.textfile import RunCounts, check_textfile

    check_textfile(textfile)
    return RunCounts(bundle, model.stem)
