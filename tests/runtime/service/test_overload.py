"""More than can be done: only 200 and 503, those at once, and all is well a second later."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from typing import NamedTuple

import httpx
import numpy as np
import pytest
from conftest import parse
from server_process import addresses, command, post

from vae_detect.runtime.service.endpoints import MAX_REQUESTS

ROW = b"[1450,172,1,3,33,19,40,2]"


class Answer(NamedTuple):
    status: int
    took_s: float
    retry_after: bool


async def ask(port: int, request: bytes, began: asyncio.Event | None = None) -> Answer:
    """One request on a connection of its own, sent when all have connected."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        if began is not None:
            await began.wait()
        started = time.perf_counter()
        writer.write(request)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
        (length,) = [int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        json.loads(await reader.readexactly(length))
        return Answer(int(head[9:12]), time.perf_counter() - started, b"retry-after: 1" in head.lower())
    finally:
        writer.close()


async def burst(port: int, requests: list[bytes]) -> list[Answer]:
    began = asyncio.Event()
    tasks = [asyncio.create_task(ask(port, request, began)) for request in requests]
    await asyncio.sleep(1.5)  # all have connected
    began.set()
    return await asyncio.gather(*tasks)


@pytest.mark.parametrize(
    "request_",
    [post(ROW), post(b"[%b]" % b",".join([ROW] * 20)), post(ROW, path="/score?explain=1")],
    ids=["a row", "twenty rows", "explained"],
)
def test_a_burst_of_ten_times_what_may_be_at_once(request_: bytes) -> None:
    with command("--port", "0") as (running, said):
        port = int(addresses(said[-1])[0].rpartition(":")[2])

        async def run() -> tuple[list[Answer], Answer]:
            await ask(port, request_)
            answers = await burst(port, [request_] * 10 * MAX_REQUESTS)
            await asyncio.sleep(0.5)
            return answers, await ask(port, post(ROW))

        answers, after = asyncio.run(run())
        assert set(Counter(answer.status for answer in answers)) <= {200, 503}
        assert all(answer.retry_after for answer in answers if answer.status == 503)
        admitted = [answer.took_s for answer in answers if answer.status == 200]
        assert len(admitted) >= MAX_REQUESTS
        assert np.quantile(admitted, 0.99) < 3  # 1 s of the server, and a client that asks 2560 times in one thread
        assert after.status == 200
        assert after.took_s < 0.5
        found = parse(httpx.get(f"http://127.0.0.1:{port}/metrics").text)
        assert found["vae_detect_requests_total[('code', '200'), ('route', 'score')]"] == len(admitted) + 2
        assert found["vae_detect_requests_total[('code', '503'), ('route', 'score')]"] == len(answers) - len(admitted)
        assert found["vae_detect_limits_exceeded_total[('limit', 'requests')]"] == len(answers) - len(admitted)
        assert running.poll() is None


def test_who_comes_too_late_is_told_at_once_and_others_when_there_is_room() -> None:
    """As many as may be are admitted, and their bodies have not come; then others come."""
    whole = post(ROW)
    with command("--port", "0") as (_, said):
        port = int(addresses(said[-1])[0].rpartition(":")[2])

        async def run() -> tuple[list[Answer], list[Answer], int, Answer]:
            held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MAX_REQUESTS)]
            for _, writer in held:
                writer.write(whole[:-5])
            await asyncio.sleep(0.3)
            late = [await ask(port, whole) for _ in range(200)]
            large = [await ask(port, post(b"[%b]" % b",".join([ROW] * 2000))) for _ in range(20)]
            for _, writer in held[: MAX_REQUESTS // 2]:  # half of them go on
                writer.write(whole[-5:])
            done = 0
            for reader, _ in held[: MAX_REQUESTS // 2]:
                done += (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200 ")
            for _, writer in held:  # and the others leave
                writer.close()
            await asyncio.sleep(0.3)
            return late, large, done, await ask(port, whole)

        late, large, done, after = asyncio.run(run())
        for answers in (late, large):
            assert {(answer.status, answer.retry_after) for answer in answers} == {(503, True)}
            assert np.quantile([answer.took_s for answer in answers], 0.9) < 0.05
        assert done == MAX_REQUESTS // 2
        assert after.status == 200
        found = parse(httpx.get(f"http://127.0.0.1:{port}/metrics").text)
        assert found["vae_detect_rows_scored_total[('model', 'vae')]"] == done + 1  # nobody who left is scored
        assert found["vae_detect_requests_total[('code', '400'), ('route', 'score')]"] == MAX_REQUESTS - done
