"""Fixtures that several test files share: the committed detector, a small one for windows, recordings, real data."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import httpx
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from tiny_images import normal_images, write_detector

from vae_detect.cli import commands
from vae_detect.runtime.bundle import Image
from vae_detect.runtime.detector import Detector
from vae_detect.runtime.service.app import App
from vae_detect.runtime.service.endpoints import Service
from vae_detect.runtime.service.metrics import ServiceMetrics
from vae_detect.runtime.service.models import Keeping
from vae_detect.runtime.service.repository import Repository
from vae_detect.runtime.simulation import Fault, csv_lines, simulate
from vae_detect.runtime.streams.machines import Watching

if TYPE_CHECKING:
    from watched import History

# Networks as small as those of the tests take ten times as long on several threads of a busy machine. torch reads this
# when it is first imported, and most tests never import it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The libraries' objects stay; looking through them for garbage again and again takes a tenth of the time.
gc.set_threshold(50_000)

ROOT = Path(__file__).parent.parent
MODEL = ROOT / "exported" / "vae.onnx"


def run_here(*arguments: str | Path, stdin: str | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """The command in this process, which has torch at hand already."""
    result = CliRunner(env=env).invoke(commands, [*map(str, arguments)], input=stdin, prog_name="vae-detect")
    return subprocess.CompletedProcess(arguments, result.exit_code, result.stdout, result.stderr)


@pytest.fixture(scope="session")
def detector() -> Detector:
    """The detector that is committed under exported/."""
    return Detector.load(MODEL, provider="cpu")


@pytest.fixture(scope="session")
def limited_detector(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    """The same with the limit power_kw < 17, which the one or other normal row breaks."""
    from limited import limited_model

    return Detector.load(limited_model(tmp_path_factory.mktemp("limited"), "power_kw", 17.0), provider="cpu")


@pytest.fixture(scope="session")
def normal_rows() -> NDArray[np.float32]:
    """Normal rows of the pump station that the committed detector watches, (720, 8), raw units."""
    return simulate(duration_s=6 * 3600, period_s=30, seed=7).values.astype(np.float32)


@pytest.fixture(scope="session")
def normal_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two days of normal operation as a CSV, 1440 rows with time stamps."""
    path = tmp_path_factory.mktemp("recordings") / "normal.csv"
    path.write_text("".join(csv_lines(simulate(duration_s=2 * 86400, period_s=120, seed=1))))
    return path


@pytest.fixture(scope="session")
def rows_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hours with a cavitation in the second, labelled."""
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    faults = [Fault.parse("cavitation@1h+30m")]
    path.write_text("".join(csv_lines(simulate(duration_s=7200, period_s=30, seed=5, faults=faults), labels=True)))
    return path


@pytest.fixture(scope="session")
def drifted_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fourteen hours after a sensor was replaced by one that shows half as much again."""
    simulated = simulate(duration_s=14 * 3600, period_s=30, seed=5, faults=[Fault.parse("cavitation@7h+30m")])
    header, *rows = (line.split(",") for line in csv_lines(simulated, labels=True))
    for row in rows:
        row[1] = str(1.5 * float(row[1]))
    path = tmp_path_factory.mktemp("drifted") / "drifted.csv"
    path.write_text("".join(map(",".join, [header, *rows])))
    return path


@pytest.fixture(scope="session")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    """A real Prometheus that has watched two served stations, of which one had a fault; skipped where there is none."""
    from watched import watched_prometheus

    with watched_prometheus(tmp_path_factory.mktemp("watched")) as seen:
        yield seen


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that `make` fills once a run, whichever of its processes asks first."""
    root = factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    folder, done = root / name, root / f"{name}.done"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


class Run:
    """The run of the tests, for what asks `made_once` without a fixture."""

    factory: pytest.TempPathFactory


@pytest.fixture(scope="session", autouse=True)
def _run(tmp_path_factory: pytest.TempPathFactory) -> None:
    Run.factory = tmp_path_factory


@pytest.fixture(scope="session")
def windows_model(normal_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small detector of windows of 4 rows, trained on `normal_csv`."""
    from vae_detect.runtime.layout import Layout
    from vae_detect.training.data.selection import Selection
    from vae_detect.training.settings.config import TrainConfig
    from vae_detect.training.train import train

    config = TrainConfig(recipe="vae", kind="windows", window=4, hidden=(16,), latent=3, epochs=5)

    def make(folder: Path) -> None:
        out = folder / "windows.onnx"
        train(normal_csv, out, config, selection=Selection(), layout=Layout(), far="0.2")

    return made_once(tmp_path_factory, "windows", make) / "windows.onnx"


@pytest.fixture(scope="session")
def windows_detector(windows_model: Path) -> Detector:
    return Detector.load(windows_model, provider="cpu")


@pytest.fixture(scope="session")
def images_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny detector of colour images of 12 x 16."""
    return write_detector(tmp_path_factory.mktemp("images") / "tiny.onnx", Image(12, 16, "colour"))


@pytest.fixture(scope="session")
def images_detector(images_model: Path) -> Detector:
    return Detector.load(images_model, provider="cpu")


@pytest.fixture(scope="session")
def photos(images_detector: Detector) -> NDArray[np.uint8]:
    """Images for `images_detector`, (41, 12, 16, 3): 40 normal ones, and the last turned into its negative."""
    assert images_detector.bundle.image is not None
    normal = normal_images(images_detector.bundle.image, 40, seed=1)
    return np.concatenate([normal, 255 - normal[-1:]])


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets; tests that need it are skipped where it is absent."""
    path = Path(os.environ.get("VAE_DETECT_DATA", ROOT.parent / "shared" / "data"))
    if not (path / "tabular").is_dir():
        pytest.skip(f"the real data sets are not in {path}; set VAE_DETECT_DATA")
    return path


class Client:
    """Asks an application without a socket; every JSON answer is checked to be strict."""

    def __init__(self, detector: Detector | None, *, adaptive: bool = False, keeping: Keeping | None = None) -> None:
        metrics = ServiceMetrics(CollectorRegistry())
        self.repository = Repository(metrics, Detector.load, keeping or Keeping(Watching(adaptive=adaptive)))
        self.model = self.repository.add("pump", MODEL)
        self.service = Service(metrics, self.repository)
        self.app = App(self.service)
        if detector is not None:
            self.use(detector)

    def use(self, detector: Detector) -> None:
        """Serves this detector from now on."""
        self.repository.use(self.model, detector)

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def once() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return await client.request(method, path, **options)

        response = asyncio.run(once())
        if response.headers.get("content-type") == "application/json" and method != "HEAD":
            strict(response.text)
        return response

    def score(self, body: Any, query: str = "") -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.ask("POST", f"/score{query}", content=content)

    def results(self, body: Any, query: str = "") -> list[dict[str, Any]]:
        response = self.score(body, query)
        assert response.status_code == 200, response.text
        found: list[dict[str, Any]] = response.json()["results"]
        return found

    def series(self) -> dict[str, float]:
        """Every series by name and labels, like a[('code', '200')]; without the model, since there is only one."""
        return {
            name.replace("('model', 'pump'), ", "").replace("('model', 'pump')", ""): value
            for name, value in parse(self.ask("GET", "/metrics").text).items()
        }


def strict(text: str) -> Any:
    def refuse(literal: str) -> NoReturn:
        raise AssertionError(f"{literal} is not strict JSON")

    return json.loads(text, parse_constant=refuse)


def parse(exposition: str) -> dict[str, float]:
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
    }


@pytest.fixture
def client(detector: Detector) -> Client:
    return Client(detector)


@pytest.fixture
def row(normal_rows: NDArray[np.float32]) -> list[float]:
    """One normal row."""
    values: list[float] = normal_rows[0].tolist()
    return values
