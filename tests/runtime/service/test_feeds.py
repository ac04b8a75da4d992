"""Sources of samples beside the requests, and what outlives a restart."""

from __future__ import annotations

import asyncio
import json
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest import Client
from numpy.typing import NDArray

from vae_detect.runtime.alarms.store import EventStore
from vae_detect.runtime.detector import Detector
from vae_detect.runtime.errors import InputError
from vae_detect.runtime.hosting.logs import Log
from vae_detect.runtime.service import feeds, upkeep
from vae_detect.runtime.service.feeds import Feed
from vae_detect.runtime.service.models import Keeping, Served
from vae_detect.runtime.service.upkeep import Lasting, Upkeep
from vae_detect.runtime.streams.machines import Watching
from vae_detect.runtime.streams.payloads import Payloads
from vae_detect.runtime.streams.samples import Answer, Delivered, Sample

Floats = NDArray[np.float32]


class Given:
    """A source whose samples are given, and a sink that keeps the answers."""

    name, where = "mqtt", "mqtt://test"

    def __init__(self, wanted: int = 0) -> None:
        self.samples: queue.Queue[list[Sample] | None] = queue.Queue()
        self.acknowledged = list[Sample]()
        self.answers = list[Answer]()
        self.refused = list[str]()
        self.complete = threading.Event()
        self._wanted = wanted

    def batches(self) -> Iterator[list[Sample]]:
        while (samples := self.samples.get()) is not None:
            yield samples

    def done(self, samples: Sequence[Sample]) -> None:
        self.acknowledged += samples
        if len(self.acknowledged) >= self._wanted:
            self.complete.set()

    def refuse(self, sample: Sample, why: str) -> None:
        self.refused.append(why)
        self.done([sample])

    def close(self) -> None:
        self.samples.put(None)

    def send(self, answers: Sequence[Answer], delivered: Delivered) -> None:
        self.answers += answers
        delivered([answer.sample for answer in answers])

    def bodies(self) -> list[dict[str, object]]:
        return [json.loads(answer.body) for answer in self.answers]


def sample(row: Floats, key: str, number: int) -> Sample:
    return Sample(json.dumps({"id": number, "values": row.tolist()}).encode(), key, 1e9 + number, token=object())


def run(
    client: Client,
    source: Given,
    events: EventStore,
    *,
    state: Path | None = None,
    sink: bool = True,
    then: Callable[[Upkeep], None] = lambda _: None,
) -> list[str]:
    """Feeds the model until all that was wanted is acknowledged; what the log said."""
    told = list[str]()

    def payloads(served: Served) -> Payloads:
        return Payloads(served.detector.bundle)

    async def live() -> None:
        feed = Feed(None, lambda _: (source, source if sink else None), payloads)
        service = Upkeep(client.repository, Lasting(state, [feed]), events, Log(told.append))
        await service.begin()
        assert await asyncio.to_thread(source.complete.wait, 30)
        then(service)
        await service.end()

    asyncio.run(live())
    return told


def client_of(detector: Detector, events: EventStore, **watching: object) -> Client:
    return Client(detector, keeping=Keeping(Watching(**watching), tell=events.apply))  # type: ignore[arg-type]


@pytest.mark.parametrize("sink", [True, False])
def test_samples_are_scored_as_requests_are_and_counted(
    windows_detector: Detector, normal_rows: Floats, sink: bool
) -> None:
    events, source = EventStore(None), Given(13)
    client = client_of(windows_detector, events)
    rows = normal_rows[:12].copy()
    rows[8:, 0] *= 3
    samples = [sample(row, "a", number) for number, row in enumerate(rows)]
    for piece in ([], samples[:1], samples[1:8], [*samples[8:], Sample(b"nonsense{", "a", token=object())]):
        source.samples.put(piece)
    assert run(client, source, events, sink=sink) == []

    assert sorted(each.payload for each in source.acknowledged if each.payload[:1] == b"{") == sorted(
        each.payload for each in samples
    )
    assert [why.split(":")[0] for why in source.refused] == ["is neither JSON nor line protocol, nor CSV of this model"]
    asked = Client(windows_detector).results(rows.tolist(), "?key=a")
    series = client.series()
    assert (series["vae_detect_rows_scored_total[]"], series["vae_detect_keys[]"]) == (9, 1)
    names = ("samples", "poison_samples", "repeated_samples")
    assert [series[f"vae_detect_{name}_total[('source', 'mqtt')]"] for name in names] == [13, 1, 0]
    assert series["vae_detect_last_input_age_seconds[('source', 'mqtt')]"] < 30
    (event,) = events.list()
    assert (event.source, event.key, event.start) == ("mqtt", "a", 1e9 + 8)
    if sink:
        assert [each["score"] for each in source.bodies()[:12]] == [
            None if each["score"] is None else pytest.approx(each["score"], rel=1e-5) for each in asked
        ]


def test_it_goes_on_after_an_accident_with_the_same_answers(
    windows_detector: Detector, normal_rows: Floats, tmp_path: Path
) -> None:
    rows = normal_rows[:20].copy()
    rows[8:16, 0] *= 3
    samples = [sample(row, "a", number) for number, row in enumerate(rows)]
    whole, events = Given(20), EventStore(None)
    whole.samples.put(samples)
    run(client_of(windows_detector, events), whole, events)

    first, kept = Given(12), EventStore(tmp_path / "events.sqlite")
    first.samples.put(samples[:12])

    def accident(service: Upkeep) -> None:
        """Nothing of the end reaches the disk."""
        saving = service._saving["pump"]
        saving._stopped = True
        saving._is_due.set()
        saving._thread.join()
        assert saving._journal is not None
        saving._journal.close()
        saving._kept.close()  # the kernel does
        saving.close = lambda: None  # type: ignore[method-assign]

    run(client_of(windows_detector, kept), first, kept, state=tmp_path, then=accident)
    second = Given(11)
    again = [each._replace(repeated=True) for each in samples[9:12]]
    second.samples.put([*again, *samples[12:]])
    client = client_of(windows_detector, kept)
    assert run(client, second, kept, state=tmp_path) == []

    assert first.bodies() == whole.bodies()[:12]
    assert second.bodies() == whole.bodies()[9:]
    assert client.series()["vae_detect_repeated_samples_total[('source', 'mqtt')]"] == 3
    assert [(each.start, each.rows, each.state) for each in kept.list()] == [
        (each.start, each.rows, each.state) for each in events.list()
    ]


def test_a_machine_that_falls_silent_has_no_running_event_any_more(
    detector: Detector, normal_rows: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "SWEEP_S", 0.01)
    events, source = EventStore(None), Given(1)
    client = client_of(detector, events)
    broken = normal_rows[0].copy()
    broken[0] *= 3
    source.samples.put([sample(broken, "a", 0)])
    run(client, source, events)
    assert [event.state for event in events.list()] == ["running"]
    served = client.model.served
    assert served is not None
    machine = served.stream("a").machine
    served.end_silent(machine.seen + machine.alarm.silence_s - 1)
    assert [event.state for event in events.list()] == ["running"]
    served.end_silent(machine.seen + machine.alarm.silence_s + 1)
    assert [event.state for event in events.list()] == ["ended"]


def test_samples_wait_for_a_model_that_does_not_answer(
    detector: Detector, normal_rows: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "_AGAIN_S", 0.01)
    events, source = EventStore(None), Given(1)
    client = client_of(detector, events)
    served = client.model.served

    def unload() -> None:
        client.model.served = None
        source.samples.put([sample(normal_rows[0], "a", 0)])

    def load() -> None:
        client.model.served = served

    threading.Timer(0.3, unload).start()
    threading.Timer(0.6, load).start()
    run(client, source, events)
    assert source.bodies()[0]["status"] == "ok"


def test_a_fault_of_a_source_is_said_and_the_service_goes_on(detector: Detector) -> None:
    class Broken(Given):
        def batches(self) -> Iterator[list[Sample]]:
            self.complete.set()
            raise RuntimeError("of ours")

    events = EventStore(None)
    told = run(client_of(detector, events), Broken(), events)
    assert "RuntimeError: of ours" in told[0]


def test_the_last_minutes_can_be_kept_as_normal_data(detector: Detector, normal_rows: Floats, tmp_path: Path) -> None:
    events, source = EventStore(None), Given(5)
    client = Client(detector, keeping=Keeping(tell=events.apply, state=tmp_path))
    source.samples.put([sample(row, "a", 60 * number) for number, row in enumerate(normal_rows[:5])])
    kept = list[Path]()

    def keep(service: Upkeep) -> None:
        kept.append(service.keep_normal("pump", "a", 2.5))
        with pytest.raises(InputError, match="no row of 'b'"):
            service.keep_normal("pump", "b", 2.5)

    run(client, source, events, state=tmp_path, then=keep)
    assert kept[0].parent == tmp_path / "normal"
    lines = kept[0].read_text().splitlines()
    assert len(lines) == 1 + 3
    assert lines[-1].endswith(",".join(f"{value:g}" for value in normal_rows[4].tolist()[-1:]))
