"""SSCD's layouts with random weights: descriptors are those of its authors' definition, in plain arithmetic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file

from genaudit.backbones.sscd import SSCD
from genaudit.backbones.sscd_layers import GeneralisedMean
from genaudit.errors import UserError
from genaudit.tasks.run.from_python import compose
from genaudit.tasks.run.instantiate import instantiate

SIDE = 64


class Published(torch.nn.Module):
    """The names of the authors' torchvision file: `backbone.` before everything, nothing for pool and length."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = torchvision.models.resnet50(num_classes=512)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.backbone(x)


@pytest.fixture(scope="module")
def published() -> Published:
    torch.manual_seed(0)
    network = Published().eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr,operator]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr,operator]
    return network


@pytest.fixture(scope="module")
def files(published: Published, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("sscd")
    state = published.state_dict()
    torch.save(state, folder / "sscd.torchvision.pt")
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / "sscd.safetensors")
    torch.jit.script(published.backbone.fc).save(folder / "other.torchscript.pt")
    torch.jit.script(published).save(folder / "sscd.torchscript.pt")
    classy = {f"backbone.initial_block.{n}": t for n, t in list(state.items())[:6]} | {
        "embeddings.1.weight": torch.zeros(512, 2048)
    }
    torch.save(classy, folder / "sscd.classy.pt")
    return {path.name: path for path in folder.iterdir()}


def _by_definition(published: Published, images: torch.Tensor) -> np.ndarray:
    """From the last map on in NumPy float64: cube root of the mean cube, linear, unit length."""
    net = published.backbone
    with torch.no_grad():
        x = net.maxpool(net.relu(net.bn1(net.conv1(images))))
        maps = net.layer4(net.layer3(net.layer2(net.layer1(x)))).double().numpy()
        weight, bias = net.fc.weight.double().numpy(), net.fc.bias.double().numpy()
    pooled = np.cbrt(np.mean(np.maximum(maps, 1e-6) ** 3, axis=(2, 3)))
    outputs = pooled @ weight.T + bias
    return np.asarray(outputs / np.linalg.norm(outputs, axis=1, keepdims=True))


def _features(path: Path, images: torch.Tensor, **options: Any) -> np.ndarray:
    model = SSCD(checkpoint=str(path), **options)
    with torch.no_grad():
        return np.asarray(model.build().eval()(images))


@pytest.mark.parametrize(
    ("name", "trust"), [("sscd.torchvision.pt", False), ("sscd.safetensors", False), ("sscd.torchscript.pt", True)]
)
def test_descriptors_are_those_of_the_definition(
    published: Published, files: dict[str, Path], name: str, trust: bool
) -> None:
    images = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    found = _features(files[name], images, trusted=trust)
    assert found.shape == (2, 512)
    np.testing.assert_allclose(found, _by_definition(published, images), atol=1e-5)  # unit length, float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-6)


def test_a_program_needs_trust_and_the_sentence_names_the_other_file(files: dict[str, Path]) -> None:
    with pytest.raises(UserError, match="trust=true reads it") as refused:
        SSCD(checkpoint=str(files["sscd.torchscript.pt"])).build()
    assert ".torchvision.pt" in str(refused.value)
    with pytest.raises(UserError, match=r"fc\.weight is missing"):
        SSCD(checkpoint=str(files["other.torchscript.pt"]), trusted=True).build()


def test_other_files_are_refused_with_a_sentence(files: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"fc\.weight is missing; expected the state dict of the authors' \.torchvision"
    ):
        SSCD(checkpoint=str(files["sscd.classy.pt"])).build()
    state = torchvision.models.resnet18(num_classes=512).state_dict()
    torch.save(state, tmp_path / "18.pt")
    with pytest.raises(UserError, match=r"\(512, 512\), and \(512, 2048\) is needed"):
        SSCD(checkpoint=str(tmp_path / "18.pt")).build()
    with pytest.raises(UserError, match=r"cannot fetch its weights; give feature_model.checkpoint=FILE"):
        SSCD(published="SSCD's authors").build()


def test_the_generalised_mean_is_between_mean_and_maximum_and_of_equal_values_their_own() -> None:
    x = torch.rand(3, 5, 4, 4, generator=torch.Generator().manual_seed(0))
    pooled = GeneralisedMean(3.0)(x)[..., 0, 0]
    assert (x.mean(dim=(2, 3)) < pooled).all()
    assert (pooled < x.amax(dim=(2, 3))).all()
    assert GeneralisedMean(3.0)(torch.full((1, 1, 2, 2), 0.7)).item() == pytest.approx(0.7, rel=1e-6)
    assert GeneralisedMean(3.0)(torch.full((1, 1, 2, 2), -0.7)).item() == pytest.approx(1e-6, rel=1e-4)


def test_its_yaml_prepares_images_as_its_authors() -> None:
    cfg = compose("evaluate", ["feature_model=sscd", "trust=true"])
    model = instantiate(cfg.feature_model)
    assert (model.recipe.size, model.recipe.interpolation, model.trusted) == (288, "bilinear", True)
    assert (model.mean, model.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert not instantiate(compose("evaluate", ["feature_model=sscd"]).feature_model).trusted
