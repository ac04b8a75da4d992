"""The models of a service: loaded, unloaded, promoted, rolled back; what fails leaves the version before."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from versions import copied, version_of

from vae_detect.runtime.commands.serve import serve
from vae_detect.runtime.detector import Detector
from vae_detect.runtime.errors import InputError, ModelError
from vae_detect.runtime.service.metrics import ServiceMetrics
from vae_detect.runtime.service.refusals import RefusedError
from vae_detect.runtime.service.repository import MOST_SERIES, Model, Repository, without_folder

A, B, C = (letter * 16 for letter in "abc")


def load(path: Path) -> Detector:
    return Detector.load(path, provider="cpu")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three versions, each with its parts: a, b, c."""
    folder = tmp_path_factory.mktemp("versions")
    for name, version, weight in (("a", A, 1.0), ("b", B, 2.0), ("c", C, 3.0)):
        version_of(folder, name, version, weight)
    return folder


def put(made: Path, name: str, path: Path) -> None:
    """The version of this name is what stands at `path` now."""
    copied(path.parent, path.stem, made / f"{name}.onnx")


@pytest.fixture
def served(made: Path, tmp_path: Path) -> tuple[Repository, Model]:
    """A repository that serves version a as pump."""
    put(made, "a", tmp_path / "pump.onnx")
    repository = Repository(ServiceMetrics(CollectorRegistry()), load)
    model = repository.add("pump", tmp_path / "pump.onnx")
    asyncio.run(repository.load("pump"))
    return repository, model


def version(model: Model) -> str | None:
    return model.served.version if model.served else None


def test_a_model_is_awaited_until_it_is_loaded(made: Path) -> None:
    repository = Repository(ServiceMetrics(CollectorRegistry()), load)
    assert repository.not_ready == "the model is being loaded"  # none is there yet
    repository.add("pump", made / "a.onnx")
    repository.add("fan", made / "b.onnx")
    with pytest.raises(RefusedError, match="not ready: the model is being loaded") as refused:
        repository.served("pump")
    assert refused.value.status == 503
    asyncio.run(repository.load("pump"))
    assert repository.not_ready == "model 'fan' is being loaded"
    asyncio.run(repository.load("fan"))
    assert repository.not_ready == ""
    repository.add("late", made / "c.onnx", awaited=False)
    assert repository.not_ready == ""


def test_a_name_that_is_not_there_is_refused_with_those_that_are(served: tuple[Repository, Model], made: Path) -> None:
    repository, model = served
    assert repository.find(None) is model
    repository.add("fan", made / "b.onnx")
    for name, status, message in (
        (None, 400, r"say which model: \?model=NAME, one of pump, fan"),
        ("pumpe", 404, "no model 'pumpe'; there is pump, fan"),
        ("x" * 1000, 404, f"no model '{'x' * 40}'; there is"),
        ("", 404, "no model ''"),
        ("../pump", 404, "no model '../pump'"),
    ):
        with pytest.raises(RefusedError, match=message) as refused:
            repository.find(name)
        assert refused.value.status == status


def test_versions_and_parts_are_asked_for_by_name(served: tuple[Repository, Model]) -> None:
    repository, model = served
    assert repository.asked("pump", None).part is None
    asked = repository.asked("pump/encoder", A)
    assert (asked.model, asked.part, asked.served) == ("pump", "encoder", model.served)
    for name, of_version, message in (
        ("pump", B, f"model 'pump' has no version '{B}'; it serves {A}"),
        ("pump/middle", None, "model 'pump' has no part 'middle' here; there is pump/encoder, pump/decoder"),
        ("pump/encoder/decoder", None, "has no part 'encoder/decoder'"),
    ):
        with pytest.raises(RefusedError, match=message) as refused:
            repository.asked(name, of_version)
        assert refused.value.status == 404


def test_another_version_takes_the_place_of_the_one_before(served: tuple[Repository, Model], made: Path) -> None:
    repository, model = served
    first, told = model.served, list[str | None]()
    repository.changed = lambda model: told.append(version(model))
    put(made, "b", model.path)
    asyncio.run(repository.load("pump"))
    assert told == [B]
    assert version(model) == B
    assert model.before is not None
    assert model.before.version == A
    assert first is not None
    assert model.served is not None
    assert model.served.watch is not first.watch  # another version begins anew
    assert model.served.keys is not first.keys
    assert model.metrics.reloads == {"ok": 1, "failed": 0}


def test_the_same_version_goes_on_where_it_was(served: tuple[Repository, Model], made: Path) -> None:
    repository, model = served
    put(made, "b", model.path)
    asyncio.run(repository.load("pump"))
    first = model.served
    asyncio.run(repository.load("pump"))
    assert first is not None
    assert model.served is not None
    assert model.served.detector is not first.detector  # the file as it is now
    assert model.served.watch is first.watch
    assert model.served.keys is first.keys
    assert model.before is not None
    assert model.before.version == A  # not this one again


def text(path: Path) -> None:
    path.write_text("no model at all")


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def gone(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("spoil", [text, truncated, empty, gone])
def test_what_cannot_be_trusted_leaves_the_version_before(
    served: tuple[Repository, Model], spoil: Callable[[Path], None]
) -> None:
    repository, model = served
    before = model.served
    spoil(model.path)
    with pytest.raises(ModelError):
        asyncio.run(repository.load("pump"))
    assert model.served is before
    assert (model.state, repository.not_ready) == ("READY", "")
    assert model.metrics.reloads == {"ok": 0, "failed": 1}
    assert "pump.onnx" in model.reason
    assert str(model.path.parent) not in model.reason  # clients are told


def test_a_part_of_another_export_leaves_the_version_before(served: tuple[Repository, Model], made: Path) -> None:
    repository, model = served
    shutil.copy(made / "b.decoder.onnx", model.path.with_name("pump.decoder.onnx"))
    with pytest.raises(ModelError, match=f"decoder of export {B}, expected decoder of {A}"):
        asyncio.run(repository.load("pump"))
    assert version(model) == A


def test_an_error_of_any_kind_while_loading_leaves_the_version_before(served: tuple[Repository, Model]) -> None:
    repository, model = served

    def fail(_: Path) -> Detector:
        raise MemoryError("no more of it\nat all")

    repository._load = fail
    with pytest.raises(ModelError, match=r"pump.onnx: cannot be loaded: no more of it$"):
        asyncio.run(repository.load("pump"))
    assert version(model) == A
    assert model.metrics.reloads["failed"] == 1


def test_a_model_that_was_never_loaded_is_unavailable_when_it_fails(tmp_path: Path) -> None:
    repository = Repository(ServiceMetrics(CollectorRegistry()), load)
    model = repository.add("pump", tmp_path / "pump.onnx")
    with pytest.raises(ModelError):
        asyncio.run(repository.load("pump"))
    assert (model.state, model.served, repository.not_ready) == ("UNAVAILABLE", None, "no model is loaded")


def test_an_unloaded_model_answers_no_more_and_can_be_had_again(served: tuple[Repository, Model], made: Path) -> None:
    repository, model = served
    asyncio.run(repository.unload("pump"))
    assert (model.state, repository.not_ready) == ("UNAVAILABLE", "no model is loaded")
    assert (model.metrics.calibration, model.metrics.monitor, model.metrics.facts) == (None, None, None)
    with pytest.raises(RefusedError, match="not ready: model 'pump' is unloaded") as refused:
        repository.served("pump")
    assert refused.value.status == 503
    asyncio.run(repository.unload("pump"))  # once more changes nothing
    asyncio.run(repository.roll_back("pump"))
    assert (version(model), repository.not_ready, model.before) == (A, "", None)
    with pytest.raises(RefusedError, match="has no version before this one"):
        asyncio.run(repository.roll_back("pump"))
    asyncio.run(repository.unload("pump"))
    put(made, "b", model.path)
    asyncio.run(repository.load("pump"))
    assert version(model) == B


def test_a_roll_back_and_another_one(served: tuple[Repository, Model], made: Path) -> None:
    repository, model = served
    put(made, "b", model.path)
    asyncio.run(repository.load("pump"))
    seen = []
    for _ in range(3):
        asyncio.run(repository.roll_back("pump"))
        assert model.before is not None
        seen.append((version(model), model.before.version))
    assert seen == [(A, B), (B, A), (A, B)]
    assert model.metrics.calibration == model.served.detector.bundle.calibration if model.served else False


def test_a_shadow_takes_the_place_of_its_model(served: tuple[Repository, Model], made: Path) -> None:
    repository, model = served
    with pytest.raises(RefusedError, match="model 'pump' has no shadow; start with --shadow pump=FILE") as refused:
        asyncio.run(repository.promote("pump"))
    assert refused.value.status == 400
    asyncio.run(repository.shade("pump", made / "b.onnx"))
    assert model.served is not None
    assert model.served.shadow is model.shadow is not None
    asyncio.run(repository.promote("pump"))
    assert version(model) == B
    assert list(model.served.parts) == ["encoder", "decoder"]
    assert model.served.shadow is None
    asyncio.run(repository.roll_back("pump"))  # without the shadow, which is an ordinary version now
    assert (version(model), model.served.shadow) == (A, None)


def test_a_shadow_stays_beside_later_versions(served: tuple[Repository, Model], made: Path) -> None:
    repository, model = served
    asyncio.run(repository.shade("pump", made / "c.onnx"))
    shadow = model.shadow
    put(made, "b", model.path)
    asyncio.run(repository.load("pump"))
    assert model.served is not None
    assert model.served.shadow is shadow is not None
    asyncio.run(repository.unload("pump"))
    asyncio.run(repository.load("pump"))
    assert model.served.shadow is shadow
    asyncio.run(repository.roll_back("pump"))
    assert model.served.shadow is shadow


def test_a_shadow_that_cannot_take_the_inputs_is_refused_or_let_go(
    served: tuple[Repository, Model], windows_model: Path, made: Path
) -> None:
    repository, model = served
    with pytest.raises(ModelError, match=r"windows.onnx cannot be the shadow of model 'pump': it takes windows of"):
        asyncio.run(repository.shade("pump", windows_model))
    assert (model.shadow, model.candidate) == (None, None)
    asyncio.run(repository.shade("pump", made / "b.onnx"))
    copied(model.path.parent, "pump", windows_model)
    asyncio.run(repository.load("pump"))
    assert model.served is not None
    assert (model.shadow, model.candidate, model.served.shadow) == (None, None, None)


def test_changes_of_one_model_come_one_after_the_other(served: tuple[Repository, Model], made: Path) -> None:
    repository, model = served
    going, go = threading.Event(), threading.Event()

    def slowly(path: Path) -> Detector:
        going.set()
        assert go.wait(10)
        return load(path)

    repository._load = slowly
    put(made, "b", model.path)

    async def run() -> None:
        loading = asyncio.create_task(repository.load("pump"))
        while not going.is_set():
            await asyncio.sleep(0.001)
        assert version(model) == A  # it answers meanwhile
        unloading = asyncio.create_task(repository.unload("pump"))
        await asyncio.sleep(0.01)
        go.set()
        await asyncio.gather(loading, unloading)

    asyncio.run(run())
    assert (version(model), model.state) == (None, "UNAVAILABLE")  # as it was asked last
    assert model.before is not None
    assert model.before.version == B


def test_files_changed_after_loading_change_nothing(served: tuple[Repository, Model], made: Path) -> None:
    repository, model = served
    asked = repository.asked("pump/encoder", None)
    x = np.array(load(made / "a.onnx").sample(3), np.float32)

    def answers() -> tuple[bytes, bytes]:
        assert model.served is not None
        return model.served.detector.score(x).score.tobytes(), asked.session.run(["mean"], {"x": x})[0].tobytes()

    before = answers()
    for part in ("", ".encoder", ".decoder"):
        file = model.path.with_name(f"pump{part}.onnx")
        with file.open("r+b") as out:  # in place, the same inode
            out.write(b"\0" * 1000)
            out.truncate(2000)
    assert answers() == before


def test_what_clients_are_told_has_no_folder() -> None:
    error = InputError("/etc/models/pump.onnx: the file /etc/models/pump.decoder.onnx is damaged")
    told = without_folder(error, Path("/etc/models/pump.onnx"))
    assert told == "pump.onnx: the file pump.decoder.onnx is damaged"


def test_the_command_allows_as_many_series_as_the_service() -> None:
    assert [each.default for each in serve.params if each.name == "max_series"] == [MOST_SERIES]


def test_a_model_with_too_many_series_is_refused_and_the_version_before_goes_on(made: Path, tmp_path: Path) -> None:
    put(made, "a", tmp_path / "pump.onnx")
    metrics = ServiceMetrics(CollectorRegistry())
    metrics.of_model("pump")
    most = metrics.series_with("pump", load(tmp_path / "pump.onnx"))
    for allowed in (most, most - 1):
        metrics = ServiceMetrics(CollectorRegistry())
        repository = Repository(metrics, load, max_series=allowed)
        model = repository.add("pump", tmp_path / "pump.onnx")
        if allowed == most:
            asyncio.run(repository.load("pump"))
            assert metrics.series() == most
            repository.add("fan", tmp_path / "pump.onnx")
            with pytest.raises(InputError, match=rf"/metrics would have \d+ series .* the {most} of --max-series"):
                asyncio.run(repository.load("fan"))
            assert version(model) == A
        else:
            with pytest.raises(InputError, match=f"have {most} series with this model, more than the {most - 1} of"):
                asyncio.run(repository.load("pump"))
            assert model.served is None
