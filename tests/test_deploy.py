"""What a site installs beside the service, checked by the programs that read it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from conftest import MODEL, ROOT
from server_process import addresses

from vae_detect.runtime.commands.serve import serve

DEPLOY = Path(__file__).parent.parent / "deploy"
UNITS = [DEPLOY / "vae-detect.service", DEPLOY / "vae-detect.socket"]
INSTALLED = "/opt/vae-detect/bin/vae-detect"


@pytest.fixture
def units(tmp_path: Path) -> list[Path]:
    """The units, with the command where it is on this machine."""
    here = Path(sys.executable).with_name("vae-detect")
    for unit in UNITS:
        (tmp_path / unit.name).write_text(unit.read_text().replace(INSTALLED, str(here)))
    return [tmp_path / unit.name for unit in UNITS]


@pytest.fixture
def analyze() -> str:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed (Debian package systemd)")
    return program


def test_systemd_finds_nothing_wrong_with_the_units(analyze: str, units: list[Path]) -> None:
    done = subprocess.run([analyze, "verify", *units], capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_systemd_calls_the_service_well_confined(analyze: str, units: list[Path]) -> None:
    command = [analyze, "security", "--offline=yes", "--no-pager", str(units[0])]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    found = re.search(r"Overall exposure level for vae-detect.service: (\S+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found[1]) < 1.5  # of 10; a service without any of it has 9.6


def test_the_units_set_what_the_command_knows() -> None:
    known = {f"VAE_DETECT_SERVE_{str(option.name).upper()}" for option in serve.params}
    named = {name for unit in UNITS for name in re.findall(r"VAE_DETECT_\w+", unit.read_text())}
    assert "VAE_DETECT_SERVE_MODEL" in named
    assert named <= known
    start = re.findall(r"^ExecStart=(.*)$", UNITS[0].read_text(), re.MULTILINE)
    assert start == [f"{INSTALLED} serve"]


def test_the_service_needs_no_memory_that_is_written_and_run() -> None:
    # As MemoryDenyWriteExecute= does it: a call of Linux 6.3, which what is started inherits.
    confine = (
        "import ctypes, os, sys\n"
        "sys.exit(77) if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) else os.execv(sys.argv[1], sys.argv[1:])"
    )
    words = [sys.executable, "-m", "vae_detect", "serve", "--model", str(MODEL), "--port", "0", "--threads", "2"]
    env = {"PYTHONPATH": str(ROOT / "src")}
    with subprocess.Popen(
        [sys.executable, "-c", confine, *words], stderr=subprocess.PIPE, text=True, env=env
    ) as running:
        try:
            assert running.stderr is not None
            line = running.stderr.readline()
            if running.poll() == 77:
                pytest.skip("the kernel is older than Linux 6.3")
            (url,) = addresses(line)
            rows = [[1450, 172.1, 0.33, 3.3, 33.1, 19.4, 40.2, 1.9]] * 3000
            assert len(httpx.post(f"{url}/score?explain=1", json=rows).json()["results"]) == 3000
            running.terminate()
            assert running.communicate(timeout=10)[1] == ""
        finally:
            running.kill()
