"""vae-detect dashboard."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..monitoring.formats import FORMATS, all_dashboards, files_of, of_model, text_of
from ..output import keep_existing, write_together
from .options import NamedPath, OutPath

if TYPE_CHECKING:
    from ..monitoring.facts import Facts


@click.command()
@click.option(
    "--model",
    "-m",
    multiple=True,
    type=NamedPath(),
    metavar="[NAME=]PATH",
    help="A scorer file, or a folder of them, as for `serve`: its dashboard names its columns, shows what its recipe "
    "has, and begins with it.  [default: a dashboard for any model]",
)
@click.option(
    "--format",
    "form",
    default=FORMATS[0],
    show_default=True,
    type=click.Choice(FORMATS),
    help="grafana-v1 for files and Grafana up to 12, grafana-v2 for the API of Grafana 13, perses, or a mixin in "
    "Jsonnet.",
)
@click.option(
    "--out",
    type=OutPath(file=False, folder=True),
    help="A folder to write all dashboards to: fleet, model, service, and one for each --model.  [default: that of the "
    "model, to standard output]",
)
@click.option("--force", is_flag=True, help="Replace files in --out that exist.")
def dashboard(model: tuple[Path, ...], form: str, out: Path | None, force: bool) -> None:
    """Write dashboards for Grafana or Perses, which show what `serve` tells Prometheus.

    \b
    vae-detect dashboard --model exported/vae.onnx > vae.json
    vae-detect dashboard --model exported/vae.onnx --out dashboards
    """
    models = _facts(model)
    if out is None:
        if len(models) > 1:
            raise click.UsageError(f"--model names {len(models)} models; name one, or a folder for all with --out")
        click.echo(text_of(of_model(models[0] if models else None), form), nl=False)
        return
    texts = {out / name: text.encode() for name, text in files_of(all_dashboards(models), form).items()}
    keep_existing(texts, force=force)
    write_together(texts)


def _facts(given: tuple[Path, ...]) -> list[Facts]:
    """Of each model, by the name that `serve` gives it."""
    if not given:
        return []
    from ..monitoring.facts import read_facts
    from ..service.reloading import Sources

    return [read_facts(name, path) for name, path in Sources.parse(map(str, given)).models().items()]
