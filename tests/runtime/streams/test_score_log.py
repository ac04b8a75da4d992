"""Logged scores read back, whatever happened to the files in between."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from vae_detect.runtime.detector import Scores
from vae_detect.runtime.errors import InputError
from vae_detect.runtime.scoring.results import Results
from vae_detect.runtime.streams.score_log import Logged, ScoreLog, read_scores

A, B = "a" * 16, "b" * 16


def results(*scores: float) -> Results:
    score = np.array(scores, np.float32)
    scored = np.isfinite(score)
    return Results(0, Scores(score, score, score, scored, scored), ["ok"] * len(score), [""] * len(score), None)


def at(*times: float) -> NDArray[np.float64]:
    return np.array(times, np.float64)


def listed(logged: Logged) -> list[tuple[float, str, float]]:
    return [
        (time, logged.names[key], score)
        for time, key, score in zip(logged.times.tolist(), logged.keys.tolist(), logged.scores.tolist(), strict=True)
    ]


def test_what_is_added_is_read(tmp_path: Path) -> None:
    log = ScoreLog(tmp_path / "state" / "pump.scores", A)
    log.add("p1", at(10, 11, 12), results(0.5, np.nan, 1.5))
    log.add("", at(10.25), results(2.5))
    log.add("Presse Nr. 7 in der großen Halle, links", at(13), results(3.5))
    log.add("p1", at(14), results(4.5))
    log.flush()
    assert listed(read_scores(log.path, [A])) == [
        *((10, "p1", 0.5), (12, "p1", 1.5), (10.25, "", 2.5)),
        *((13, "Presse Nr. 7 in der großen Halle, links", 3.5), (14, "p1", 4.5)),
    ]


def test_the_bytes_are_those_of_the_description(tmp_path: Path) -> None:
    log = ScoreLog(tmp_path / "pump.scores", A)
    log.add("machine number 17", at(1.5), results(0.25))
    log.flush()
    content = log.path.read_bytes()
    assert content[:32] == b"vae-detect score" + A.encode()
    assert np.isnan(struct.unpack("<d", content[32:40])[0])
    assert struct.unpack("<II", content[40:48]) == (17, 0)
    assert content[48:80] == b"machine number 17" + bytes(15)
    assert content[80:] == struct.pack("<dfI", 1.5, 0.25, 0)


def test_a_new_start_goes_on_with_the_keys_that_are_there(tmp_path: Path) -> None:
    for number in range(3):
        log = ScoreLog(tmp_path / "pump.scores", A)
        for key in ("x", "y", f"new {number}"):
            log.add(key, at(number), results(number))
        log.flush()
    found = read_scores(log.path, [A])
    assert [key for _, key, _ in listed(found)] == ["x", "y", "new 0", "x", "y", "new 1", "x", "y", "new 2"]
    assert len(found.names) == 5
    assert log.path.stat().st_size == 32 + 5 * 32 + 9 * 16


@pytest.mark.parametrize("cut", range(1, 64))
def test_a_torn_end_is_passed_over_and_cut_off(tmp_path: Path, cut: int) -> None:
    log = ScoreLog(tmp_path / "pump.scores", A)
    log.add("one", at(1), results(1))
    log.flush()
    whole = log.path.stat().st_size
    log.add("a long name of another machine", at(2), results(2))
    log.flush()
    os.truncate(log.path, whole + cut)
    assert listed(read_scores(log.path, [A])) == [(1, "one", 1)]
    again = ScoreLog(log.path, A)
    again.add("two", at(3), results(3))
    again.add("one", at(4), results(4))
    again.flush()
    assert listed(read_scores(log.path, [A])) == [(1, "one", 1), (3, "two", 3), (4, "one", 4)]


def test_the_files_stay_below_their_bound(tmp_path: Path) -> None:
    log = ScoreLog(tmp_path / "pump.scores", A, most_bytes=1 << 20, clock=lambda: 0.0)
    for number in range(200):
        log.add(f"k{number % 3}", np.arange(1000.0) + 1000 * number, results(*np.arange(1000.0)))
    log.flush()
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert len(sizes) == 2
    assert sum(sizes) < (1 << 20) + 2 * (64 << 10) + 20_000
    found = read_scores(log.path, [A])
    assert found.times[-1] == 199_999
    assert (np.diff(found.times) == 1).all()  # the newest, without a hole
    assert len(found.times) > 30_000
    assert sorted(found.names) == ["k0", "k1", "k2"]


def test_of_many_scores_a_share_is_kept_that_lasts_for_days(tmp_path: Path) -> None:
    now = 0.0
    log = ScoreLog(tmp_path / "pump.scores", A, clock=lambda: now)
    # 600 machines once a second: 6.9 a second may be kept
    for second in range(600):
        now = float(second)
        for key in range(600):
            log.add(str(key), at(second), results(key))
    log.flush()
    found = read_scores(log.path, [A])
    late = found.times >= 120
    assert np.count_nonzero(late) == pytest.approx(480 * (64 << 20) / 16 / 7 / 86400, rel=0.1)
    of_key = np.bincount(found.keys[late], minlength=600)
    assert np.percentile(of_key, [1, 99]).tolist() == pytest.approx([3, 8], abs=2)


def test_another_model_begins_another_file(tmp_path: Path) -> None:
    for identity in (A, B):
        log = ScoreLog(tmp_path / "pump.scores", identity)
        log.add("p", at(1), results(ord(identity[0])))
        log.flush()
    assert [score for _, _, score in listed(read_scores(log.path, [A]))] == [97]
    assert [score for _, _, score in listed(read_scores(log.path, [B]))] == [98]
    assert [score for _, _, score in listed(read_scores(log.path, [A, B]))] == [97, 98]
    assert listed(read_scores(log.path, [])) == []


def test_what_is_no_log_is_refused_by_name_and_moved_aside(tmp_path: Path) -> None:
    path = tmp_path / "pump.scores"
    path.write_text("something else, and longer than a header is")
    with pytest.raises(InputError, match=r"pump\.scores: is no log of scores"):
        read_scores(path, [A])
    log = ScoreLog(path, A)
    log.add("p", at(1), results(1))
    log.flush()
    with pytest.raises(InputError, match=r"pump\.scores\.1: is no log"):
        read_scores(path, [A])


def test_a_disk_that_takes_nothing_is_told_and_tried_again(tmp_path: Path) -> None:
    now, said = 0.0, list[str]()
    folder = tmp_path / "state"
    folder.write_text("a file in place of the folder")
    log = ScoreLog(folder / "pump.scores", A, say=said.append, clock=lambda: now)
    for _ in range(3):
        log.add("p", at(1), results(1))
        log.flush()
    assert len(said) == 1
    assert said[0].endswith("; scores are not kept for a minute")
    folder.unlink()
    log.add("p", at(2), results(2))
    now = 61.0
    log.add("p", at(3), results(3))
    log.flush()
    assert listed(read_scores(log.path, [A])) == [(3, "p", 3)]


def test_a_file_that_was_taken_away_is_begun_anew(tmp_path: Path) -> None:
    log = ScoreLog(tmp_path / "pump.scores", A)
    log.add("p", at(1), results(1))
    log.flush()
    log.path.unlink()
    log.add("p", at(2), results(2))
    log.flush()
    again = ScoreLog(log.path, A)
    again.add("p", at(3), results(3))
    again.flush()
    assert listed(read_scores(log.path, [A])) == [(3, "p", 3)]


def test_scores_are_written_after_a_while_though_they_are_few(tmp_path: Path) -> None:
    now = 0.0
    log = ScoreLog(tmp_path / "pump.scores", A, clock=lambda: now)
    log.add("p", at(1), results(1))
    assert listed(read_scores(log.path, [A])) == []
    now = 10.0
    log.add("p", at(2), results(2))
    assert listed(read_scores(log.path, [A])) == [(1, "p", 1), (2, "p", 2)]


def test_a_version_of_the_model_that_has_gone_writes_no_more(tmp_path: Path) -> None:
    old = ScoreLog(tmp_path / "pump.scores", A)
    old.add("p", at(1), results(1))
    old.flush()
    old.add("q", at(2), results(2))
    new = ScoreLog(tmp_path / "pump.scores", B)
    new.add("r", at(3), results(3))
    old.flush()
    new.flush()
    old.add("q", at(4), results(4))
    old.flush()
    assert listed(read_scores(old.path, [A])) == [(1, "p", 1)]
    assert listed(read_scores(old.path, [B])) == [(3, "r", 3)]


def test_a_damaged_name_costs_its_name_and_no_more(tmp_path: Path) -> None:
    log = ScoreLog(tmp_path / "pump.scores", A)
    log.add("a name of 16 by.", at(1), results(1))
    log.add("q", at(2), results(2))
    log.flush()
    content = bytearray(log.path.read_bytes())
    content[48:56] = struct.pack("<d", np.nan)
    log.path.write_bytes(content)
    found = read_scores(log.path, [A])
    assert found.scores.tolist() == [1, 2]
    assert found.names[1] == "q"
    again = ScoreLog(log.path, A)
    again.add("q", at(3), results(3))
    again.flush()
    assert read_scores(log.path, [A]).keys.tolist() == [0, 1, 1]


def test_a_key_that_is_no_text_is_kept_as_well_as_can_be(tmp_path: Path) -> None:
    log = ScoreLog(tmp_path / "pump.scores", A)
    log.add("\ud800", at(1), results(1))
    log.flush()
    assert listed(read_scores(log.path, [A])) == [(1, "?", 1)]
