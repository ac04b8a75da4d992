"""The state of streams on the disk, across accidents at any moment."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from test_scorer import sample, scorer_of

from vae_detect.runtime.alarms.event import Change
from vae_detect.runtime.alarms.store import EventStore
from vae_detect.runtime.detector import Detector
from vae_detect.runtime.errors import InputError
from vae_detect.runtime.streams import saving as module
from vae_detect.runtime.streams.samples import Sample
from vae_detect.runtime.streams.saving import Saving
from vae_detect.runtime.streams.scorer import Scorer

Floats = NDArray[np.float32]


def begin(folder: Path, scorer: Scorer, said: list[str]) -> tuple[Saving, str]:
    saving = Saving(folder, "pump.v1", scorer.capture, said.append)
    told = saving.restore(scorer.detector.bundle.export_id, scorer.recall, lambda _, samples: scorer.take(samples))
    saving.begin()
    return saving, told


def take(scorer: Scorer, saving: Saving, samples: list[Sample]) -> list[bytes]:
    with saving.lock:
        answers = scorer.take(samples)
        saving.taken("mqtt", samples)
    return [answer.body for answer in answers]


@pytest.fixture
def samples(normal_rows: Floats) -> list[Sample]:
    rows = normal_rows[:20].copy()
    rows[8:14, 0] *= 3
    return [sample(row, key, number)._replace(arrived=1e9 + number) for number, row in enumerate(rows) for key in "ab"]


@pytest.mark.parametrize("killed", [1, 7, 16, 23, 39])
@pytest.mark.parametrize("snapshot", [False, True])
def test_after_an_accident_everything_goes_on_as_if_there_had_been_none(
    windows_detector: Detector, samples: list[Sample], tmp_path: Path, killed: int, snapshot: bool
) -> None:
    expected = [answer.body for answer in scorer_of(windows_detector).take(samples)]
    events, said = EventStore(tmp_path / "events.sqlite"), list[str]()
    first = scorer_of(windows_detector)
    first._tell = events.apply
    saving, told = begin(tmp_path / "state", first, said)
    assert told == ""
    for number in range(killed):
        assert take(first, saving, samples[number : number + 1]) == expected[number : number + 1]
        if snapshot and number == killed // 2:
            saving._save()
    shutil.copytree(tmp_path / "state", tmp_path / "left")  # what a kill would leave
    saving.close()

    second = scorer_of(windows_detector)
    second._tell = events.apply
    saving, told = begin(tmp_path / "left", second, said)
    again = samples[max(0, killed - 3) : killed]  # were not acknowledged
    assert take(second, saving, again) == expected[max(0, killed - 3) : killed]
    assert take(second, saving, samples[killed:]) == expected[killed:]
    saving.close()
    found = [(event.key, event.start, event.end, event.rows) for event in events.list()]
    whole = list[Change]()
    scorer_of(windows_detector, whole).take(samples)
    ended = [
        (each.event.key, each.event.start, each.event.end, each.event.rows) for each in whole if each.what == "ended"
    ]
    assert sorted(found) == sorted(ended)
    assert len(found) == 2
    assert said == []
    events.close()


def test_a_clean_end_leaves_one_file(windows_detector: Detector, samples: list[Sample], tmp_path: Path) -> None:
    scorer = scorer_of(windows_detector)
    saving, _ = begin(tmp_path, scorer, [])
    take(scorer, saving, samples[:5])
    saving.close()
    assert [path.name for path in tmp_path.iterdir()] == ["pump.v1.streams"]

    after = scorer_of(windows_detector)
    saving, told = begin(tmp_path, after, [])
    assert told == ""
    assert [key for key, _ in after.machines.items()] == ["b", "a"]
    saving.close()


def test_a_journal_that_is_torn_counts_up_to_there(
    windows_detector: Detector, samples: list[Sample], tmp_path: Path
) -> None:
    scorer, said = scorer_of(windows_detector), list[str]()
    saving, _ = begin(tmp_path / "state", scorer, said)
    for number in range(6):
        take(scorer, saving, samples[number : number + 1])
    (journal,) = (tmp_path / "state").glob("*.journal.*")
    whole, snapshot = journal.read_bytes(), (tmp_path / "state" / "pump.v1.streams").read_bytes()
    saving.close()
    for cut in (0, 5, len(whole) // 2, len(whole) - 1):
        folder = tmp_path / str(cut)
        folder.mkdir()
        (folder / journal.name).write_bytes(whole[:cut])
        (folder / "pump.v1.streams").write_bytes(snapshot)
        after = scorer_of(windows_detector)
        other, told = begin(folder, after, said)
        assert told == ""
        taken = len(after.intake.taken.memory)
        assert taken == cut * 6 // len(whole)
        other.close()


@pytest.mark.parametrize(
    ("content", "reason"), [(b"nonsense", "is damaged"), (b"", "is damaged"), (None, "is of model")]
)
def test_what_cannot_be_read_is_said_and_the_streams_begin_anew(
    windows_detector: Detector,
    detector: Detector,
    samples: list[Sample],
    tmp_path: Path,
    content: bytes | None,
    reason: str,
) -> None:
    if content is None:
        other = scorer_of(detector)
        saving, _ = begin(tmp_path, other, [])
        take(other, saving, samples[:2])
        saving.close()
    else:
        (tmp_path / "pump.v1.streams").write_bytes(content)
    scorer = scorer_of(windows_detector)
    saving, told = begin(tmp_path, scorer, [])
    assert reason in told
    assert "the streams begin anew" in told
    assert len(scorer.machines) == 0
    take(scorer, saving, samples[:2])
    saving.close()


def test_a_disk_that_is_full_is_said_once_and_scoring_goes_on(
    windows_detector: Detector, samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer, said = scorer_of(windows_detector), list[str]()
    saving, _ = begin(tmp_path, scorer, said)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(module, "written_aside", full)
        saving._save()
        saving._save()
    assert len(take(scorer, saving, samples[:2])) == 2
    assert [line for line in said if "No space left" in line] == said
    assert len(said) == 1
    saving.close()


def test_snapshots_are_written_by_themselves(
    windows_detector: Detector, samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEAST_S", 0.02)
    scorer = scorer_of(windows_detector)
    saving, _ = begin(tmp_path, scorer, [])
    before = (tmp_path / "pump.v1.streams").stat().st_ino
    take(scorer, saving, samples[:2])
    saving.due()
    for _ in range(200):
        if (tmp_path / "pump.v1.streams").stat().st_ino != before:
            break
        saving._thread.join(0.05)
    else:
        pytest.fail("no snapshot")
    saving.close()


def test_two_runs_do_not_share_a_state(windows_detector: Detector, tmp_path: Path) -> None:
    saving, _ = begin(tmp_path, scorer_of(windows_detector), [])
    with pytest.raises(InputError, match="another serve or stream keeps its state there"):
        begin(tmp_path, scorer_of(windows_detector), [])
    saving.close()
    saving, _ = begin(tmp_path, scorer_of(windows_detector), [])
    saving.close()
    assert [path.name for path in tmp_path.iterdir()] == ["pump.v1.streams"]


def test_a_journal_that_cannot_be_written_is_said_once_and_goes_on_with_the_next_snapshot(
    windows_detector: Detector, samples: list[Sample], tmp_path: Path
) -> None:
    scorer, said = scorer_of(windows_detector), list[str]()
    saving, _ = begin(tmp_path, scorer, said)
    assert saving._journal is not None
    saving._journal.close()
    with Path("/dev/full").open("wb", buffering=0) as full:
        saving._journal = full
        for number in range(3):
            assert len(take(scorer, saving, samples[number : number + 1])) == 1
    (line,) = said
    assert "No space left on device" in line
    assert str(tmp_path) in line
    saving._save()
    take(scorer, saving, samples[3:4])
    (journal,) = tmp_path.glob("*.journal.*")
    assert journal.stat().st_size > 0
    saving.close()
