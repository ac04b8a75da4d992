"""Clients that drip bytes: they are cut off, and others hardly notice. `make soak` runs it; the suite leaves it out."""

from __future__ import annotations

import json
import selectors
import socket
import threading
import time
from http.client import HTTPConnection

import numpy as np
from server_process import addresses, command, connect

ROW = json.dumps([1450, 172, 1, 3, 33, 19, 40, 2]).encode()
CLIENTS, SECONDS = 60, 20.0
MOST_S = 34.0
"""Until the last of them is cut off: 30 s for a body, and a little for the end."""


def test_sixty_clients_that_drip_hold_nobody_up_and_are_cut_off() -> None:
    with command("--port", "0") as (_, said):
        (url,) = addresses(said[-1])
        stop, took, failed = threading.Event(), list[float](), list[str]()

        def ask() -> None:
            connection = HTTPConnection("127.0.0.1", int(url.rpartition(":")[2]), timeout=10)
            while not stop.is_set():
                started = time.monotonic()
                connection.request("POST", "/score", ROW)
                response = connection.getresponse()
                response.read()
                took.append(time.monotonic() - started)
                if response.status != 200:
                    failed.append(str(response.status))
            connection.close()

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            ends = drip(url)
        finally:
            stop.set()
            asking.join()
        heads, bodies = ends[::2], ends[1::2]
        p99 = float(np.quantile(took, 0.99))
        print(  # noqa: T201
            f"\n{len(took)} answers to others, p99 {p99 * 1e3:.1f} ms, worst {max(took) * 1e3:.1f} ms; "
            f"heads cut off after {min(heads):.1f} to {max(heads):.1f} s, bodies {min(bodies):.1f} to {max(bodies):.1f}"
        )
        assert failed == []
        assert p99 < 1
        assert max(heads) < 12
        assert max(bodies) < MOST_S


def drip(url: str) -> list[float]:
    """Seconds after which each of the clients was cut off: every second one drips a head, the others a body."""
    started, ended = time.monotonic(), dict[int, float]()
    selector = selectors.DefaultSelector()
    clients: list[socket.socket] = []
    for number in range(CLIENTS):
        client = connect(url)
        client.sendall(b"POST /score HTTP/1.1\r\nHost: x\r\n")
        if number % 2:
            client.sendall(b"Content-Length: 100000\r\n\r\n[")
        client.setblocking(False)
        selector.register(client, selectors.EVENT_READ, number)
        clients.append(client)
    while len(ended) < CLIENTS and time.monotonic() - started < MOST_S + 5:
        for key, _ in selector.select(0.05):
            ended[key.data] = time.monotonic() - started
            selector.unregister(key.fileobj)
        for number, client in enumerate(clients):
            if number not in ended:
                try:
                    client.send(b" " if number % 2 else b"X-A: b\r\n"[len(ended) % 8 :][:1])
                except OSError:
                    ended[number] = time.monotonic() - started
                    selector.unregister(client)
        time.sleep(0.2)
    for client in clients:
        client.close()
    assert len(ended) == CLIENTS
    return [ended[number] for number in range(CLIENTS)]
