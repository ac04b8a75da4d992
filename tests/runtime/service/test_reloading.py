"""When models are loaded: names and paths, at the start, again, and when files change."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from versions import copied, version_of

from vae_detect.runtime.detector import Detector
from vae_detect.runtime.errors import InputError, ModelError
from vae_detect.runtime.service import reloading
from vae_detect.runtime.service.metrics import ServiceMetrics
from vae_detect.runtime.service.reloading import Plan, Reloader, Sources
from vae_detect.runtime.service.repository import Repository

A, B = "a" * 16, "b" * 16


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("versions")
    version_of(folder, "a", A, 1.0)
    version_of(folder, "b", B, 2.0)
    return folder


def touched(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).touch()
    return folder


def test_a_file_is_called_after_itself_or_as_it_is_told(tmp_path: Path) -> None:
    found = Sources.parse(["fan=models/fan-2026.onnx", "pump.v2.onnx", "a-b_c.D9=x=y.onnx"]).models()
    assert found == {
        "fan": Path("models/fan-2026.onnx"),
        "pump.v2": Path("pump.v2.onnx"),
        "a-b_c.D9": Path("x=y.onnx"),
    }
    odd = touched(tmp_path, "a=b.onnx") / "a=b.onnx"
    assert Sources.parse([f"fine={odd}"]).models() == {"fine": odd}
    with pytest.raises(InputError, match="'a=b' cannot name a model; say NAME="):  # the file that is there
        Sources.parse([str(odd)]).models()


def test_every_scorer_in_a_folder_is_a_model(tmp_path: Path) -> None:
    touched(tmp_path, "pump.onnx", "pump.encoder.onnx", "pump.decoder.onnx", "fan.onnx", "fan.onnx.1234.tmp")
    touched(tmp_path, *(f"pump.0123456789abcdef{part}.onnx" for part in ("", ".encoder")))  # calibrate's way back
    touched(tmp_path, ".hidden.onnx", "notes.txt", "lone.encoder.onnx", "encoder.onnx")
    (tmp_path / "older").mkdir()
    touched(tmp_path / "older", "old.onnx")
    assert list(Sources.parse([str(tmp_path)]).models()) == ["encoder", "fan", "pump"]


@pytest.mark.parametrize("text", ["=x.onnx", "pump=", "a b=x.onnx", "a/b=x.onnx", "é=x.onnx", f"{'n' * 101}=x", "-x=y"])
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=f"model {re.escape(repr(text))}: expected NAME=PATH"):
        Sources.parse([text])


def test_odd_files_and_folders_are_refused_with_what_to_type(tmp_path: Path) -> None:
    one, other, empty = (tmp_path / name for name in ("one", "other", "empty"))
    for folder in (one, other, empty):
        folder.mkdir()
    touched(one, "pump.onnx")
    touched(other, "pump.onnx", "fan.onnx")
    for texts, message in (
        ([str(one), str(other)], "are both called 'pump'; say NAME=PATH for one of them"),
        ([str(one / "pump.onnx"), str(one / "pump.onnx")], "are both called 'pump'"),
        ([f"x={one}"], f"model 'x' is a folder, {one}; its files have names of their own"),
        ([str(empty)], f"there is no model in {empty}"),
        (["my pump.onnx"], "my pump.onnx: 'my pump' cannot name a model; say NAME=my pump.onnx"),
    ):
        with pytest.raises(InputError, match=re.escape(message)):
            Sources.parse(texts).models()


def test_a_name_that_no_system_takes_is_refused_in_a_line() -> None:
    with pytest.raises(InputError, match="File name too long"):
        Sources.parse([f"x={'y' * 300}.onnx"]).models()
    (found,) = Sources.parse(["x=nul\0.onnx"]).models().values()
    with pytest.raises(ModelError):
        Detector.load(found)


class Watched:
    """A repository of these sources, loaded, and what was announced of it."""

    def __init__(self, *texts: str | Path, shadows: dict[str, Path] | None = None) -> None:
        self.loaded: list[Path] = []
        self.said: list[str] = []
        self.repository = Repository(ServiceMetrics(CollectorRegistry()), self._load)
        plan = Plan(Sources.parse(map(str, texts)), self._load, shadows=shadows or {})
        self.reloader = Reloader(self.repository, plan, self.said.append)

    def _load(self, path: Path) -> Detector:
        self.loaded.append(path)
        return Detector.load(path, provider="cpu")

    def versions(self) -> dict[str, str | None]:
        return {model.name: model.served.version if model.served else None for model in self.repository}


def test_everything_is_loaded_at_the_start_and_shadows_beside_it(made: Path) -> None:
    watched = Watched(made, shadows={"a": made / "b.onnx"})
    assert watched.repository.not_ready
    asyncio.run(watched.reloader.first())
    assert watched.versions() == {"a": A, "b": B}
    assert watched.repository.not_ready == ""
    shadow = watched.repository.find("a").shadow
    assert shadow is not None
    assert shadow.detector.bundle.export_id == B


def test_a_shadow_of_no_model_is_refused(made: Path) -> None:
    with pytest.raises(InputError, match="a shadow of 'c', which is no model; there is a, b"):
        Watched(made, shadows={"c": made / "b.onnx"})


def test_one_that_cannot_be_trusted_ends_the_start(made: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_text("bad")
    watched = Watched(made / "a.onnx", tmp_path / "bad.onnx")
    with pytest.raises(ModelError, match=r"bad\.onnx"):
        asyncio.run(watched.reloader.first())
    shadowed = Watched(made / "a.onnx", shadows={"a": tmp_path / "bad.onnx"})
    with pytest.raises(ModelError, match=r"bad\.onnx"):
        asyncio.run(shadowed.reloader.first())


def test_again_loads_what_has_changed_and_nothing_else(made: Path, tmp_path: Path) -> None:
    pump, fan = copied(tmp_path, "pump", made / "a.onnx"), copied(tmp_path, "fan", made / "a.onnx")
    watched = Watched(tmp_path)
    asyncio.run(watched.reloader.first())
    states = {model.name: model.served for model in watched.repository}
    watched.loaded.clear()
    asyncio.run(watched.reloader.again())
    assert watched.loaded == []
    copied(tmp_path, "pump", made / "b.onnx")
    asyncio.run(watched.reloader.again())
    assert watched.loaded == [pump]
    assert watched.versions() == {"fan": A, "pump": B}
    assert watched.repository.find("fan").served is states["fan"]
    asyncio.run(watched.repository.roll_back("pump"))
    asyncio.run(watched.reloader.again())  # the file has not changed since: the roll-back stays
    assert watched.versions()["pump"] == A
    asyncio.run(watched.repository.unload("fan"))
    asyncio.run(watched.reloader.again())
    assert watched.versions()["fan"] == A
    assert watched.loaded == [pump, fan]
    assert watched.said == []


def test_again_tries_what_failed_and_keeps_the_version_before(made: Path, tmp_path: Path) -> None:
    pump = copied(tmp_path, "pump", made / "a.onnx")
    watched = Watched(pump)
    asyncio.run(watched.reloader.first())
    pump.write_text("bad")
    for _ in range(2):
        asyncio.run(watched.reloader.again())
    assert [line.partition(": ")[0] for line in watched.said] == [f"pump is not loaded, {A} goes on"] * 2
    pump.unlink()
    asyncio.run(watched.reloader.again())
    assert "no such file" in watched.said[2]
    model = watched.repository.find("pump")
    assert (watched.versions(), model.metrics.reloads["failed"]) == ({"pump": A}, 3)


def test_what_a_folder_gains_is_served_and_what_it_loses_no_more(made: Path, tmp_path: Path) -> None:
    copied(tmp_path, "pump", made / "a.onnx")
    watched = Watched(tmp_path)
    asyncio.run(watched.reloader.first())
    copied(tmp_path, "fan", made / "b.onnx")
    (tmp_path / "worse.onnx").write_text("bad")
    asyncio.run(watched.reloader.again())
    assert watched.versions() == {"pump": A, "fan": B, "worse": None}
    assert watched.said[0].startswith("worse is not loaded, nothing answers to its name: ")
    assert watched.repository.not_ready == ""  # a newcomer that is bad is no reason to be out of service
    (tmp_path / "pump.onnx").unlink()
    asyncio.run(watched.reloader.again())
    assert watched.versions() == {"pump": None, "fan": B, "worse": None}
    for file in tmp_path.glob("*.onnx"):
        file.unlink()
    asyncio.run(watched.reloader.again())
    assert watched.said[-1] == f"the models stay as they are: there is no model in {tmp_path}"
    assert watched.versions()["fan"] == B


def test_a_name_may_move_to_another_file(made: Path, tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
    copied(one, "pump", made / "a.onnx")
    copied(other, "fan", made / "a.onnx")
    watched = Watched(one, other)
    asyncio.run(watched.reloader.first())
    (one / "pump.onnx").unlink()
    copied(one, "other", made / "a.onnx")
    copied(other, "pump", made / "b.onnx")
    asyncio.run(watched.reloader.again())
    assert watched.versions()["pump"] == B


def watch(watched: Watched, steps: list[tuple[Callable[[], object], Callable[[], bool]]]) -> None:
    """Does each thing, and waits for what is to follow from it."""

    async def run() -> None:
        watching = asyncio.create_task(watched.reloader.watch())
        for do, follows in steps:
            do()
            async with asyncio.timeout(10):
                while not follows():
                    assert not watching.done()
                    await asyncio.sleep(0.005)
        watching.cancel()

    asyncio.run(run())


def test_a_file_that_is_being_written_is_left_alone(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reloading, "WATCH_S", 0.01)
    watched, looks = Watched(copied(tmp_path, "pump", made / "a.onnx")), 0
    asyncio.run(watched.reloader.first())
    watched.loaded.clear()

    def growing(_: Path) -> tuple[tuple[int, int, int]]:
        nonlocal looks
        looks += 1
        return ((1, min(looks, 20), 1),)  # bytes; from the 20th look on it stays as it is

    monkeypatch.setattr(reloading, "signature", growing)

    def has_grown() -> bool:
        if looks < 20:
            assert watched.loaded == []
        return bool(watched.loaded)

    watch(watched, [(lambda: None, has_grown)])


def test_a_file_that_changes_is_loaded_once_it_stays_the_same(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reloading, "WATCH_S", 0.02)
    pump = copied(tmp_path, "pump", made / "a.onnx")
    watched = Watched(tmp_path)
    asyncio.run(watched.reloader.first())
    watched.loaded.clear()
    reloads = watched.repository.find("pump").metrics.reloads
    steps: list[tuple[Callable[[], object], Callable[[], bool]]] = [
        (lambda: copied(tmp_path, "pump", made / "b.onnx"), lambda: watched.versions()["pump"] == B),
        (lambda: pump.write_text("bad"), lambda: reloads["failed"] == 1),
        (lambda: copied(tmp_path, "fan", made / "b.onnx"), lambda: watched.versions().get("fan") == B),
        (lambda: copied(tmp_path, "pump", made / "a.onnx"), lambda: watched.versions()["pump"] == A),
        (lambda: touched(tmp_path, "my odd name.onnx"), lambda: "cannot name a model" in watched.said[-1]),
        ((tmp_path / "my odd name.onnx").unlink, lambda: True),
        (lambda: copied(tmp_path, "pump", made / "b.onnx"), lambda: watched.versions()["pump"] == B),
    ]
    watch(watched, steps)
    assert reloads == {"ok": 3, "failed": 1}  # each once: what failed is not tried again until it changes
    assert [line.partition(":")[0] for line in watched.said] == [
        f"pump is not loaded, {B} goes on",
        "the models stay as they are",
    ]
