"""What systemd is told, by a socket that stands for it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import MODEL
from server_process import command

from vae_detect.runtime.hosting.notifier import Notifier


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A socket that takes what is told, and its address as systemd writes it."""
    address = str(tmp_path / "notify") if request.param == "path" else f"@vae-detect-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as taking:
        taking.bind(address.replace("@", "\0", 1))
        taking.settimeout(15)
        yield taking, address


def test_each_thing_is_told_in_one_datagram(systemd: tuple[socket.socket, str]) -> None:
    taking, address = systemd
    env = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid()), "OTHER": "1"}
    notifier = Notifier(env)
    assert env == {"OTHER": "1"}
    assert notifier.watchdog_s == 3
    before = time.monotonic()
    notifier.ready("serving\n it ")
    notifier.reloading()
    notifier.status("busy")
    notifier.stopping()
    assert taking.recv(1000) == b"READY=1\nSTATUS=serving it"
    first, second = taking.recv(1000).split(b"\n")
    assert first == b"RELOADING=1"
    name, _, value = second.partition(b"=")
    assert name == b"MONOTONIC_USEC"
    assert before <= int(value) / 1e6 <= time.monotonic()
    assert taking.recv(1000) == b"STATUS=busy"
    assert taking.recv(1000) == b"STOPPING=1"
    notifier.close()
    notifier.stopping()


def test_nobody_is_told_where_nobody_asks(tmp_path: Path) -> None:
    for env in ({}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": str(tmp_path / "absent")}):
        notifier = Notifier(env)
        notifier.ready("well")
        assert notifier.watchdog_s == 0
        notifier.close()


@pytest.mark.parametrize(
    "env", [{"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "5", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "0"}]
)
def test_a_watchdog_for_others_is_none(env: dict[str, str]) -> None:
    assert Notifier(dict(env)).watchdog_s == 0
    asyncio.run(Notifier(dict(env)).give_signs_of_life())  # ends at once


def test_a_queue_that_is_full_holds_nobody_up(systemd: tuple[socket.socket, str]) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": systemd[1]})
    started = time.monotonic()
    for _ in range(5000):
        notifier.status("x" * 1000)
    assert time.monotonic() - started < 5
    notifier.close()


def test_signs_of_life_come_from_the_event_loop(systemd: tuple[socket.socket, str]) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": systemd[1], "WATCHDOG_USEC": "100000"})

    async def live() -> None:
        task = asyncio.create_task(notifier.give_signs_of_life())
        await asyncio.sleep(0.22)
        time.sleep(0.3)  # hangs
        task.cancel()

    asyncio.run(live())
    notifier.close()
    systemd[0].setblocking(False)
    told = []
    while True:
        try:
            told.append(systemd[0].recv(100))
        except BlockingIOError:
            break
    assert set(told) == {b"WATCHDOG=1"}
    assert 3 <= len(told) <= 6  # at 0, 50, 100, 150 and 200 ms, and then no more


def test_a_service_tells_of_its_life(systemd: tuple[socket.socket, str]) -> None:
    taking, address = systemd
    with command("--port", "0", env={"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "200000"}) as (running, said):
        told = [taking.recv(1000)]
        while not told[-1].startswith(b"READY=1"):
            told.append(taking.recv(1000))
        assert set(told[:-1]) <= {b"WATCHDOG=1"}
        serving = said[-1].strip().replace(" with 164 metric series", "")
        assert told[-1].decode() == f"READY=1\nSTATUS={serving}"
        assert [taking.recv(100) for _ in range(5)] == [b"WATCHDOG=1"] * 5
        running.send_signal(signal.SIGTERM)
        while told[-1] != b"STOPPING=1":
            told.append(taking.recv(1000))
        assert running.wait(timeout=10) == 0


def test_a_reload_ends_though_no_model_is_left(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    for name in ("one", "two"):
        shutil.copy(MODEL, folder / f"{name}.onnx")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as taking:
        taking.bind(str(tmp_path / "notify"))
        taking.settimeout(10)
        env = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        with command("--port", "0", model=folder, env=env) as (running, _):
            assert taking.recv(1000).decode().count(" (vae, cpu)") == 2
            shutil.rmtree(folder)
            running.send_signal(signal.SIGHUP)
            assert taking.recv(1000).startswith(b"RELOADING=1\n")
            while (told := taking.recv(1000)).startswith(b"STATUS="):  # of each model that is gone
                pass
            assert told.startswith(b"READY=1\nSTATUS=")


def test_a_service_whose_model_is_bad_is_never_ready(systemd: tuple[socket.socket, str], tmp_path: Path) -> None:
    taking, address = systemd
    (tmp_path / "bad.onnx").write_bytes(b"nothing")
    with command("--port", "0", model=tmp_path / "bad.onnx", env={"NOTIFY_SOCKET": address}) as (running, _):
        assert running.wait(timeout=10) == 2
    taking.setblocking(False)
    with pytest.raises(BlockingIOError):
        taking.recv(1000)
