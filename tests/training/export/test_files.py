"""The names and the id of the three files, and how they are written."""

from pathlib import Path

import pytest
from small_exports import Exported, export, tampered

from vae_detect.runtime.errors import InputError
from vae_detect.training.export.files import Files, export_id


@pytest.fixture(scope="module")
def vae() -> Exported:
    return export("vae")


def test_the_export_id_changes_with_a_weight_and_with_a_setting(vae: Exported) -> None:
    first = export_id(vae.graphs, "{}")
    assert len(first) == 16
    assert int(first, 16) >= 0
    assert export_id(vae.graphs, '{"latent": 3}') != first
    assert export_id(vae.graphs._replace(encoder=tampered(vae.graphs.encoder)), "{}") != first


def test_the_three_names() -> None:
    files = Files.named(Path("models") / "pump.v2.onnx")
    assert [str(path) for path in files] == [
        str(Path("models") / name) for name in ("pump.v2.onnx", "pump.v2.encoder.onnx", "pump.v2.decoder.onnx")
    ]
    with pytest.raises(InputError, match=r"pump\.pt: expected a file name that ends in \.onnx"):
        Files.named(Path("pump.pt"))
