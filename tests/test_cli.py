"""The command as people use it: help, versions, wrong usage, one row through every door."""

from __future__ import annotations

import csv
import itertools
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from command_line import Serving, post, refused, run
from conftest import ROOT, run_here

from vae_detect.runtime.detector import Detector
from vae_detect.runtime.simulation import COLUMNS
from vae_detect.training.settings.recipes import RECIPES

MODEL = str(ROOT / "exported" / "vae.onnx")


pytestmark = pytest.mark.usefixtures("own_folder")


def test_help_lists_the_commands_under_two_headings_in_the_order_of_a_day() -> None:
    text = run_here("--help").stdout
    workstation, box = (part.split("Exit codes")[0] for part in re.split(r"On the (?:workstation|box):\n", text)[1:])
    listed = [re.findall(r"^  ([a-z]+) +[A-Z]", part, re.MULTILINE) for part in (workstation, box)]
    assert listed == [
        ["look", "recipes", "train", "evaluate", "finetune"],
        [
            *("calibrate", "inspect", "backtest", "score", "stream", "serve", "events", "dashboard", "health"),
            *("encode", "reconstruct", "sample", "doctor", "simulate"),
        ],
    ]
    for name in itertools.chain(*listed):
        assert run_here(name, "--help").returncode == 0


def test_help_loads_no_command_and_a_command_only_itself() -> None:
    code = (
        "import sys; from vae_detect.cli import commands\n"
        "commands(sys.argv[1:], standalone_mode=False)\n"
        "print('loaded', *(name for name in sys.modules if name.startswith('vae_detect.') or name == 'numpy'))"
    )
    help_, list_ = (
        subprocess.run([sys.executable, "-c", code, *asked], capture_output=True, text=True, check=True).stdout
        for asked in (["--help"], ["recipes"])
    )
    loaded, others = (text.splitlines()[-1].split()[1:] for text in (help_, list_))
    assert sorted(loaded) == [
        *("vae_detect.cli", "vae_detect.runtime", "vae_detect.runtime.commands"),
        *("vae_detect.runtime.commands.process", "vae_detect.runtime.commands.terminal"),
        *("vae_detect.runtime.errors", "vae_detect.runtime.stopping"),
    ]
    assert [name for name in others if ".commands." in name] == [
        *("vae_detect.runtime.commands.terminal", "vae_detect.runtime.commands.process"),
        "vae_detect.training.commands.recipes",
    ]


def test_an_unknown_command_is_one_sentence() -> None:
    refused(run_here("scroe"), 2, "scroe")


def test_version() -> None:
    assert run("--version").stdout.startswith("vae-detect, version ")


def test_recipes_lists_every_recipe_with_its_source() -> None:
    lines = run_here("recipes").stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(RECIPES)
    assert "variational autoencoder (Kingma and Welling 2014)" in lines[list(RECIPES).index("vae")]


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, vae_detect.cli; print({'numpy', 'onnxruntime', 'torch', 'uvicorn'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_inspect_shows_what_the_model_is() -> None:
    shown = run_here("inspect", MODEL)
    assert shown.returncode == 0
    for words in (
        "vae, gaussian likelihood",
        "promised false-alarm rate 0.001",
        "discharge_pressure_bar",
        "0 verdict flips",
    ):
        assert words in " ".join(shown.stdout.split())


def test_options_come_from_the_environment_too(rows_csv: Path) -> None:
    assert run_here("score", rows_csv, VAE_DETECT_SCORE_MODEL=MODEL).returncode == 0


def test_simulate_live_keeps_the_clock() -> None:
    start = time.monotonic()
    made = run_here("simulate", "--duration", "40s", "--live", "--speed", "20")  # 4 rows, 0.5 s apart
    assert made.returncode == 0
    assert len(made.stdout.splitlines()) == 5
    assert time.monotonic() - start >= 1.5
    assert "cavitation" in run_here("simulate", "--fault", "list").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["score", "nowhere.csv", "--model", MODEL], 2, ["nowhere.csv"]),
        (["score", str(ROOT / "LICENSE"), "--model", MODEL], 2, ["speed_rpm", "missing"]),
        (["score", "-", "--model", "nowhere.onnx"], 2, ["nowhere.onnx", "no such file"]),
        (["score", "-", "--model", __file__], 2, ["test_cli.py", "cannot load"]),
        (["score", "-", "--model", MODEL.replace("vae.onnx", "vae.encoder.onnx")], 2, ["encoder", "scorer"]),
        (["score", "-", "--model", MODEL, "--provider", "cuda"], 3, ["cuda", "vae-detect[gpu]"]),
        (["score", "-", "--model", MODEL, "--provider", "tensorrt"], 3, ["tensorrt", "vae-detect[tensorrt]"]),
        (["score", "-", "--model", MODEL, "--provider", "openvino"], 3, ["openvino"]),
        (["score", "-", "--model", MODEL, "--provider", "tpu"], 2, ["tpu"]),
        (["score", "-", "--model", MODEL, "--delimiter", ";;"], 2, ["delimiter"]),
        (["encode", "nowhere.csv", "--model", MODEL, "--out", "x.csv"], 2, ["nowhere.csv"]),
        (
            ["encode", str(ROOT / "runtime"), "--model", MODEL, "--out", "x.csv"],
            2,
            ["holds no table", "expected files"],
        ),
        (["encode", __file__, "--model", MODEL, "--out", "x.txt"], 2, ["x.txt", ".csv or .parquet"]),
        (["encode", __file__, "--model", MODEL], 2, ["--out"]),
        (["reconstruct", __file__, "--model", MODEL, "--out", "x.parquet"], 2, ["x.parquet", ".csv"]),
        (["sample", "--model", MODEL, "--out", "x.png"], 2, ["x.png", ".csv"]),
        (["sample", "--model", MODEL, "--out", "x.csv", "--n", "-1"], 2, ["--n", "-1"]),
        (["serve", "--model", "nowhere.onnx", "--port", "0"], 2, ["nowhere.onnx"]),
        (["serve", "--model", MODEL, "--host", "999.1.1.1"], 2, ["999.1.1.1"]),
        (["serve", "--model", MODEL, "--port", "99999"], 2, ["99999"]),
        (["inspect", "nowhere.onnx"], 2, ["nowhere.onnx"]),
        (["simulate", "--fault", "flood@1h+1h"], 2, ["flood", "cavitation"]),
        (["simulate", "--duration", "soon"], 2, ["soon"]),
        (["train", str(ROOT / "LICENSE"), "--out", "x.onnx"], 2, ["no numeric column"]),
        (["train", __file__, "--out", "x.pt"], 2, [".onnx"]),
        (["train", __file__, "--out", "x.onnx", "--set", "layers=3"], 2, ["layers", "hidden"]),
        (["train", __file__, "--out", "x.onnx", "--set", "latent=many"], 2, ["latent", "many", "whole number"]),
        (["train", __file__, "--out", "x.onnx", "--recipe", "transformer"], 2, ["transformer", "vae"]),
        (["train", __file__, "--out", "x.onnx", "--far", "often"], 2, []),
        (["train", __file__, "--out", "x.onnx", "--rate", "fast"], 2, ["fast", "10Hz"]),
        (["paint"], 2, ["paint"]),
    ],
)
def test_wrong_usage_is_one_clear_refusal(arguments: list[str], code: int, words: list[str]) -> None:
    refused(run_here(*arguments, stdin=""), code, *words)


_BARE = """
import sys, numpy, onnxruntime
onnxruntime.set_default_logger_severity(3)
x = numpy.frombuffer(bytes.fromhex(sys.argv[2]), numpy.float32)[None]
(score,) = onnxruntime.InferenceSession(sys.argv[1]).run(["score"], {"x": x})
assert not any(name.startswith("vae_detect") for name in sys.modules)
print(score.tobytes().hex())
"""


def test_one_row_scores_the_same_everywhere(rows_csv: Path, tmp_path: Path) -> None:
    """Bit for bit from Python, a file, a pipe, HTTP and a session without vae_detect; 1e-5 within any batch."""
    line = rows_csv.read_text().splitlines()[150]
    row = np.array([float(cell) for cell in line.split(",")[1:9]], np.float32)
    bare = subprocess.run(
        [sys.executable, "-c", _BARE, MODEL, row.tobytes().hex()], capture_output=True, text=True, check=True
    )
    expected = np.frombuffer(bytes.fromhex(bare.stdout.strip()), np.float32)[0]
    detector = Detector.load(MODEL)
    one = tmp_path / "one.csv"
    one.write_text(",".join(COLUMNS) + "\n" + ",".join(map(str, row)) + "\n")
    from_file = csv.DictReader(run("score", one, "--model", MODEL).stdout.splitlines())
    from_pipe = json.loads(run("score", "-", "--model", MODEL, stdin=json.dumps(row.tolist()) + "\n").stdout)
    with Serving("--model", MODEL) as url:
        from_http = post(url, row)
    scores = {
        "score_one": detector.score_one(row).score,
        "again": detector.score_one(row).score,
        "score": detector.score(row[None]).score[0],
        "file": next(from_file)["score"],
        "pipe": from_pipe["score"],
        "http": from_http["results"][0]["score"],
    }
    assert {name: np.float32(score) for name, score in scores.items()} == dict.fromkeys(scores, expected)
    in_a_file = list(csv.DictReader(run("score", rows_csv, "--model", MODEL).stdout.splitlines()))
    assert float(in_a_file[149]["score"]) == pytest.approx(float(expected), rel=1e-5)


def test_serve_and_health() -> None:
    with Serving("--model", MODEL) as url:
        assert run("health", "--url", url).stdout == "ready\n"
        busy = run("serve", "--model", MODEL, "--port", url.rsplit(":", 1)[1])
        refused(busy, 2, "port", url.rsplit(":", 1)[1])
    refused(run("health", "--url", url), 2, url)


_BLOCK = """
import sys, importlib.metadata as metadata
blocked = sys.argv.pop(1)
real = metadata.version
def version(name):
    if name.startswith(blocked):
        raise metadata.PackageNotFoundError(name)
    return real(name)
metadata.version = version
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
from vae_detect.cli import main
main()
"""


@pytest.mark.parametrize(
    ("package", "arguments", "extra"),
    [
        ("onnxruntime", ["inspect", MODEL], "vae-detect[cpu]"),
        ("torch", ["train", "rows.csv", "--out", "x.onnx"], "vae-detect[train]"),
        ("uvicorn", ["serve", "--model", MODEL], "vae-detect[serve]"),
        (
            "matplotlib",
            ["encode", __file__, "--model", MODEL, "--out", "x.csv", "--picture", "x.png"],
            "vae-detect[train]",
        ),
        ("polars", ["encode", __file__, "--model", MODEL, "--out", "x.parquet"], "vae-detect[tables]"),
        ("PIL", ["score", str(ROOT), "--model", "tiny.onnx"], "vae-detect[images]"),
        ("PIL", ["serve", "--model", "tiny.onnx"], "vae-detect[images]"),
        ("sklearn", ["evaluate", "rows.csv", "--labels", "label", "--model", MODEL], "vae-detect[train]"),
        ("jinja2", ["evaluate", "rows.csv", "--labels=label", "-m", MODEL, "--report=r.html"], "vae-detect[train]"),
    ],
)
def test_a_missing_package_names_the_extra(
    package: str, arguments: list[str], extra: str, images_model: Path, rows_csv: Path
) -> None:
    Path("tiny.onnx").symlink_to(images_model)
    Path("rows.csv").symlink_to(rows_csv)
    command = [sys.executable, "-c", _BLOCK, package, *arguments]
    refused(subprocess.run(command, capture_output=True, text=True, check=False), 3, extra)
