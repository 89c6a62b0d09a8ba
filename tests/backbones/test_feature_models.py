"""Feature models: the right weights, the right preprocessing, the same function after folding."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from genaudit.backbones.embedded import EfficientNetLite0
from genaudit.backbones.fid_inception import FidInception
from genaudit.backbones.folding import fold_batch_norms
from genaudit.backbones.pixels import Pixels
from genaudit.backbones.timm_model import TimmModel
from genaudit.backbones.torchvision_model import TorchvisionModel
from genaudit.backbones.weight_files import read_state_dict, sha256_of_tensors
from genaudit.errors import UserError


def _images(size: int, count: int = 2) -> torch.Tensor:
    return torch.rand((count, 3, size, size), generator=torch.Generator().manual_seed(0))


def test_efficientnet_lite0_has_the_packages_weights_and_timms_features() -> None:
    model = EfficientNetLite0(size=64)
    assert model.weights.sha256.startswith("57934424")
    assert model.weights.sha256 == hashlib.sha256(Path(model.weights.source).read_bytes()).hexdigest()
    reference = timm.create_model("tf_efficientnet_lite0", num_classes=1000).eval()
    tensors = list(model.weights.state_dict.values())
    reference.load_state_dict(dict(zip(reference.state_dict(), tensors, strict=True)))
    reference.reset_classifier(0)
    images = _images(64)
    with torch.no_grad():
        expected = reference((images - 0.5) / 0.5)
        features = model.network()(images)
    # folding rounds each weight once more: relative 2^-24 a layer, some fifty layers, 4e-6 of the largest feature
    assert features.shape == (2, 1280)
    assert float((features - expected).abs().max()) < 4e-6 * float(expected.abs().max())


def test_efficientnet_lite0_knows_a_photograph() -> None:
    from skimage.data import astronaut, chelsea

    model = EfficientNetLite0()
    reference = timm.create_model("tf_efficientnet_lite0", num_classes=1000).eval()
    tensors = list(model.weights.state_dict.values())
    reference.load_state_dict(dict(zip(reference.state_dict(), tensors, strict=True)))
    prepared = np.stack([model.recipe.apply(np.ascontiguousarray(image)) for image in (chelsea(), astronaut())])
    batch = torch.from_numpy(prepared).permute(0, 3, 1, 2).float() / 255
    features = model.network()(batch)
    with torch.no_grad():
        cat, person = reference.get_classifier()(features).argmax(1).tolist()
    assert cat in range(281, 288)  # ImageNet's cats; 281 to 285 are house cats
    assert person not in range(281, 288)


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_convnext", "test_vit", "resnet18"])
def test_folding_leaves_the_function_as_it_is(name: str) -> None:
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=0).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # statistics that folding could get wrong
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 2)
            module.bias.data.normal_()
    network = network.double()
    size = network.pretrained_cfg["input_size"][-1]
    images = _images(size).double()
    norms = sum(isinstance(m, torch.nn.BatchNorm2d) for m in network.modules())
    with torch.no_grad():
        before = network(images)
        folded = fold_batch_norms(network)
        after = network(images)
    assert folded == norms
    torch.testing.assert_close(after, before, rtol=1e-10, atol=1e-10)


def test_folding_keeps_a_normalisation_whose_convolution_is_read_twice() -> None:
    class Twice(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 3, 1)
            self.bn = torch.nn.BatchNorm2d(3)
            self.bn.running_mean = torch.ones(3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.conv(x)
            return self.bn(y) + y

    network = Twice().eval()
    before = network(_images(4))
    assert fold_batch_norms(network) == 0
    assert torch.equal(network(_images(4)), before)


def test_random_weights_depend_on_their_seed_alone() -> None:
    torch.manual_seed(5)
    first = TorchvisionModel("resnet18", pretrained=False, weight_seed=0).weights
    torch.manual_seed(7)
    second = TorchvisionModel("resnet18", pretrained=False, weight_seed=0).weights
    other = TorchvisionModel("resnet18", pretrained=False, weight_seed=1).weights
    assert first.sha256 == second.sha256 != other.sha256
    assert not first.trained


def test_networks_of_one_feature_model_do_not_share_their_weights() -> None:
    for model in (TimmModel("test_resnet", size=32, pretrained=False), TorchvisionModel("resnet18", pretrained=False)):
        images = _images(32)
        with torch.no_grad():
            before = model.network()(images)
            double = model.network(dtype=torch.float64)(images.double())
            after = model.network()(images)
        assert torch.equal(before, after)
        torch.testing.assert_close(double.float(), before, rtol=1e-4, atol=1e-5)


def test_inception_gives_2048_features() -> None:
    model = TorchvisionModel("inception_v3", name="random_inception", size=299, pretrained=False)
    with torch.no_grad():
        assert model.network()(_images(299, 1)).shape == (1, 2048)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_checkpoint_gives_its_own_weights(tmp_path: Path, suffix: str) -> None:
    torch.manual_seed(3)
    trained = timm.create_model("test_resnet", num_classes=1000).eval()
    path = tmp_path / f"weights{suffix}"
    state_dict = {name: tensor.contiguous() for name, tensor in trained.state_dict().items()}
    if suffix == ".safetensors":
        save_file(state_dict, path)
    else:
        torch.save({"state_dict": state_dict, "epoch": 3}, path)
    model = TimmModel("test_resnet", size=32, checkpoint=str(path))
    trained.reset_classifier(0)
    images = _images(32)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (model.mean, model.std))
    with torch.no_grad():
        torch.testing.assert_close(model.network()(images), trained((images - mean) / std), rtol=1e-4, atol=1e-5)
    assert model.weights.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert model.weights.trained


def test_a_checkpoint_that_runs_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (exec, ("raise SystemExit('ran code')",))

    path = tmp_path / "evil.pth"
    torch.save({"model": Evil()}, path)
    with pytest.raises(UserError, match="never unpickles code"):
        read_state_dict(path, what="feature_model x")


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(UserError, match="do not fit"):
        TimmModel("test_resnet", checkpoint=str(path)).network()
    with pytest.raises(UserError, match="296 tensors"):
        EfficientNetLite0(checkpoint=str(path)).network()
    with pytest.raises(UserError, match="no weight file"):
        EfficientNetLite0(checkpoint=str(tmp_path / "absent.pth")).network()


def test_an_unknown_timm_name_is_refused_with_a_hint() -> None:
    with pytest.raises(UserError, match="did you mean"):
        TimmModel("resnet5o")
    with pytest.raises(UserError, match="timm has no weights"):
        TimmModel("resnet50.nonesuch")


def test_fid_inception_agrees_with_torch_fidelity(tmp_path: Path) -> None:
    fidelity = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    blank = tmp_path / "weights.pth"
    original = torch.load
    # the package only builds its network around a weight file: it gets random weights of the right shapes
    torch.manual_seed(0)

    class Collect(Exception):
        pass

    def no_weights(*_: object, **__: object) -> None:
        raise Collect

    torch.load = no_weights  # type: ignore[assignment]
    try:
        network = fidelity.FeatureExtractorInceptionV3.__new__(fidelity.FeatureExtractorInceptionV3)
        with pytest.raises(Collect):
            network.__init__("inception-v3-compat", ["2048"], feature_extractor_weights_path="none")
    finally:
        torch.load = original
    for name, tensor in network.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
    torch.save(network.state_dict(), blank)
    theirs = fidelity.FeatureExtractorInceptionV3(
        "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(blank)
    )
    pixels = torch.randint(0, 256, (2, 3, 299, 299), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = theirs(pixels)[0]
        features = FidInception(checkpoint=str(blank)).network()(pixels.float() / 255)
    # folding rounds each of about a hundred layers' weights once more
    assert float((features - expected).abs().max()) < 1e-5 * float(expected.abs().max())


def test_pixels_are_the_image_itself() -> None:
    images = _images(8)
    torch.testing.assert_close(Pixels(size=8).network()(images), images.flatten(1), rtol=0, atol=1e-7)


def test_the_hash_of_tensors_sees_names_shapes_types_and_bytes() -> None:
    base = {"a": torch.zeros(4), "b": torch.ones(2)}
    same = {"b": torch.ones(2), "a": torch.zeros(4)}
    assert sha256_of_tensors(base) == sha256_of_tensors(same)
    for other in (
        {"a": torch.zeros(2, 2), "b": torch.ones(2)},
        {"a": torch.zeros(4, dtype=torch.float64), "b": torch.ones(2)},
        {"a": torch.zeros(4), "c": torch.ones(2)},
        {"a": torch.zeros(4), "b": torch.full((2,), 2.0)},
    ):
        assert sha256_of_tensors(base) != sha256_of_tensors(other)
