"""torchvision's networks as feature models: the layer that features leave from, and weights that are loaded whole."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision

from genaudit.backbones.torchvision_model import LISTED, TorchvisionModel
from genaudit.errors import UserError


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(3)
    made: torch.nn.Module = torchvision.models.mobilenet_v3_small(weights=None).eval()
    return made


@pytest.fixture(scope="module")
def checkpoint(network: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("weights") / "mobilenet.pth"
    torch.save(network.state_dict(), path)
    return str(path)


@pytest.mark.parametrize(("layer", "features"), [("body", 576), ("hidden", 1024)])
def test_features_are_what_enters_the_classifier_or_its_last_linear_layer(
    layer: str, features: int, network: torch.nn.Module, checkpoint: str
) -> None:
    entered: dict[str, torch.Tensor] = {}
    classifier = network.classifier
    assert isinstance(classifier, torch.nn.Sequential)
    watched = {"body": classifier[0], "hidden": classifier[-1]}[layer]
    with watched.register_forward_hook(lambda module, given, made: entered.update(rows=given[0])):
        images = torch.rand(2, 3, 64, 64)
        network(images)
    model = TorchvisionModel("mobilenet_v3_small", layer=layer, checkpoint=checkpoint)  # type: ignore[arg-type]
    with torch.no_grad():
        rows = model.build().eval()(images)
    assert rows.shape == (2, features)
    assert torch.equal(rows, entered["rows"])


def test_both_layers_are_different_measures_and_body_keeps_its_name(checkpoint: str) -> None:
    body, hidden = (
        TorchvisionModel("mobilenet_v3_small", layer=layer, checkpoint=checkpoint)  # type: ignore[arg-type]
        for layer in ("body", "hidden")
    )
    assert hidden.describe() == {**body.describe(), "layer": "hidden"}


def test_a_network_is_built_twice_from_weights_that_stay(checkpoint: str) -> None:
    """What a caller does to one network (folding, casting) reaches neither the file's tensors nor the next network."""
    model = TorchvisionModel("mobilenet_v3_small", checkpoint=checkpoint)
    first = model.build()
    kept = {name: tensor.clone() for name, tensor in model.weights.state_dict.items()}
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.zero_()
    second = model.build_classifier().state_dict()
    for name, tensor in kept.items():
        assert torch.equal(second[name], tensor)
        assert torch.equal(model.weights.state_dict[name], tensor)


def test_weights_of_half_precision_are_loaded_in_single(network: torch.nn.Module, tmp_path: Path) -> None:
    half = {name: each.half() if each.is_floating_point() else each for name, each in network.state_dict().items()}
    torch.save(half, tmp_path / "half.pth")
    loaded = TorchvisionModel("mobilenet_v3_small", checkpoint=str(tmp_path / "half.pth")).build_classifier()
    for name, tensor in loaded.state_dict().items():
        assert tensor.dtype == network.state_dict()[name].dtype
        assert torch.equal(tensor, half[name].to(tensor.dtype))


def test_an_architecture_that_computes_with_tensors_is_loaded_too(tmp_path: Path) -> None:
    torch.save(torchvision.models.regnet_y_400mf(weights=None).state_dict(), tmp_path / "regnet.pth")
    model = TorchvisionModel("regnet_y_400mf", checkpoint=str(tmp_path / "regnet.pth"))
    state = model.build_classifier().state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in model.weights.state_dict.items())


def test_a_layer_that_is_not_there_is_named(checkpoint: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^feature_model\.layer must be body or hidden, got fc2$"):
        TorchvisionModel("vgg16", layer="fc2")  # type: ignore[arg-type]
    torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), tmp_path / "squeeze.pth")
    model = TorchvisionModel("squeezenet1_1", layer="hidden", checkpoint=str(tmp_path / "squeeze.pth"))
    with pytest.raises(UserError, match="the classifier of squeezenet1_1 has no hidden layer"):
        model.build()


def test_addresses_that_are_known_without_torchvision_are_torchvisions() -> None:
    for architecture, address in LISTED.items():
        assert torchvision.models.get_model_weights(architecture).DEFAULT.url == address


def test_vgg16_is_cut_after_the_relu_of_its_second_hidden_layer() -> None:
    """Kynkäänniemi et al. 2019, section 3: 4,096 features of the second fully connected layer."""
    with torch.device("meta"):
        network = torchvision.models.vgg16(weights=None)
        kept = TorchvisionModel("vgg16", layer="hidden")._hidden(network.classifier)
    assert [type(each).__name__ for each in kept] == ["Linear", "ReLU", "Dropout", "Linear", "ReLU", "Dropout"]  # type: ignore[arg-type]
    assert kept(torch.zeros(1, 25088, device="meta")).shape == (1, 4096)
