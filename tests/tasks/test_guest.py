"""genaudit inside other people's processes: works under their settings, and leaves every one of them as it was."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pytest
import torch
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.version import VersionBase
from PIL import ImageFile

import genaudit
from genaudit.backbones.folding import fold_batch_norms
from genaudit.integrations.torchmetrics import Audit

from .process_state import changed, open_files, snapshot

KEYS: dict[str, Any] = {
    "feature_model": "timm",
    "feature_model.name": "test_resnet",
    "feature_model.pretrained": False,
    "feature_model.size": 32,
    "progress": False,
    "workers": 0,
}

QUICK = {"anomaly.path_steps": 2, "anomaly.attack_steps": 1}
QUICK |= {"metric.as.fn.permutations": 9, "metric.as.fn.bootstraps": 9}


def pixels(seed: int, count: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 24, 24, 3), dtype=np.uint8)


def evaluated(store: Path, seed: int = 0, **keys: Any) -> dict[str, float | None]:
    """All values of an evaluation that needs gradients, from a store of its own."""
    report = genaudit.evaluate(
        pixels(1), pixels(2), metrics=["as", "fd"], seed=seed, store=str(store), **{**KEYS, **QUICK, **keys}
    )
    return {f"{m}.{n}": v.value for m, entry in report.metrics.items() for n, v in entry.values.items()}


@pytest.fixture(scope="module", autouse=True)
def _small_groups() -> Iterator[None]:
    """Attacks and paths of images this small come 64 and 32 at a time, filled up: of five images eight are enough."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("genaudit.measures.vulnerability.attack_group", lambda size: 8)
        patch.setattr("genaudit.measures.complexity._paths_together", lambda pixels: 8)
        yield


@pytest.fixture(autouse=True)
def _hydra_as_it_was() -> Iterator[None]:
    Plugins.instance()
    state = dict(Singleton._instances)
    nodes = dict(ConfigStore.instance().repo)
    yield
    Singleton._instances.clear()
    Singleton._instances.update(state)
    ConfigStore.instance().repo = nodes


@contextmanager
def initialized(folder: Path, version_base: str | None) -> Iterator[None]:
    """An application that has composed its own configuration and keeps Hydra initialised."""
    (folder / "conf").mkdir(exist_ok=True)
    (folder / "conf" / "config.yaml").write_text("lr: 0.1\n")
    hydra.initialize_config_dir(str(folder / "conf"), version_base=version_base)
    assert hydra.compose("config").lr == 0.1
    yield
    assert hydra.compose("config").lr == 0.1  # it still has its own
    GlobalHydra.instance().clear()


@dataclass
class Schema:
    lr: float = 0.1


@contextmanager
def schemas() -> Iterator[None]:
    """Nodes of an application that are called as files of genaudit are."""
    for name, group in (("evaluate", None), ("measuring", None), ("fd", "metric"), ("timm", "feature_model")):
        ConfigStore.instance().store(name=name, group=group, node=Schema)
    yield


@contextmanager
def attributes(owner: Any, **values: Any) -> Iterator[None]:
    before = {name: getattr(owner, name) for name in values}
    for name, value in values.items():
        setattr(owner, name, value)
    yield
    for name, value in before.items():
        setattr(owner, name, value)


@contextmanager
def default_dtype() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@contextmanager
def low_precision() -> Iterator[None]:
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision("highest")


@contextmanager
def strict_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # what PyTorch and timm say of themselves
        warnings.filterwarnings("ignore", module="torch|timm")
        yield


STATES: dict[str, Callable[[Path], list[Any]]] = {
    "hydra": lambda folder: [initialized(folder, None)],
    "hydra of an older base with nodes of the same names": lambda folder: [initialized(folder, "1.1"), schemas()],
    "inference mode": lambda folder: [torch.inference_mode()],
    "reduced precision on another device": lambda folder: [
        torch.no_grad(),
        torch.device("meta"),
        torch.autocast("cpu", torch.bfloat16),
        default_dtype(),
        low_precision(),
    ],
    "strict": lambda folder: [
        np.errstate(all="raise"),
        strict_warnings(),
        attributes(ImageFile, LOAD_TRUNCATED_IMAGES=True),
    ],
}


@contextmanager
def state(name: str, folder: Path) -> Iterator[None]:
    with ExitStack() as stack:
        for each in STATES[name](folder):
            stack.enter_context(each)
        yield


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float | None]:
    return evaluated(tmp_path_factory.mktemp("plain") / "store")


@pytest.mark.filterwarnings("ignore:version_base")
@pytest.mark.parametrize("name", STATES)
def test_values_are_the_same_under_any_setting_and_the_process_is_left_as_it_was(
    name: str, tmp_path: Path, expected: dict[str, float | None]
) -> None:
    with state(name, tmp_path):
        before = snapshot()
        found = evaluated(tmp_path / "rows")
        assert not changed(before, snapshot())
    assert found == expected


def gated(folder: Path) -> Any:
    gate = genaudit.DiversityGate(pixels(1), reference=pixels(7), n_max=5, store=str(folder), **KEYS)
    verdict = gate.update(pixels(2))
    audit = Audit(["fd", "as"], feature_model="timm", overrides=[f"{k}={v}" for k, v in KEYS.items() if "." in k])
    for real in (True, False):
        images = torch.from_numpy(pixels(3 + real)).permute(0, 3, 1, 2).clone()
        audit.update(images, real=real)
    values = audit.compute()
    return verdict, {key: float(value) for key, value in values.items()}


@pytest.fixture(scope="module")
def expected_of_gate(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return gated(tmp_path_factory.mktemp("gate") / "store")


@pytest.mark.parametrize("name", ["hydra", "inference mode", "strict"])
def test_the_gate_and_torchmetrics_too(name: str, tmp_path: Path, expected_of_gate: Any) -> None:
    with state(name, tmp_path):
        before = snapshot()
        found = gated(tmp_path / "rows")
        assert not changed(before, snapshot())
    assert found == expected_of_gate


def test_threads_with_different_configurations_do_not_disturb_each_other(
    tmp_path: Path, expected: dict[str, float | None]
) -> None:
    other: dict[str, Any] = {"feature_model.weight_seed": 1, "feature_model.size": 48}
    configurations = [{}, other]
    alone = [expected, evaluated(tmp_path / "alone", **other)]
    assert alone[0] != alone[1]
    found: dict[int, Any] = {}

    def work(index: int) -> None:
        try:
            found[index] = evaluated(tmp_path / f"together{index}", **configurations[index])
        except BaseException as error:
            found[index] = error

    before = snapshot()
    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(configurations))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[index] for index in range(len(configurations))] == alone
    assert not changed(before, snapshot())


def test_what_a_thread_sees_while_another_measures_is_its_own(tmp_path: Path) -> None:
    """A number of threads that is changed for the time of measuring would stay with threads that begin then."""
    seen: list[int] = []

    def sampler(n: int, generator: torch.Generator) -> torch.Tensor:
        return torch.rand((n, 3, 16, 16), generator=generator)

    class Watching(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            for _ in range(15):
                thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
                thread.start()
                thread.join()
            return images.float().mean((2, 3))

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    audit = Audit(["fd"], feature_model=Watching())
    audit.update(torch.from_numpy(pixels(1)).permute(0, 3, 1, 2).contiguous(), real=True)
    assert sampler(1, torch.Generator()).shape == (1, 3, 16, 16)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)
    # Two batches run at a time: a thread that begins in the microseconds in which the other one's number is set may get
    # it. Were the number left as it is set, all would.
    assert seen.count(2) > len(seen) / 2


def test_networks_of_other_threads_run_as_ever_while_one_is_rearranged() -> None:
    """torch.fx calls every module of the process through its tracer while it traces."""
    theirs = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).eval()
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = theirs(images)
    found: list[Any] = []

    def call() -> None:
        try:
            with torch.no_grad():
                found.append(theirs(images))
        except BaseException as error:
            found.append(error)

    class Meanwhile(torch.nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            thread = threading.Thread(target=call)
            thread.start()
            thread.join()
            return super().forward(x)

    assert fold_batch_norms(Meanwhile(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).eval()) == 1
    assert torch.equal(found[0], expected)


def test_an_unknown_key_is_explained_inside_an_application_too(tmp_path: Path) -> None:
    with (
        initialized(tmp_path, None),
        pytest.raises(genaudit.UserError, match=r"unknown key 'batchsize'.*batch_size"),
    ):
        evaluated(tmp_path / "rows", batchsize=3)


def test_inside_a_hydra_application(tmp_path: Path, expected: dict[str, float | None]) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "config.yaml").write_text("lr: 0.1\nhydra: {run: {dir: .}, output_subdir: null}\n")
    found = []

    def job(cfg: Any) -> None:
        before = snapshot()
        found.append(evaluated(tmp_path / "rows"))
        assert not changed(before, snapshot())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["app.py", "hydra/job_logging=none", "hydra/hydra_logging=none"])
        hydra.main(version_base=None, config_path=str(tmp_path / "conf"), config_name="config")(job)()
    assert found == [expected]
    assert VersionBase.instance().getbase() is not None


@pytest.mark.parametrize("kind", ["zip", "tar", "npy", "npz", "h5", "safetensors", "pt", "folder"])
def test_no_file_stays_open(kind: str, tmp_path: Path) -> None:
    source = written(tmp_path, kind)
    before = open_files()
    report = genaudit.evaluate(source, pixels(2), metrics=["fd"], **KEYS)
    report.save(tmp_path / "out")
    assert [name for name in open_files() if name not in before and "fonts" not in name] == []
    assert report.pictures["generated"](0).shape == (24, 24, 3)  # and it can still be read


def written(folder: Path, kind: str) -> Path:
    """Six images as a source of the kind."""
    import io
    import tarfile
    import zipfile

    from PIL import Image

    arrays, path = pixels(1), folder / f"images.{kind}"
    encoded = []
    for array in arrays:
        stream = io.BytesIO()
        Image.fromarray(array).save(stream, "png")
        encoded.append(stream.getvalue())
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for i, data in enumerate(encoded):
                archive.writestr(f"{i}.png", data)
    elif kind == "tar":
        with tarfile.open(path, "w") as tar:
            for i, data in enumerate(encoded):
                info = tarfile.TarInfo(f"{i}.png")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    elif kind == "folder":
        path.mkdir()
        for i, data in enumerate(encoded):
            (path / f"{i}.png").write_bytes(data)
    elif kind == "npy":
        np.save(path, arrays)
    elif kind == "npz":
        np.savez(path, arr_0=arrays)
    elif kind == "h5":
        import h5py

        with h5py.File(path, "w") as file:
            file["images"] = arrays
    else:
        tensor = torch.from_numpy(arrays.transpose(0, 3, 1, 2).copy())
        if kind == "pt":
            torch.save(tensor, path)
        else:
            from safetensors.torch import save_file

            save_file({"images": tensor}, path)
    return path
