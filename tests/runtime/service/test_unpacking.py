"""Packed bodies: what they hold, or refused; never more than the limit in memory."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae_detect.runtime.errors import InputError, TooLargeError
from vae_detect.runtime.service.unpacking import MOST_MEMBERS, unpack


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=4), st.integers(0, 9))
def test_what_was_packed_comes_back(parts: list[bytes], level: int) -> None:
    whole = b"".join(parts)
    assert unpack(b"".join(gzip.compress(part, level, mtime=0) for part in parts), len(whole)) == whole


def test_a_large_body_comes_back() -> None:
    body = bytes(range(256)) * 8192 + b"end"
    assert unpack(gzip.compress(body, mtime=0), len(body)) == body


def test_the_limit_holds_one_below_and_one_above() -> None:
    packed = gzip.compress(b"x" * 50_000, mtime=0) + gzip.compress(b"y" * 50_000, mtime=0)
    assert len(unpack(packed, 100_000)) == 100_000
    with pytest.raises(TooLargeError, match="more than 99999 bytes when it is unpacked"):
        unpack(packed, 99_999)


def test_a_bomb_is_refused_before_it_fills_the_memory() -> None:
    bomb = zlib.compressobj(9, wbits=31)
    packed = b"".join(bomb.compress(bytes(1 << 20)) for _ in range(200)) + bomb.flush()
    tracemalloc.start()
    with pytest.raises(TooLargeError):
        unpack(packed, 1 << 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 << 20


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the body is no gzip"),
        (b"[1, 2]", "the body is no gzip"),
        (zlib.compress(b"[1, 2]"), "the body is no gzip"),
        (gzip.compress(b"[1, 2]", mtime=0)[:-1], "the gzip body is cut off"),
        (gzip.compress(b"[1, 2]", mtime=0)[:11], "the gzip body is cut off"),
        (b"\x1f\x8b", "the gzip body is cut off"),
        (gzip.compress(b"[1, 2]", mtime=0) + gzip.compress(b"[3, 4]", mtime=0)[:9], "the gzip body is cut off"),
        (gzip.compress(b"[1, 2]", mtime=0) + b"[3, 4]", "something that is no gzip follows the gzip body"),
        (gzip.compress(b"[1, 2]", mtime=0) + b"\0", "something that is no gzip follows the gzip body"),
        (gzip.compress(b"[1, 2]", mtime=0)[:-8] + bytes(8), "the gzip body is damaged: .*incorrect data check"),
        (b"\x1f\x8b\x09" + bytes(20), "the gzip body is damaged"),
        (gzip.compress(b"", mtime=0) * (MOST_MEMBERS + 1), "more than 100 members"),
    ],
)
def test_what_is_no_sound_gzip_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        unpack(body, 1000)
    assert not isinstance(refused.value, TooLargeError)


@given(st.binary(max_size=60) | st.binary(max_size=20).map(lambda rest: gzip.compress(b"[1, 2]", mtime=0)[:12] + rest))
def test_any_bytes_are_unpacked_or_refused(body: bytes) -> None:
    with suppress(InputError):
        assert len(unpack(body, 50)) <= 50
