"""Addresses as they are typed, and those that are refused without telling what they hold."""

import pytest

from vae_detect.runtime.errors import InputError
from vae_detect.runtime.prometheus.address import Address, is_address


@pytest.mark.parametrize(
    ("text", "url", "host", "is_encrypted", "is_local"),
    [
        ("prometheus+http://127.0.0.1:9090/", "http://127.0.0.1:9090", "127.0.0.1:9090", False, True),
        ("prometheus+http://localhost", "http://localhost", "localhost:80", False, True),
        (
            "prometheus+https://mimir.example/prometheus/",
            "https://mimir.example/prometheus",
            "mimir.example:443",
            True,
            False,
        ),
        ("prometheus+http://[::1]:9090/a/b", "http://[::1]:9090/a/b", "[::1]:9090", False, True),
        ("PROMETHEUS+HTTP://Box:1/", "http://box:1", "box:1", False, False),
    ],
)
def test_an_address_by_hand(text: str, url: str, host: str, is_encrypted: bool, is_local: bool) -> None:
    assert is_address(text)
    address = Address.parse(text)
    assert (str(address), address.host, address.is_encrypted, address.is_local) == (url, host, is_encrypted, is_local)


@pytest.mark.parametrize("text", ["normal.csv", "http://127.0.0.1:9090/", "prometheus", "logs/prometheus+http.csv"])
def test_other_names_are_none(text: str) -> None:
    assert not is_address(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("prometheus+http:///x", r"expected prometheus\+http://HOST"),
        ("prometheus+http:9090", r"expected prometheus\+http://HOST"),
        ("prometheus+http://box/api?query=up", r"expected prometheus\+http://HOST"),
        ("prometheus+http://box:port/", "damaged"),
        ("prometheus+http://bo x/", r"expected prometheus\+http://HOST"),
    ],
)
def test_what_is_damaged_is_refused(text: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        Address.parse(text)


def test_a_password_is_refused_and_not_repeated() -> None:
    with pytest.raises(InputError, match="--token-file") as refused:
        Address.parse("prometheus+https://someone:se-cret@box:9090/")
    assert "se-cret" not in str(refused.value)
    assert "someone" not in str(refused.value)
