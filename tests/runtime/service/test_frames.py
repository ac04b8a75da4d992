"""The last images that people see."""

from __future__ import annotations

import io

import numpy as np
import pytest
from conftest import Client
from numpy.typing import NDArray
from PIL import Image as Pillow

from vae_detect.runtime.detector import Detector
from vae_detect.runtime.images.pictures import png
from vae_detect.runtime.service.frames import KEPT, LARGEST, Frames

GREY, COLD = np.zeros((4, 6, 1), np.uint8), np.zeros((4, 6), np.float32)


def opened(content: bytes) -> Pillow.Image:
    return Pillow.open(io.BytesIO(content))


def test_the_newest_and_the_newest_anomalies_stay() -> None:
    kept = Frames()
    for number in range(20):
        kept.keep("boards", GREY, COLD, 1.0, is_anomaly=number in (2, 3), severity=0.5)
    assert [frame.number for frame in kept.listed()] == [20, 19, 18, 17, 4, 3]
    assert [frame.is_anomaly for frame in kept.listed()] == [False] * KEPT + [True] * 2
    assert kept.find(1) is None
    found = kept.find(4)
    assert found is not None
    assert (found.frame.width, found.frame.height) == (6, 4)


def test_normal_images_are_kept_while_somebody_looks_and_anomalies_always(monkeypatch: pytest.MonkeyPatch) -> None:
    looks, clock = [False], [100.0]
    monkeypatch.setattr("vae_detect.runtime.service.frames.time.monotonic", lambda: clock[0])
    kept = Frames(lambda: looks[0])
    assert (kept.wants(False), kept.wants(True)) == (False, True)
    looks[0] = True
    assert (kept.wants(False), kept.wants(True)) == (True, True)
    kept.keep("boards", GREY, COLD, 1.0, is_anomaly=True, severity=2.0)
    assert (kept.wants(False), kept.wants(True)) == (True, False)  # a storm of anomalies costs a heat map a second
    clock[0] += 1.0
    assert kept.wants(True)


def test_large_images_are_thinned_out() -> None:
    kept, rng = Frames(), np.random.default_rng(0)
    large = rng.integers(0, 255, (1500, 900, 3)).astype(np.uint8)
    kept.keep("boards", large, large[:, :, 0].astype(np.float32), 255.0, is_anomaly=False, severity=None)
    found = kept.find(1)
    assert found is not None
    assert opened(found.image).size == opened(found.heat).size == (300, 500)
    assert max(opened(found.image).size) <= LARGEST
    np.testing.assert_array_equal(np.asarray(opened(found.image)), large[::3, ::3])


def test_the_service_shows_what_it_scored(images_detector: Detector, photos: NDArray[np.uint8]) -> None:
    client = Client(images_detector)
    assert client.ask("POST", "/score", content=png(photos[0])).status_code == 200
    assert client.ask("GET", "/frames").json() == []  # nobody looks
    assert client.ask("POST", "/score", content=png(photos[40])).json()["results"][0]["is_anomaly"]
    client.service.viewers.count = 1
    assert client.ask("POST", "/score", content=png(photos[0])).status_code == 200
    listed = client.ask("GET", "/frames").json()
    assert [(each["number"], each["is_anomaly"], each["width"], each["height"]) for each in listed] == [
        (2, False, 16, 12),
        (1, True, 16, 12),
    ]
    picture = client.ask("GET", "/frames/1.png")
    assert (picture.headers["content-type"], picture.headers["x-content-type-options"]) == ("image/png", "nosniff")
    np.testing.assert_array_equal(np.asarray(opened(picture.content)), photos[40])
    assert opened(client.ask("GET", "/frames/1.heat.png").content).mode == "L"
    for path in ("/frames/3.png", "/frames/0.heat.png", f"/frames/{10**30}.png"):
        assert client.ask("GET", path).status_code == 404
