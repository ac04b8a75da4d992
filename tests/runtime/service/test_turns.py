"""What arrives together is scored in one run, answered one by one, and remembered only where it is accepted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from vae_detect.runtime.detector import Detector, Scores
from vae_detect.runtime.rows.chunk import Rows
from vae_detect.runtime.scoring.framing import Framer
from vae_detect.runtime.scoring.results import Results
from vae_detect.runtime.service.refusals import RefusedError
from vae_detect.runtime.service.turns import Turns
from vae_detect.runtime.streams.parts import Part

Floats = NDArray[np.float32]


class Counting:
    """A detector that tells how many inputs each run of its graph had, and fails when it is told to."""

    def __init__(self, detector: Detector) -> None:
        self.bundle, self._detector = detector.bundle, detector
        self.runs: list[int] = []
        self.fails = False

    def score(self, x: Floats) -> Scores:
        self.runs.append(len(x))
        if self.fails:
            raise RuntimeError("the device is gone")
        return self._detector.score(x)


class Remembered:
    """What was accepted, in order."""

    def __init__(self) -> None:
        self.parts: list[list[Part]] = []

    def __call__(self, scored: Sequence[tuple[Part, Results]], seconds: float) -> list[Results]:
        assert seconds > 0
        self.parts.append([part for part, _ in scored])
        return [results for _, results in scored]


@pytest.fixture
def counting(detector: Detector) -> Counting:
    return Counting(detector)


def part(detector: Detector | Counting, x: Floats) -> Part:
    rows = Rows(0, x, {}, None)
    return Part(Framer.of(detector.bundle).frame(rows)[0], rows, range(len(x)))


def accepted(_: Sequence[Results]) -> None:
    """Refuses nothing."""


def refused(_: Sequence[Results]) -> None:
    raise RefusedError(400, "no")


def together(turns: Turns, *asked: tuple[Sequence[Part], Any]) -> list[Any]:
    """What becomes of requests that arrive together."""

    async def run() -> list[Any]:
        return await asyncio.gather(*(turns.score(*each) for each in asked), return_exceptions=True)

    return asyncio.run(run())


def test_one_run_gives_each_what_it_gets_alone(counting: Counting, detector: Detector, normal_rows: Floats) -> None:
    remembered = Remembered()
    turns = Turns(counting, remembered, 1000)  # type: ignore[arg-type]
    cuts = [slice(0, 1), slice(1, 8), slice(8, 9), slice(9, 300)]
    parts = [part(detector, normal_rows[cut]) for cut in cuts]
    answers = together(turns, *(([each], accepted) for each in parts))
    assert counting.runs == [300]
    assert remembered.parts == [parts]
    for cut, (results,) in zip(cuts, answers, strict=True):
        alone = detector.score(normal_rows[cut])
        assert np.allclose(results.scores.score, alone.score, rtol=1e-5, atol=0)
        assert np.allclose(results.scores.p_value, alone.p_value, rtol=1e-4, atol=0)
        assert results.scores.is_anomaly.tolist() == alone.is_anomaly.tolist()
        assert results.status == ["ok"] * len(alone.score)


def test_what_is_refused_is_not_remembered_and_its_neighbours_are_answered(
    counting: Counting, detector: Detector, normal_rows: Floats
) -> None:
    remembered = Remembered()
    turns = Turns(counting, remembered, 1000)  # type: ignore[arg-type]
    first, bad, last = (part(detector, normal_rows[at : at + 2]) for at in (0, 2, 4))
    answers = together(turns, ([first], accepted), ([bad], refused), ([last], accepted))
    assert counting.runs == [6]
    assert remembered.parts == [[first, last]]
    assert isinstance(answers[1], RefusedError)
    for at, (results,) in ((0, answers[0]), (4, answers[2])):
        assert np.allclose(results.scores.score, detector.score(normal_rows[at : at + 2]).score, rtol=1e-5)
    assert isinstance(together(turns, ([bad], refused))[0], RefusedError)
    assert remembered.parts == [[first, last]]


def test_a_client_that_has_left_is_not_scored(counting: Counting, detector: Detector, normal_rows: Floats) -> None:
    remembered = Remembered()
    turns = Turns(counting, remembered, 1000)  # type: ignore[arg-type]
    left, waits = [part(detector, normal_rows[:5])], [part(detector, normal_rows[5:7])]

    async def run() -> list[Any]:
        asked = (turns.score(left, accepted, gone=lambda: True), turns.score(waits, accepted, gone=lambda: False))
        return [*await asyncio.gather(*asked, return_exceptions=True)]

    refusal, (results,) = asyncio.run(run())
    assert counting.runs == [2]
    assert remembered.parts == [waits]
    assert len(results.status) == 2
    assert (str(refusal), refusal.rows) == ("the client has left", 5)
    with pytest.raises(RefusedError, match="has left"):
        asyncio.run(turns.score(left, accepted, gone=lambda: True))
    assert counting.runs == [2]


def test_a_request_of_several_parts_gets_all_of_them(
    counting: Counting, detector: Detector, normal_rows: Floats
) -> None:
    turns = Turns(counting, Remembered(), 1000)  # type: ignore[arg-type]
    two, one = [part(detector, normal_rows[:3]), part(detector, normal_rows[3:4])], [part(detector, normal_rows[4:9])]
    answers = together(turns, (two, accepted), (one, accepted))
    assert [[len(results.status) for results in answer] for answer in answers] == [[3, 1], [5]]


def test_a_run_has_no_more_inputs_than_it_may(counting: Counting, detector: Detector, normal_rows: Floats) -> None:
    turns = Turns(counting, Remembered(), 10)  # type: ignore[arg-type]
    sizes = [4, 4, 4, 40, 1, 1]
    parts = [part(detector, normal_rows[:size]) for size in sizes]
    answers = together(turns, *(([each], accepted) for each in parts))
    assert [len(results.status) for (results,) in answers] == sizes
    assert counting.runs == [12, 40, 2]  # one that passes the limit is the last of its run


def test_a_fault_is_one_of_the_requests_that_met_it_and_no_other(
    counting: Counting, detector: Detector, normal_rows: Floats
) -> None:
    turns = Turns(counting, Remembered(), 1000)  # type: ignore[arg-type]
    one = [part(detector, normal_rows[:1])]
    counting.fails = True
    assert [str(error) for error in together(turns, (one, accepted), (one, accepted))] == ["the device is gone"] * 2
    counting.fails = False
    assert len(together(turns, (one, accepted))[0]) == 1


def test_a_fault_in_remembering_leaves_nobody_waiting(detector: Detector, normal_rows: Floats) -> None:
    def fail(*_: Any) -> list[Results]:
        raise RuntimeError("a fault of ours")

    one = [part(detector, normal_rows[:1])]
    answers = together(Turns(detector, fail, 1000), (one, accepted), (one, refused))
    assert [str(error) for error in answers] == ["a fault of ours", "no"]


@pytest.mark.parametrize("judge", [accepted, refused])
def test_who_no_longer_waits_costs_its_neighbours_nothing(detector: Detector, normal_rows: Floats, judge: Any) -> None:
    async def run() -> list[Results]:
        turns, one = Turns(detector, Remembered(), 1000), [part(detector, normal_rows[:1])]
        leaving = asyncio.create_task(turns.score(one, judge))
        staying = asyncio.create_task(turns.score(one, accepted))
        await asyncio.sleep(0)  # both wait now
        leaving.cancel()
        return await staying

    assert len(asyncio.run(run())) == 1


def test_an_answer_that_cannot_be_given_keeps_no_other(detector: Detector, normal_rows: Floats) -> None:
    told: list[dict[str, Any]] = []

    def fail(_: Any) -> None:
        raise OSError("the connection is gone")

    async def run() -> list[Results]:
        asyncio.get_running_loop().set_exception_handler(lambda _, what: told.append(what))
        turns, one = Turns(detector, Remembered(), 1000), [part(detector, normal_rows[:1])]
        turns.ask(one, accepted, fail)
        return await asyncio.wait_for(turns.score(one, accepted), 5)

    assert len(asyncio.run(run())) == 1
    assert [str(what["exception"]) for what in told] == ["the connection is gone"]
