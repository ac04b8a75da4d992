"""Other engines and processors compute the same: OpenVINO, and ONNX Runtime on a CPU without AVX.

`make openvino` installs OpenVINO in an environment of its own; qemu-user stands in for the old CPU.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import MODEL, ROOT
from every_recipe import CASES, Trained, trained_model
from numpy.typing import NDArray

from vae_detect.runtime.verification import SCORE_TOLERANCE, VERDICT, check_replay, flipped, relative_errors

# Runs in the other environment: models and inputs in, outputs out.
_RUN = """
import json, sys
import numpy, openvino

core = openvino.Core()
for model, inputs, batch, outputs in json.load(open(sys.argv[1])):
    # It takes bfloat16 by itself where the CPU has it.
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    x, found = numpy.load(inputs), {}
    for start in range(0, len(x), batch):
        result = compiled(x[start : start + batch])
        for name in ("score", "p_value", "is_anomaly"):
            found.setdefault(name, []).append(result[name].copy())
    numpy.savez(outputs, **{name: numpy.concatenate(parts) for name, parts in found.items()})
"""


@pytest.fixture(scope="module")
def openvino_python() -> Path:
    """The Python that has OpenVINO."""
    python = Path(os.environ.get("VAE_DETECT_OPENVINO_PYTHON", ROOT / ".venv-openvino" / "bin" / "python"))
    if not python.is_file():
        pytest.skip(f"no OpenVINO: {python} is not there; `make openvino` installs it")
    return python


class Ran:
    """What OpenVINO made of the inputs of every case."""

    def __init__(self, python: Path, folder: Path, cases: dict[str, Trained]) -> None:
        self._folder, self.cases = folder, cases
        jobs = []
        for number, case in enumerate(cases.values()):
            for what, x in (("shown", shown(case)), ("golden", case.detector.golden_inputs())):
                np.save(folder / f"{number}.{what}.npy", x)
                for batch in (1, len(x)):
                    named = (f"{number}.{what}.npy", f"{number}.{what}.{batch == 1}.npz")
                    jobs.append([str(case.path), str(folder / named[0]), batch, str(folder / named[1])])
        (folder / "jobs.json").write_text(json.dumps(jobs))
        command = [str(python), "-c", _RUN, str(folder / "jobs.json")]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr

    def found(self, name: str, what: str, *, alone: bool) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Scores, p-values and verdicts of a case."""
        with np.load(self._folder / f"{[*self.cases].index(name)}.{what}.{alone}.npz") as arrays:
            score, p_value, is_anomaly = (arrays[output] for output in VERDICT)
        return score, p_value, is_anomaly


def shown(case: Trained) -> NDArray[Any]:
    """120 inputs, or 60 images, half of them with a fault."""
    return np.concatenate([case.normal[:60], case.faulty[:60]])


def every_case(factory: pytest.TempPathFactory) -> dict[str, Trained]:
    return {name: trained_model(factory, name) for name in CASES}


@pytest.fixture(scope="module")
def ran(openvino_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return Ran(openvino_python, tmp_path_factory.mktemp("openvino"), every_case(tmp_path_factory))


@pytest.mark.parametrize("alone", [True, False], ids=["one at a time", "many at once"])
@pytest.mark.parametrize("name", CASES)
def test_openvino_gives_the_scores_of_onnx_runtime(ran: Ran, name: str, alone: bool) -> None:
    case = ran.cases[name]
    expected, threshold = case.detector.score(shown(case)), case.bundle.calibration.threshold
    score, _, is_anomaly = ran.found(name, "shown", alone=alone)
    assert relative_errors(expected.score, score, threshold).max() <= SCORE_TOLERANCE
    assert flipped(expected.score, is_anomaly, expected.is_anomaly, threshold).tolist() == []


@pytest.mark.parametrize("alone", [True, False], ids=["one at a time", "many at once"])
@pytest.mark.parametrize("name", CASES)
def test_no_model_is_refused_for_what_openvino_makes_of_its_golden_inputs(ran: Ran, name: str, alone: bool) -> None:
    check_replay(ran.cases[name].bundle, *ran.found(name, "golden", alone=alone), source=name, provider="openvino")


_LOAD = """
import sys
from numpy._core._multiarray_umath import __cpu_features__
from vae_detect.runtime.detector import Detector
from vae_detect.runtime.errors import ModelError

assert not __cpu_features__["AVX"]
for path in sys.argv[1:]:
    try:
        Detector.load(path, provider="cpu")
    except ModelError as error:
        print(error)
"""


EMULATED = CASES if "SOAK_SECONDS" in os.environ else ("vae", "ensemble", "ensemble, windows", "ensemble, images")
"""Emulation takes seconds a model: those that people train unless they ask for another, and all in `make soak`."""


def test_no_model_is_refused_on_a_cpu_without_avx(tmp_path_factory: pytest.TempPathFactory) -> None:
    emulator = shutil.which("qemu-x86_64")
    if emulator is None or platform.machine() != "x86_64":
        pytest.skip("no qemu-x86_64 here to stand in for a CPU without AVX: apt-get install qemu-user")
    paths = [str(trained_model(tmp_path_factory, name).path) for name in EMULATED]
    command = [emulator, "-cpu", "Nehalem", sys.executable, "-c", _LOAD, str(MODEL), *paths]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    loaded = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (loaded.returncode, loaded.stdout) == (0, ""), loaded.stderr
