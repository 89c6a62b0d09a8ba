"""Generators from modules and files give one and the same images, and say what is wrong before anything is measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from scipy.stats import norm
from torch import nn

from genaudit.backbones.generator import Generator, LoadedNetwork
from genaudit.backbones.generator_sources import (
    ExportedGenerator,
    ModuleGenerator,
    ONNXGenerator,
    TorchScriptGenerator,
)
from genaudit.errors import UserError

LATENT = 3
CONFIGS = Path(__file__).parents[2] / "configs" / "generator"
PLAIN: dict[str, Any] = {"latent": LATENT, "output_range": [0, 1]}


class Held(Generator):
    """A generator of a network in memory."""

    def __init__(self, network: Callable[..., Any], **shared: Any) -> None:
        super().__init__(**{"name": "held", **PLAIN, **shared})
        self.network = network

    def load(self, device: str = "cpu") -> LoadedNetwork:
        return LoadedNetwork(self.network, "0" * 64, "a test")


class Seen(nn.Module):
    """Shows its inputs as pixels: latents (n, 3), or (n, 3, 1, 1), as (n, 3, 1, 1), with the label added."""

    def forward(self, z: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        image = z.reshape(len(z), 3, 1, 1)
        if label is None:
            return image
        return image + label.to(z.dtype).reshape(len(z), -1, 1, 1)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(LATENT, 32), nn.Unflatten(1, (2, 4, 4)), nn.SiLU(), nn.ConvTranspose2d(2, 1, 4, 2, 1), nn.Sigmoid()
    ).eval()


@pytest.fixture
def z() -> torch.Tensor:
    return torch.randn(7, LATENT, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def exported(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "g.pt2"
    shapes = ({0: torch.export.Dim("n")},)
    torch.export.save(torch.export.export(network, (torch.zeros(2, LATENT),), dynamic_shapes=shapes), path)
    return path


@pytest.fixture(scope="module")
def scripted(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scripted") / "g.pt"
    torch.jit.save(torch.jit.script(network), path)
    return path


@pytest.mark.parametrize("kind", [TorchScriptGenerator, ExportedGenerator])
def test_a_file_gives_the_modules_images_and_gradients(
    kind: type[Generator], network: nn.Module, z: torch.Tensor, request: pytest.FixtureRequest
) -> None:
    path = request.getfixturevalue("exported" if kind is ExportedGenerator else "scripted")
    generator: Any = kind(file=str(path), trust=True, **PLAIN)
    assert generator.image_shape == (1, 8, 8)
    z.requires_grad_()
    images, expected = generator.decoder()(z), network(z)
    torch.testing.assert_close(images, expected)
    (gradient,) = torch.autograd.grad(images.square().sum(), z)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected.square().sum(), z)[0])
    in_double = generator.decoder("cpu", torch.float64)(z.detach().double())
    assert in_double.dtype == torch.float64
    torch.testing.assert_close(in_double.float(), expected)


def test_an_onnx_file_gives_the_graphs_images(z: torch.Tensor, tmp_path: Path) -> None:
    pytest.importorskip("onnx2torch")
    onnx = pytest.importorskip("onnx")
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    weights = torch.randn(LATENT, 16, generator=torch.Generator().manual_seed(2))
    nodes = [
        helper.make_node("MatMul", ["z", "w"], ["h"]),
        helper.make_node("Sigmoid", ["h"], ["s"]),
        helper.make_node("Reshape", ["s", "shape"], ["x"]),
    ]
    values = [numpy_helper.from_array(weights.numpy(), "w"), numpy_helper.from_array(np.array([-1, 1, 4, 4]), "shape")]
    sizes = {"z": ["n", LATENT], "x": ["n", 1, 4, 4]}
    ends = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, size) for name, size in sizes.items()}
    graph = helper.make_graph(nodes, "g", [ends["z"]], [ends["x"]], values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(tmp_path / "g.onnx"))
    generator = ONNXGenerator(file=str(tmp_path / "g.onnx"), **PLAIN)
    torch.testing.assert_close(generator.decoder()(z).flatten(1), torch.sigmoid(z @ weights))


def test_a_checkpoint_and_a_flat_output_become_images(z: torch.Tensor, tmp_path: Path) -> None:
    weights = torch.randn(16, LATENT, generator=torch.Generator().manual_seed(2)) / 4
    torch.save({"weight": weights, "bias": torch.full((16,), 0.5)}, tmp_path / "linear.pt")
    generator = ModuleGenerator(
        module="torch.nn.Linear",
        arguments={"in_features": LATENT, "out_features": 16},
        checkpoint=str(tmp_path / "linear.pt"),
        channels=1,
        size=4,
        **PLAIN,
    )
    torch.testing.assert_close(generator.decoder()(z), (z @ weights.T + 0.5).view(7, 1, 4, 4))
    torch.save({"weight": weights, "bias": torch.full((16,), 0.6)}, tmp_path / "other.pt")
    other = ModuleGenerator(**{**_arguments(generator), "checkpoint": str(tmp_path / "other.pt")})
    assert other.describe()["weights_sha256"] != generator.describe()["weights_sha256"]
    torch.save({"weight": weights}, tmp_path / "half.pt")
    with pytest.raises(UserError, match="does not fit"):
        ModuleGenerator(**{**_arguments(generator), "checkpoint": str(tmp_path / "half.pt")}).source  # noqa: B018


def _arguments(of: ModuleGenerator) -> dict[str, Any]:
    return {"module": of.module, "arguments": of.arguments, "channels": 1, "size": 4, **PLAIN}


def test_the_demos_decoder_carries_its_noise() -> None:
    from genaudit.demo import load_vae_decoder

    config = OmegaConf.load(CONFIGS / "demo_vae.yaml")
    generator = instantiate(config)
    assert generator.image_shape == (1, 28, 28)
    assert generator.sigma2 == load_vae_decoder().sigma2
    config.sigma2 = 0.02
    assert instantiate(config).sigma2 == 0.02


def test_ranges_priors_and_latent_shapes_are_mapped(z: torch.Tensor) -> None:
    free = {"output_range": None}
    seen = Held(Seen(), **free).decoder()(z).flatten(1)
    assert torch.equal(seen, z)
    wide = Held(lambda latents: Seen()(latents).clamp(-1, 1), output_range=[-1, 1]).decoder()(z).flatten(1)
    torch.testing.assert_close(wide, (z.clamp(-1, 1) + 1) / 2)
    uniform = Held(Seen(), prior="uniform", prior_range=[-1, 1], **free).decoder()(z).flatten(1)
    torch.testing.assert_close(uniform.double(), torch.from_numpy(2 * norm.cdf(z.double()) - 1), atol=1e-6, rtol=0)
    shapes = []

    def shaped(latents: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(latents.shape))
        return latents

    assert torch.equal(Held(shaped, latent=[3, 1, 1], **free).decoder()(z).flatten(1), z)
    assert shapes[-1] == (7, 3, 1, 1)


def test_a_class_conditional_network_gets_its_labels(z: torch.Tensor) -> None:
    index = Held(Seen(), classes=3, output_range=None)
    assert index.labels == (0, 1, 2)
    torch.testing.assert_close(index.decoder(label=2)(z).flatten(1), z + 2)
    hot = Held(Seen(), classes=3, label_as="one_hot", output_range=None)
    torch.testing.assert_close(hot.decoder(label=1)(z).flatten(1), z + torch.tensor([0.0, 1.0, 0.0]))
    assert Held(Seen(), classes=3, label=1, output_range=None).labels == (1,)
    drawn = torch.cat(list(index.sample(300, seed=0)))
    means = torch.cat(list(Held(Seen(), output_range=None).sample(300, seed=0)))
    added = (drawn - means).round().flatten(1)
    # every image has one label, each of three about a third of the time: 4 standard errors of 300 draws
    assert (added == added[:, :1]).all()
    assert ((added[:, 0][:, None] == torch.arange(3)).float().mean(0) - 1 / 3).abs().max() < 4 * (2 / 9 / 300) ** 0.5


def test_a_sample_does_not_depend_on_how_many_are_drawn_at_once(network: nn.Module) -> None:
    generator = Held(network, classes=None)
    whole = torch.cat(list(generator.sample(10, seed=3, batch_size=10)))
    parts = torch.cat(list(generator.sample(7, seed=3, batch_size=2)))
    torch.testing.assert_close(whole[:7], parts)
    assert not torch.equal(whole, torch.cat(list(generator.sample(10, seed=4))))


def _noisy(z: torch.Tensor) -> torch.Tensor:
    return torch.sigmoid(z.reshape(len(z), 3, 1, 1) + torch.randn(len(z), 3, 1, 1))


def _stopped(z: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return torch.sigmoid(z.reshape(len(z), 3, 1, 1))


def _image(z: torch.Tensor) -> torch.Tensor:
    return torch.sigmoid(z.reshape(len(z), 3, 1, 1))


@pytest.mark.parametrize(
    ("network", "more", "words"),
    [
        (nn.Linear(5, 12), {}, "does not take .4, 3. float32 latents.*generator.latent="),
        (lambda z: _image(z) * torch.nan, {}, "not finite"),
        (lambda z: _image(z)[:, :2], {}, r"gave \(4, 2, 1, 1\)"),
        (_image, {"channels": 1}, r"gave \(4, 3, 1, 1\), where \(4, 1, S, S\)"),
        (_image, {"size": 8}, "where .4, 1 or 3, 8, 8. is needed"),
        (lambda z: z, {}, "a flat output needs channels="),
        (lambda z: [z, z], {}, "gave a list"),
        (_noisy, {}, "different images twice"),
        (lambda z: _image(z - z.mean(0)), {}, "others of its batch"),
        (_stopped, {}, "no gradient"),
        (lambda z: _image(z) * 255, {}, "output_range is .0, 1."),
        (_image, {"output_range": [0, 255]}, "name the range"),
    ],
)
def test_what_is_no_generator_is_refused(network: Any, more: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        Held(network, **more).image_shape  # noqa: B018


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"latent": None}, "latent=None"),
        ({"latent": [3, 0]}, "latent="),
        ({"prior": "cauchy"}, "normal or uniform"),
        ({"output_range": [1, 0]}, "the lower first"),
        ({"prior_range": [0]}, "prior_range"),
        ({"channels": 2}, "channels=2"),
        ({"classes": 3, "label": 3}, "label=3"),
        ({"label": 0}, "label=0"),
        ({"label_as": "word"}, "label_as"),
        ({"sigma2": 0}, "sigma2=0"),
    ],
)
def test_settings_out_of_range_are_refused(more: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        Held(_image, **more)


def test_files_that_are_missing_or_something_else_are_refused(scripted: Path, exported: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file at"):
        TorchScriptGenerator(file="nowhere.pt", **PLAIN).source  # noqa: B018
    with pytest.raises(UserError, match="cannot be read as TorchScript"):
        TorchScriptGenerator(file=str(exported), trust=True, **PLAIN).source  # noqa: B018
    with pytest.raises(UserError, match="cannot be read as an exported program"):
        ExportedGenerator(file=str(scripted), trust=True, **PLAIN).source  # noqa: B018
    fixed = tmp_path / "fixed.pt2"
    plain = nn.Sequential(nn.Linear(LATENT, 3), nn.Unflatten(1, (3, 1, 1)), nn.Sigmoid())
    torch.export.save(torch.export.export(plain, (torch.zeros(2, LATENT),)), fixed)
    with pytest.raises(UserError, match="first axis must be dynamic"):
        ExportedGenerator(file=str(fixed), trust=True, **PLAIN).image_shape  # noqa: B018
    with pytest.raises(UserError, match="cannot be made"):
        ModuleGenerator(module="genaudit.demo.nothing", **PLAIN).source  # noqa: B018
    with pytest.raises(UserError, match="not a torch"):
        ModuleGenerator(module="genaudit.demo.path", arguments={"name": "vae"}, **PLAIN).source  # noqa: B018


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_configuration_makes_a_generator_or_names_the_key_that_it_lacks(path: Path) -> None:
    from genaudit.tasks.run.instantiate import instantiate as checked

    config = OmegaConf.create({"piad_model": None, "generator": OmegaConf.load(path)}).generator
    if path.stem == "demo_vae":
        assert isinstance(checked(config), Generator)
    else:
        with pytest.raises(UserError, match=r"generator\.(file|module|folder)=.* is needed"):
            checked(config)


def test_the_generator_of_a_saved_piad_is_one(tmp_path: Path) -> None:
    from genaudit.piad.as_generator import PIADGenerator
    from genaudit.piad.networks import Architecture, build
    from genaudit.piad.saved import Model, save

    architecture = Architecture(latent=4, generator=(8, 8), encoder=(8, 8), critic=(8, 8), latent_critic=8)
    networks = build(architecture, 1, seed=0)
    save(Model(networks, architecture, None, "l1", {}), tmp_path / "piad", None)
    generator = PIADGenerator(folder=str(tmp_path / "piad"))
    assert generator.image_shape == (1, 8, 8)
    z = torch.randn(3, 4)
    expected = (networks.generator.eval()(z.view(3, 4, 1, 1)) + 1) / 2
    torch.testing.assert_close(generator.decoder()(z), expected)


@pytest.mark.parametrize("kind", [TorchScriptGenerator, ExportedGenerator])
def test_a_file_that_is_a_program_is_not_opened_without_trust(
    kind: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "g.pt2").write_bytes(b"PK\x03\x04")
    for module, name in ((torch.jit, "load"), (torch.export, "load")):
        monkeypatch.setattr(module, name, lambda *args, **keys: pytest.fail("the file was opened"))
    for more in ({}, {"trust": False}):
        with pytest.raises(UserError, match="trust=true"):
            kind(file=str(tmp_path / "g.pt2"), **PLAIN, **more).source  # noqa: B018
    with pytest.raises(UserError, match="trust=yes: true or false"):
        kind(file=str(tmp_path / "g.pt2"), trust="yes", **PLAIN)


def test_a_pickle_in_an_exported_program_does_not_run_without_trust(exported: Path, tmp_path: Path) -> None:
    import os
    import pickle
    import zipfile

    class Runs:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "ran"),)

    with zipfile.ZipFile(exported) as source, zipfile.ZipFile(tmp_path / "g.pt2", "w") as target:
        for name in source.namelist():
            harmless = name.endswith((".json", "byteorder", "version", "archive_format"))
            target.writestr(name, source.read(name) if harmless else pickle.dumps(Runs()))
    with pytest.raises(UserError, match="trust=true"):
        ExportedGenerator(file=str(tmp_path / "g.pt2"), **PLAIN).source  # noqa: B018
    assert not (tmp_path / "ran").exists()
