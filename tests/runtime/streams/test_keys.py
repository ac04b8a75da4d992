"""What is remembered of keys, of which there are not too many."""

from __future__ import annotations

from collections import OrderedDict

from hypothesis import given
from hypothesis import strategies as st

from vae_detect.runtime.scoring.framing import MOST_KEYS
from vae_detect.runtime.streams.keys import Keyed


def test_the_same_key_gets_the_same_thing() -> None:
    keyed = Keyed[list[int]](lambda _: [])
    keyed.of("a").append(1)
    keyed.of("b")
    assert keyed.of("a") == [1]
    assert keyed.of("") is keyed.of("")
    assert (len(keyed), keyed.forgotten) == (3, 0)


def test_one_more_than_may_be_forgets_the_one_that_was_asked_for_longest_ago() -> None:
    keyed = Keyed[list[str]](lambda _: [])
    for number in range(MOST_KEYS):
        keyed.of(str(number)).append("kept")
    assert (len(keyed), keyed.forgotten) == (MOST_KEYS, 0)
    keyed.of("0")  # asked for again: now "1" is the oldest
    keyed.of("one more")
    assert next(iter(keyed.items()))[0] == "2"
    assert (len(keyed), keyed.forgotten) == (MOST_KEYS, 1)
    assert (keyed.of("0"), keyed.of("2")) == (["kept"], ["kept"])
    assert (keyed.of("1"), keyed.forgotten) == ([], 2)


@given(st.lists(st.sampled_from("abcdef")), st.integers(1, 4))
def test_it_forgets_as_a_plain_model_does(asked: list[str], most: int) -> None:
    keyed, plain, made, forgotten = Keyed(lambda _: object(), most=most), OrderedDict[str, object](), 0, 0
    for key in asked:
        found = keyed.of(key)
        if key in plain:
            assert plain[key] is found
            plain.move_to_end(key)
            continue
        made += 1
        plain[key] = found
        if len(plain) > most:
            plain.popitem(last=False)
            forgotten += 1
    assert (len(keyed), keyed.forgotten) == (len(plain), forgotten)


def test_what_is_forgotten_is_told() -> None:
    told = list[str]()
    keyed = Keyed(str.upper, most=2, forget=told.append)
    for key in "abac":
        keyed.of(key)
    assert (told, [*keyed.items()]) == (["B"], [("a", "A"), ("c", "C")])
