"""The endpoints beside infer of the Open Inference Protocol."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from conftest import Client
from server_process import process, url_of
from tritonclient.http import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from vae_detect import __version__
from vae_detect.runtime.detector import Detector


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


@pytest.fixture(scope="module")
def live() -> Iterator[str]:
    with process() as running:
        yield url_of(running)


@pytest.fixture(scope="module")
def triton(live: str) -> Iterator[Any]:
    with InferenceServerClient(live.removeprefix("http://")) as client:
        yield client


def score(triton: Any, name: str = "pump", rows: int = 3) -> Any:
    values = np.ones((rows, 8), np.float32)
    return triton.infer(name, [InferInput("x", [rows, 8], "FP32").set_data_from_numpy(values)])


def test_the_server_tells_what_it_is(triton: Any) -> None:
    assert triton.is_server_live()
    assert triton.is_server_ready()
    told = triton.get_server_metadata()
    assert (told["name"], told["version"]) == ("vae-detect", __version__)
    assert told["extensions"] == ["binary_tensor_data", "model_configuration", "model_repository", "statistics"]


def test_a_model_tells_what_it_takes_and_gives(triton: Any, detector: Detector) -> None:
    version = detector.bundle.export_id
    told = triton.get_model_metadata("pump")
    assert (told["name"], told["versions"], told["platform"]) == ("pump", [version], "onnxruntime_onnx")
    assert told["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 8]}]
    outputs = {output["name"]: (output["datatype"], output["shape"]) for output in told["outputs"]}
    assert [*outputs][:4] == ["score", "severity", "p_value", "is_anomaly"]
    assert (outputs["score"], outputs["is_anomaly"]) == (("FP32", [-1]), ("BOOL", [-1]))
    assert outputs["contribution"] == ("FP32", [-1, 8])
    assert triton.get_model_metadata("pump", version) == told
    found = score(triton).get_response()["outputs"]
    assert [output["name"] for output in found] == [*outputs][:4]
    config = triton.get_model_config("pump")
    assert config["max_batch_size"] == 0
    assert config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [-1, 8]}]
    assert {output["name"] for output in config["output"]} == {*outputs}
    decoder = triton.get_model_metadata("pump/decoder")
    assert [tensor["name"] for tensor in decoder["inputs"]] == ["latent"]
    assert [tensor["name"] for tensor in triton.get_model_config("pump/encoder")["input"]] == ["x"]


def test_readiness_is_of_a_model_and_of_a_version(triton: Any, detector: Detector) -> None:
    assert triton.is_model_ready("pump", detector.bundle.export_id)
    assert not triton.is_model_ready("pump", "7")
    assert not triton.is_model_ready("pumq")
    assert not triton.is_model_ready("pump/scorer")
    with pytest.raises(InferenceServerException, match="no model 'pumq'; there is pump") as refused:
        triton.get_model_metadata("pumq")
    assert refused.value.status() == "404"


def test_statistics_count_requests_rows_and_time(triton: Any) -> None:
    def of(name: str) -> dict[str, Any]:
        found = [one for one in triton.get_inference_statistics()["model_stats"] if one["name"] == name]
        assert found == triton.get_inference_statistics(name)["model_stats"]
        return dict(found[0])

    assert [one["name"] for one in triton.get_inference_statistics()["model_stats"]] == [
        *("pump", "pump/encoder", "pump/decoder")
    ]
    for name in ("pump", "pump/encoder"):
        before, now_ms = of(name), time.time() * 1000
        score(triton, name)
        score(triton, name, rows=300)
        with pytest.raises(InferenceServerException):
            triton.infer(name, [])
        after = of(name)
        assert after["inference_count"] - before["inference_count"] == 303
        assert after["execution_count"] - before["execution_count"] == 2
        assert now_ms - 1000 < after["last_inference"] < now_ms + 60_000
        steps = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")
        one, other = after["inference_stats"], before["inference_stats"]
        counts = {step: one[step]["count"] - other[step]["count"] for step in steps}
        assert counts == {**dict.fromkeys(steps, 2), "fail": 1, "queue": 0}
        took = {step: one[step]["ns"] - other[step]["ns"] for step in steps}
        computed = sum(took[step] for step in ("compute_input", "compute_infer", "compute_output"))
        assert 0 < computed <= took["success"] < 60e9
        (batch,) = after["batch_stats"]
        assert batch["batch_size"] == 1
        assert batch["compute_infer"] == after["inference_stats"]["compute_infer"]
    version = of("pump")["version"]
    assert triton.get_inference_statistics("pump", version)["model_stats"][0]["version"] == version


def test_a_model_is_unloaded_and_loaded(live: str, triton: Any, detector: Detector) -> None:
    entry = {"name": "pump", "version": detector.bundle.export_id, "state": "READY", "reason": ""}
    assert triton.get_model_repository_index() == [entry]
    triton.unload_model("pump")
    assert triton.get_model_repository_index() == [
        {"name": "pump", "version": "", "state": "UNAVAILABLE", "reason": "unloaded"}
    ]
    assert httpx.post(f"{live}/v2/repository/index", json={"ready": True}).json() == []
    for name in ("pump", "pump/encoder"):
        assert not triton.is_model_ready(name)
        with pytest.raises(InferenceServerException, match="not ready: model 'pump' is unloaded") as refused:
            score(triton, name)
        assert refused.value.status() == "503"
    assert triton.get_inference_statistics()["model_stats"] == []
    triton.load_model("pump")
    assert triton.get_model_repository_index() == [entry]
    assert httpx.post(f"{live}/v2/repository/index", json={"ready": True}).json() == [entry]
    assert len(score(triton).as_numpy("score")) == 3
    with pytest.raises(InferenceServerException, match="load takes no parameters"):
        triton.load_model("pump", config="{}")
    for change in (triton.load_model, triton.unload_model):
        with pytest.raises(InferenceServerException, match="no model 'pumq'"):
            change("pumq")


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"ready": 1}', b"\xff"])
def test_the_index_refuses_what_it_would_not_heed(client: Client, body: bytes) -> None:
    answer = client.ask("POST", "/v2/repository/index", content=body)
    assert (answer.status_code, [*answer.json()]) == (400, ["error"])


def test_what_this_server_does_not_have_is_told_in_json(triton: Any) -> None:
    for ask in (
        triton.get_system_shared_memory_status,
        triton.get_cuda_shared_memory_status,
        triton.get_trace_settings,
        triton.get_log_settings,
        triton.unregister_system_shared_memory,
        triton.unregister_cuda_shared_memory,
        lambda: triton.register_system_shared_memory("a", "/a", 64),
        lambda: triton.register_cuda_shared_memory("a", b"a", 0, 64),
        lambda: triton.update_trace_settings("pump", {"trace_level": ["OFF"]}),
        lambda: triton.update_log_settings({"log_info": True}),
    ):
        with pytest.raises(InferenceServerException, match=r"no such path|not allowed") as error:
            ask()
        assert error.value.status() in ("404", "405")
