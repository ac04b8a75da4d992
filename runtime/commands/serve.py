"""vae-detect serve."""

from __future__ import annotations

import signal
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import click

from .alarm_options import delivery_options, events_in, state_option, take_deliveries
from .feed_options import Feeds, delivering, feed_options, from_help, to_help
from .machine_options import machine_options, take_watching
from .options import NamedPath, load_detector, provider_options
from .service_options import access_of, service_options, where_of
from .terminal import needs


@click.command()
@click.option(
    "--model",
    "-m",
    required=True,
    multiple=True,
    type=NamedPath(),
    metavar="[NAME=]PATH",
    help="A scorer file, or a folder of them; again for several models, NAME=PATH where the file's name will not do.",
)
@provider_options
@service_options
@click.option(
    "--from",
    "sources",
    multiple=True,
    envvar="VAE_DETECT_SERVE_FROM",
    metavar="[NAME=]SOURCE",
    help=from_help(several=True),
)
@click.option("--to", "sink", envvar="VAE_DETECT_SERVE_TO", metavar="SINK", help=f"{to_help()}  [default: nowhere]")
@feed_options
@machine_options
@state_option()
@delivery_options
@click.option(
    "--shadow",
    multiple=True,
    metavar="NAME=PATH",
    help="Score with this file too, beside model NAME, and count where they differ.",
)
@click.option(
    "--max-series",
    type=click.IntRange(1),
    default=2000,
    show_default=True,
    help="Refuse a model with which /metrics would have more series.",
)
@click.option("--watch", is_flag=True, help="Load a model again when its file changes.")
def serve(
    model: tuple[Path, ...],
    provider: str,
    threads: int,
    sources: tuple[str, ...],
    sink: str | None,
    max_keys: int,
    state: Path | None,
    shadow: tuple[str, ...],
    max_series: int,
    watch: bool,
    log_format: str,
    log_alarms: bool,
    **process: Any,
) -> None:
    """Serve detectors over HTTP: a page at /, POST /score, the Open Inference Protocol, /model, /healthz, /metrics.

    With --from they score samples of other sources too. SIGHUP loads the models again; what cannot be trusted leaves
    the version before in its place.

    \b
    vae-detect serve --model exported/vae.onnx
    curl -d '[1450, 172.1, 0.33, 3.3, 33.1, 19.4, 40.2, 1.9]' 'http://127.0.0.1:8000/score?explain=1'
    vae-detect serve -m pump.onnx --state /var/lib/vae-detect --from 'mqtt://broker/plant/{key}/sensors'
    """
    _survive_hangups()
    with needs("serve"):
        from ..hosting.logs import log_to_standard_error
        from ..service.models import Keeping
        from ..service.reloading import Plan, Sources
        from ..service.server import serve as run
        from ..service.upkeep import Lasting
        from .served_feeds import feeds_of
    keeping, feeds = Keeping(take_watching(process), max_keys), Feeds.take(process)
    deliveries = take_deliveries(process)
    with log_to_standard_error(json=log_format == "json", alarms=log_alarms) as log:
        where, access, say = where_of(process), access_of(process, log), partial(log.event, "streams", level="warning")
        models = Sources.parse(map(str, model))
        with closing(events_in(state, say)) as events, delivering(deliveries, feeds, events, sources, say):
            plan = Plan(
                models,
                lambda path: load_detector(path, provider, threads),
                _by_name(shadow),
                watch,
                keeping,
                max_series,
                Lasting(state, feeds_of(feeds, sources, sink, [*models.models()], say)),
                events,
            )
            run(plan, where=where, log=log, access=access)


def _survive_hangups() -> None:
    """Until the service runs: its models are as new as can be."""
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
        signal.signal(signal.SIGHUP, lambda *_: None)


def _by_name(shadows: tuple[str, ...]) -> dict[str, Path]:
    found = {}
    for text in shadows:
        name, equals, path = text.partition("=")
        if not (name and equals and path) or name in found:
            raise click.UsageError(f"--shadow {text}: expected NAME=PATH, once for each model")
        found[name] = Path(path)
    return found
