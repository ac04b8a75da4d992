"""Inference by the Open Inference Protocol, as Triton's own client speaks it to a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from conftest import parse
from numpy.typing import NDArray
from server_process import process, url_of
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from vae_detect.runtime.detector import Detector

VERDICT = ["score", "severity", "p_value", "is_anomaly"]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with process() as running:
        yield url_of(running)


@pytest.fixture(scope="module")
def triton(url: str) -> Iterator[Any]:
    with client_of(url) as client:
        yield client


@pytest.fixture(scope="module")
def odd_rows(normal_rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sixty normal rows, every tenth with twice the power."""
    rows = normal_rows[:60].copy()
    rows[::10, 1] *= 2
    return rows


def client_of(url: str) -> Any:
    return InferenceServerClient(url.removeprefix("http://"), concurrency=4)


def tensor(name: str, values: NDArray[Any], datatype: str, *, binary: bool = True) -> Any:
    return InferInput(name, list(values.shape), datatype).set_data_from_numpy(values, binary_data=binary)


def series(url: str) -> dict[str, float]:
    return parse(httpx.get(f"{url}/metrics").text)


def check_verdict(found: Any, expected: Any) -> None:
    for name in VERDICT:
        values = found.as_numpy(name)
        assert values.dtype == getattr(expected, name).dtype
        np.testing.assert_allclose(values, getattr(expected, name), rtol=1e-5)


@pytest.mark.parametrize("asked", [None, True, False], ids=["default", "binary", "json"])
@pytest.mark.parametrize("binary", [True, False], ids=["in bytes", "in json"])
def test_rows_score_as_by_the_detector_whatever_they_are_written_in(
    triton: Any, url: str, detector: Detector, odd_rows: NDArray[np.float32], binary: bool, asked: bool | None
) -> None:
    outputs = None if asked is None else [InferRequestedOutput(name, binary_data=asked) for name in VERDICT]
    found = triton.infer(
        "pump", [tensor("x", odd_rows, "FP32", binary=binary)], outputs=outputs, request_id="shift 7 \u00b5"
    )
    check_verdict(found, detector.score(odd_rows))
    assert found.as_numpy("is_anomaly")[::10].all()
    told = found.get_response()
    assert (told["model_name"], told["model_version"]) == ("pump", detector.bundle.export_id)
    assert told["id"] == "shift 7 \u00b5"
    ours = httpx.post(f"{url}/score", json=odd_rows.tolist()).json()["results"]
    for name in VERDICT:
        assert found.as_numpy(name).tolist() == [np.float32(one[name]).item() for one in ours]


@pytest.mark.parametrize("datatype", ["FP64", "FP32"])
@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize("binary", [True, False])
def test_each_column_may_be_a_tensor(
    triton: Any, detector: Detector, odd_rows: NDArray[np.float32], datatype: str, axes: int, binary: bool
) -> None:
    rows = odd_rows.astype(np.float64 if datatype == "FP64" else np.float32)
    columns = [
        tensor(name, rows[:, place].reshape([-1, 1][:axes]), datatype, binary=binary)
        for place, name in enumerate(detector.bundle.names)
    ]
    check_verdict(triton.infer("pump", columns[::-1]), detector.score(odd_rows))


@pytest.mark.parametrize("datatype", ["INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "FP16"])
def test_whole_numbers_and_small_floats_are_numbers(triton: Any, detector: Detector, datatype: str) -> None:
    dtype = np.dtype(datatype.lower().replace("fp", "float"))
    rows = np.arange(40, dtype=dtype).reshape(5, 8)
    for binary in (True, False):
        check_verdict(triton.infer("pump", [tensor("x", rows, datatype, binary=binary)]), detector.score(rows))


@pytest.mark.parametrize("binary", [True, False])
def test_further_outputs_are_those_of_the_graph(
    triton: Any, detector: Detector, odd_rows: NDArray[np.float32], binary: bool
) -> None:
    rows = np.tile(odd_rows, (10, 1))
    names = ["contribution", "reconstruction", "latent", "elbo", "kl", "reconstruction_error"]
    wanted = [InferRequestedOutput(name, binary_data=binary) for name in [*names, "score"]]
    found = triton.infer("pump", [tensor("x", rows, "FP32")], outputs=wanted)
    for name, values in zip(names, detector.session.run(names, {"x": rows}), strict=True):
        np.testing.assert_allclose(found.as_numpy(name), values, rtol=1e-4, atol=1e-5)
    assert [output["name"] for output in found.get_response()["outputs"]] == [*names, "score"]
    assert len(found.as_numpy("score")) == 600


@pytest.mark.parametrize("slash", ["/", "%2F"])
def test_encoder_and_decoder_are_models_too(
    url: str, triton: Any, detector: Detector, odd_rows: NDArray[np.float32], slash: str
) -> None:
    assert triton.is_model_ready("pump/encoder")
    assert triton.get_model_metadata("pump/decoder")["inputs"][0]["name"] == "latent"
    code = triton.infer("pump/encoder", [tensor("x", odd_rows, "FP32")]).as_numpy("mean")
    np.testing.assert_allclose(code, detector.encode(odd_rows), rtol=1e-5)
    decoded = triton.infer("pump/decoder", [tensor("latent", code, "FP32")]).as_numpy("reconstruction")
    np.testing.assert_allclose(decoded, detector.decode(code), rtol=1e-5)
    told = httpx.get(f"{url}/v2/models/pump{slash}encoder").json()
    assert told["name"] == "pump/encoder"
    body = {"inputs": [{"name": "latent", "shape": [1, code.shape[1]], "datatype": "FP32", "data": code[0].tolist()}]}
    answer = httpx.post(f"{url}/v2/models/pump{slash}decoder/infer", json=body).json()
    np.testing.assert_allclose(answer["outputs"][0]["data"], decoded[0], rtol=1e-5)


def test_the_encoder_takes_columns_and_says_what_is_wrong_with_one(triton: Any, detector: Detector) -> None:
    columns = [tensor(name, np.ones(3, np.float32), "FP32") for name in detector.bundle.names]
    found = triton.infer("pump/encoder", columns).as_numpy("mean")
    np.testing.assert_allclose(found, detector.encode(np.ones((3, 8))), rtol=1e-5)
    columns[2] = tensor(detector.bundle.names[2], np.array([1, 2, np.nan], np.float32), "FP32")
    with pytest.raises(InferenceServerException, match=f"row 2, column '{detector.bundle.names[2]}'"):
        triton.infer("pump/encoder", columns)


def test_a_request_may_be_packed_or_come_later(triton: Any, detector: Detector, odd_rows: NDArray[np.float32]) -> None:
    expected = detector.score(odd_rows)
    x = [tensor("x", odd_rows, "FP32")]
    check_verdict(triton.infer("pump", x, request_compression_algorithm="gzip"), expected)
    check_verdict(triton.infer("pump", x, response_compression_algorithm="gzip"), expected)
    with pytest.raises(InferenceServerException, match="Content-Encoding gzip, identity or none") as refused:
        triton.infer("pump", x, request_compression_algorithm="deflate")
    assert refused.value.status() == "415"
    waiting = [triton.async_infer("pump", x, request_id=str(number)) for number in range(20)]
    for number, one in enumerate(waiting):
        found = one.get_result()
        check_verdict(found, expected)
        assert found.get_response()["id"] == str(number)
    check_verdict(triton.infer("pump", x, sequence_id=4, priority=1, timeout=1000, parameters={"line": 3}), expected)


def test_the_version_may_be_said(triton: Any, detector: Detector, odd_rows: NDArray[np.float32]) -> None:
    x = [tensor("x", odd_rows, "FP32")]
    version = detector.bundle.export_id
    check_verdict(triton.infer("pump", x, model_version=version), detector.score(odd_rows))
    assert len(triton.infer("pump/encoder", x, model_version=version).as_numpy("mean")) == 60
    with pytest.raises(InferenceServerException, match=f"no version '7'; it serves {version}") as refused:
        triton.infer("pump", x, model_version="7")
    assert refused.value.status() == "404"


@pytest.mark.parametrize(
    ("model", "inputs", "outputs", "message"),
    [
        ("pumq", [("x", (1, 8))], None, "no model 'pumq'"),
        ("pump/scorer", [("x", (1, 8))], None, "no part 'scorer'"),
        ("pump", [("x", (1, 7))], None, r"input 'x' has shape \[1, 7\], expected \[n, 8\]"),
        ("pump", [("x", (8,))], None, r"input 'x' has shape \[8\], expected \[n, 8\]"),
        ("pump", [("y", (1, 8))], None, "input 'y' is no column"),
        ("pump", [("x", (1, 8)), ("y", (1,))], None, "input 'y' stands beside 'x'"),
        ("pump", [("speed_rpm", (3,))], None, "column '.*' is missing"),
        ("pump", [], None, "no inputs"),
        ("pump", [("x", (1, 8))], ["scores"], "output 'scores' is unknown, expected one of score, severity"),
        ("pump/encoder", [("latent", (1, 8))], None, "input 'latent' is no column"),
        ("pump/decoder", [("x", (1, 8))], None, "input 'latent' is missing"),
        ("pump/decoder", [("latent", (1, 999))], None, r"input 'latent' has shape \[1, 999\]"),
    ],
)
def test_what_cannot_be_is_refused(
    triton: Any, model: str, inputs: list[tuple[str, tuple[int, ...]]], outputs: list[str] | None, message: str
) -> None:
    wanted = outputs and [InferRequestedOutput(name) for name in outputs]
    sent = [tensor(name, np.ones(shape, np.float32), "FP32") for name, shape in inputs]
    with pytest.raises(InferenceServerException, match=message) as refused:
        triton.infer(model, sent, outputs=wanted)
    assert refused.value.status() in ("400", "404")


def test_classes_and_shared_memory_are_refused(triton: Any) -> None:
    x = tensor("x", np.ones((1, 8), np.float32), "FP32")
    with pytest.raises(InferenceServerException, match="output 'score' is wanted as classes"):
        triton.infer("pump", [x], outputs=[InferRequestedOutput("score", class_count=3)])
    output = InferRequestedOutput("score")
    output.set_shared_memory("region", 4)
    with pytest.raises(InferenceServerException, match="shared memory, which this server does not write"):
        triton.infer("pump", [x], outputs=[output])
    x.set_shared_memory("region", 32)
    with pytest.raises(InferenceServerException, match="input 'x' is in shared memory"):
        triton.infer("pump", [x])


def test_a_hundred_thousand_rows_are_answered_and_one_more_is_not(triton: Any, detector: Detector) -> None:
    rows = np.tile(detector.golden_inputs()[:8], (12_500, 1))
    expected = detector.score(rows[:8])
    for name in ("pump", "pump/encoder"):
        found = triton.infer(name, [tensor("x", rows, "FP32")])
        first = found.as_numpy("score" if name == "pump" else "mean")
        assert len(first) == 100_000
    assert found.as_numpy("mean")[99_992:] == pytest.approx(detector.encode(rows[:8]), rel=1e-4)
    column = [tensor(name, rows[:, 0], "FP32") for name in detector.bundle.names]
    wanted = [InferRequestedOutput(name, binary_data=False) for name in ("score", "contribution")]
    assert triton.infer("pump", column, outputs=wanted).as_numpy("contribution").shape == (100_000, 8)
    scores = triton.infer("pump", [tensor("x", rows, "FP32", binary=False)]).as_numpy("score")
    np.testing.assert_allclose(scores[99_992:], expected.score, rtol=1e-5)
    more = np.concatenate([rows, rows[:1]])
    for binary in (True, False):
        with pytest.raises(InferenceServerException, match="holds 100001 rows, expected at most 100000") as refused:
            triton.infer("pump", [tensor("x", more, "FP32", binary=binary)])
        assert refused.value.status() == "413"


def test_rows_are_counted_as_those_of_score_are(url: str, triton: Any, odd_rows: NDArray[np.float32]) -> None:
    def counts() -> NDArray[np.float64]:
        found = series(url)
        names = ("received", "scored", "refused")
        return np.array([found[f"vae_detect_rows_{name}_total[('model', 'pump')]"] for name in names])

    before = counts()
    triton.infer("pump", [tensor("x", odd_rows, "FP32")])
    assert (counts() - before).tolist() == [60, 60, 0]
    odd_rows = odd_rows.copy()
    odd_rows[7, 3] = np.inf
    with pytest.raises(InferenceServerException, match="row 7, column"):
        triton.infer("pump", [tensor("x", odd_rows, "FP32")])
    assert (counts() - before).tolist() == [120, 60, 60]


def test_windows_are_scored_as_a_whole(windows_model: Path, windows_detector: Detector) -> None:
    rows = np.array(windows_detector.golden_inputs()[:5])
    names = windows_detector.bundle.names
    with process(windows_model) as running, client_of(url_of(running)) as client:
        expected = windows_detector.score(rows)
        check_verdict(client.infer("pump", [tensor("x", rows, "FP32")]), expected)
        columns = [tensor(name, rows[..., place], "FP32", binary=False) for place, name in enumerate(names)]
        check_verdict(client.infer("pump", columns), expected)
        rows[3, 1, 0] = np.nan
        with pytest.raises(InferenceServerException, match=f"row 3, column '{names[0]}'"):
            client.infer("pump", [tensor("x", rows, "FP32")])


def test_images_are_scored_with_their_heat_maps(
    images_model: Path, images_detector: Detector, photos: NDArray[np.uint8]
) -> None:
    with process(images_model) as running, client_of(url_of(running)) as client:
        for binary in (True, False):
            found = client.infer("pump", [tensor("x", photos, "UINT8", binary=binary)])
            check_verdict(found, images_detector.score(photos))
        found = client.infer("pump", [tensor("x", photos, "UINT8")], outputs=[InferRequestedOutput("heat_map")])
        np.testing.assert_allclose(found.as_numpy("heat_map"), images_detector.heat_map(photos), rtol=1e-4, atol=1e-4)
        for values, datatype, message in (
            (photos.astype(np.float32), "FP32", "expected uint8: whole numbers 0 to 255"),
            (photos.astype(np.int32) - 255, "INT32", "input 'x': images hold -"),
            (photos[:, :, :, 0], "UINT8", "expected \\[n, 12, 16, 3\\]"),
        ):
            with pytest.raises(InferenceServerException, match=message):
                client.infer("pump", [tensor("x", values, datatype)])
        assert client.get_model_metadata("pump")["inputs"] == [
            {"name": "x", "datatype": "UINT8", "shape": [-1, 12, 16, 3]}
        ]


def test_a_limit_alarms_here_too(limited_detector: Detector, normal_rows: NDArray[np.float32]) -> None:
    with process(limited_detector.path) as running:
        url = url_of(running)
        ours = httpx.post(f"{url}/score", json=normal_rows.tolist()).json()["results"]
        with client_of(url) as client:
            found = client.infer("pump", [tensor("x", normal_rows, "FP32")]).as_numpy("is_anomaly")
    assert found.tolist() == [one["is_anomaly"] for one in ours]
    assert (
        found.sum() > (limited_detector.score(normal_rows).score > limited_detector.bundle.calibration.threshold).sum()
    )
