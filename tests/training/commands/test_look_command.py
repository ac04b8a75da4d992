"""`vae-detect look`, as it is typed."""

import json
import subprocess
import sys
from pathlib import Path

from conftest import run_here


def test_the_last_line_is_the_command_that_trains(normal_csv: Path) -> None:
    done = run_here("look", normal_csv, "--exclude", "power_kw")
    assert done.returncode == 0
    *_, last = done.stdout.splitlines()
    assert last == f"vae-detect train {normal_csv} --exclude power_kw --out normal.onnx"
    row = next(line for line in done.stdout.splitlines() if line.startswith("power_kw"))
    assert "left out" in row


def test_a_picture_is_written_and_kept(normal_csv: Path, tmp_path: Path) -> None:
    picture = tmp_path / "normal.png"
    assert run_here("look", normal_csv, "--picture", picture).returncode == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    again = run_here("look", normal_csv, "--picture", picture)
    assert again.returncode == 2
    assert "--force" in again.stderr
    assert run_here("look", normal_csv, "--picture", normal_csv, "--force").returncode == 2


def test_json_is_for_programs(normal_csv: Path) -> None:
    found = json.loads(run_here("look", normal_csv, "--json").stdout)
    assert found["times"]["period_s"] == 120
    assert [column["treatment"] for column in found["columns"]] == ["", *["linear"] * 8]


def test_looking_needs_no_torch(normal_csv: Path) -> None:
    code = (
        "import sys; from vae_detect.cli import commands; commands(['look', sys.argv[1]], standalone_mode=False); "
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code, normal_csv], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
