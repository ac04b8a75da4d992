"""vae-detect serve."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from .options import adaptive_option, load_detector, model_options
from .service_options import access_of, service_options, where_of
from .terminal import needs


@click.command()
@model_options
@service_options
@adaptive_option
def serve(
    model: Path, provider: str, threads: int, adaptive: bool, log_format: str, log_alarms: bool, **process: Any
) -> None:
    """Serve a detector over HTTP: POST /score, GET /model /healthz /readyz /metrics.

    \b
    vae-detect serve --model exported/vae.onnx
    curl -d '[1450, 172.1, 0.33, 3.3, 33.1, 19.4, 40.2, 1.9]' 'http://127.0.0.1:8000/score?explain=1'
    """
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
        signal.signal(signal.SIGHUP, _ignore)
    with needs("serve"):
        from ..service.logs import log_to_standard_error
        from ..service.server import serve as run
    with log_to_standard_error(json=log_format == "json", alarms=log_alarms) as log:
        run(
            lambda: load_detector(model, provider, threads),
            name=model.stem,
            where=where_of(process),
            log=log,
            access=access_of(process, log),
            adaptive=adaptive,
        )


def _ignore(*_: object) -> None:
    """Says that a hangup changes nothing, past the buffer: a line may be on its way there when the signal comes."""
    with suppress(OSError):  # nobody listens
        os.write(2, b"SIGHUP is ignored; restart the service to serve another model\n")
