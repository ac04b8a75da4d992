"""The product as people use it: the installed command, on files and pipes, with right and wrong input."""

from __future__ import annotations

import base64
import csv
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import IO

import numpy as np
import onnxruntime
import polars
import pytest
from conftest import run_here
from numpy.typing import NDArray
from PIL import Image as Pillow

from vae_detect.runtime.detector import Detector
from vae_detect.runtime.simulation import COLUMNS
from vae_detect.training.settings.recipes import RECIPES

ROOT = Path(__file__).parent.parent
MODEL = str(ROOT / "exported" / "vae.onnx")
COMMAND = str(Path(sys.executable).parent / "vae-detect")


def run(*arguments: str | Path, stdin: str | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **env},
    )


def refused(result: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """One understandable refusal: this exit code, these words, no traceback, nothing on standard output."""
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    for word in words:
        assert word in result.stderr


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def rows_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hours with a cavitation in the second, labelled."""
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    made = run("simulate", "--duration", "2h", "--period", "30s", "--seed", "5", "--labels", "--fault",
               "cavitation@1h+30m", "--out", path)  # fmt: skip
    assert made.returncode == 0, made.stderr
    return path


@pytest.fixture(scope="module")
def trained(normal_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model trained by the command, few epochs."""
    out = tmp_path_factory.mktemp("trained") / "pump.onnx"
    made = run("train", normal_csv, "--out", out, "--set", "hidden=16", "latent=3", "epochs=4", "--far", "0.3")
    assert made.returncode == 0, made.stderr
    assert made.stdout.split() == [str(out.with_name(f"pump{part}.onnx")) for part in ("", ".encoder", ".decoder")]
    return out


def test_help_lists_the_commands_under_two_headings_in_the_order_of_a_day() -> None:
    text = run("--help").stdout
    workstation, box = (part.split("Exit codes")[0] for part in re.split(r"On the (?:workstation|box):\n", text)[1:])
    listed = [re.findall(r"^  ([a-z]+) +[A-Z]", part, re.MULTILINE) for part in (workstation, box)]
    assert listed == [
        ["look", "recipes", "train", "evaluate", "finetune"],
        ["inspect", "score", "serve", "health", "encode", "reconstruct", "sample", "simulate"],
    ]
    for name in itertools.chain(*listed):
        assert run(name, "--help").returncode == 0


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
    refused(run("scroe"), 2, "scroe")


def test_version() -> None:
    assert run("--version").stdout.startswith("vae-detect, version ")


def test_recipes_lists_every_recipe_with_its_source() -> None:
    lines = run("recipes").stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(RECIPES)
    assert "variational autoencoder (Kingma and Welling 2014)" in lines[list(RECIPES).index("vae")]


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, vae_detect.cli; print({'numpy', 'onnxruntime', 'torch', 'uvicorn'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_train_says_what_it_did(trained: Path, normal_csv: Path, tmp_path: Path) -> None:
    again = run_here(
        "train",
        normal_csv,
        "--out",
        tmp_path / "pump.onnx",
        "hidden=16",
        "latent=3",
        "epochs=4",
        "--far",
        "30%",
        "--json",
    )
    assert "time stamps: column 'timestamp'" in again.stderr
    assert "1440 rows of 8 columns" in again.stderr
    assert "promised false-alarm rate 0.3" in again.stderr
    facts = json.loads(again.stdout)
    assert facts["settings"]["hidden"] == [16]
    assert facts["calibration"]["far"] == 0.3
    assert not list(tmp_path.glob("*.checkpoint"))
    # Settings and data are the same, so the files are the same, byte for byte.
    for part in ("", ".encoder", ".decoder"):
        assert (tmp_path / f"pump{part}.onnx").read_bytes() == trained.with_name(f"pump{part}.onnx").read_bytes()


@pytest.mark.parametrize(
    "settings",
    [
        ["hidden=16", "latent=3", "epochs=15", "patience=15"],
        ["recipe=adversarial", "hidden=16", "epochs=15", "dropout=0.2", "corruption=mask", "precision=bfloat16"],
        ["recipe=dbn", "hidden=32,16", "epochs=2", "pretrain_epochs=9"],  # killed while it pretrains
    ],
)
def test_training_goes_on_after_kill_9(normal_csv: Path, tmp_path: Path, settings: list[str]) -> None:
    whole, killed = tmp_path / "whole.onnx", tmp_path / "killed.onnx"
    assert run_here("train", normal_csv, "--out", whole, *settings).returncode == 0
    process = subprocess.Popen(
        [COMMAND, "train", str(normal_csv), "--out", str(killed), *settings],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not killed.with_suffix(".checkpoint").exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert not killed.exists()
    resumed = run_here("train", normal_csv, "--out", killed, *settings, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    for part in ("", ".encoder", ".decoder"):
        assert (tmp_path / f"killed{part}.onnx").read_bytes() == (tmp_path / f"whole{part}.onnx").read_bytes()


def test_train_windows_and_ae(normal_csv: Path, tmp_path: Path) -> None:
    config = tmp_path / "train.toml"
    config.write_text('recipe = "ae"\nhidden = [16]\nlatent = 2\nepochs = 9\n')
    made = run_here("train", normal_csv, "--out", tmp_path / "w.onnx", "--kind", "windows", "--window", "4",
                    "--stride", "2", "--config", config, "--set", "epochs=2",
                    "--exclude", "vibration_mm_s")  # fmt: skip
    assert made.returncode == 0, made.stderr
    facts = json.loads(run("inspect", tmp_path / "w.onnx", "--json").stdout)
    assert (facts["recipe"], facts["kind"], facts["window"], facts["stride"]) == ("ae", "windows", 4, 2)
    assert (facts["settings"]["epochs"], facts["latent"], len(facts["columns"])) == (2, 2, 7)
    assert "elbo" not in onnxruntime_outputs(tmp_path / "w.onnx")
    scored = run("score", normal_csv, "--model", tmp_path / "w.onnx")
    lines = list(csv.DictReader(scored.stdout.splitlines()))
    assert [line["status"] for line in lines[:5]] == ["warming"] * 3 + ["ok"] * 2
    assert len(lines) == 1440


def onnxruntime_outputs(path: Path) -> list[str]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return [output.name for output in onnxruntime.InferenceSession(path, options).get_outputs()]


def test_inspect_shows_what_the_model_is() -> None:
    shown = run("inspect", MODEL)
    assert shown.returncode == 0
    for words in (
        "vae, gaussian likelihood",
        "promised false-alarm rate 0.001",
        "discharge_pressure_bar",
        "0 verdict flips",
    ):
        assert words in " ".join(shown.stdout.split())


def test_score_finds_the_fault(rows_csv: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.csv"
    scored = run("score", rows_csv, "--model", MODEL, "--out", out)
    assert scored.returncode == 0
    assert "columns of" in scored.stderr
    assert "label" in scored.stderr
    assert "240 rows: 240 scored" in scored.stderr
    lines = read_csv(out)
    assert [int(line["row"]) for line in lines] == list(range(240))
    alarms = np.array([line["is_anomaly"] == "1" for line in lines])
    assert alarms[130:180].mean() > 0.9  # the fault is at its full size after a tenth of its time
    assert alarms[:120].mean() < 0.05
    assert run("score", rows_csv, "--model", MODEL, "--fail-on-anomaly").returncode == 1


def test_score_keeps_an_existing_file(rows_csv: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.csv"
    out.write_text("mine")
    refused(run("score", rows_csv, "--model", MODEL, "--out", out), 2, "exists already", "--force")
    assert out.read_text() == "mine"
    assert run("score", rows_csv, "--model", MODEL, "--out", out, "--force").returncode == 0
    assert out.read_text().startswith("row,time,score,")


def test_a_bad_row_is_flagged_or_fails(rows_csv: Path, tmp_path: Path) -> None:
    lines = rows_csv.read_text().splitlines()
    cells = lines[4].split(",")
    cells[2] = "1,5".replace(",", "_")
    bad = tmp_path / "bad.csv"
    bad.write_text("\n".join([*lines[:4], ",".join(cells), *lines[5:]]))
    clean = run("score", rows_csv, "--model", MODEL).stdout.splitlines()
    found = run("score", bad, "--model", MODEL).stdout.splitlines()
    assert re.match(r"3,[^,]+Z,,,,,bad,", found[4])
    assert "flow_m3h" in found[4]
    assert "1_5" in found[4]
    assert found[:4] + found[5:] == clean[:4] + clean[5:]
    failed = run("score", bad, "--model", MODEL, "--on-bad-row", "fail", "--out", tmp_path / "scores.csv")
    refused(failed, 4, "row 3", "flow_m3h")
    assert not (tmp_path / "scores.csv").exists()


def test_encode_writes_codes_and_a_picture(rows_csv: Path, tmp_path: Path) -> None:
    codes, picture = tmp_path / "codes.csv", tmp_path / "codes.png"
    made = run("encode", rows_csv, "--model", MODEL, "--out", codes, "--picture", picture)
    assert made.returncode == 0, made.stderr
    assert "240 rows: 240 encoded" in made.stderr
    lines = read_csv(codes)
    width = Detector.load(MODEL).bundle.latent
    assert list(lines[0]) == ["row", "status", *(f"z{place}" for place in range(width))]
    assert len(lines) == 240
    assert picture.read_bytes().startswith(b"\x89PNG")
    refused(run("encode", rows_csv, "--model", MODEL, "--out", codes), 2, "codes.csv: exists already", "--force")
    assert run("encode", rows_csv, "--model", MODEL, "--out", codes, "--force").returncode == 0
    assert run("encode", rows_csv, "--model", MODEL, "--out", tmp_path / "codes.parquet").returncode == 0
    frame = polars.read_parquet(tmp_path / "codes.parquet")
    assert frame["z0"].to_list() == pytest.approx([float(line["z0"]) for line in lines])


def test_what_is_reconstructed_and_sampled_can_be_scored(rows_csv: Path, tmp_path: Path) -> None:
    expected, new = tmp_path / "expected.csv", tmp_path / "new.csv"
    made = run("reconstruct", rows_csv, "--model", MODEL, "--out", expected)
    assert made.returncode == 0, made.stderr
    assert "240 rows: 240 reconstructed" in made.stderr
    assert run("sample", "--model", MODEL, "--n", "50", "--seed", "1", "--out", new).returncode == 0
    for path, rows in ((expected, 240), (new, 50)):
        scored = run("score", path, "--model", MODEL)
        assert scored.returncode == 0, scored.stderr
        assert "columns of" not in scored.stderr
        lines = list(csv.DictReader(scored.stdout.splitlines()))
        assert len(lines) == rows
        assert np.mean([line["is_anomaly"] == "1" for line in lines]) < 0.2
    again = tmp_path / "again.csv"
    assert run("sample", "--model", MODEL, "--n", "50", "--seed", "1", "--out", again).returncode == 0
    assert again.read_bytes() == new.read_bytes()


def test_images_are_encoded_reconstructed_and_sampled(
    images_model: Path, photos: NDArray[np.uint8], tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, pixels in enumerate(photos[:5]):
        Pillow.fromarray(pixels).save(folder / f"{number}.png")
    made = run("encode", folder, "--model", images_model, "--out", tmp_path / "codes.csv")
    assert "5 images: 5 encoded" in made.stderr
    assert [line["file"] for line in read_csv(tmp_path / "codes.csv")] == [f"{number}.png" for number in range(5)]
    made = run("reconstruct", folder, "--model", images_model, "--out", tmp_path / "expected")
    assert "5 images: 5 reconstructed" in made.stderr
    assert sorted(path.name for path in (tmp_path / "expected").iterdir()) == [f"{n}.png" for n in range(5)]
    (folder / "9.png").write_bytes(b"x")
    made = run("encode", folder, "--model", images_model, "--out", tmp_path / "codes.csv", "--force")
    assert (made.returncode, "5 encoded, 1 bad" in made.stderr) == (4, True)
    tried = run("sample", "--model", images_model, "--out", tmp_path / "new.png")
    refused(tried, 2, "recipe conv has no prior to sample from")


def test_evaluate_prints_figures(rows_csv: Path) -> None:
    shown = run("evaluate", rows_csv, "--labels", "label", "--model", MODEL)
    for words in ("ROC-AUC", "z-score", "random", "promised 0.001", "1 of 1"):
        assert words in shown.stdout
    figures = json.loads(run("evaluate", rows_csv, "--labels", "label", "--model", MODEL, "--json").stdout)
    assert figures["detector"]["roc_auc"] > 0.9
    assert figures["events"]["found"] == 1
    assert all(len(curve) <= 200 for curves in figures["curves"].values() for curve in curves.values())
    assert figures["point_adjusted"] is None
    refused(run("evaluate", rows_csv, "--labels", "truth", "--model", MODEL), 2, "'truth'", "missing")


def test_evaluate_takes_labels_as_people_write_them(rows_csv: Path, tmp_path: Path) -> None:
    expected = run("evaluate", rows_csv, "--labels", "label", "--model", MODEL)
    written = {"sign": {"0": "1", "1": "-1"}, "kinds": {"0": "1", "1": "2"}, "words": {"0": "", "1": "leak"}}
    for name, words in written.items():
        header, *lines = rows_csv.read_text().splitlines()
        text = [f"{line.rpartition(',')[0]},{words[line.rpartition(',')[2]]}" for line in lines]
        (tmp_path / f"{name}.csv").write_text("\n".join([header, *text]) + "\n")
    for name, options in (("sign", []), ("kinds", ["--anomaly-label", "2"]), ("words", [])):
        found = run("evaluate", tmp_path / f"{name}.csv", "--labels", "label", "--model", MODEL, *options)
        assert found.stdout == expected.stdout
        assert "column 'label': normal is " in found.stderr
    tried = run("evaluate", tmp_path / "kinds.csv", "--labels", "label", "--model", MODEL)
    refused(tried, 2, "does not say what is normal", "--anomaly-label 2")
    shown = run("evaluate", rows_csv, "--labels", "none", "--model", MODEL)
    assert "all of them normal" in shown.stdout
    figures = json.loads(run("evaluate", rows_csv, "--labels", "none", "--model", MODEL, "--json").stdout)
    assert figures["false_alarm_rate"] == figures["alarms"] / figures["scored"]


@pytest.fixture(scope="module")
def drifted_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fourteen hours after a sensor was replaced by one that shows half as much again."""
    made = run("simulate", "--duration", "14h", "--period", "30s", "--seed", "5", "--labels", "--fault",
               "cavitation@7h+30m")  # fmt: skip
    header, *lines = made.stdout.splitlines()
    path = tmp_path_factory.mktemp("drifted") / "drifted.csv"
    rows = [line.split(",") for line in lines]
    for row in rows:
        row[1] = str(1.5 * float(row[1]))
    path.write_text("\n".join([header, *map(",".join, rows)]) + "\n")
    return path


def test_score_says_that_the_calibration_no_longer_holds(rows_csv: Path, drifted_csv: Path, tmp_path: Path) -> None:
    assert "calibration" not in run("score", rows_csv, "--model", MODEL).stderr
    said = "calibration no longer holds: 1 of the last 1508 inputs alarmed, promised 0.001, "
    from_file = run("score", drifted_csv, "--model", MODEL, "--out", tmp_path / "scores.csv")
    assert (from_file.returncode, from_file.stdout) == (0, "")
    assert said in from_file.stderr
    from_pipe = run("score", "-", "--model", MODEL, stdin=drifted_csv.read_text())
    # once, and as soon as it is known
    assert from_pipe.stderr.count("calibration no longer holds: 1 of the last 1508 inputs alarmed") == 1
    assert from_pipe.stderr.count("calibration") == 1


def test_an_adaptive_threshold_follows_what_has_drifted(rows_csv: Path, drifted_csv: Path) -> None:
    # 34 alarms use the threshold up (tests/runtime/service/test_app.py); 0.03 x 0.001 a row brings it back to one
    # more in 630 rows, and then another
    for arguments in ([drifted_csv], ["-"]):
        scored = run("score", *arguments, "--model", MODEL, "--adaptive", stdin=drifted_csv.read_text())
        assert scored.stdout.count('"is_anomaly":true' if arguments == ["-"] else ",1,ok,") == 36
        assert "calibration no longer holds" in scored.stderr
    shown = run("evaluate", drifted_csv, "--labels", "label", "--model", MODEL, "--adaptive").stdout
    assert "at a threshold that follows the data" in shown
    figures = json.loads(run("evaluate", drifted_csv, "--labels", "label", "--model", MODEL, "--json").stdout)
    assert figures["at_threshold"]["false_alarm_rate"] == 1.0
    assert figures["promise"] == {"in_range": False, "reported_after": 1508, "reported_on_normal": True}


def test_evaluate_writes_a_report_once(rows_csv: Path, tmp_path: Path) -> None:
    page_file = tmp_path / "report.html"
    command: list[str | Path] = ["evaluate", rows_csv, "--labels", "label", "--model", MODEL, "--report", page_file]
    shown = run(*command, "--point-adjust")
    assert shown.returncode == 0, shown.stderr
    assert "warning           one alarm anywhere in an event" in shown.stdout
    page = page_file.read_text()
    assert page.startswith("<!doctype html>")
    assert "vae.onnx on rows.csv" in page
    assert shown.stdout.splitlines()[0] in page
    refused(run(*command), 2, "report.html: exists already; pass --force to replace it")
    assert run(*command, "--force").returncode == 0
    assert list(tmp_path.iterdir()) == [page_file]


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


class Serving:
    """The service as a process, on a free port, stopped by SIGTERM; its exit code must be 0."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [COMMAND, "serve", "--port", "0", *arguments], stderr=subprocess.PIPE, text=True
        )

    def __enter__(self) -> str:
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        assert " on http://" in line, line
        return line.rsplit(" ", 1)[1].strip()

    def __exit__(self, *_: object) -> None:
        assert self.process.stderr is not None
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=15)
        self.process.stderr.close()
        assert code == 0


def post(url: str, row: NDArray[np.float32]) -> dict[str, list[dict[str, object]]]:
    with urllib.request.urlopen(f"{url}/score", data=json.dumps(row.tolist()).encode(), timeout=10) as reply:
        answer: dict[str, list[dict[str, object]]] = json.load(reply)
    return answer


def test_serve_and_health() -> None:
    with Serving("--model", MODEL) as url:
        assert run("health", "--url", url).stdout == "ready\n"
        busy = run("serve", "--model", MODEL, "--port", url.rsplit(":", 1)[1])
        refused(busy, 2, "port", url.rsplit(":", 1)[1])
    refused(run("health", "--url", url), 2, url)


def test_stdin_answers_each_line_at_once() -> None:
    process = subprocess.Popen(
        [COMMAND, "score", "-", "--model", MODEL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    send(process.stdin, ",".join(COLUMNS))
    for number, cells in enumerate(
        ["1270,138,0.344,2.77,25.9,13.0,31.4,1.54", "1270,138,0.344,oops,25.9,13.0,31.4,1.54"]
    ):
        send(process.stdin, cells)
        answer = json.loads(process.stdout.readline())  # would block for ever if the line were held back
        assert answer["row"] == number
    assert answer["status"] == "bad"
    assert "discharge_pressure_bar" in answer["reason"]
    process.stdin.close()
    assert process.wait(timeout=10) == 0
    process.stdout.close()


def send(stdin: IO[str], line: str) -> None:
    stdin.write(line + "\n")
    stdin.flush()


def test_a_reader_that_leaves_ends_the_pipe_quietly(rows_csv: Path) -> None:
    line = f"{COMMAND} simulate --duration 30d | {COMMAND} score - --model {MODEL} | head -n 1"
    ended = subprocess.run(
        ["bash", "-c", f"{line}; echo ${{PIPESTATUS[@]}}"], capture_output=True, text=True, check=True
    )
    first, codes = ended.stdout.splitlines()
    assert json.loads(first)["row"] == 0
    assert set(codes.split()[:2]) <= {"0", "141"}
    assert "Traceback" not in ended.stderr
    assert "Error" not in ended.stderr


def test_options_come_from_the_environment_too(rows_csv: Path) -> None:
    assert run("score", rows_csv, VAE_DETECT_SCORE_MODEL=MODEL).returncode == 0


def test_simulate_live_keeps_the_clock() -> None:
    start = time.monotonic()
    made = run("simulate", "--duration", "40s", "--live", "--speed", "20")  # 4 rows, 0.5 s apart
    assert made.returncode == 0
    assert len(made.stdout.splitlines()) == 5
    assert time.monotonic() - start >= 1.5
    assert "cavitation" in run("simulate", "--fault", "list").stdout


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
    refused(run(*arguments, stdin=""), code, *words)


def test_train_refuses_a_rate_that_the_data_cannot_support(normal_csv: Path, tmp_path: Path) -> None:
    tried = run("train", normal_csv, "--out", tmp_path / "x.onnx", "--far", "1/week", "--rate", "1kHz")
    refused(tried, 2)
    tried = run("train", normal_csv, "--out", tmp_path / "x.onnx", "--far", "0.00001")
    refused(tried, 2, "false-alarm rate", "calibration rows")
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def photo_folder(photos: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five images, the last one odd."""
    folder = tmp_path_factory.mktemp("photos")
    for index, pixels in enumerate(photos[-5:]):
        Pillow.fromarray(pixels).save(folder / f"{index}.png")
    return folder


def test_score_a_folder_of_images(photo_folder: Path, images_model: Path, tmp_path: Path) -> None:
    arguments: list[str | Path] = [
        "score",
        photo_folder,
        "--model",
        images_model,
        "--out",
        "scores.csv",
        "--heat-maps",
        "heat",
    ]
    scored = run(*arguments)
    assert scored.returncode == 0, scored.stderr
    assert scored.stdout == ""
    assert "5 images: 5 scored, 1 anomalies (20.00%)" in scored.stderr
    lines = read_csv(tmp_path / "scores.csv")
    assert [line["file"] for line in lines] == [f"{index}.png" for index in range(5)]
    assert [line["is_anomaly"] for line in lines] == ["0", "0", "0", "0", "1"]
    assert sorted(path.name for path in (tmp_path / "heat").iterdir()) == [line["file"] for line in lines]
    refused(run(*arguments), 2, "heat/0.png", "exists already", "--force")
    assert run(*arguments, "--force", "--fail-on-anomaly").returncode == 1


def test_images_that_cannot_be_read_are_listed(photo_folder: Path, images_model: Path, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed"
    shutil.copytree(photo_folder, mixed)
    (mixed / "2.png").write_bytes((mixed / "2.png").read_bytes()[:100])
    (mixed / "notes.txt").write_text("text")
    clean = run("score", photo_folder, "--model", images_model).stdout.splitlines()
    scored = run("score", mixed, "--model", images_model)
    assert scored.returncode == 4
    assert f"1 files in {mixed} passed over" in scored.stderr
    lines = scored.stdout.splitlines()
    assert lines[3].startswith("2.png,,,,,bad,is damaged: ")
    assert lines[:3] + lines[4:] == clean[:3] + clean[4:]
    refused(run("score", mixed, "--model", images_model, "--on-bad-row", "fail", "--out", "x.csv"), 4, "2.png: is dam")
    assert not Path("x.csv").exists()
    one = run("score", mixed / "1.png", "--model", images_model)
    assert (one.returncode, one.stdout.splitlines()[1]) == (0, clean[2])
    refused(run("score", mixed / "2.png", "--model", images_model), 2, "2.png: is damaged")


def test_images_and_tables_are_not_mixed_up(photo_folder: Path, images_model: Path, rows_csv: Path) -> None:
    refused(run("score", photo_folder, "--model", MODEL), 2, "holds no table", "expected files", ".csv")
    refused(run("score", photo_folder / "0.png", "--model", MODEL), 2, "PNG image", "expected a table")
    refused(run("score", rows_csv, "--model", images_model), 2, "rows.csv: is no image")
    refused(run("score", "-", "--model", images_model, stdin=""), 2, "standard input takes rows", "images")
    refused(run("score", rows_csv, "--model", MODEL, "--heat-maps", "heat"), 2, "--heat-maps is for models of images")
    refused(run("score", photo_folder.parent, "--model", images_model, "--heat-maps", photo_folder), 2, "lies within")
    assert "colour images of 12 x 16" in run("inspect", images_model).stdout


def test_serve_an_image(photo_folder: Path, images_model: Path) -> None:
    content = (photo_folder / "4.png").read_bytes()
    with Serving("--model", str(images_model)) as url:
        request = urllib.request.Request(f"{url}/score?explain=1", content, {"content-type": "image/png"})
        with urllib.request.urlopen(request, timeout=10) as reply:
            (result,) = json.load(reply)["results"]
    assert result["is_anomaly"] is True
    assert base64.b64decode(result["heat_map"]).startswith(b"\x89PNG")


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


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
