"""A server that answers what it is told to, and remembers what it was asked."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import NamedTuple

from vae_detect.runtime.prometheus.address import Address


class Reply(NamedTuple):
    status: int
    body: bytes = b""
    headers: Sequence[tuple[str, str]] = ()
    hangs_up: bool = False


class Asked(NamedTuple):
    path: str
    headers: dict[str, str]
    body: bytes


class Answering:
    """Gives the replies one after the other, the last of them again and again."""

    def __init__(self, replies: Sequence[Reply]) -> None:
        self.asked: list[Asked] = []
        rest = list(replies)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(handler) -> None:  # noqa: N805
                body = handler.rfile.read(int(handler.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in handler.headers.items()}
                self.asked.append(Asked(handler.path, headers, body))
                reply = rest.pop(0) if len(rest) > 1 else rest[0]
                if reply.hangs_up:
                    handler.close_connection = True
                    return
                handler.send_response(reply.status)
                for name, value in (*reply.headers, ("Content-Length", str(len(reply.body)))):
                    handler.send_header(name, value)
                handler.end_headers()
                handler.wfile.write(reply.body)

            def log_message(handler, *_: object) -> None:  # noqa: N805
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)


@contextlib.contextmanager
def answering(*replies: Reply, tls: tuple[Path, Path] | None = None) -> Iterator[tuple[Address, list[Asked]]]:
    """Where it answers until the block ends, and what it was asked."""
    made = Answering(replies)
    port = made.server.server_address[1]
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        made.server.socket = context.wrap_socket(made.server.socket, server_side=True)
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        scheme = "http" if tls is None else "https"
        yield Address.parse(f"prometheus+{scheme}://localhost:{port}/"), made.asked
    finally:
        made.server.shutdown()
        thread.join()
        made.server.server_close()
