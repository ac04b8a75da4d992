"""vae-detect health."""

from __future__ import annotations

import click

from ..errors import InputError


@click.command()
@click.option("--url", default="http://127.0.0.1:8000", show_default=True, help="Where the service listens.")
@click.option("--timeout", default=5.0, show_default=True, type=click.FloatRange(0.1), help="Seconds to wait.")
def health(url: str, timeout: float) -> None:
    """Exit with 0 when a running service is ready, for container health checks."""
    from ..service.server import check

    problem = check(f"{url.rstrip('/')}/readyz", timeout)
    if problem:
        raise InputError(problem)
    click.echo("ready")
