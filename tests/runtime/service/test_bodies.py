"""Request bodies, within limits of size, time and memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from vae_detect.runtime.service import bodies as requests
from vae_detect.runtime.service.bodies import MAX_BODY, BodyReader, Memory, Share
from vae_detect.runtime.service.refusals import RefusedError

Receive = Callable[[], Awaitable[dict[str, Any]]]


def share() -> Share:
    return Memory().share()


def sent(*chunks: bytes) -> Receive:
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    messages[-1]["more_body"] = False
    waiting = iter(messages)

    async def receive() -> dict[str, Any]:
        return next(waiting)

    return receive


def stalled(arrived: asyncio.Event) -> Receive:
    async def receive() -> dict[str, Any]:
        if arrived.is_set():
            await asyncio.Event().wait()
        arrived.set()
        return {"type": "http.request", "body": b"[", "more_body": True}

    return receive


def test_a_body_is_joined_from_its_chunks() -> None:
    assert (
        asyncio.run(BodyReader().read([(b"content-encoding", b"Identity")], sent(b"[1,", b"", b"2]"), share()))
        == b"[1,2]"
    )


def test_a_body_at_the_limit_is_read_and_one_above_refused() -> None:
    half = b" " * (MAX_BODY // 2)
    assert len(asyncio.run(BodyReader().read([], sent(half, half), share()))) == MAX_BODY
    with pytest.raises(RefusedError, match="larger than 16 MiB") as refused:
        asyncio.run(BodyReader().read([], sent(half, half, b" "), share()))
    assert refused.value.status == 413


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ((b"content-length", str(MAX_BODY + 1).encode()), 413),
        ((b"content-length", b"9" * 5000), 413),
        ((b"content-encoding", b"br"), 415),
    ],
)
def test_a_header_refuses_a_body_before_it_is_read(header: tuple[bytes, bytes], status: int) -> None:
    async def unread() -> dict[str, Any]:
        raise AssertionError("the body was read")

    with pytest.raises(RefusedError) as refused:
        asyncio.run(BodyReader().read([header], unread, share()))
    assert refused.value.status == status


def test_what_requests_hold_together_is_bounded_and_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "MAX_HELD", 3)
    memory = Memory()

    async def run() -> bytes:
        reader, arrived = BodyReader(), asyncio.Event()

        async def first() -> bytes:
            with memory.share() as share:
                return await reader.read([], stalled(arrived), share)

        reading = asyncio.create_task(first())
        await arrived.wait()
        assert memory.held == 1
        with memory.share() as share:
            with pytest.raises(RefusedError, match="too many") as refused:
                await reader.read([], sent(b"[1]"), share)
            assert refused.value.status == 503
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        with memory.share() as share:
            body = await reader.read([], sent(b"[1]"), share)
            assert memory.held == 3  # a body counts until its request is over
            share.hold(2)  # and what is made of it in its place
            assert memory.held == 2
        return body

    assert asyncio.run(run()) == b"[1]"
    assert memory.held == 0


def test_a_body_that_never_ends_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "BODY_S", 0.01)
    with pytest.raises(RefusedError) as refused:
        asyncio.run(BodyReader().read([], stalled(asyncio.Event()), share()))
    assert refused.value.status == 408


def test_a_stopping_service_hurries_bodies_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "CLOSING_S", 0.01)

    async def run() -> None:
        reader, arrived = BodyReader(), asyncio.Event()
        reading = asyncio.create_task(reader.read([], stalled(arrived), share()))
        await arrived.wait()
        reader.close_soon()
        with pytest.raises(RefusedError, match="in time"):
            await reading

    asyncio.run(run())
