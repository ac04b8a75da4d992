"""The endpoints beside infer of the Open Inference Protocol."""

from __future__ import annotations

import pytest
from conftest import Client


@pytest.mark.parametrize("body", [b"", b" \n", b"{}", b'{ "parameters": {\n} }'])
def test_load_takes_an_empty_object_however_it_is_written(client: Client, body: bytes) -> None:
    answer = client.ask("POST", "/v2/repository/models/pump/load", content=body)
    assert (answer.status_code, answer.json()["state"]) == (200, "READY"), answer.text


@pytest.mark.parametrize(
    "body", [b"[]", b"{", b"1", b'{"parameters": {"config": "{}"}}', b'{"x": 1}', b"\xff", b"[" * 9999]
)
def test_load_refuses_what_it_would_not_heed(client: Client, body: bytes) -> None:
    answer = client.ask("POST", "/v2/repository/models/pump/load", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("load takes no parameters; ")
