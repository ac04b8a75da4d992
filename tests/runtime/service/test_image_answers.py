"""Images over HTTP, without a socket: verdicts, heat maps, refusals."""

from __future__ import annotations

import asyncio
import base64
import io
from unittest.mock import ANY

import httpx
import numpy as np
import pytest
from conftest import Client
from numpy.typing import NDArray
from PIL import Image as Pillow

from vae_detect.runtime.detector import HEAT_WHITE, Detector
from vae_detect.runtime.images.reading import _DECODING
from vae_detect.runtime.service import bodies
from vae_detect.runtime.service.app import App
from vae_detect.runtime.service.bodies import MAX_BODY


@pytest.fixture
def images_client(images_detector: Detector) -> Client:
    return Client(images_detector)


def encoded(pixels: NDArray[np.uint8], kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Pillow.fromarray(pixels).save(out, kind)
    return out.getvalue()


@pytest.mark.parametrize("content_type", ["image/png", "application/octet-stream", "image/jpeg", None])
def test_an_image_gets_the_verdict_of_the_detector(
    images_client: Client, images_detector: Detector, photos: NDArray[np.uint8], content_type: str | None
) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    for pixels in photos[[0, 40]]:
        response = images_client.ask("POST", "/score", content=encoded(pixels), headers=headers)
        expected = images_detector.score_one(pixels)
        assert response.json() == {
            "model": images_detector.bundle.export_id,
            "results": [{"row": 0, **expected._asdict(), "severity": ANY, "status": "ok", "reason": None}],
        }
        assert response.json()["results"][0]["severity"] == pytest.approx(expected.severity, rel=1e-6)


def test_explain_adds_a_heat_map(images_client: Client, images_detector: Detector, photos: NDArray[np.uint8]) -> None:
    spotted = photos[0].copy()
    spotted[8:11, 3:6] = 255
    (plain,), (told,) = (images_client.results(encoded(spotted), query) for query in ("", "?explain=1"))
    heat = images_detector.heat_map(spotted[None])[0]
    picture = Pillow.open(io.BytesIO(base64.b64decode(told.pop("heat_map"))))
    white = told.pop("heat_map_white")
    assert white == pytest.approx(HEAT_WHITE * images_detector.normal_heat)
    assert (picture.format, picture.mode, picture.size) == ("PNG", "L", (16, 12))
    np.testing.assert_allclose(np.asarray(picture) / 255 * white, np.minimum(heat, white), atol=white / 500)
    largest = told.pop("largest_error")
    assert (largest["row"], largest["column"]) == (9, 4)
    assert np.float32(largest["nats"]) == heat.max()
    assert told == plain


def test_bodies_that_are_no_image_are_refused_and_change_no_score(
    images_client: Client, photos: NDArray[np.uint8]
) -> None:
    sound = encoded(photos[0])
    before = images_client.results(sound)
    bodies = {
        b"[1, 2, 3]": 415,
        b'{"red": 1}': 415,
        b"--frontier\r\nContent-Disposition: form-data": 415,
        b"%!PS-Adobe-3.0 EPSF-3.0": 415,
        b"<svg/>": 415,
        b"\0" * 100: 415,
        b"": 400,
        sound[: len(sound) // 2]: 400,
        encoded(photos[0], "JPEG")[:300]: 400,
        b"\x89PNG\r\n\x1a\n": 400,
        b"BM" + bytes(100): 400,
        sound[:16] + b"\0\0\xff\xff" * 2 + sound[24:]: 400,  # 4 gigapixels
    }
    for body, status in bodies.items():
        response = images_client.score(body)
        assert response.status_code == status, response.text
        assert list(response.json()) == ["error"]
        assert len(response.content) < 300
    assert "this model scores images; expected PNG, JPEG" in images_client.score(b"[1]").json()["error"]
    assert images_client.score(sound[:60]).json()["error"].startswith("the image is damaged: ")
    assert images_client.score(b" " * (MAX_BODY + 1)).status_code == 413
    assert images_client.score(sound, "?explain=2").status_code == 400
    assert images_client.results(sound) == before


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
def test_an_image_for_a_model_of_rows_is_refused(client: Client, photos: NDArray[np.uint8], kind: str) -> None:
    response = client.score(encoded(photos[0], kind))
    assert response.status_code == 415
    assert response.json() == {
        "error": "the body is an image, and this model scores rows; expected application/json, "
        "application/x-ndjson or text/csv"
    }


def test_an_image_counts_as_a_row(images_client: Client, photos: NDArray[np.uint8]) -> None:
    for pixels in photos[-3:]:
        images_client.score(encoded(pixels))
    images_client.score(encoded(photos[0])[:80])
    images_client.score(b"[1, 2]")
    series = images_client.series()
    assert series["vae_detect_rows_received_total[]"] == 4
    assert series["vae_detect_rows_scored_total[]"] == 3
    assert series["vae_detect_rows_refused_total[]"] == 1
    assert series["vae_detect_anomalies_total[]"] == 1
    assert series["vae_detect_requests_total[('code', '415'), ('route', 'score')]"] == 1


def test_images_that_wait_to_be_decoded_are_bounded(
    images_client: Client, photos: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "MAX_HELD", 3 * 1024 * 1024)
    body = encoded(photos[0])
    app = App(images_client.service)

    async def burst() -> list[int]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
            with _DECODING:  # nothing is decoded until all have come
                asked = [asyncio.create_task(http.post("/score", content=body)) for _ in range(10)]
                while sum(task.done() for task in asked) < 7:
                    await asyncio.sleep(0.01)
            return sorted([(await task).status_code for task in asked])

    assert asyncio.run(asyncio.wait_for(burst(), 20)) == [200] * 3 + [503] * 7
    assert images_client.results(body)[0]["status"] == "ok"


def test_the_model_of_images_tells_its_size(images_client: Client) -> None:
    facts = images_client.ask("GET", "/model").json()
    assert facts["image"] == {"height": 12, "width": 16, "mode": "colour", "bits": 16}
    assert "golden" not in facts
