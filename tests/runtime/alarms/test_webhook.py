"""Signed posts to a real server, and what comes of its answers."""

from __future__ import annotations

import base64
import hashlib
import hmac
from pathlib import Path

import pytest
from receiving import receiving

from vae_detect.runtime.alarms import webhook
from vae_detect.runtime.alarms.webhook import BusyError, Webhook, secret_of, signature
from vae_detect.runtime.errors import InputError


def test_what_is_posted_is_signed_over_number_time_and_body() -> None:
    secret = base64.b64encode(b"0123456789abcdef01234567").decode()
    with receiving() as receiver:
        hook = Webhook(receiver.url, secret=secret_of(f"whsec_{secret}\n"), clock=lambda: 1767592800.9)
        hook.send(b'{"id":1}', "a")
        hook.send(b'{"id":1}', "a")
        hook.send(b'{"id":2}', "a")
    first, again, other = receiver.headers
    assert (first["path"], first["Content-Type"]) == ("/hooks/T0KEN", "application/json")
    assert first["webhook-timestamp"] == "1767592800"
    assert first["webhook-id"] == again["webhook-id"] != other["webhook-id"]
    signed = f"{first['webhook-id']}.1767592800.".encode() + receiver.bodies[0]
    digest = hmac.new(b"0123456789abcdef01234567", signed, hashlib.sha256).digest()
    assert first["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"


def test_the_signature_is_that_of_openssl() -> None:
    # printf 'msg_1.1767592800.{}' | openssl dgst -sha256 -hmac key -binary | base64
    assert signature(b"key", "msg_1", 1767592800, b"{}") == "v1,Z/0BxiyIbmgTSxsFzw2FOzCjbbie9RjXJjslRMFOmQM="


def test_without_a_secret_nothing_is_signed() -> None:
    with receiving() as receiver:
        Webhook(receiver.url).send(b"{}", "")
    assert "webhook-signature" not in receiver.headers[0]


@pytest.mark.parametrize("status", [400, 410, 413, 422])
def test_what_is_not_wanted_is_refused_for_good(status: int) -> None:
    with receiving() as receiver:
        receiver.answers = [status]
        with pytest.raises(InputError, match=f"does not want this event: status {status}") as refused:
            Webhook(receiver.url).send(b"{}", "")
    assert "T0KEN" not in str(refused.value)


@pytest.mark.parametrize("status", [0, 302, 401, 404, 408, 429, 500, 503])
def test_what_may_go_well_later_is_told_so(status: int) -> None:
    with receiving() as receiver:
        receiver.answers, receiver.retry_after = [status], "7"
        with pytest.raises(BusyError, match=r"status|cannot be reached") as busy:
            Webhook(receiver.url).send(b"{}", "")
    assert busy.value.after_s == (7 if status else 0)
    assert "T0KEN" not in str(busy.value)


def test_a_server_may_ask_for_an_hour_at_most() -> None:
    assert [BusyError("", after).after_s for after in ("90", "999999", "Mon, 05 Jan 2026 06:00:00 GMT", None)] == [
        *(90, 3600, 0, 0)
    ]


def test_a_server_that_says_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "TIMEOUT_S", 0.1)
    with receiving() as receiver:
        receiver.answers = [-1]
        with pytest.raises(BusyError, match=r"no answer within 0\.1 s"):
            Webhook(receiver.url).send(b"{}", "")
    monkeypatch.setattr(webhook, "TIMEOUT_S", 10.0)
    monkeypatch.setattr(webhook, "WHOLE_S", 0.1)  # as if it sent a byte now and then
    with receiving() as receiver:
        receiver.answers = [-1]
        with pytest.raises(BusyError, match="cannot be reached"):
            Webhook(receiver.url).send(b"{}", "")


def test_nobody_there_can_be_reached() -> None:
    with pytest.raises(BusyError, match=r"^http://127\.0\.0\.1:9: cannot be reached: Connection refused"):
        Webhook("http://127.0.0.1:9/T0KEN").send(b"{}", "")


@pytest.mark.parametrize(
    "url", ["127.0.0.1", "ftp://a/", "http:///x", "http://a:b/", "https://me:hidden@a/", "http://hidden@a/", "http://["]
)
def test_what_is_no_address_is_refused_without_telling_it(url: str) -> None:
    with pytest.raises(InputError, match=r"^--alarms-to: ") as refused:
        Webhook(url)
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize("text", ["", " \n", "whsec_", "whsec_***"])
def test_what_is_no_secret_is_refused_without_telling_it(text: str) -> None:
    with pytest.raises(InputError, match="the secret of --alarms-to") as refused:
        secret_of(text)
    assert "*" not in str(refused.value)


def test_an_authority_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no certificate|No such file"):
        Webhook("https://127.0.0.1/", ca_file=tmp_path / "none.pem")
    (tmp_path / "bad.pem").write_text("nothing")
    with pytest.raises(InputError, match="no certificate"):
        Webhook("https://127.0.0.1/", ca_file=tmp_path / "bad.pem")
