"""The OpenAPI document: it is valid, it is whole, and the service keeps to it."""

from __future__ import annotations

import gzip
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest
from conftest import MODEL, Client
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR
from server_process import addresses, command, process, url_of

from vae_detect.runtime.detector import Detector
from vae_detect.runtime.service.openapi import document
from vae_detect.runtime.service.queries import EXPECTED
from vae_detect.runtime.service.refusals import STATUSES

Document = dict[str, Any]


def document_of(client: Client) -> Document:
    answer = client.ask("GET", "/openapi.json")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    found: Document = answer.json()
    return found


def schemas(found: Any) -> Iterator[Any]:
    """Every schema of a document."""
    if isinstance(found, dict):
        yield from (each for name, each in found.items() if name == "schema")
        yield from found.get("schemas", {}).values()
    for each in found.values() if isinstance(found, dict) else found if isinstance(found, list) else ():
        yield from schemas(each)


def check(found: Document) -> None:
    """What the specification asks of a document, and JSON Schema of the schemas in it."""
    OPENAPI_31_VALIDATOR.validate(found)
    for schema in schemas(found):
        jsonschema_rs.Draft202012Validator(schema | {"components": found["components"]})
    identifiers = [operation["operationId"] for path in found["paths"].values() for operation in path.values()]
    assert len({*identifiers}) == len(identifiers)


def validator(found: Document, name: str) -> Any:
    """Of what the document calls so."""
    reference = {"$ref": f"#/components/schemas/{name}"}
    return jsonschema_rs.Draft202012Validator(reference | {"components": found["components"]})


@pytest.mark.parametrize("kind", ["none", "rows", "windows", "images", "several"])
def test_the_document_is_valid_whatever_is_served(kind: str, request: pytest.FixtureRequest) -> None:
    client = Client(None)
    if kind in ("rows", "several"):
        client.use(request.getfixturevalue("detector"))
    if kind in ("windows", "images"):
        client.use(request.getfixturevalue(f"{kind}_detector"))
    if kind == "several":
        client.repository.add("fan", MODEL)
    found = document_of(client)
    check(found)
    (model,) = (each for each in found["paths"]["/score"]["post"]["parameters"] if each["name"] == "model")
    assert model["schema"] == {"enum": ["pump", "fan"] if kind == "several" else ["pump"]}
    assert model["required"] is (kind == "several")


def test_the_document_tells_every_query_and_every_status(client: Client) -> None:
    score = document_of(client)["paths"]["/score"]["post"]
    assert [each["name"] for each in score["parameters"] if each["in"] == "query"] == [*EXPECTED]
    # 405 is for other methods, 401 for services that ask for a token.
    assert {*map(int, score["responses"])} == {200, *STATUSES} - {401, 405}
    for path in document_of(client)["paths"].values():
        for operation in path.values():
            assert {"200", "400", "500"} <= {*operation["responses"]}


def test_parts_and_versions_have_their_names_in_the_document(client: Client, detector: Detector) -> None:
    infer = document_of(client)["paths"]["/v2/models/{name}/versions/{version}/infer"]["post"]
    name, version = (each["schema"]["enum"] for each in infer["parameters"] if each["in"] == "path")
    assert (name, version) == (["pump", "pump/encoder", "pump/decoder"], [detector.bundle.export_id])
    for each in name:
        written = each.replace("/", "%2F")  # as clients write a name that they put into a path
        assert client.ask("GET", f"/v2/models/{written}/versions/{version[0]}").json()["name"] == each


@pytest.mark.parametrize("kind", ["detector", "windows_detector"])
def test_every_example_can_be_sent_as_it_stands(kind: str, request: pytest.FixtureRequest) -> None:
    client = Client(request.getfixturevalue(kind))
    found = document_of(client)
    sent = 0
    for path, body in (("/score", validator(found, "Row")), ("/v2/models/{name}/infer", None)):
        for content_type, content in found["paths"][path]["post"]["requestBody"]["content"].items():
            for name, example in content.get("examples", {}).items():
                value = example["value"]
                data = value.encode() if isinstance(value, str) else json.dumps(value).encode()
                for packed, encoding in ((data, "identity"), (gzip.compress(data), "gzip")):
                    headers = {"content-type": content_type, "content-encoding": encoding}
                    answer = client.ask("POST", path.format(name="pump"), content=packed, headers=headers)
                    assert answer.status_code == 200, (content_type, name, answer.text)
                    told = "ScoreAnswer" if path == "/score" else "InferAnswer"
                    validator(found, told).validate(answer.json())
                if body is not None and content_type == "application/json":
                    rows = value if kind == "windows_detector" else [value]
                    for row in rows:
                        body.validate(row)
                    assert not any(each["is_anomaly"] for each in answer.json()["results"])
                sent += 1
    assert sent == 5  # a list and an object, JSON lines, CSV, and tensors


def test_the_document_is_made_once_for_what_is_served(
    client: Client, detector: Detector, windows_detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def count(*arguments: Any, **options: Any) -> bytes:
        made.append(arguments)
        return document(*arguments, **options)

    monkeypatch.setattr("vae_detect.runtime.service.endpoints.document", count)
    first = document_of(client)
    assert document_of(client) == first
    assert len(made) == 1
    client.use(windows_detector)
    assert document_of(client) != first
    client.use(detector)
    assert document_of(client) == first
    assert len(made) == 3


def test_a_service_that_asks_for_a_token_says_so(client: Client) -> None:
    assert "security" not in document_of(client)
    client.service.asks_token = True
    found = document(dict.fromkeys(["pump"]), asks_token=True)
    told: Document = json.loads(found)
    check(told)
    assert told["components"]["securitySchemes"] == {"bearer": {"type": "http", "scheme": "bearer"}}
    assert told["security"] == [{"bearer": []}]
    for path, operations in told["paths"].items():
        for operation in operations.values():
            is_open = path in ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready", "/page/{file}")
            assert (operation.get("security") == [], "401" not in operation["responses"]) == (is_open, is_open)


def test_what_model_tells_is_in_the_document(client: Client) -> None:
    facts = client.ask("GET", "/model").json()
    schema = validator(document_of(client), "Facts")
    schema.validate(facts)
    assert not schema.is_valid(facts | {"golden": 1})
    del facts["calibration"]["far"]
    assert not schema.is_valid(facts)


# --- schemathesis: what a stranger sends who has only the document ---------------------------------------------------

CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance"),
    *("response_schema_conformance", "unsupported_method", "allow_header_conformance", "ignored_auth"),
    *("good_data_is_accepted", "bad_data_is_refused"),
)
"""Not missing_required_header: none is required. Nothing is made or deleted, so that nothing can be used after it."""

CONFIGURATION = """
[parameters]
# A body that says it is packed and is not is refused: test_every_example_can_be_sent_as_it_stands packs it.
"Content-Encoding" = "identity"
"""


def stranger(url: str, folder: Path, *words: str) -> None:
    """Sends what schemathesis makes of the document: the same each time, for FUZZ_SECONDS where that is set."""
    (folder / "schemathesis.toml").write_text(CONFIGURATION)
    seconds = os.environ.get("FUZZ_SECONDS")
    told = ["--phases", "examples,coverage,fuzzing", "--seed", "1", "--continue-on-failure", "--no-color"]
    told += ["--suppress-health-check", "all"]  # of a busy machine, not of the service
    told += ["--max-time", str(math.ceil(float(seconds)))] if seconds else ["--max-examples", "8"]
    run = [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json", *told, "--checks", ",".join(CHECKS)]
    env = os.environ | {"SCHEMATHESIS_HOOKS": "schemathesis_hooks", "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run([*run, *words], cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


REPOSITORY = "^/v2/repository/models/"
ENDLESS = "^/live$"
"""An answer that a client without a browser would wait for, for ever."""


def test_a_stranger_finds_no_fault_with_rows(tmp_path: Path) -> None:
    token = "a-token-of-the-test"
    (tmp_path / "token").write_text(token)
    (tmp_path / "token").chmod(0o600)
    with command("--port", "0", "--token-file", tmp_path / "token", model=MODEL) as (_, said):
        url = addresses(said[-1])[0]
        header = {"Authorization": f"Bearer {token}"}
        assert httpx.get(f"{url}/openapi.json").status_code == 401
        assert httpx.get(f"{url}/openapi.json", headers=header).json()["security"] == [{"bearer": []}]
        stranger(
            url,
            tmp_path,
            "--header",
            f"Authorization: Bearer {token}",
            "--exclude-path-regex",
            f"{REPOSITORY}|{ENDLESS}",
        )


def test_a_stranger_finds_no_fault_with_images(images_model: Path, tmp_path: Path) -> None:
    with process(images_model) as running:
        stranger(url_of(running), tmp_path, "--include-path-regex", "^/(score|model|v2/models/{name}/infer)$")


def test_a_stranger_finds_no_fault_with_versions(tmp_path: Path) -> None:
    with process() as running:
        stranger(url_of(running), tmp_path, "--include-path-regex", REPOSITORY)
