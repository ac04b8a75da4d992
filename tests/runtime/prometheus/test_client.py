"""What a server may answer, what is asked again and what is not, and where a token never goes."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest
from answering import Reply, answering
from server_process import certificate

from vae_detect.runtime.errors import InputError, TooLargeError, UnavailableError
from vae_detect.runtime.prometheus import client as module
from vae_detect.runtime.prometheus.address import Address
from vae_detect.runtime.prometheus.client import Client, RequestRefusedError

FINE = Reply(200, b"fine")


def test_what_is_asked_arrives_as_it_is() -> None:
    with answering(FINE) as (address, asked):
        assert Client(address, token="a-token").post("/api/v1/x", b"body", {"Content-Type": "text/plain"}) == b"fine"
    (one,) = asked
    assert (one.path, one.body) == ("/api/v1/x", b"body")
    assert one.headers["authorization"] == "Bearer a-token"
    assert (one.headers["content-type"], one.headers["user-agent"]) == ("text/plain", "vae-detect")


def test_without_a_token_none_is_sent() -> None:
    with answering(FINE) as (address, asked):
        Client(address).post("/x", b"", {})
    assert "authorization" not in asked[0].headers


def test_a_server_that_is_busy_is_asked_again_after_growing_pauses() -> None:
    pauses: list[float] = []
    replies = [Reply(503), Reply(429, headers=[("Retry-After", "7")]), Reply(200, hangs_up=True), FINE]
    with answering(*replies) as (address, asked):
        assert Client(address, pause=pauses.append).post("/x", b"same", {}) == b"fine"
    assert [one.body for one in asked] == [b"same"] * 4
    assert pauses == [1.0, 7.0, 4.0]


def test_a_server_that_stays_busy_is_given_up() -> None:
    pauses: list[float] = []
    busy = Reply(503, b'{"status":"error","error":"shutting down"}')
    told = pytest.raises(UnavailableError, match="status 503: shutting down; tried 5 times")
    with answering(busy) as (address, asked), told:
        Client(address, pause=pauses.append).post("/x", b"", {})
    assert (len(asked), pauses) == (5, [1.0, 2.0, 4.0, 8.0])


@pytest.mark.parametrize(
    ("reply", "kind", "told"),
    [
        (
            Reply(400, b'{"status":"error","errorType":"bad_data","error":"parse error"}'),
            RequestRefusedError,
            "^parse error$",
        ),
        (Reply(400, b"out of order sample\nmore"), RequestRefusedError, "^out of order sample$"),
        (Reply(422), RequestRefusedError, "status 422"),
        (Reply(401), InputError, "asks for a token: --token-file"),
        (Reply(404, b"404 page not found"), InputError, "no Prometheus answers here"),
        (Reply(301, headers=[("Location", "http://elsewhere/")]), InputError, "sends to http://elsewhere/"),
    ],
)
def test_what_is_refused_is_told_once(reply: Reply, kind: type[Exception], told: str) -> None:
    with answering(reply) as (address, asked):
        with pytest.raises(kind, match=told):
            Client(address).post("/x", b"", {})
        assert len(asked) == 1


def test_a_token_does_not_follow_to_another_server() -> None:
    with answering(FINE) as (other, asked), answering(Reply(307, headers=[("Location", str(other))])) as (address, _):
        with pytest.raises(InputError, match="sends to") as refused:
            Client(address, token="a-token").post("/x", b"", {})
        assert asked == []
    assert "a-token" not in str(refused.value)


def test_a_wrong_token_is_told_so() -> None:
    with answering(Reply(403)) as (address, _), pytest.raises(InputError, match="refuses the token"):
        Client(address, token="a-token").post("/x", b"", {})


def test_an_answer_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 3)
    with answering(FINE) as (address, _), pytest.raises(TooLargeError, match="ask for less"):
        Client(address).post("/x", b"", {})


def test_a_server_that_is_not_there_or_silent_is_told_so() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        address = Address.parse(f"prometheus+http://127.0.0.1:{silent.getsockname()[1]}/")
        with pytest.raises(UnavailableError, match="cannot be reached: Connection refused"):
            Client(address).post("/x", b"", {})
        silent.listen()
        with pytest.raises(UnavailableError, match=re.escape("no answer within 0.1 s")):
            Client(address, timeout_s=0.1).post("/x", b"", {})


def test_a_certificate_is_checked(tmp_path: Path) -> None:
    tls = certificate(tmp_path)
    with answering(FINE, tls=tls) as (address, _):
        assert Client(address, ca_file=tls[0]).post("/x", b"", {}) == b"fine"
        with pytest.raises(UnavailableError, match=r"its certificate is not trusted: .*; --ca-file names who vouches"):
            Client(address).post("/x", b"", {})
    with pytest.raises(InputError, match="holds no certificate"):
        Client(address, ca_file=tls[1])
    with pytest.raises(InputError, match="No such file"):
        Client(address, ca_file=tmp_path / "none.pem")
