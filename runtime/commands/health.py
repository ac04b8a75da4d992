"""vae-detect health."""

from __future__ import annotations

import ipaddress
from contextlib import suppress

import click

from ..errors import InputError
from ..service.health import check
from .serve import serve


@click.command()
@click.option(
    "--url", help="Where the service listens.  [default: where VAE_DETECT_SERVE_HOST and _PORT, or no options, put it]"
)
@click.option("--timeout", default=5.0, show_default=True, type=click.FloatRange(0.1), help="Seconds to wait.")
@click.pass_context
def health(ctx: click.Context, url: str | None, timeout: float) -> None:
    """Exit with 0 when a running service is ready, for container health checks.

    Without --url it asks where `vae-detect serve` listens in the same environment.
    """
    problem = check(f"{(url or _served_at(ctx)).rstrip('/')}/readyz", timeout)
    if problem:
        raise InputError(problem)
    click.echo("ready")


def _served_at(ctx: click.Context) -> str:
    """Where `serve` without options listens; an address that stands for all is asked on this machine."""
    with click.Context(serve, ctx.parent, "serve") as serving:
        told = {
            option.name: option.handle_parse_result(serving, {}, [])[0]
            for option in serve.params
            if option.name in ("host", "port")
        }
    host = told["host"]
    with suppress(ValueError):
        address = ipaddress.ip_address(host)
        if address.is_unspecified:
            host = "127.0.0.1" if address.version == 4 else "::1"
    return f"http://[{host}]:{told['port']}" if ":" in host else f"http://{host}:{told['port']}"
