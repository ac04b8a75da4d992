"""Training by several processes that torchrun starts: the loss path of one process, one voice, one set of files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from vae_detect.runtime.detector import Detector
from vae_detect.runtime.layout import Layout
from vae_detect.runtime.scoring.framing import windows_at
from vae_detect.training.data.columns import plan_columns
from vae_detect.training.data.selection import Selection
from vae_detect.training.data.split import Split
from vae_detect.training.fitting.fit import Epoch, fit
from vae_detect.training.model.autoencoder import Autoencoder
from vae_detect.training.settings.config import configure
from vae_detect.training.train import train

SMALL = {"hidden": (8,), "latent": 3, "epochs": 4}
RUNS: dict[str, dict[str, Any]] = {
    "vae": {},
    "ensemble": {},  # noise on the input
    "sparse": {"latent": 12},  # the penalty is of a mean over the batch
    "adversarial": {},  # a discriminator
    "gan": {},  # parameters that have no part in the loss
    "rbm": {"hidden": ()},  # the same, and Gibbs sampling
    "dbn": {"pretrain_epochs": 2},
    "contractive": {"hidden": (8,), "tied": False},  # a derivative of a derivative
    "dropout": {"corruption": "mask", "batch": 37},  # the last batch holds one row, so that one process has none
    "iwae": {"kind": "windows", "window": 4, "network": "gru", "points": 3, "batch": 37},
    "conv": {"kind": "windows", "window": 8, "batch": 37},
}
RESUMED = ("vae", "adversarial", "dbn")
PARTS = Split(np.arange(0, 593), np.arange(600, 700), np.arange(700, 890))

SCRIPT = """
import json, os, shutil, sys
from pathlib import Path
import numpy as np
import torch
sys.path.insert(0, sys.argv[1])
from test_distributed import RESUMED, RUNS, learn
from vae_detect.training.fitting.world import join_world

folder = Path(sys.argv[2])
rows = np.load(folder / "rows.npy")
world = join_world(torch.device("cpu"))
found = {}
for recipe in RUNS:
    checkpoint, kept = folder / recipe, folder / f"{recipe}-resumed"

    def keep(epoch):
        if epoch.number == 2 and world.rank == 0:
            shutil.copy(checkpoint, kept)

    found[recipe] = learn(recipe, rows, checkpoint, world=world, report=keep)
    if recipe in RESUMED:
        torch.distributed.barrier()
        found[f"{recipe}-resumed"] = learn(recipe, rows, kept, world=world, resume=True)
(folder / f"found{world.rank}.json").write_text(json.dumps(found))
"""


class Learned(NamedTuple):
    """What training came to: the epochs, and the scores of all inputs."""

    history: list[Epoch]
    scores: list[float]


def learn(recipe: str, rows: NDArray[np.float32], checkpoint: Path, **options: Any) -> Learned:
    config = configure({**SMALL, "recipe": recipe, **RUNS[recipe]})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Autoencoder(config, plan_columns(rows, list("abcde"))[0])
    history = fit(model, torch.from_numpy(rows), PARTS, checkpoint=checkpoint, fingerprint="", **options)
    x = torch.from_numpy(windows_at(rows, np.arange(890) + config.window - 1, config.window))
    with torch.no_grad():
        return Learned(history, model.terms(x, model.noise).score.tolist())


def torchrun(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Two processes on this machine; what torchrun itself says about threads is switched off."""
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As torchrun's processes have it; with two, a busy machine makes small networks many times slower."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def rows() -> NDArray[np.float32]:
    """900 rows of 5 columns that two hidden causes tie together."""
    generator = np.random.default_rng(0)
    values = generator.normal(size=(900, 2)) @ generator.normal(size=(2, 5)) + 0.1 * generator.normal(size=(900, 5))
    return values.astype(np.float32)


@pytest.fixture(scope="module")
def data(rows: NDArray[np.float32], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "normal.csv"
    np.savetxt(path, rows, delimiter=",", header="a,b,c,d,e", comments="", fmt="%.6g")
    return path


@pytest.fixture(scope="module")
def spread(rows: NDArray[np.float32], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Learned]:
    """What two processes learn together in every run."""
    folder = tmp_path_factory.mktemp("spread")
    np.save(folder / "rows.npy", rows)
    (folder / "script.py").write_text(SCRIPT)
    ended = torchrun(folder / "script.py", Path(__file__).parent, folder)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    first, second = (json.loads((folder / f"found{rank}.json").read_text()) for rank in range(2))
    assert first == second
    return {name: Learned(*learned) for name, learned in first.items()}


@pytest.mark.parametrize("recipe", RUNS)
def test_two_processes_follow_the_loss_path_of_one(
    recipe: str, rows: NDArray[np.float32], spread: dict[str, Learned], tmp_path: Path
) -> None:
    alone, together = learn(recipe, rows, tmp_path / "c"), spread[recipe]
    np.testing.assert_allclose(together.history, alone.history, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(together.scores, alone.scores, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("recipe", RESUMED)
def test_two_processes_resume_to_the_same_bits(recipe: str, spread: dict[str, Learned]) -> None:
    assert spread[f"{recipe}-resumed"] == spread[recipe]


def test_one_process_speaks_and_writes(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    ended = torchrun("-m", "vae_detect", "train", data, "--out", out, "--recipe", "vae", "--set", "hidden=8",
                     "epochs=2", "--far", "0.05")  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == [str(out.with_name(f"out{part}.onnx")) for part in ("", ".encoder", ".decoder")]
    said = ended.stderr
    for words in ("900 rows of 5 columns", "promised false-alarm rate 0.05", "parity with ONNX Runtime"):
        assert said.count(words) == 1, said
    assert "arning" not in said
    alone = train(
        data, tmp_path / "alone.onnx", configure({"recipe": "vae", "hidden": "8", "epochs": 2}), selection=Selection(),
        layout=Layout(), far="0.05", device="cpu",
    )  # fmt: skip
    assert alone is not None
    together = Detector.load(out, provider="cpu").bundle.history
    assert together is not None
    assert alone.bundle.history is not None
    assert together.training == pytest.approx(alone.bundle.history.training, rel=1e-4)
    for path in tmp_path.glob("alone*"):
        path.unlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.decoder.onnx", "out.encoder.onnx", "out.onnx"]


def test_an_error_ends_all_processes_and_is_said_once(data: Path, tmp_path: Path) -> None:
    ended = torchrun("-m", "vae_detect", "train", data, "--out", tmp_path / "out.onnx", "--columns", "nosuch")
    assert ended.returncode != 0
    assert ended.stdout == ""
    said = [line for line in ended.stderr.splitlines() if line.startswith("Error: ")]  # torchrun says more
    assert len(said) == 1, ended.stderr
    assert "nosuch" in said[0]
    assert list(tmp_path.iterdir()) == []
