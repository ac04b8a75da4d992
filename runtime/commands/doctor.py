"""vae-detect doctor."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ..doctor.examine import Asked, examine
from ..doctor.findings import as_json, as_text
from ..doctor.system import System
from ..errors import EXIT_ENVIRONMENT
from ..session import Library
from .options import NamedPath, unregistered_provider_options


@click.command()
@click.option("--model", "-m", type=NamedPath(), help="A scorer file to load and to measure, NAME.onnx.")
@unregistered_provider_options
@click.option("--json", "as_object", is_flag=True, help="The same as one JSON object.")
def doctor(model: Path | None, ep_library: tuple[Library, ...], provider: str, threads: int, as_object: bool) -> None:
    """Look at this machine when something is odd: a line for each check, and what to type.

    fine is in order, look is worth a look, wrong is to be mended: the exit code is then 3. What cannot be seen from
    here is unknown.

    \b
    vae-detect doctor
    vae-detect doctor --model exported/vae.onnx
    """
    findings = examine(Asked(model, provider, threads, ep_library), System())
    click.echo(as_json(findings) if as_object else as_text(findings))
    if any(finding.state == "wrong" for finding in findings):
        sys.exit(EXIT_ENVIRONMENT)
