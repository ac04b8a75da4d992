"""A web server that takes events, or does not."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Receiver:
    """What came, and what is answered: statuses in turn, then 204; 0 hangs up, -1 says nothing at all."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.retry_after = ""
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.taken: list[bytes] = []
        self.url = ""
        self.released = threading.Event()

    @property
    def events(self) -> list[tuple[int, str]]:
        """Number and state of the events that were taken."""
        found: list[dict[str, Any]] = [json.loads(body) for body in self.taken]
        return [(event["id"], event["state"]) for event in found]

    def until(self, count: int, *, tries: bool = False) -> None:
        """Waits until so many events were taken, or so many came."""
        end = time.monotonic() + 20
        while len(self.bodies if tries else self.taken) < count:
            assert time.monotonic() < end, f"{self.events} of {count}"
            time.sleep(0.005)


@contextmanager
def receiving(port: int = 0, *, receiver: Receiver | None = None) -> Iterator[Receiver]:
    """A server on this port, or any."""
    found = receiver or Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.bodies.append(body)
            found.headers.append({**dict(self.headers.items()), "path": self.path})
            status = found.answers.pop(0) if found.answers else 204
            if status <= 0:
                if status < 0:
                    found.released.wait(20)
                self.close_connection = True
                return
            if 200 <= status < 300:
                found.taken.append(body)
            self.send_response(status)
            if found.retry_after:
                self.send_header("Retry-After", found.retry_after)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        allow_reuse_address = True
        daemon_threads = True

    with Server(("127.0.0.1", port), Handler) as server:
        found.url = f"http://127.0.0.1:{server.server_address[1]}/hooks/T0KEN"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield found
        finally:
            found.released.set()
            server.shutdown()
            thread.join()
