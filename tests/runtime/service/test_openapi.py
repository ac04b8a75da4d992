"""The OpenAPI document: it is valid, it is whole, and the service keeps to it."""

from __future__ import annotations

import gzip
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import msgspec
import pytest
from conftest import MODEL, Client
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR
from server_process import addresses, command, process, url_of
from starlette.routing import Match, Route

from vae_detect.runtime.bundle import Column
from vae_detect.runtime.detector import Detector
from vae_detect.runtime.service.catalogue import ENDPOINTS
from vae_detect.runtime.service.openapi import document
from vae_detect.runtime.service.operations import _MODEL
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


def test_the_table_holds_every_route_and_nothing_else(client: Client) -> None:
    routes = [route for route in client.app._rest.routes if isinstance(route, Route)]
    reached = set[tuple[str, str]]()
    for endpoint in ENDPOINTS:
        path = endpoint.path.format(name="pump", version="1")
        scope = {"type": "http", "method": endpoint.method, "path": path}
        route = next(each for each in routes if each.matches(scope)[0] == Match.FULL)
        reached.add((endpoint.method, route.path))
    told = {(method, route.path) for route in routes for method in route.methods or ()}
    only_refuses = {("GET", "/v2/models/{rest:path}/infer")}
    assert reached == {each for each in told if each[0] != "HEAD"} - only_refuses
    assert len({endpoint.called for endpoint in ENDPOINTS}) == len(ENDPOINTS)


def test_the_table_holds_all_that_is_asked_of_a_model() -> None:
    (words,) = re.findall(r"<what>([\w|]+)\)", _MODEL.pattern)
    told = {endpoint.path.rpartition("/")[2] for endpoint in ENDPOINTS if endpoint.path.startswith("/v2/models/{name}")}
    assert told == {*words.split("|"), "infer", "{name}", "{version}"}


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


def test_the_schema_of_a_row_is_that_of_the_model(client: Client, row: list[float], detector: Detector) -> None:
    schema = validator(document_of(client), "Row")
    there = dict(zip(detector.bundle.names, row, strict=True))
    assert schema.is_valid(row)
    assert schema.is_valid(there | {"note": "ignored"})
    del there["flow_m3h"]
    for bad in (there, row[:-1], [*row, 1], ["1", *row[1:]], [None, *row[1:]], [True, *row[1:]], [1e39, *row[1:]], 3):
        assert not schema.is_valid(bad)
        assert client.score([bad]).status_code == 400


def test_texts_classes_and_missing_cells_are_in_the_schema(detector: Detector) -> None:
    bundle = detector.bundle
    columns = (
        Column("mode", "", 0, 1, "category", levels=(0, 1), texts=("auto", "manual")),
        Column("on", "", 0, 1, "binary", levels=(0, 1)),
        Column("kind", "", 0, 1, "class", levels=(1, 2)),
        Column("flow", "", 0, 1, missing=(-999,)),
    )
    golden = msgspec.structs.replace(bundle.golden, x=[[1, 0, -1, 2.5]], score=[1], p_value=[1], is_anomaly=[False])
    bundle = msgspec.structs.replace(bundle, columns=columns, golden=golden)
    client = Client(_with(detector, bundle))
    found = document_of(client)
    check(found)
    schema, reader = validator(found, "Row"), client.model.served
    assert reader is not None
    for good in (
        ["auto", 1, 2, 3],
        ["manual", True, None, 3],
        {"mode": "auto", "on": 0, "flow": 1},
        {"mode": "auto", "on": False, "kind": 1, "flow": 1},
    ):
        assert schema.is_valid(good), good
        assert not reader.reader.read(json.dumps(good).encode()).bad
    for bad in (["off", 1, 2, 3], [0, 1, 2, 3], ["auto", 1, 3, 3], ["auto", 1, 2, -999], ["auto", 1, 2, None]):
        assert not schema.is_valid(bad), bad
        assert reader.reader.read(json.dumps(bad).encode(), flag_bad=True).bad
    content = found["paths"]["/score"]["post"]["requestBody"]["content"]
    assert content["application/json"]["examples"]["pump, lists"]["value"] == ["manual", 0.0, None, 2.5]
    assert content["text/csv"]["examples"]["pump"]["value"] == "mode,on,kind,flow\nmanual,0.0,,2.5\n"


def test_a_key_and_a_decimal_comma_are_in_the_examples(detector: Detector) -> None:
    layout = detector.bundle.data.layout
    written = msgspec.structs.replace(layout.format, delimiter=";", decimal=",")
    layout = msgspec.structs.replace(layout, key="machine", format=written, most_missing=2)
    data = msgspec.structs.replace(detector.bundle.data, layout=layout)
    client = Client(_with(detector, msgspec.structs.replace(detector.bundle, data=data)))
    found = document_of(client)
    content = found["paths"]["/score"]["post"]["requestBody"]["content"]
    (name,) = content["application/json"]["examples"]
    assert name == "pump, objects"
    table = content["text/csv"]["examples"]["pump"]["value"]
    assert table.startswith("machine;speed_rpm;flow_m3h;")
    assert "\nmachine-1;1239,0;132,6;" in table
    assert validator(found, "Row").is_valid([None] * 8)  # how many may be missing cannot be said there
    assert client.model.served is not None
    assert client.model.served.reader.read(table.encode(), "text/csv").keys == ["machine-1"]


def _with(detector: Detector, bundle: Any) -> Detector:
    return Detector(detector.session, bundle, detector.path)


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
            is_open = path in ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready")
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
    told += ["--max-time", str(math.ceil(float(seconds)))] if seconds else ["--max-examples", "8"]
    run = [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json", *told, "--checks", ",".join(CHECKS)]
    env = os.environ | {"SCHEMATHESIS_HOOKS": "schemathesis_hooks", "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run([*run, *words], cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


REPOSITORY = "^/v2/repository/models/"


def test_a_stranger_finds_no_fault_with_rows(tmp_path: Path) -> None:
    token = "a-token-of-the-test"
    (tmp_path / "token").write_text(token)
    (tmp_path / "token").chmod(0o600)
    with command("--port", "0", "--token-file", tmp_path / "token", model=MODEL) as (_, said):
        url = addresses(said[-1])[0]
        header = {"Authorization": f"Bearer {token}"}
        assert httpx.get(f"{url}/openapi.json").status_code == 401
        assert httpx.get(f"{url}/openapi.json", headers=header).json()["security"] == [{"bearer": []}]
        stranger(url, tmp_path, "--header", f"Authorization: Bearer {token}", "--exclude-path-regex", REPOSITORY)


def test_a_stranger_finds_no_fault_with_images(images_model: Path, tmp_path: Path) -> None:
    with process(images_model) as running:
        stranger(url_of(running), tmp_path, "--include-path-regex", "^/(score|model|v2/models/{name}/infer)$")


def test_a_stranger_finds_no_fault_with_versions(tmp_path: Path) -> None:
    with process() as running:
        stranger(url_of(running), tmp_path, "--include-path-regex", REPOSITORY)
