"""Odd input for FUZZ_SECONDS a target: valid input, taken apart and put together wrongly, then bytes of it changed.

Whatever comes, only errors of ours may escape: of a service a 4xx answer, of a command neither exit code 1 nor 5.
`make fuzz` takes a minute a target; among the other tests it is a second.
"""

from __future__ import annotations

import csv
import functools
import gzip
import io
import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from conftest import MODEL, Client
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from vae_detect.cli import HEADINGS, commands
from vae_detect.runtime.batch.scores import schema_of, score_file, write_scores
from vae_detect.runtime.bundle import Image
from vae_detect.runtime.describe import describe
from vae_detect.runtime.detector import Detector
from vae_detect.runtime.errors import InputError, VaeDetectError
from vae_detect.runtime.images.reading import read_image
from vae_detect.runtime.layout import Layout, TableFormat
from vae_detect.runtime.rows.chunk import Rows, joined
from vae_detect.runtime.rows.writers import CsvWriter, JsonLinesWriter
from vae_detect.runtime.scoring.state import StreamState
from vae_detect.runtime.service.refusals import RefusedError
from vae_detect.runtime.service.request_reader import RequestReader
from vae_detect.runtime.service.unpacking import unpack
from vae_detect.runtime.streams.lines import score_lines
from vae_detect.training.data.loading import load_table
from vae_detect.training.data.selection import Selection

SECONDS = float(os.environ.get("FUZZ_SECONDS", "1"))

NAMES = (
    *("speed_rpm", "flow_m3h", "suction_pressure_bar", "discharge_pressure_bar"),
    *("motor_current_a", "power_kw", "bearing_temperature_c", "vibration_mm_s"),
)
ROW = ("1450", "172.1", "0.33", "3.3", "33.1", "19.4", "40.2", "1.9")
ODD = (
    *("", " ", "NaN", "-inf", "1e999", "3.4e38", "1,5", "1_0", "0x1A", "True", "true", "null", "\0", '"', "°", "١"),
    *("9" * 400, "2026-01-05T06:00:00Z", "9999999999999", "1e300", "-1e18", "\ud800", "😀", "\r", "\n", "\u2028"),
)


def fuzz(check: Callable[[Any], None], inputs: st.SearchStrategy[Any]) -> None:
    """Checks these inputs until the time is over, the same ones at every run as far as it reaches."""
    end, number = time.monotonic() + SECONDS, 0
    while number == 0 or time.monotonic() < end:
        quiet = settings(max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        quiet(seed(number)(given(inputs)(check)))()
        number += 1


def changed(content: st.SearchStrategy[bytes], *, within: int | None = None) -> st.SearchStrategy[bytes]:
    """With up to four stretches of bytes replaced, of which the first `within` are likelier to be hit."""

    def change(whole: bytes, edits: list[tuple[float, int, bytes]]) -> bytes:
        for place, length, new in edits:
            at = int(place * min(len(whole), within or len(whole)))
            whole = whole[:at] + new + whole[at + length :]
        return whole

    edit = st.tuples(st.floats(0, 1), st.integers(0, 6), st.binary(max_size=6))
    return st.one_of(content, st.builds(change, content, st.lists(edit, max_size=4)))


def said(error: VaeDetectError) -> None:
    """A message is one line that can be written."""
    str(error).encode()
    assert len(str(error).splitlines()) == 1, error


def cells() -> st.SearchStrategy[str]:
    return st.one_of(st.sampled_from(ROW), st.sampled_from(ROW), st.sampled_from(ODD), st.text(max_size=6))


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    """A CSV that is mostly one of the pump station."""
    header = draw(st.one_of(st.just(list(NAMES)), st.permutations(NAMES), st.lists(st.sampled_from(NAMES), max_size=9)))
    header += draw(st.lists(st.sampled_from(["timestamp", "note", "", "a\nb", "speed_rpm"]), max_size=2))
    rows = draw(st.lists(st.lists(cells(), min_size=len(header) or 1, max_size=len(header) + 1), max_size=6))
    good = draw(st.integers(0, 3))
    out = io.StringIO(newline="")
    delimiter = draw(st.sampled_from([",", ",", ";", "\t"]))
    end = draw(st.sampled_from(["\n", "\r\n"]))
    writer = csv.writer(out, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL, lineterminator=end)
    writer.writerows([header, *rows, *[(ROW * 2)[: len(header)] for _ in range(good)]])
    content = out.getvalue().encode(draw(st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "utf-16"])), "surrogatepass")
    return gzip.compress(content, mtime=0) if draw(st.integers(0, 9)) == 0 else content


def test_csv_text(detector: Detector, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"

    def check(given_: tuple[bytes, Layout]) -> None:
        content, form = given_
        path.write_bytes(content)
        try:
            out = io.StringIO()
            write_scores(
                score_file(detector, path, form, StreamState(detector.bundle)),
                CsvWriter(out, schema_of(detector.bundle)),
            )
            out.getvalue().encode()
        except VaeDetectError as error:
            said(error)
        try:
            answers = io.StringIO()
            for results in score_lines(detector, io.BytesIO(content), form, StreamState(detector.bundle)):
                JsonLinesWriter(answers).write(results.table("row"))
        except VaeDetectError as error:
            said(error)
        try:
            load_table(path, Selection(), form)
        except VaeDetectError as error:
            said(error)

    formats = [TableFormat(), TableFormat(";", ","), TableFormat("\t"), TableFormat(header=False)]
    forms = [Layout(), *map(Layout, formats)]
    fuzz(check, st.tuples(changed(tables()), st.sampled_from(forms)))


def bodies() -> st.SearchStrategy[bytes]:
    numbers = st.sampled_from([1450.0, 172.1, 0.33, 3.3, 33.1, 19.4, 40.2, 1.9])
    odd = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4), st.sampled_from(ODD))
    cell = st.one_of(numbers, numbers, numbers, odd, st.recursive(odd, lambda part: st.lists(part, max_size=3)))
    row = st.one_of(
        st.lists(numbers, min_size=8, max_size=8),
        st.lists(cell, min_size=7, max_size=9),
        st.fixed_dictionaries(dict.fromkeys(NAMES, cell), optional={"note": cell, "timestamp": cell}),
        st.dictionaries(st.one_of(st.sampled_from(NAMES), st.text(max_size=3)), cell, max_size=9),
        cell,
    )
    many = st.one_of(row, st.lists(row, max_size=4))
    return st.builds(lambda value: json.dumps(value).encode(), many)


def test_a_json_body(client: Client) -> None:
    def check(given_: tuple[bytes, str]) -> None:
        body, query = given_
        response = client.score(body, query)
        assert response.status_code == 200 or 400 <= response.status_code < 500, response.text

    queries = st.sampled_from(["", "", "?explain=1", "?explain=%ff", "?&&", "?explain"])
    fuzz(check, st.tuples(changed(bodies()), queries))


def inferences() -> st.SearchStrategy[tuple[bytes, str]]:
    """Requests to infer with tensors in JSON and in bytes, and how much of each is said to be JSON."""
    odd = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4), st.sampled_from(ODD))
    numbers = st.sampled_from([1450.0, 172.1, 0.33, 3.3])
    sizes = st.one_of(st.sampled_from([1, 2, 8]), st.sampled_from([0, -1, 2**31, 2**62, 2**64]), odd)
    row = st.lists(numbers, min_size=8, max_size=8)
    data = st.one_of(row, st.lists(row, max_size=2), st.lists(st.one_of(numbers, odd), max_size=9), odd)
    types = st.sampled_from(["FP32", "FP32", "FP64", "FP16", "INT64", "UINT8", "BOOL", "BYTES", "BF16"])
    tensor = st.fixed_dictionaries(
        {
            "name": st.one_of(st.sampled_from(["x", "latent", *NAMES]), st.text(max_size=3)),
            "shape": st.one_of(st.sampled_from([[1, 8], [2, 8], [1], [1, 1]]), st.lists(sizes, max_size=9), odd),
            "datatype": st.one_of(types, odd),
        },
        optional={
            "data": data,
            "parameters": st.one_of(st.fixed_dictionaries({"binary_data_size": st.one_of(st.just(32), sizes)}), odd),
        },
    )
    output = st.fixed_dictionaries(
        {"name": st.one_of(st.sampled_from(["score", "latent", "mean", "reconstruction"]), odd)},
        optional={"parameters": st.fixed_dictionaries({}, optional={"binary_data": odd, "classification": odd})},
    )
    more = {"outputs": st.lists(output, max_size=3), "id": odd, "parameters": st.dictionaries(st.text(max_size=3), odd)}
    request = st.fixed_dictionaries({"inputs": st.lists(tensor, max_size=3)}, optional=more)

    def joined_with(told: Any, behind: bytes, blanks: int, header: str | None) -> tuple[bytes, str]:
        text = json.dumps(told).encode() + b" " * blanks
        return text + behind, str(len(text)) if header is None else header

    behind = st.one_of(st.just(b""), st.binary(min_size=32, max_size=32), st.binary(max_size=70))
    headers = st.one_of(st.none(), st.none(), st.sampled_from(["", "0", "-1", "9" * 30, "1e3"]))
    return st.builds(joined_with, request, behind, st.sampled_from([0, 0, 70_000]), headers)


def test_a_request_to_infer(client: Client) -> None:
    def check(given_: tuple[tuple[bytes, str], str, bytes | None]) -> None:
        (body, header), model, other = given_
        response = client.ask(
            "POST",
            f"/v2/models/pump{model}/infer",
            content=body if other is None else other,
            headers={"inference-header-content-length": header},
        )
        assert response.status_code == 200 or 400 <= response.status_code < 500, response.text
        assert response.status_code == 200 or [*response.json()] == ["error"]

    whole = inferences()
    spoilt = st.one_of(st.none(), changed(whole.map(lambda one: one[0])))
    fuzz(check, st.tuples(whole, st.sampled_from(["", "", "/encoder", "/decoder"]), spoilt))


def metrics() -> st.SearchStrategy[bytes]:
    """What Telegraf sends, more or less."""
    odd = st.one_of(st.none(), st.integers(), st.floats(), st.text(max_size=4), st.sampled_from(ODD))
    fields = st.dictionaries(st.one_of(st.sampled_from(NAMES), st.text(max_size=3)), st.one_of(odd, st.just(1.5)))
    parts = {
        "fields": st.one_of(st.just(dict.fromkeys(NAMES, 1.5)), fields, odd),
        "tags": st.one_of(st.dictionaries(st.text(max_size=2), st.text(max_size=2), max_size=2), odd),
        "timestamp": st.one_of(st.sampled_from([1, 1767592800, 10**18]), odd),
        "name": st.one_of(st.sampled_from(["flow", "speed"]), odd),
    }
    metric = st.one_of(st.fixed_dictionaries({}, optional=parts), odd)
    batch = st.lists(metric, max_size=4).map(lambda found: {"metrics": found})
    return st.one_of(metric, batch, batch).map(lambda value: json.dumps(value).encode())


def test_a_body_of_any_form(detector: Detector) -> None:
    reader = RequestReader(detector.bundle)

    def check(given_: tuple[bytes, str, bool, str | None]) -> None:
        body, content_type, flag_bad, key = given_
        found: list[Rows | None] = []
        for whole in (True, False):
            try:
                if whole:
                    found.append(reader.read(body, content_type, flag_bad=flag_bad, key=key))
                else:
                    pieces = reader.pieces(body, content_type, flag_bad=flag_bad, key=key)
                    found.append(joined([pieces.read(*span) for span in pieces]))
                    assert sum(len(rows.values) for rows in found[1:] if rows) == len(pieces)
            except InputError as error:
                said(error)
                found.append(None)
            except RefusedError:
                found.append(None)
        assert (found[0] is None) == (found[1] is None)
        if found[0] is not None and found[1] is not None:
            assert found[0].values.tobytes() == found[1].values.tobytes()
            assert np.isfinite(np.delete(found[0].values, [*found[0].bad], 0)).all()
            assert flag_bad or not found[0].bad

    lines = st.lists(st.one_of(bodies(), metrics()), max_size=4).map(b"\n".join)
    texts = st.one_of(bodies(), tables(), metrics(), lines)
    types = ["", "application/x-ndjson", "text/csv", "text/csv", "text/csv; header=absent; charset=utf-16", "a/b"]
    fuzz(check, st.tuples(changed(texts), st.sampled_from(types), st.booleans(), st.sampled_from([None, "pump"])))


def test_a_packed_body() -> None:
    def check(body: bytes) -> None:
        try:
            assert len(unpack(body, 200)) <= 200
        except InputError as error:
            said(error)

    packed = st.lists(st.binary(max_size=99).map(lambda part: gzip.compress(part, mtime=0)), max_size=3).map(b"".join)
    fuzz(check, changed(packed))


def test_the_front_of_an_image() -> None:
    @functools.cache
    def encoded(kind: str, mode: str) -> bytes:
        pixels = np.random.default_rng(0).integers(0, 255, (9, 7, 4), np.uint8)
        out = io.BytesIO()
        Pillow.fromarray(pixels).convert(mode).save(out, kind)
        return out.getvalue()

    kinds = ["PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF"]
    images = st.builds(encoded, st.sampled_from(kinds), st.sampled_from(["RGB", "L"]))

    def check(content: bytes) -> None:
        try:
            assert read_image(content, Image(4, 4, "colour")).shape == (4, 4, 3)
        except InputError as error:
            said(error)

    fuzz(check, changed(images, within=64))


@st.composite
def metadata(draw: st.DrawFn, facts: dict[str, Any]) -> str:
    """The metadata of a model with a few values deep in it replaced, doubled or left out."""
    facts = json.loads(json.dumps(facts))
    texts = st.one_of(st.text(max_size=4), st.sampled_from(["x", [], {}]))
    odd = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts)
    for _ in range(draw(st.integers(1, 3))):
        place: Any = facts
        while isinstance(place, dict | list) and place:
            keys = list(place) if isinstance(place, dict) else list(range(min(len(place), 4)))
            key = draw(st.sampled_from(keys))
            inner = place[key]
            if isinstance(inner, dict | list) and inner and draw(st.integers(0, 3)):
                place = inner
                continue
            kind = draw(st.sampled_from(["replace", "replace", "near", "drop", "double"]))
            if kind == "drop":
                del place[key]
            elif kind == "double" and isinstance(place, list):
                place.append(inner)
            elif kind == "near" and type(inner) in (int, float):
                whole = int(inner) if math.isfinite(inner) else 1  # a value may have been made odd before
                place[key] = draw(st.sampled_from([0, -inner, inner + 1, inner * 1e30, 1e-300, whole]))
            else:
                place[key] = draw(odd)
            break
    return json.dumps(facts)


def test_the_metadata_of_a_model(tmp_path: Path) -> None:
    model = onnx.load(MODEL)
    facts = json.loads({entry.key: entry.value for entry in model.metadata_props}["vae_detect"])
    del model.metadata_props[:]
    bare, path = model.SerializeToString(), tmp_path / "odd.onnx"

    def check(given_: bytes) -> None:
        added = onnx.ModelProto()
        added.metadata_props.add(key="vae_detect", value=given_)
        path.write_bytes(bare + added.SerializeToString())  # one message after the other is both, merged
        try:
            detector = Detector.load(path, provider="cpu")
            describe(detector.bundle)
            detector.bundle.facts_json()
            rows = io.BytesIO(_two_lines())
            list(score_lines(detector, rows, Layout(), StreamState(detector.bundle)))
        except VaeDetectError as error:
            said(error)

    fuzz(check, st.builds(lambda text: text.encode("utf-8", "replace"), metadata(facts)))


def _two_lines() -> bytes:
    return f"{','.join(NAMES)}\n{','.join(ROW)}\n".encode()


# --- the command line ------------------------------------------------------------------------------------------------

_ASKED = [name for names in HEADINGS.values() for name in names]


def arguments(folder: Path) -> st.SearchStrategy[list[str]]:
    """A command, and words that are mostly options of its own and values that fit somewhere."""
    files = [str(folder / name) for name in ("rows.csv", "few.csv", "empty.csv", "absent", "folder", "odd.onnx")]
    words = st.one_of(
        st.sampled_from([*files, str(MODEL), "-", "/dev/null", "/dev/zero", str(folder / "new.csv"), str(folder)]),
        st.sampled_from(
            ["0", "-1", "1", "2", "1e9", "nan", "1/day", "10Hz", "1h", "1s", "a=b", "latent=2", "a=linear"]
        ),
        st.sampled_from(["label", "vae", "ensemble", "rows", "windows", "images", "cpu", "flow_m3h", ";", ",", ""]),
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5),
    )

    def line(name: str) -> st.SearchStrategy[list[str]]:
        command = commands.get_command(click.Context(commands), name)
        assert command is not None
        # Of what comes in time nothing is waited for, and 1 is the answer that --fail-on-anomaly asks for.
        left_out = {"fail_on_anomaly", "live", "follow", *(["model"] if name == "serve" else [])}
        options = [*(opt for one in command.params if one.name not in left_out for opt in one.opts), "--nothing"]
        model = ["--model", str(MODEL)] if "--model" in options else []
        pair = st.tuples(st.sampled_from(options), words).map(list)
        parts = st.lists(st.one_of(pair, words.map(lambda word: [word])), max_size=5)
        rest = parts.map(lambda found: [word for part in found for word in part])
        first = st.sampled_from([[], [files[0]], [files[1]], model, [*model, files[0]], [*model, files[1]]])
        return st.builds(lambda begin, more: [name, *begin, *more], first, rest)

    return st.sampled_from(_ASKED).flatmap(line)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the words of the command line name; the current folder too."""
    (tmp_path / "rows.csv").write_bytes(_two_lines())
    (tmp_path / "few.csv").write_text("timestamp,a,label\n" + "".join(f"{at},{at % 7},{at % 2}\n" for at in range(9)))
    (tmp_path / "empty.csv").touch()
    (tmp_path / "odd.onnx").write_bytes(b"\x08\x08odd")
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_arguments(folder: Path) -> None:
    def check(given_: list[str]) -> None:
        result = CliRunner().invoke(commands, given_, prog_name="vae-detect", input=_two_lines())
        assert result.exit_code in (0, 2, 3, 4), (given_, result.exception, result.output)
        assert "Traceback" not in result.output

    fuzz(check, arguments(folder))
