"""From samples to answers, by a detector with what it remembers of each key."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from vae_detect.runtime.alarms.event import Change
from vae_detect.runtime.detector import Detector
from vae_detect.runtime.rows.chunk import Rows
from vae_detect.runtime.scoring.framing import Framer
from vae_detect.runtime.scoring.score import score_rows
from vae_detect.runtime.streams.intake import Intake
from vae_detect.runtime.streams.machines import Watching
from vae_detect.runtime.streams.payloads import Payloads
from vae_detect.runtime.streams.samples import Answer, Sample
from vae_detect.runtime.streams.scorer import Scorer
from vae_detect.runtime.streams.taken import Taken

Floats = NDArray[np.float32]


def scorer_of(detector: Detector, told: list[Change] | None = None, most_keys: int = 10) -> Scorer:
    told = [] if told is None else told
    intake = Intake(detector, Payloads(detector.bundle), Taken())
    return Scorer("pump", detector, intake, Watching(), source="mqtt", most_keys=most_keys, tell=told.extend)


def sample(row: Floats, key: str = "", number: int | None = None, *, repeated: bool = False) -> Sample:
    body: Any = row.tolist() if number is None else {"id": number, "values": row.tolist()}
    return Sample(json.dumps(body).encode(), key, 1e9, repeated)


def told(answers: list[Answer]) -> list[dict[str, Any]]:
    return [json.loads(line) for answer in answers for line in answer.body.splitlines()]


@pytest.mark.parametrize("size", [1, 5, 24])
def test_keys_that_come_mixed_have_windows_of_their_own(
    windows_detector: Detector, normal_rows: Floats, size: int
) -> None:
    scorer = scorer_of(windows_detector)
    samples = [sample(normal_rows[number], key, number) for number in range(12) for key in ("a", "b")]
    found = [one for first in range(0, 24, size) for one in told(scorer.take(samples[first : first + size]))]

    expected, _ = score_rows(windows_detector, Framer.of(windows_detector.bundle), Rows(0, normal_rows[:12], {}, None))
    assert [(one["id"], one["key"]) for one in found] == [(number, key) for number in range(12) for key in "ab"]
    for key in ("a", "b"):
        own = [one for one in found if one["key"] == key]
        assert [one["status"] for one in own] == expected.status
        scores = [np.nan if one["score"] is None else one["score"] for one in own]
        np.testing.assert_allclose(scores, expected.scores.score, rtol=1e-5)


def test_what_holds_no_row_is_poison_and_the_flow_goes_on(detector: Detector, normal_rows: Floats) -> None:
    good = sample(normal_rows[0], "a")
    answers = scorer_of(detector).take([Sample(b"", "a"), good, Sample(b"{nonsense", "a"), good])
    assert [bool(answer.poison) for answer in answers] == [True, False, True, False]
    assert [one["status"] for one in told(answers)] == ["bad", "ok", "bad", "ok"]
    assert scorer_of(detector).take([Sample(b"")])[0].poison


def test_a_repeat_gets_the_same_answer_and_moves_nothing(windows_detector: Detector, normal_rows: Floats) -> None:
    scorer = scorer_of(windows_detector)
    samples = [sample(row, "a", number) for number, row in enumerate(normal_rows[:8])]
    first = scorer.take(samples)
    again = scorer.take([samples[6]._replace(repeated=True), sample(normal_rows[8], "a", 8), samples[7]])

    assert [answer.body for answer in (again[0], again[2])] == [first[6].body, first[7].body]
    expected, _ = score_rows(windows_detector, Framer.of(windows_detector.bundle), Rows(0, normal_rows[:9], {}, None))
    assert told(again[1:2])[0]["score"] == pytest.approx(expected.scores.score[8].item(), rel=1e-5)
    assert scorer.intake.taken.repeats == 2


def test_events_are_told_and_end_with_the_stream_and_with_a_key_that_is_forgotten(
    detector: Detector, normal_rows: Floats
) -> None:
    changes = list[Change]()
    scorer = scorer_of(detector, changes, most_keys=1)
    broken = normal_rows[0].copy()
    broken[0] *= 3
    answers = scorer.take([sample(normal_rows[0], "a"), sample(broken, "a")])
    assert [(change.what, change.event.key, change.event.start) for change in changes] == [("started", "a", 1e9)]
    assert told(answers)[1]["column"] == detector.bundle.names[0]

    scorer.take([sample(broken, "b")])
    assert [(change.what, change.event.key) for change in changes[1:]] == [("ended", "a"), ("started", "b")]
    scorer.end()
    assert (changes[-1].what, changes[-1].event.key) == ("ended", "b")
