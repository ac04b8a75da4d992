"""vae-detect stream."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import click

from ..alarms.event import Change
from ..alarms.store import EventStore
from ..stopping import Stopped
from ..streams.flow import Flow
from ..streams.intake import Intake
from ..streams.payloads import Payloads
from ..streams.samples import Answer, Sample
from ..streams.saving import Saving
from ..streams.score_log import ScoreLog
from ..streams.scorer import Scorer
from ..streams.taken import Taken
from .alarm_options import delivery_options, events_in, state_option, take_deliveries
from .feed_options import Feeds, delivering, feed_options, from_help, to_help
from .machine_options import machine_options, take_watching
from .options import load_detector, model_options, table_form, table_options
from .terminal import say


@click.command()
@model_options
@click.option(
    "--from",
    "source",
    required=True,
    envvar="VAE_DETECT_STREAM_FROM",
    metavar="SOURCE",
    help=from_help(several=False),
)
@click.option(
    "--to",
    "sink",
    default="-",
    show_default=True,
    envvar="VAE_DETECT_STREAM_TO",
    metavar="SINK",
    help=to_help(),
)
@feed_options
@table_options
@machine_options
@state_option()
@delivery_options
def stream(
    model: Path,
    provider: str,
    threads: int,
    source: str,
    sink: str,
    max_keys: int,
    state: Path | None,
    **form: Any,
) -> None:
    """Score samples as they come, from a broker, a file that grows, a pipe or a server, and send the results on.

    A sample is a row: an object by column name, a list, {"id": ..., "values": ...}, a line of CSV or of line protocol.
    Each key, like the part of a topic that {key} stands for, has windows and alarms of its own. SIGTERM and Ctrl-C end
    it when all that was read is answered.

    \b
    vae-detect stream -m pump.onnx --from 'mqtt://broker/plant/{key}/sensors' --to 'mqtt://broker/plant/{key}/verdict'
    vae-detect stream -m pump.onnx --from tail:/var/log/pump.csv --to verdicts.jsonl
    """
    feeds, watching, deliveries = Feeds.take(form), take_watching(form), take_deliveries(form)
    layout = table_form(**form)
    detector = load_detector(model, provider, threads)
    name = model.stem
    origin = feeds.source(source, name, detector.bundle)
    target = feeds.sink(sink, name, [source])
    intake = Intake(detector, Payloads(detector.bundle, feeds.input_format, layout), Taken())
    with closing(events_in(state, say)) as store, delivering(deliveries, feeds, store, [source], say):
        log = None if state is None else ScoreLog(state / f"{name}.scores", detector.bundle.export_id, say=say)
        scorer = Scorer(
            *(name, detector, intake, watching),
            source=origin.name,
            most_keys=max_keys,
            tell=_told_to(store),
            witness=None if log is None else lambda key, times, _, results: log.add(key, times, results),
        )
        with _logged(log), _remembered(scorer, state, name, origin.name, store) as take:
            flow = Flow(origin, take, target)
            say(f"{name}: from {origin.where} to {target.where}")
            _run(flow)
            say(f"{flow.samples} samples, {flow.poison} without a row that can be scored")


@contextmanager
def _logged(log: ScoreLog | None) -> Iterator[None]:
    try:
        yield
    finally:
        if log is not None:
            log.flush()


def _told_to(store: EventStore) -> Callable[[Sequence[Change]], None]:
    def tell(changes: Sequence[Change]) -> None:
        store.apply(changes)
        for change in changes:
            if change.what == "started":
                event = change.event
                column = f", most of it {event.columns[0].column}" if event.columns else ""
                say(f"event {event.id}{f' of {event.key}' if event.key else ''} began{column}")

    return tell


@contextmanager
def _remembered(
    scorer: Scorer, state: Path | None, name: str, source: str, store: EventStore
) -> Iterator[Callable[[Sequence[Sample]], list[Answer]]]:
    """What scores samples, with what was remembered before; all of it is saved where there is a folder for it."""
    if state is None:
        yield scorer.take
        scorer.end()
        return
    saving = Saving(state, name, scorer.capture, say)
    told = saving.restore(scorer.detector.bundle.export_id, scorer.recall, lambda _, samples: scorer.take(samples))
    if told:
        say(told)
    saving.begin()
    running = [machine.alarm.event for _, machine in scorer.machines.items()]
    store.end_others([event.id for event in running if event is not None], models=[name])

    def take(samples: Sequence[Sample]) -> list[Answer]:
        with saving.lock:
            answers = scorer.take(samples)
            saving.taken(source, samples)
        return answers

    with closing(saving):
        yield take


def _run(flow: Flow) -> None:
    """Until the source ends, or a signal: a thread of its own lets what was read be answered then."""
    problems: list[BaseException] = []

    def run() -> None:
        try:
            flow.run()
        except BaseException as error:
            problems.append(error)

    thread = threading.Thread(target=run, name="flow", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(3600)
    except (Stopped, KeyboardInterrupt):
        pass
    flow.close()
    thread.join(5)
    if problems:
        raise problems[0]
