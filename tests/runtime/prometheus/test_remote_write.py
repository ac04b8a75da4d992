"""What is sent, read back by hand and by a real Prometheus; and what is refused."""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path
from urllib.parse import quote

import cramjam
import numpy as np
import pytest
from answering import Reply, answering
from prometheus_server import prometheus

from vae_detect.runtime.detector import Scores
from vae_detect.runtime.errors import InputError, MissingExtraError
from vae_detect.runtime.prometheus import remote_write
from vae_detect.runtime.prometheus.address import Address
from vae_detect.runtime.prometheus.client import Client
from vae_detect.runtime.prometheus.remote_write import RemoteWriter
from vae_detect.runtime.scoring.results import Results

FINE = Reply(204)


def results(
    score: list[float], times: list[float] | None, *, keys: list[str] | None = None, first: int = 0, over: float = 5
) -> Results:
    """Rows with these scores, NaN without one; anomalies above `over`."""
    values = np.array(score, np.float32)
    scores = Scores(values, values / np.float32(2), values, values > over, ~np.isnan(values))
    known = None if times is None else np.array(times)
    return Results(first, scores, ["ok"] * len(score), [""] * len(score), None, known, keys=keys)


def test_the_bytes_are_those_of_the_specification() -> None:
    with answering(FINE) as (address, asked):
        RemoteWriter(Client(address, token="a-token"), "m").add(results([6.0], [1_700_000_000.5]))
    (one,) = asked
    assert one.path == "/api/v1/write"
    assert (one.headers["content-encoding"], one.headers["content-type"]) == ("snappy", "application/x-protobuf")
    assert one.headers["x-prometheus-remote-write-version"] == "0.1.0"
    assert one.headers["authorization"] == "Bearer a-token"
    # field 1 of WriteRequest holds a series: labels (field 1) sorted by name, then samples (field 2)
    content = bytes(cramjam.snappy.decompress_raw(one.body))
    label = b"\x0a\x1c\x0a\x08__name__\x12\x10vae_detect_score" + b"\x0a\x0a\x0a\x05model\x12\x01m"
    # 6.0 as a double, 1700000000500 ms as a varint
    sample = b"\x12\x10\x09" + np.float64(6.0).tobytes() + b"\x10" + _varint(1_700_000_000_500)
    series = label + sample
    assert content.startswith(b"\x0a" + bytes([len(series)]) + series)


def _varint(number: int) -> bytes:
    found = b""
    while number > 127:
        found, number = found + bytes([number & 127 | 128]), number >> 7
    return found + bytes([number])


def test_a_real_prometheus_takes_them(tmp_path: Path) -> None:
    begin = time.time() // 60 * 60 - 300
    with prometheus(tmp_path, "--web.enable-remote-write-receiver") as where:
        writer = RemoteWriter(Client(Address.parse(f"prometheus+http://{where}/")), "pump")
        writer.add(results([1.0, 6.0, np.nan], [begin, begin + 60, begin + 120], keys=["a", "a", "a"]))
        writer.add(results([2.0], [begin + 180], keys=["a"], first=3))
        query = quote('{__name__=~"vae_detect_.*"}[1h]')
        with urllib.request.urlopen(f"http://{where}/api/v1/query?query={query}", timeout=10) as reply:
            found = json.load(reply)["data"]["result"]
        told = {each["metric"].pop("__name__"): (each["metric"], each["values"]) for each in found}
        labels = {"model": "pump", "key": "a"}
        assert told == {
            "vae_detect_score": (labels, [[begin, "1"], [begin + 60, "6"], [begin + 180, "2"]]),
            "vae_detect_severity": (labels, [[begin, "0.5"], [begin + 60, "3"], [begin + 180, "1"]]),
            "vae_detect_anomaly": (labels, [[begin, "0"], [begin + 60, "1"], [begin + 180, "0"]]),
        }
        other = RemoteWriter(Client(Address.parse(f"prometheus+http://{where}/")), "pump")
        with pytest.raises(InputError, match=r"refuses the scores of rows 0 to 0: .*out_of_order_time_window"):
            other.add(results([1.5], [begin - 1e6], keys=["a"]))


def test_a_server_that_takes_none_says_so(tmp_path: Path) -> None:
    with prometheus(tmp_path) as where:
        writer = RemoteWriter(Client(Address.parse(f"prometheus+http://{where}/")), "pump")
        with pytest.raises(InputError, match="status 404: remote write receiver needs to be enabled"):
            writer.add(results([1.0], [time.time()]))


@pytest.mark.parametrize(("prefix", "path"), [("/api/v1/push", "/api/v1/push"), ("/mimir", "/mimir/api/v1/write")])
def test_other_servers_are_written_to_where_they_say(prefix: str, path: str) -> None:
    with answering(FINE) as (address, asked):
        RemoteWriter(Client(Address.parse(f"prometheus+{address}{prefix}")), "m").add(results([1.0], [1.7e9]))
    assert asked[0].path == path


def test_one_that_is_busy_is_asked_again_with_the_same() -> None:
    with answering(Reply(500), Reply(429), FINE) as (address, asked):
        RemoteWriter(Client(address, pause=lambda _: None), "m").add(results([1.0], [1.7e9]))
    assert len({one.body for one in asked}) == 1
    assert len(asked) == 3


@pytest.mark.parametrize(
    ("times", "keys", "told"),
    [
        (None, None, "row 7 has no time"),
        ([np.nan, 1.7e9], None, "row 7 has no time"),
        ([12.0, 13.0], None, "row 7 has no time"),
        ([1.7e9, 1.7e9], None, "row 8 is not later"),
        ([1.7e9, 1.6e9], ["a", "a"], "row 8 is not later"),
        ([1.7e9, 1.7e9], ["a", "b"], "row 8 is of one key more than 1"),
    ],
)
def test_rows_that_cannot_be_written_are_refused(
    times: list[float] | None, keys: list[str] | None, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_write, "MOST_KEYS", 1)
    with answering(FINE) as (address, asked):
        with pytest.raises(InputError, match=told):
            RemoteWriter(Client(address), "m").add(results([1.0, 2.0], times, keys=keys, first=7))
        assert asked == []


def test_rows_without_a_verdict_are_not_sent() -> None:
    with answering(FINE) as (address, asked):
        RemoteWriter(Client(address), "m").add(results([np.nan], None))
    assert asked == []


def test_a_missing_package_is_named_before_anything_is_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cramjam", None)
    remote_write._packer.cache_clear()
    with pytest.raises(MissingExtraError, match=r"cramjam: pip install 'vae-detect\[prometheus\]'"):
        RemoteWriter(Client(Address.parse("prometheus+http://127.0.0.1:9/")), "m")
