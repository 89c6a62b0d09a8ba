"""Model folders from strangers: data, never code; what a description asks for is bounded by what comes with it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from genaudit import model_folder
from genaudit.errors import UserError
from genaudit.likelihood import saved as densities
from genaudit.likelihood.glow import Glow
from genaudit.likelihood.wide_resnet import WideResNet
from genaudit.measures.likelihood import Likelihood
from genaudit.measures.piad import PIAD
from genaudit.piad import saved as piads
from genaudit.piad.as_generator import PIADGenerator
from genaudit.piad.networks import Architecture, build

GLOW = {"channels": 1, "size": 8, "scales": 2, "steps": 1, "hidden": 4}
ARCHITECTURE = Architecture(latent=4, generator=(6, 4), encoder=(4, 6), critic=(4, 6), latent_critic=8)
PIXELS = {"size": 8, "channels": 1, "interpolation": "bilinear", "fit": "squash", "crop": None}
TIMM = {"_target_": "genaudit.backbones.timm_model.TimmModel", "name": "test_resnet"}


@pytest.fixture
def glow(tmp_path: Path) -> Path:
    return densities.save(Glow(**GLOW), tmp_path / "glow", {"_target_": "genaudit.likelihood.glow.Glow", **GLOW})


@pytest.fixture
def piad(tmp_path: Path) -> Path:
    networks = build(ARCHITECTURE, 1, seed=0)
    piads.save(piads.Model(networks, ARCHITECTURE, None, "mse", PIXELS), tmp_path / "piad", None)
    return tmp_path / "piad"


def change(folder: Path, edit: Callable[[Any], object]) -> None:
    path = folder / "model.json"
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))


def with_perceptual(folder: Path, node: Any) -> None:
    def edit(record: Any) -> None:
        record["reconstruction"] = "relative_perceptual_l1"
        record["perceptual"] = {"name": "x", "weights_sha256": "0" * 64, "statistics": None, "node": node}

    change(folder, edit)


def program(tmp_path: Path) -> str:
    """An importable module whose import, and whose every call, leaves a file behind."""
    (tmp_path / "stranger.py").write_text(
        f"import pathlib\npathlib.Path({str(tmp_path / 'ran')!r}).touch()\ndef make(**keys):\n    return None\n"
    )
    return "stranger.make"


@pytest.mark.parametrize(
    "node",
    [
        {"_target_": "os.mkdir", "path": "RAN"},
        {"_target_": "stranger.make"},
        {"_target_": "genaudit.backbones.generator_sources.ModuleGenerator", "module": "stranger.make", "latent": 3},
        {"_target_": "genaudit.backbones.weight_files.read_state_dict", "path": "x", "what": "y"},
        {"_target_": "genaudit.piad.perceptual.importlib.import_module", "name": "stranger"},
        {
            "_target_": "genaudit.piad.perceptual.layer_of",
            "layer": "x",
            "feature_model": {
                "_target_": "genaudit.backbones.generator_sources.ModuleGenerator",
                "module": "stranger.make",
                "latent": 3,
            },
        },
        {
            "_target_": "genaudit.piad.perceptual.layer_of",
            "layer": "x",
            "feature_model": {**TIMM, "checkpoint": {"_target_": "os.mkdir", "path": "RAN"}},
        },
        {
            "_target_": "genaudit.piad.perceptual.layer_of",
            "layer": "x",
            "feature_model": {**TIMM, "kwargs": {"checkpoint_path": "x.pth"}},
        },
        {"_target_": "genaudit.piad.perceptual.efficientnet_lite0", "_partial_": True},
        {"_target_": ["os.mkdir"]},
        "os.mkdir",
        None,
    ],
    ids=lambda node: str(node)[:60],
)
def test_a_piad_folder_runs_nothing_that_is_not_on_the_list(
    node: Any, piad: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    text = json.dumps(node).replace("RAN", str(tmp_path / "ran"))
    with_perceptual(piad, json.loads(text))
    with pytest.raises(UserError):
        piads.load(piad)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "target",
    ["stranger.make", "genaudit.likelihood.trainer.Trainer", "genaudit.likelihood.glow.copy.copy", "torch.nn.Identity"],
)
@pytest.mark.parametrize("kind", [densities.KIND, densities.CLASSIFIER])
def test_a_density_folder_runs_nothing_that_is_not_on_the_list(
    target: str, kind: str, glow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    change(glow, lambda document: document.update(kind=kind, node={"_target_": target}))
    with pytest.raises(UserError, match="is not made for a model folder"):
        densities.load(glow, kind=kind)
    assert not (tmp_path / "ran").exists()


def test_a_kind_of_model_holds_only_its_own_classes(glow: Path, tmp_path: Path) -> None:
    change(glow, lambda document: document.update(kind=densities.CLASSIFIER))
    with pytest.raises(UserError, match=r"Glow' is not made for a model folder; only .*WideResNet"):
        densities.load(glow, kind=densities.CLASSIFIER)
    knobs = {"channels": 1, "size": 8, "depth": 10, "width": 1}
    node = {"_target_": "genaudit.likelihood.wide_resnet.WideResNet", **knobs}
    folder = densities.save(WideResNet(**knobs), tmp_path / "c", node, kind=densities.CLASSIFIER)  # type: ignore[arg-type]
    assert densities.load(folder, kind=densities.CLASSIFIER).image_shape == (1, 8, 8)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("size", 10**9, "size must be an integer from 1 to 1,024"),
        ("size", 1e308, "size must be an integer"),
        ("size", True, "size must be an integer"),
        ("size", "8", "size must be an integer"),
        ("hidden", 10**12, "hidden must be an integer from 1 to 4,096"),
        ("hidden", -1, "hidden must be an integer"),
        ("steps", 10**6, "steps must be an integer from 1 to 256"),
        ("scales", 64, "scales must be an integer from 1 to 8"),
        ("channels", 0, "channels must be an integer"),
        ("coupling", "exec", "coupling must be one of sigmoid, tanh"),
        ("coupling", ["sigmoid"], "coupling must be one of"),
        ("recompute", 1, "recompute must be true or false"),
        ("extra", 1, "not 'extra'"),
    ],
)
def test_arguments_of_wrong_type_or_size_are_refused_before_a_network_is_made(
    key: str, value: Any, words: str, glow: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Glow, "__init__", lambda *args, **keys: pytest.fail("a network was made"))
    change(glow, lambda document: document["node"].update({key: value}))
    with pytest.raises(UserError, match=words):
        densities.load(glow)


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_not_finite_are_no_description(constant: str, glow: Path, piad: Path) -> None:
    for folder, load in ((glow, densities.load), (piad, piads.load)):
        path = folder / "model.json"
        text = path.read_text()
        assert '"size": 8' in text
        path.write_text(text.replace('"size": 8', f'"size": {constant}'))
        with pytest.raises(UserError):
            load(folder)


def test_a_network_is_not_made_for_weights_of_other_shapes(glow: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few kilobytes must not make a network of gigabytes: only where it takes no memory is it made."""
    devices = []
    init = Glow.__init__

    def seen(self: Any, *args: Any, **keys: Any) -> None:
        init(self, *args, **keys)
        devices.append(next(self.parameters()).device.type)

    monkeypatch.setattr(Glow, "__init__", seen)
    change(glow, lambda document: document["node"].update(hidden=2048, steps=8))
    with pytest.raises(UserError, match="does not hold the weights of the network described"):
        densities.load(glow)
    assert devices == ["meta"]


def test_layers_too_wide_for_their_images_are_refused() -> None:
    node = {"_target_": "genaudit.likelihood.glow.Glow", "size": 1024, "hidden": 4096}
    with pytest.raises(UserError, match="too wide for images of side 1024"):
        model_folder.make(node, model_folder.DENSITIES, "folder")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(value: float, glow: Path, piad: Path) -> None:
    for folder, load in ((glow, densities.load), (piad, piads.load)):
        path = folder / "model.safetensors"
        tensors = load_file(path)
        name = next(name for name, tensor in tensors.items() if tensor.is_floating_point() and tensor.numel())
        tensors[name].view(-1)[-1] = value
        save_file(tensors, path)
        if load is piads.load:
            change(folder, _set("weights_sha256", to=piads.sha256_of_file(path)))
        with pytest.raises(UserError, match="holds NaN or infinity"):
            load(folder)


def _set(*path: Any, to: Any) -> Callable[[Any], None]:
    def edit(document: Any) -> None:
        for key in path[:-1]:
            document = document[key]
        document[path[-1]] = to

    return edit


@pytest.mark.parametrize(
    "edit",
    [
        _set("architecture", "latent", to=10**12),
        _set("architecture", "generator", to=[10**9, 4]),
        _set("architecture", "generator", to=[4] * 40),
        _set("architecture", "generator", to="ab"),
        _set("architecture", "base", to=10**7),
        _set("architecture", "spatial", to="yes"),
        _set("architecture", to=[1, 2]),
        _set("architecture", "more", to=1),
        _set("channels", to=10**9),
        _set("channels", to=None),
        _set("weights_sha256", to="../../x"),
        _set("kind", to=["piad"]),
    ],
)
def test_a_piad_folder_with_wrong_networks_is_the_users_to_mend(edit: Callable[[Any], None], piad: Path) -> None:
    change(piad, edit)
    for use in (piads.load, lambda folder: PIADGenerator(folder=str(folder)), lambda folder: PIAD(str(folder))):
        with pytest.raises(UserError):
            use(piad)  # type: ignore[operator]


@pytest.mark.parametrize(
    "edit",
    [
        _set("pixels", "size", to=10**9),
        _set("pixels", "size", to=16),
        _set("pixels", "interpolation", to="exec"),
        _set("pixels", "crop", to=-1),
        _set("pixels", "crop", to=2.5),
        _set("pixels", to={}),
        _set("reconstruction", to=["mse"]),
        _set("reconstruction", to="relative_perceptual_l1"),
        _set("perceptual", to=3),
        _set("perceptual", to={"name": "x", "weights_sha256": "0" * 64, "statistics": {"mean": [1], "std": [-1]}}),
        _set("perceptual", to={"name": "x", "weights_sha256": "0" * 64, "statistics": {"mean": [1], "std": [1, 2]}}),
    ],
)
def test_a_piad_folder_with_wrong_scoring_is_the_users_to_mend(edit: Callable[[Any], None], piad: Path) -> None:
    change(piad, edit)
    for use in (piads.load, lambda folder: PIAD(str(folder))):
        with pytest.raises(UserError):
            use(piad)  # type: ignore[operator]


@pytest.mark.parametrize(
    "edit",
    [
        _set("channels", to="3"),
        _set("size", to=10**12),
        _set("scales", to=10**6),
        _set("scales", to=1),
        _set("size", to=16),
        _set("about", to=[1]),
        _set("node", to=[1]),
        _set("node", "_target_", to=None),
        _set("format", to=99),
    ],
)
def test_a_density_folder_with_a_wrong_description_is_the_users_to_mend(
    edit: Callable[[Any], None], glow: Path
) -> None:
    change(glow, edit)
    with pytest.raises(UserError):
        densities.load(glow)


def test_a_description_that_is_huge_nested_or_no_mapping_is_refused(glow: Path, piad: Path) -> None:
    for text in ("[" * 100_000, "[1]", '"x"', "null", "", "\0", "{" + " " * (5 << 20) + "}"):
        for folder, load in ((glow, densities.load), (piad, piads.load)):
            (folder / "model.json").write_text(text)
            with pytest.raises(UserError):
                load(folder)


def test_a_feature_model_of_the_list_is_still_made(tmp_path: Path, piad: Path) -> None:
    from genaudit.backbones.timm_model import TimmModel
    from genaudit.piad.perceptual import layer_of

    torch.save(TimmModel("test_resnet", pretrained=False).weights.state_dict, tmp_path / "trained.pth")
    node = {
        "_target_": "genaudit.piad.perceptual.layer_of",
        "feature_model": {**TIMM, "checkpoint": str(tmp_path / "trained.pth"), "offline": True},
        "layer": "layer1",
        "statistics": None,
    }
    made = layer_of(TimmModel("test_resnet", checkpoint=str(tmp_path / "trained.pth")), "layer1")
    found = model_folder.make(copy.deepcopy(node), model_folder.PERCEPTUAL, piad)
    x = torch.rand(1, 3, 32, 32)
    np.testing.assert_array_equal(found(x).numpy(), made(x).numpy())
    assert found.weights_sha256 == made.weights_sha256


def test_the_measure_of_a_density_checks_its_description_at_once(glow: Path) -> None:
    change(glow, _set("scales", to=10**6))
    with pytest.raises(UserError, match="scales must be an integer from 1 to 8"):
        Likelihood(str(glow))
