"""The oldest versions that pyproject.toml allows of what a box needs do what the tested ones do.

`make oldest` installs them in an environment of their own.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import polars
import pytest
from conftest import MODEL, ROOT, parse
from PIL import Image as Pillow
from server_process import addresses, command, connect, post, read_all
from tiny_images import normal_images

from vae_detect.cli import HEADINGS
from vae_detect.runtime.bundle import Image
from vae_detect.runtime.detector import Detector

ROW = b"[1450,172,1,3,33,19,40,2]"


@pytest.fixture(scope="module")
def python() -> Path:
    """The Python that has them."""
    found = Path(os.environ.get("VAE_DETECT_OLDEST_PYTHON", ROOT / ".venv-oldest" / "bin" / "python"))
    if not found.is_file():
        pytest.skip(f"no oldest versions: {found} is not there; `make oldest` installs them")
    return found


def run(python: Path, *words: str | Path) -> str:
    """What the command says on standard output; it must end well."""
    environment = {"PYTHONPATH": str(ROOT / "src"), "PYTHONWARNINGS": "error", "PATH": os.environ["PATH"]}
    line = [str(python), "-m", "vae_detect", *map(str, words)]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", HEADINGS["On the box"])
def test_every_command_of_the_box_says_what_it_does(python: Path, name: str) -> None:
    assert run(python, name, "--help").startswith(f"Usage: vae-detect {name} ")


@pytest.mark.parametrize("suffix", ["csv", "parquet", "xlsx"])
def test_a_table_is_scored(python: Path, rows_csv: Path, tmp_path: Path, suffix: str) -> None:
    table, scored = tmp_path / f"rows.{suffix}", tmp_path / "scores.csv"
    rows = polars.read_csv(rows_csv)
    if suffix == "xlsx":
        rows.write_excel(table)
    elif suffix == "parquet":
        rows.write_parquet(table)
    else:
        rows.write_csv(table)
    run(python, "score", table, "--model", MODEL, "--out", scored)
    detector = Detector.load(MODEL, provider="cpu")
    expected = detector.score(rows.select(detector.bundle.names).to_numpy().astype(np.float32)).score
    np.testing.assert_allclose(polars.read_csv(scored)["score"].to_numpy(), expected, rtol=1e-4)


def test_an_image_is_scored(python: Path, images_model: Path, tmp_path: Path) -> None:
    Pillow.fromarray(normal_images(Image(12, 16, "colour"), 1)[0]).save(tmp_path / "photo.png")
    header, row = run(python, "score", tmp_path / "photo.png", "--model", images_model).splitlines()
    assert dict(zip(header.split(","), row.split(","), strict=True))["status"] == "ok"


@pytest.fixture(scope="module")
def url(python: Path) -> Iterator[str]:
    """Where the committed detector is served by them."""
    with command("--port", "0", python=python) as (running, said):
        yield addresses(said[-1])[0]
        running.terminate()
        assert running.communicate(timeout=10)[1] == ""
        assert running.returncode == 0


@pytest.mark.parametrize(
    ("content_type", "body", "status", "told"),
    [
        ("application/json", ROW, 200, '"status":"ok"'),
        ("application/json", b"[" + b",".join([ROW] * 2000) + b"]", 200, '"row":1999'),
        (
            "application/json",
            b'[1450,172,1,3,33,19,40,"x"]',
            400,
            "column 'vibration_mm_s' holds 'x', expected a number",
        ),
        ("application/json", b"[1450,172", 400, "the body is not valid JSON"),
        ("application/json", b"[1450,172,1,3,33,19,40,NaN]", 400, "holds NaN, expected a finite number"),
        ("application/x-ndjson", ROW + b"\n" + ROW, 200, '"row":1'),
        ("text/csv; header=absent", ROW.strip(b"[]"), 200, '"status":"ok"'),
    ],
)
def test_rows_are_scored_or_refused(url: str, content_type: str, body: bytes, status: int, told: str) -> None:
    answer = httpx.post(f"{url}/score", content=body, headers={"content-type": content_type})
    assert answer.status_code == status, answer.text
    assert told in answer.text


def test_the_other_endpoints_answer(url: str) -> None:
    tensor = {"name": "x", "shape": [1, 8], "datatype": "FP32", "data": json.loads(ROW)}
    assert httpx.post(f"{url}/v2/models/vae/infer", json={"inputs": [tensor]}).json()["outputs"][0]["name"] == "score"
    assert httpx.post(f"{url}/v2/models/vae/infer", json={"inputs": 3}).status_code == 400
    for path in ("/", "/healthz", "/readyz", "/model", "/openapi.json", "/v2", "/v2/models/vae/config"):
        assert httpx.get(f"{url}{path}").status_code == 200, path
    assert (
        parse(httpx.get(f"{url}/metrics").text)["vae_detect_requests_total[('code', '500'), ('route', 'score')]"] == 0
    )


def test_connections_are_as_they_are(url: str) -> None:
    """Closed when they are asked to, refused with what is no HTTP, kept by one that sends no more."""
    for request, expected in (
        (post(ROW, "Connection: close"), b"HTTP/1.1 200 "),
        (b"GET / HTTP/1.1\r\nX y: 1\r\n\r\n", b"HTTP/1.1 400 "),
        (post(ROW, "Connection: Upgrade", "Upgrade: h2c", "Connection: close"), b"HTTP/1.1 200 "),
    ):
        with connect(url) as connection:
            connection.sendall(request)
            assert read_all(connection).startswith(expected)
    with connect(url) as connection:
        connection.sendall(post(ROW))
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection).startswith(b"HTTP/1.1 200 ")
