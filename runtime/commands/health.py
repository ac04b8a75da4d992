"""vae-detect health."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import InputError
from ..hosting.health import check
from .options import NamedPath
from .serve import serve
from .service_options import asked_at


@click.command()
@click.option(
    "--url",
    help="Where the service listens, like https://HOST:PORT or unix:PATH.  [default: where the VAE_DETECT_SERVE_ "
    "variables, or no options, put it]",
)
@click.option(
    "--ca-file",
    type=NamedPath(),
    help="Who may vouch for an https service (PEM).  [default: who the system trusts; without --url the certificate of "
    "VAE_DETECT_SERVE_TLS_CERT alone]",
)
@click.option("--timeout", default=5.0, show_default=True, type=click.FloatRange(0.1), help="Seconds to wait.")
@click.pass_context
def health(ctx: click.Context, url: str | None, ca_file: Path | None, timeout: float) -> None:
    """Exit with 0 when a running service is ready, for container health checks.

    Without --url it asks where `vae-detect serve` listens in the same environment.
    """
    own, certificate = _served_at(ctx) if url is None else (url, None)
    problem = check(own.rstrip("/"), "/readyz", timeout, ca_file=ca_file, certificate=certificate)
    if problem:
        raise InputError(problem)
    click.echo("ready")


def _served_at(ctx: click.Context) -> tuple[str, Path | None]:
    """Where `serve` without options is asked on this machine."""
    with click.Context(serve, ctx.parent, "serve") as serving:
        told = {
            str(option.name): option.handle_parse_result(serving, {}, [])[0]
            for option in serve.params
            if option.name in ("host", "port", "unix", "tls_cert")
        }
    # Since click 8.3 an option that was not given is no None here.
    return asked_at({name: value if isinstance(value, str | int | Path) else None for name, value in told.items()})
