"""Tokens: what a file of them may hold, who is let in, and that none of them is ever said."""

from __future__ import annotations

import hmac
import json
import time
from pathlib import Path

import httpx
import pytest
from conftest import parse
from server_process import addresses, command, connect, post, read_all

from vae_detect.runtime.errors import InputError
from vae_detect.runtime.hosting.logs import Log
from vae_detect.runtime.service.access import HEALTH, OPEN, Access, Tokens, readable_by_others

TOKEN, OTHER = "0123456789abcdef-A", "another.token~with+16/chars=="


def bearing(value: str) -> list[tuple[bytes, bytes]]:
    return [(b"host", b"x"), (b"authorization", value.encode())]


def test_each_line_is_a_token() -> None:
    tokens = Tokens(f"# the old one\n{TOKEN}\n\n  {OTHER}  \r\n", "here")
    for token in (TOKEN, OTHER):
        assert tokens.admit(bearing(f"Bearer {token}"))
        assert tokens.admit(bearing(f"bearer  {token}"))
    for value in (
        *(
            "",
            "Bearer",
            "Bearer ",
            TOKEN,
            f"Basic {TOKEN}",
            f"Bearer {TOKEN[:-1]}",
            f"Bearer {TOKEN}A",
            f"Bearer {TOKEN.lower()}",
        ),
        *("Bearer # the old one", f"Bearer {TOKEN} {OTHER}", f"Bearer{TOKEN}", "Bearer é"),
    ):
        assert not tokens.admit(bearing(value)), value
    assert not tokens.admit([])
    assert not tokens.admit(bearing(f"Bearer {TOKEN}") * 2)


def test_all_tokens_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = Tokens(f"{TOKEN}\n{OTHER}", "here")
    compared: list[tuple[int, int]] = []
    compare = hmac.compare_digest

    def counting(left: bytes, right: bytes) -> bool:
        compared.append((len(left), len(right)))
        return compare(left, right)

    monkeypatch.setattr("hmac.compare_digest", counting)
    assert tokens.admit(bearing(f"Bearer {TOKEN}"))
    assert not tokens.admit(bearing("Bearer x"))
    assert compared == [(32, 32)] * 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "here: holds no token; `openssl rand -hex 32` makes one"),
        ("# nothing\n\n", "here: holds no token"),
        (f"{TOKEN}\nsecret-of-15-ch\n", "here, line 2: the token has 15 characters, expected 16 or more"),
        ("secret with spaces in it", "here, line 1: a token has no characters but"),
        ("sécret-of-16-chars", "here, line 1: a token has no characters but"),
    ],
)
def test_what_is_no_token_is_refused_and_not_said(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        Tokens(text, "here")
    assert str(caught.value).startswith(message)
    assert "secret" not in str(caught.value)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for name, reason in (("absent", "No such file"), ("", "Is a directory"), ("binary", "is no text of tokens")):
        with pytest.raises(InputError, match=f"{tmp_path / name}: {reason}"):
            Tokens(tmp_path / name, str(tmp_path / name))


def test_a_reload_takes_new_tokens_or_keeps_the_old(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(TOKEN)
    tokens, lines = Tokens(path, "the file"), list[str]()
    path.write_text(OTHER)
    Access(tokens).reload(Log(lines.append))
    assert (tokens.admit(bearing(f"Bearer {TOKEN}")), tokens.admit(bearing(f"Bearer {OTHER}"))) == (False, True)
    assert lines == []
    path.write_text("short")
    Access(tokens).reload(Log(lines.append))
    assert tokens.admit(bearing(f"Bearer {OTHER}"))
    assert len(lines) == 1
    assert lines[0].startswith("the file, line 1: the token has 5 characters")
    assert lines[0].endswith("what was read before stays in force")
    OPEN.reload(Log(lines.append))


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o644, 0o604])
def test_a_file_that_others_may_read_is_warned_of(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "tokens"
    path.touch(mode)
    path.chmod(mode)
    assert bool(readable_by_others(path)) is (mode not in (0o600, 0o400))
    assert readable_by_others(path) in (
        "",
        f"warning: {path} can be read by other users (mode {mode:04o}): chmod 600 {path}",
    )


def test_a_service_lets_in_who_has_a_token(tmp_path: Path, row: list[float]) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"{OTHER}\n{TOKEN}\n")
    path.chmod(0o600)
    body = json.dumps(row).encode()
    wrong = (
        None,
        "",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN}x",
        "Bearer " + "x" * 18,
        f"Basic {TOKEN}",
        TOKEN,
        "Bearer",
    )
    with command("--port", "0", "--token-file", path, "--log-format", "json") as (running, said):
        (url,) = addresses(said[-1])
        assert len(said) == 1
        for value in wrong:
            headers = {} if value is None else {"Authorization": value}
            for method, where in (
                ("POST", "/score"),
                ("GET", "/model"),
                ("GET", "/metrics"),
                ("GET", "/nothing"),
                ("GET", "//healthz"),
            ):
                answer = httpx.request(method, url + where, content=body, headers=headers)
                assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), (value, where)
                assert answer.json() == {"error": "a token is needed: Authorization: Bearer TOKEN"}
        for token in (TOKEN, OTHER):
            answer = httpx.post(f"{url}/score", content=body, headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code == 200
        for path_ in ("/healthz", "/readyz"):
            assert httpx.get(url + path_).status_code == 200
        assert httpx.options(f"{url}/score").status_code == 204
        with connect(url) as connection:  # the answer reaches a client that goes on sending
            connection.sendall(post(b" " * 5_000_000))
            assert read_all(connection).startswith(b"HTTP/1.1 401 ")
        answer = httpx.get(f"{url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
        found = parse(answer.text)
        assert [
            found[f"vae_detect_requests_total[('code', '401'), ('route', '{route}')]"] for route in ("score", "other")
        ] == [9, 32]
        running.terminate()
        _, errors = running.communicate(timeout=10)
    assert running.returncode == 0
    lines = [json.loads(line) for line in errors.splitlines()]
    assert {line["event"] for line in lines} == {"request_refused"}
    assert {line["status"] for line in lines if "status" in line} == {401}
    assert 10 <= len(lines) < 41
    assert sum(("status" in line) + line.get("left_out", 0) for line in lines) == 41
    assert TOKEN[:-1] not in errors
    assert OTHER[:10] not in errors


def test_tokens_may_come_from_the_environment_and_from_one_place_alone(tmp_path: Path) -> None:
    with command("--port", "0", env={"VAE_DETECT_TOKEN": TOKEN}) as (_, said):
        (url,) = addresses(said[-1])
        assert httpx.get(f"{url}/model").status_code == 401
        assert httpx.get(f"{url}/model", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    path = tmp_path / "tokens"
    path.write_text("secret")
    for options, env, message in (
        ((), {"VAE_DETECT_TOKEN": ""}, "Error: VAE_DETECT_TOKEN: holds no token"),
        ((), {"VAE_DETECT_TOKEN": "secret"}, "Error: VAE_DETECT_TOKEN, line 1: the token has 6 characters"),
        (("--token-file", path), {}, f"Error: {path}, line 1: the token has 6 characters"),
        (("--token-file", path), {"VAE_DETECT_TOKEN": TOKEN}, "Error: tokens come from --token-file or from"),
        (("--token-file", tmp_path / "absent"), {}, f"Error: {tmp_path / 'absent'}: No such file"),
    ):
        started = time.monotonic()
        with command("--port", "0", *options, env=env) as (running, said):
            assert running.wait(timeout=10) == 2
        assert time.monotonic() - started < 5
        assert said[0].startswith(message)
        assert (said[1:], "secret" in said[0]) == ([""], False)


def test_metrics_on_a_port_of_their_own() -> None:
    with command("--port", "0", "--metrics-port", "0", env={"VAE_DETECT_TOKEN": TOKEN}) as (_, said):
        url, metrics = addresses(said[-1])
        assert httpx.get(f"{metrics}/metrics").text.startswith("# HELP ")
        assert {httpx.get(one + path).status_code for one in (url, metrics) for path in HEALTH} == {200}
        answer = httpx.get(f"{url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
        assert (answer.status_code, answer.json()["error"]) == (
            404,
            "no such path here; metrics have a port of their own",
        )
        for method, path in (("POST", "/score"), ("GET", "/model"), ("GET", "/")):
            answer = httpx.request(method, metrics + path, headers={"Authorization": f"Bearer {TOKEN}"})
            assert (answer.status_code, answer.json()["error"]) == (404, "this port is for /metrics and health")


@pytest.mark.parametrize(
    ("options", "env", "missing"),
    [
        ((), {}, "this service asks for no token (--token-file) and does not encrypt (--tls-cert)"),
        ((), {"VAE_DETECT_TOKEN": TOKEN}, "tokens and data go there unencrypted (--tls-cert)"),
    ],
)
def test_an_open_address_is_warned_of_by_what_is_missing(
    options: tuple[str, ...], env: dict[str, str], missing: str
) -> None:
    with command("--port", "0", "--host", "0.0.0.0", *options, env=env) as (_, said):
        assert said[:-1] == [f"warning: 0.0.0.0 can be reached from other machines, and {missing}\n"]
