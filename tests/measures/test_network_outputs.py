"""Logits and spatial features: the same network as the embedding, run further or less far."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from genaudit.backbones.embedded import EfficientNetLite0
from genaudit.backbones.fid_inception import FidInception, _untrained
from genaudit.backbones.timm_model import TimmModel
from genaudit.backbones.torchvision_model import TorchvisionModel
from genaudit.errors import UserError
from genaudit.measures.embedding import Embedding
from genaudit.measures.logits import Logits
from genaudit.measures.measure import fingerprint
from genaudit.measures.spatial import SpatialFeatures

DIGESTS: list[bytes] = []


def _images(size: int, count: int = 2) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def lite() -> EfficientNetLite0:
    return EfficientNetLite0(size=64)


def test_logits_are_the_classifier_on_the_embedding(lite: EfficientNetLite0) -> None:
    images = _images(64)
    logits = Logits(lite).open("cpu", "float32")(images, DIGESTS)
    features = Embedding(lite).open("cpu", "float32")(images, DIGESTS)
    classifier = lite.build_classifier().get_submodule("classifier")
    with torch.no_grad():
        expected = classifier(features.clone())
    assert logits.shape == (2, 1000)
    # 1,280 products each of float32 rounding: 1280·2^-24 of the largest.
    torch.testing.assert_close(logits, expected, rtol=0, atol=1280 * 2**-24 * float(expected.abs().max()))


def test_spatial_features_are_the_first_channels_of_the_map_of_stride_16(lite: EfficientNetLite0) -> None:
    images = _images(64)
    rows = SpatialFeatures(lite).open("cpu", "float32")(images, DIGESTS)
    network = lite.build().eval()
    with torch.no_grad():
        maps = network.forward_intermediates((images / 255 - 0.5) / 0.5, intermediates_only=True)  # type: ignore[operator]
    (wanted,) = [each for each in maps if each.shape[-1] == 4]
    assert rows.shape == (2, 112 * 4 * 4)  # 112 channels make fewer than 2,048 numbers
    wanted = wanted.permute(0, 2, 3, 1)
    torch.testing.assert_close(rows, wanted.flatten(1), rtol=0, atol=1e-5 * float(wanted.abs().max()))
    wide = SpatialFeatures(EfficientNetLite0(size=224)).open("cpu", "float32")(_images(224, 1), DIGESTS)
    assert wide.shape == (1, 10 * 14 * 14)


def test_the_three_outputs_are_stored_apart(lite: EfficientNetLite0) -> None:
    prints = {fingerprint(kind(lite), "float32") for kind in (Embedding, Logits, SpatialFeatures)}
    assert len(prints) == 3
    assert [kind(lite).name for kind in (Embedding, Logits, SpatialFeatures)] == [
        f"{name} efficientnet_lite0" for name in ("embedding", "logits", "spatial features")
    ]


@pytest.mark.parametrize("measure", [Logits, SpatialFeatures])
def test_a_network_without_such_an_output_says_what_has_one(measure: type) -> None:
    with pytest.raises(UserError, match=r"feature_model=.*efficientnet_lite0"):
        measure(TimmModel("test_vit", pretrained=False)).open("cpu", "float32")
    if measure is Logits:  # random classes mean nothing
        with pytest.raises(UserError, match="has no classifier"):
            measure(TorchvisionModel("resnet18", pretrained=False)).open("cpu", "float32")


def test_fids_inception_gives_torch_fidelitys_logits_and_the_seven_channels_of_sfid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    made: list[torch.nn.Module] = []

    def give_random_weights(network: torch.nn.Module, *_: object, **__: object) -> None:
        made.append(network)

    # The package only builds its network around a weight file: it gets random ones of the right shapes.
    weights = tmp_path / "weights.pth"
    torch.save({}, weights)
    torch.manual_seed(0)
    with monkeypatch.context() as patched:
        patched.setattr(torch.nn.Module, "load_state_dict", give_random_weights)
        peer.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=str(weights))
    torch.save(made[0].state_dict(), weights)
    model = FidInception(checkpoint=str(weights))
    images = _images(299, 1)
    theirs = peer.FeatureExtractorInceptionV3(
        "inception-v3-compat", ["logits_unbiased"], feature_extractor_weights_path=str(weights)
    )
    inside: dict[str, torch.Tensor] = {}
    theirs.Mixed_6d.branch1x1.register_forward_hook(lambda module, given, out: inside.update(map=out))
    (expected,) = theirs(images)
    logits = Logits(model).open("cpu", "float32")(images, DIGESTS)
    scale = float(expected.abs().max())
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-4 * scale)
    rows = SpatialFeatures(model).open("cpu", "float32")(images, DIGESTS)
    assert rows.shape == (1, 7 * 17 * 17)
    # ADM's evaluator flattens TensorFlow's map (N, 17, 17, 192)[..., :7]
    wanted = inside["map"].permute(0, 2, 3, 1)[..., :7].flatten(1)
    torch.testing.assert_close(rows, wanted, rtol=0, atol=1e-4 * float(wanted.abs().max()))


@pytest.mark.parametrize("name", ["lite", "inception", "random inception"])
def test_one_forward_pass_gives_the_rows_of_each_output_alone(name: str, tmp_path: Path) -> None:
    model: EfficientNetLite0 | FidInception
    if name == "lite":
        model = EfficientNetLite0(size=64)
    elif name == "inception":
        pytest.importorskip("torch_fidelity")
        torch.save(_untrained(1).state_dict(), tmp_path / "weights.pth")
        model = FidInception(checkpoint=str(tmp_path / "weights.pth"))
    else:
        pytest.importorskip("torch_fidelity")
        model = FidInception(pretrained=False)
    images = _images(model.recipe.size)
    kinds = [Embedding, Logits, SpatialFeatures] if name != "random inception" else [SpatialFeatures, Embedding]
    measures = [kind(model) for kind in kinds]
    assert len({measure.shared_network for measure in measures}) == 1
    assert measures[0].shared_network is not None
    together = measures[0].open_together(measures, "cpu", "float32")(images, DIGESTS)
    for measure, rows in zip(measures, together, strict=True):
        alone = measure.open("cpu", "float32")(images, DIGESTS)
        assert torch.equal(rows, alone), measure.name  # stored under one fingerprint: the last bit too


def test_outputs_of_other_networks_or_settings_do_not_share_a_pass() -> None:
    prints = {Embedding(model).shared_network for model in (EfficientNetLite0(), EfficientNetLite0(size=64))}
    assert len(prints) == 2
    assert Embedding(EfficientNetLite0(stage=3)).shared_network is None
    assert Embedding(TimmModel("test_vit", pretrained=False)).shared_network is None
    if importlib.util.find_spec("torch_fidelity"):
        assert Logits(FidInception(pretrained=False)).shared_network is None  # its classes mean nothing: it says so
