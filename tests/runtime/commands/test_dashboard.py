"""The command, run as a user does."""

import json
from pathlib import Path

import pytest
from conftest import MODEL, run_here
from versions import copied


def test_a_models_dashboard_is_printed() -> None:
    done = run_here("dashboard", "--model", f"pump={MODEL}")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["uid"] == "vae-detect-model-pump"


def test_without_a_model_it_is_the_one_for_any() -> None:
    assert json.loads(run_here("dashboard", "--format", "perses").stdout)["metadata"]["name"] == "vae-detect-model"


def test_all_are_written_to_a_folder_and_replaced_only_when_asked(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    for name in ("pump", "booster"):
        copied(tmp_path / "models", name)
    arguments: list[str | Path] = [
        "dashboard",
        "--model",
        tmp_path / "models",
        "--format",
        "grafana-v2",
        "--out",
        tmp_path / "out",
    ]
    assert run_here(*arguments).returncode == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"fleet.json", "model.json", "service.json", "model-pump.json", "model-booster.json"}
    again = run_here(*arguments)
    assert (again.returncode, "exists already; pass --force" in again.stderr) == (2, True)
    assert run_here(*arguments, "--force").returncode == 0


def test_a_mixin_is_one_file(tmp_path: Path) -> None:
    assert run_here("dashboard", "--format", "mixin", "--out", tmp_path).returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["mixin.libsonnet"]


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("nowhere.onnx", "nowhere.onnx: no such file; expected a detector written by 'vae-detect train'"),
        ("a b=x.onnx", "expected NAME=PATH, with a name of letters"),
        (str(MODEL.with_name("vae.decoder.onnx")), "this is the decoder of a detector; name its scorer instead"),
    ],
)
def test_a_model_that_is_none_is_one_clear_line(model: str, said: str) -> None:
    done = run_here("dashboard", "--model", model)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_several_models_cannot_be_printed_as_one() -> None:
    done = run_here("dashboard", "--model", f"a={MODEL}", "--model", f"b={MODEL}")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--model names 2 models; name one, or a folder for all with --out" in done.stderr
