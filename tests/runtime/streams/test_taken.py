"""A sample that comes again gets the same answer."""

from __future__ import annotations

from vae_detect.runtime.streams.samples import Answer, Sample
from vae_detect.runtime.streams.taken import MOST, MOST_BYTES, Taken


def test_what_the_source_calls_a_repeat_and_what_has_an_id_is_one() -> None:
    taken = Taken()
    taken.add([Answer(Sample(b"[1]", "a"), b"one"), Answer(Sample(b'{"id":1}', "a"), b"two", "bad")], [False, True])

    again = Sample(b"[1]", "a", repeated=True, token=7)
    assert taken.again(again) == Answer(again, b"one")
    assert taken.again(Sample(b"[1]", "a")) is None  # a machine at rest says the same twice
    assert taken.again(Sample(b"[1]", "b", repeated=True)) is None
    assert taken.again(Sample(b'{"id":1}', "a")) == Answer(Sample(b'{"id":1}', "a"), b"two", "bad")
    assert taken.repeats == 2


def test_the_newest_are_kept_and_long_answers_are_not() -> None:
    taken = Taken()
    for number in range(MOST + 2):
        taken.add([Answer(Sample(b"%d" % number), b"x")], [True])
    assert taken.again(Sample(b"1")) is None
    assert taken.again(Sample(b"2")) is not None
    taken.add([Answer(Sample(b"long"), b"x" * (MOST_BYTES + 1))], [True])
    assert taken.again(Sample(b"long")) is None
    assert len(taken.memory) == MOST


def test_it_goes_on_where_it_was_saved() -> None:
    taken, after = Taken(), Taken()
    taken.add([Answer(Sample(b"x", "key"), b"answer")], [True])
    after.recall(taken.memory)
    assert after.again(Sample(b"x", "key")) == Answer(Sample(b"x", "key"), b"answer")
