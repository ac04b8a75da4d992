"""Options of `serve` about its process: where it listens, what it asks of clients, what it says."""

from __future__ import annotations

import ipaddress
import os
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import InputError
from .options import NamedPath, PortOption

if TYPE_CHECKING:
    from ..hosting.listening import Where
    from ..hosting.logs import Log
    from ..service.access import Access

TOKEN = "VAE_DETECT_TOKEN"
"""The variable that may hold tokens; an option would show them to every user of the machine."""


def service_options(command: Any) -> Any:
    for option in reversed(
        [
            click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on."),
            click.option(
                "--port",
                cls=PortOption,
                default=8000,
                show_default=True,
                type=click.IntRange(0, 65535),
                help="Port; 0 takes a free one.",
            ),
            click.option("--unix", type=NamedPath(), help="Listen on a Unix socket at this path, not on a port."),
            click.option(
                "--metrics-port",
                cls=PortOption,
                type=click.IntRange(0, 65535),
                help="Answer /metrics here and no more on --port, health on both; without asking for a token.",
            ),
            click.option("--metrics-host", help="Address of --metrics-port.  [default: as --host]"),
            click.option(
                "--token-file",
                type=NamedPath(),
                help=f"Ask every client for a token; the file has one a line. {TOKEN} may hold them instead.",
            ),
            click.option("--tls-cert", type=NamedPath(), help="Encrypt, by this certificate (PEM)."),
            click.option("--tls-key", type=NamedPath(), help="The key of --tls-cert (PEM, no passphrase)."),
            click.option(
                "--log-format",
                type=click.Choice(["text", "json"]),
                default="text",
                show_default=True,
                help="Of the lines on standard error; json tells of refused requests too.",
            ),
            click.option("--log-alarms", is_flag=True, help="Write a line for every alarm, up to 10 a second."),
        ]
    ):
        command = option(command)
    return command


def where_of(given: dict[str, Any]) -> Where:
    """The places that these options name."""
    from ..hosting.listening import Where

    where = Where(**{field.name: given[field.name] for field in fields(Where)})
    if where.metrics_host is not None and where.metrics_port is None:
        raise InputError("--metrics-host goes with --metrics-port, which says on which port")
    return where


def access_of(given: dict[str, Any], log: Log) -> Access:
    """What these options, and the variable `TOKEN`, ask of clients; warns of secrets that others can read."""
    from ..hosting.certificate import Certificate
    from ..service.access import Access, Tokens, readable_by_others

    token_file, certificate, key = (given[name] for name in ("token_file", "tls_cert", "tls_key"))
    if (certificate is None) != (key is None):
        one, other = ("--tls-cert", "--tls-key") if key is None else ("--tls-key", "--tls-cert")
        raise InputError(f"{one} needs {other}: a certificate and its key go together")
    text = os.environ.pop(TOKEN, None)
    if token_file is not None and text is not None:
        raise InputError(f"tokens come from --token-file or from {TOKEN}, not from both")
    access = Access(
        tokens=Tokens(token_file, str(token_file)) if token_file else Tokens(text, TOKEN) if text is not None else None,
        certificate=Certificate(certificate, key) if certificate else None,
    )
    for secret in (token_file, key):
        warning = readable_by_others(secret) if secret else ""
        if warning:
            log.event("readable_by_others", warning, level="warning", path=str(secret))
    return access


def asked_at(given: dict[str, Any]) -> tuple[str, Path | None]:
    """Where a service with these options is asked on its own machine, and the certificate that it then shows."""
    if given["unix"] is not None:
        return f"unix:{given['unix']}", None
    host, certificate = given["host"], given["tls_cert"]
    with suppress(ValueError):
        address = ipaddress.ip_address(host)
        if address.is_unspecified:
            host = "127.0.0.1" if address.version == 4 else "::1"
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if certificate else 'http'}://{shown}:{given['port']}", certificate
