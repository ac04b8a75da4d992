"""A line for every alarm, with the column to blame; a large request holds nobody up with them."""

from __future__ import annotations

import io
import re
from threading import current_thread
from typing import Any

import numpy as np
import pytest
from conftest import Client
from numpy.typing import NDArray
from PIL import Image as Pillow

from vae_detect.runtime.detector import Detector, Explanation
from vae_detect.runtime.hosting.logs import Log
from vae_detect.runtime.service.endpoints import Service

Floats = NDArray[np.float32]


class Telling(Client):
    """A service that tells of alarms; its clock stands still, so that at most ten lines are written."""

    def __init__(self, detector: Detector) -> None:
        super().__init__(detector)
        self.lines: list[str] = []
        self.log = Log(self.lines.append, alarms=True, clock=lambda: 0.0)
        self.service = Service(self.service.metrics, self.repository, self.log)
        self.app = type(self.app)(self.service)


def spoilt(row: list[float], place: int = 0, factor: float = 3) -> list[float]:
    return [value * factor if index == place else value for index, value in enumerate(row)]


def test_an_alarm_is_told_with_what_explains_it(detector: Detector, row: list[float]) -> None:
    client = Telling(detector)
    body = [row, spoilt(row), spoilt(row, 2), row]
    response = client.ask("POST", "/score?explain=1&key=east", json=body, headers={"x-request-id": "job-7"})
    found = response.json()["results"]
    expected = []
    for index in (1, 2):
        score, severity = (f"{found[index][name]:.6g}" for name in ("score", "severity"))
        column = found[index]["contributions"][0]["column"]
        told = f"row {index}, key east, score {score}, severity {severity}, column {column}, request_id job-7"
        expected.append(f"alarm: model pump, {told}")
    assert client.lines == expected
    assert "column speed_rpm" in expected[0]
    client.results(row)
    assert len(client.lines) == 2


def test_nothing_is_told_of_what_is_refused(detector: Detector, row: list[float]) -> None:
    client = Telling(detector)
    assert client.score([spoilt(row), [None] * 8]).status_code == 400
    assert client.score([spoilt(row), [3e38] * 8]).status_code == 400
    assert client.lines == []


def test_a_window_is_blamed_on_the_column_that_contributes_most_over_it(
    windows_detector: Detector, normal_rows: Floats
) -> None:
    client = Telling(windows_detector)
    rows = normal_rows[:8].copy()
    rows[2:, 4] *= 3
    client.results(rows.tolist())
    assert client.lines
    names = windows_detector.bundle.names
    for line in client.lines:
        index = int(line.split("row ")[1].split(",")[0])
        window = rows[None, index - 3 : index + 1]
        blamed = names[int(windows_detector.explain(window).contribution[0].sum(axis=0).argmax())]
        assert f"column {blamed}" in line


def test_a_limit_that_is_broken_is_told_without_a_score(limited_detector: Detector, row: list[float]) -> None:
    client = Telling(limited_detector)
    place = limited_detector.bundle.names.index("power_kw")
    values: list[Any] = list(row)
    values[place] = 18.0
    client.results(values)
    (line,) = client.lines
    assert "reason power_kw" in line or "reason limit" in line
    assert "column" in line


@pytest.mark.parametrize("rows", [500, 5000])
@pytest.mark.parametrize("keyed", [False, True])
def test_many_alarms_cost_ten_explanations_and_are_all_counted(
    detector: Detector, row: list[float], monkeypatch: pytest.MonkeyPatch, rows: int, keyed: bool
) -> None:
    explained: list[int] = []
    explain = detector.explain

    def counting(x: Floats) -> Explanation:
        if current_thread().name != "closer look":
            explained.append(len(x))
        return explain(x)

    monkeypatch.setattr(detector, "explain", counting)
    client = Telling(detector)
    client.results([spoilt(row)] * rows, "?key=a" if keyed else "")
    assert len(client.lines) == 10
    assert sum(explained) == 10 + 1  # of the event that began
    client.log.close()
    (left_out,) = re.findall(r"\((\d+) like it were left out\)", client.lines[-1])
    assert int(left_out) == rows - 10


def test_tensors_and_images_are_told_too(
    detector: Detector, images_detector: Detector, row: list[float], photos: NDArray[np.uint8]
) -> None:
    client = Telling(detector)
    tensor = {"name": "x", "shape": [2, 8], "datatype": "FP32", "data": [*row, *spoilt(row)]}
    assert client.ask("POST", "/v2/models/pump/infer", json={"inputs": [tensor]}).status_code == 200
    assert [line.split(", score")[0] for line in client.lines] == ["alarm: model pump, row 1"]
    pictures = Telling(images_detector)
    for photo in photos[-2:]:  # a normal one, and its negative
        content = io.BytesIO()
        Pillow.fromarray(photo).save(content, "PNG")
        pictures.ask("POST", "/score", content=content.getvalue())
    (line,) = pictures.lines
    assert line.startswith("alarm: model pump, row 0, score ")
    assert "column" not in line
