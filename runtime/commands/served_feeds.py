"""What `serve --from` feeds its models with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click

from ..service.feeds import Feed
from ..service.models import Served
from ..streams.payloads import Payloads
from ..streams.samples import Sink, Source
from .feed_options import Feeds, named_sources


def feeds_of(
    options: Feeds, sources: Sequence[str], sink: str | None, models: Sequence[str], say: Callable[[str], object]
) -> list[Feed]:
    """A feed for each --from.

    Parameters
    ----------
    models : their names
    say : told what happens, in lines

    Raises
    ------
    InputError
        when it is not clear which model is meant
    """
    if sink is not None and len(sources) != 1:
        raise click.UsageError("--to goes with one --from, whose results it takes")
    return [_feed(options, model, text, sink, sources, say) for model, text in named_sources(sources, models)]


def _feed(
    options: Feeds, model: str, text: str, sink: str | None, sources: Sequence[str], say: Callable[[str], object]
) -> Feed:
    def opened(served: Served) -> tuple[Source, Sink | None]:
        source = options.source(text, model, served.detector.bundle, say)
        return source, None if sink is None else options.sink(sink, model, sources, say)

    return Feed(model, opened, lambda served: Payloads(served.detector.bundle, options.input_format))
