"""Whose word is taken for who a server is."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from vae_detect.runtime.errors import InputError
from vae_detect.runtime.trust import trusting


def test_without_a_file_the_system_decides() -> None:
    context = trusting(None)
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_a_file_that_holds_no_certificate_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nonsense")
    with pytest.raises(InputError, match=r"ca\.pem: holds no certificate \(PEM\)"):
        trusting(tmp_path / "ca.pem")
    with pytest.raises(InputError, match=r"none\.pem: "):
        trusting(tmp_path / "none.pem")
