"""What a health check says of services that are well, ill, away or not trusted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import run_here
from server_process import addresses, certificate, command, process, url_of

from vae_detect.runtime.hosting.health import check


@pytest.fixture(scope="module")
def live() -> Iterator[str]:
    with process() as running:
        yield url_of(running)


def test_a_service_is_well_or_says_why_not(live: str) -> None:
    assert check(live, "/readyz", 5) is None
    assert check(live, "/nothing", 5) == f"{live}/nothing: no such path; GET / lists the endpoints"
    assert check(f"{live}/nothing", "/readyz", 5) == f"{live}/nothing/readyz: no such path; GET / lists the endpoints"
    assert "refused" in str(check("http://127.0.0.1:1", "/readyz", 5))


@pytest.mark.parametrize("url", ["nonsense", "ftp://localhost", "http://", "", "http://[::1", "http://localhost:x"])
def test_an_address_that_is_none_is_said(url: str) -> None:
    assert str(check(url, "/readyz", 5)).startswith(f"{url}/readyz: ")


def test_a_unix_socket_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pump.sock"
    assert check(f"unix:{path}", "/readyz", 5) == f"unix:{path}/readyz: [Errno 2] No such file or directory"
    with command("--unix", path):
        assert check(f"unix:{path}", "/readyz", 5) is None
        assert run_here("health", "--url", f"unix:{path}").stdout == "ready\n"
        monkeypatch.setenv("VAE_DETECT_SERVE_UNIX", str(path))
        assert run_here("health").stdout == "ready\n"


def test_a_certificate_is_trusted_as_it_was_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    issuer = certificate(tmp_path, name="issuer.example")
    (ours, key), (others, _) = certificate(tmp_path, issuer=issuer), certificate(tmp_path, name="elsewhere.example")
    with command("--port", "0", "--host", "127.0.0.1", "--tls-cert", ours, "--tls-key", key) as (_, said):
        port = said[-1].rpartition(":")[2].strip()
        by_name, by_address = f"https://localhost:{port}", f"https://127.0.0.1:{port}"
        assert check(by_name, "/readyz", 5, ca_file=issuer[0]) is None
        assert "certificate is not trusted" in str(check(by_name, "/readyz", 5))
        assert "certificate is not trusted" in str(check(by_name, "/readyz", 5, ca_file=others))
        assert "not valid for '127.0.0.1'" in str(check(by_address, "/readyz", 5, ca_file=issuer[0]))
        assert check(by_address, "/readyz", 5, certificate=ours) is None
        assert "certificate is not trusted" in str(check(by_address, "/readyz", 5, certificate=others))
        assert run_here("health", "--url", by_name, "--ca-file", issuer[0]).stdout == "ready\n"
        monkeypatch.setenv("VAE_DETECT_SERVE_PORT", port)
        assert run_here("health").returncode == 2  # http is no https
        monkeypatch.setenv("VAE_DETECT_SERVE_TLS_CERT", str(ours))
        assert run_here("health").stdout == "ready\n"
        assert addresses(said[-1]) == [by_address]
    assert "No such file" in str(check(by_name, "/readyz", 5, ca_file=tmp_path / "absent"))
