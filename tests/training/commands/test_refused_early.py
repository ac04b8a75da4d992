"""A file that cannot be used is refused before what takes seconds to load is loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from conftest import MODEL

CODE = """
import sys
from click.testing import CliRunner
from vae_detect.cli import commands
for line in sys.stdin:
    result = CliRunner().invoke(commands, line.split("|")[:-1])
    print(result.exit_code, result.stderr.strip().splitlines()[-1])
print("loaded", *({"torch", "sklearn", "matplotlib", "onnx"} & set(sys.modules)))
"""


def test_a_file_that_cannot_be_used_does_not_wait_for_torch(tmp_path: Path) -> None:
    contents = {"empty": "", "text": "hello\n", "names": "who\nann\nbob\n", "few": "a\n1\n2\n", "late": "a\n" * 3}
    for name, content in contents.items():
        (tmp_path / f"{name}.csv").write_text(content)
    names = [tmp_path / f"{name}.csv" for name in (*contents, "absent")]
    asked = [
        *(["train", name, "--out", tmp_path / "a.onnx"] for name in names),
        ["train", names[3], "--out", tmp_path / "a.txt"],
        ["train", names[3], "--out", tmp_path / "a.onnx", "--columns", "b"],
        *(["evaluate", name, "-m", MODEL, "--labels", "label"] for name in names),
        *(["finetune", "-m", MODEL, "--labels", name, "--out", tmp_path / "a.onnx"] for name in names),
    ]
    lines = "".join("|".join(map(str, line)) + "|\n" for line in asked)
    made = subprocess.run([sys.executable, "-c", CODE], input=lines, capture_output=True, text=True, check=True)
    *answers, loaded = made.stdout.splitlines()
    assert len(answers) == len(asked)
    assert [answer.split(" ", 1)[0] for answer in answers] == ["2"] * len(asked), answers
    assert loaded.split() == ["loaded"]


def test_an_empty_file_does_not_wait_for_statistics(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("")
    code = CODE.replace('"torch"', '"torch", "scipy"')
    line = f"train|{tmp_path / 'empty.csv'}|--out|{tmp_path / 'a.onnx'}|\n"
    made = subprocess.run([sys.executable, "-c", code], input=line, capture_output=True, text=True, check=True)
    assert made.stdout.splitlines()[-1] == "loaded"
