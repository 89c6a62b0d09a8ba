"""Published files of BYOL and SwAV in each of their layouts give the network that they hold, or a clear error."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from genaudit.backbones.checkpoint_layouts import resnet_tensors
from genaudit.backbones.local_checkpoint import CheckpointResNet
from genaudit.errors import UserError

State = dict[str, torch.Tensor]
NUMBERS = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}


def tiny(seed: int) -> State:
    """Some tensors of a ResNet, in torchvision's names."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {
        "conv1.weight": (4, 3, 7, 7),
        "bn1.weight": (4,),
        "bn1.running_var": (4,),
        "layer1.0.conv1.weight": (4, 4, 1, 1),
        "layer4.0.downsample.1.bias": (8,),
    }
    return {name: torch.rand(shape, generator=generator) for name, shape in shapes.items()} | {
        "bn1.num_batches_tracked": torch.tensor(7 + seed)
    }


def prefixed(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def numbered(prefix: str, state: State) -> State:
    """As `nn.Sequential(*list(resnet.children())[:-1])` names them."""
    parts = ((name.partition("."), tensor) for name, tensor in state.items())
    return {f"{prefix}{NUMBERS[head]}.{tail}": tensor for (head, _, tail), tensor in parts}


def heads(*names: str) -> State:
    return {name: torch.ones(2, 2) for name in names}


LAYOUTS: dict[str, Callable[[], State]] = {
    "bare, with its classifier": lambda: tiny(1) | heads("fc.weight", "fc.bias"),
    "converted from JAX, without counters": lambda: {k: v for k, v in tiny(1).items() if "tracked" not in k},
    "SwAV": lambda: prefixed(
        "module.", tiny(1) | heads("projection_head.0.weight", "projection_head.1.running_mean", "prototypes.weight")
    ),
    "byol-pytorch's learner": lambda: (
        prefixed("net.", tiny(1))
        | prefixed("online_encoder.net.", tiny(1))
        | prefixed("target_encoder.net.", tiny(2))
        | heads("online_encoder.projector.0.weight", "online_predictor.0.weight")
    ),
    "solo-learn": lambda: (
        prefixed("backbone.", tiny(1))
        | prefixed("momentum_backbone.", tiny(2))
        | heads("projector.0.weight", "classifier.weight")
    ),
    "PyTorch-BYOL": lambda: numbered("encoder.", tiny(1)) | heads("projetion.net.0.weight"),
    "re-identification": lambda: prefixed("model.", tiny(1) | heads("fc.weight")) | heads("fc_end.weight"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_published_layout_gives_the_online_network_without_its_heads(layout: str) -> None:
    found = resnet_tensors(LAYOUTS[layout](), tiny(9))
    assert found.keys() == tiny(1).keys()
    for name, tensor in tiny(1).items():
        if "tracked" not in name:
            assert found[name].equal(tensor), name


def test_several_networks_that_differ_need_a_prefix() -> None:
    both = prefixed("left.", tiny(1)) | prefixed("right.", tiny(2))
    with pytest.raises(ValueError, match=r"prefix= chooses one; prefixes there: 'left\.', 'right\.'"):
        resnet_tensors(both, tiny(9))
    assert resnet_tensors(both, tiny(9), prefix="right.")["bn1.weight"].equal(tiny(2)["bn1.weight"])
    with pytest.raises(ValueError, match=r"no ResNet under the prefix 'middle\.'"):
        resnet_tensors(both, tiny(9), prefix="middle.")


def test_an_averaged_network_alone_is_taken() -> None:
    found = resnet_tensors(prefixed("target_encoder.net.", tiny(2)), tiny(9))
    assert found["bn1.weight"].equal(tiny(2)["bn1.weight"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("layer4.0.downsample.1.bias"), "layer4.0.downsample.1.bias is missing"),
        (lambda s: s.update({"layer4.2.conv1.weight": torch.ones(1)}), "layer4.2.conv1.weight has no place in it"),
        (lambda s: s.update({"conv1.weight": torch.ones(4, 1, 7, 7)}), "conv1.weight has shape"),
        (lambda s: s.pop("conv1.weight"), "no ResNet of torchvision's names"),
    ],
)
def test_another_network_is_refused(change: Callable[[State], object], message: str) -> None:
    state = tiny(1)
    change(state)
    with pytest.raises(ValueError, match=message):
        resnet_tensors(state, tiny(9))


@pytest.fixture(scope="module")
def resnet18() -> torch.nn.Module:
    torch.manual_seed(3)
    network = torchvision.models.resnet18(weights=None).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    network.fc = torch.nn.Identity()
    return network


def images(count: int = 2) -> torch.Tensor:
    return torch.rand((count, 3, 64, 64), generator=torch.Generator().manual_seed(0))


def test_a_swav_file_gives_its_features_with_imagenets_normalisation(tmp_path: Path, resnet18: torch.nn.Module) -> None:
    path = tmp_path / "swav_800ep_pretrain.pth.tar"
    torch.save(prefixed("module.", dict(resnet18.state_dict()) | heads("prototypes.weight")), path)
    model = CheckpointResNet("swav", architecture="resnet18", size=64, checkpoint=str(path))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        expected = resnet18((images() - mean.view(3, 1, 1)) / std.view(3, 1, 1))
        # folding rounds each of twenty layers' weights once more
        assert float((model.network()(images()) - expected).abs().max()) < 1e-5 * float(expected.abs().max())
    assert model.weights.trained


@pytest.mark.parametrize("wrapper", ["online_backbone", "online_network_state_dict", "state_dict"])
def test_byols_wrappers_are_taken_off(tmp_path: Path, resnet18: torch.nn.Module, wrapper: str) -> None:
    path = tmp_path / "byol.pth.tar"
    torch.save({"epoch": 3, wrapper: prefixed("module.", dict(resnet18.state_dict())), "target_backbone": {}}, path)
    model = CheckpointResNet(
        "byol", architecture="resnet18", size=64, mean=(0,) * 3, std=(1,) * 3, checkpoint=str(path)
    )
    with torch.no_grad():
        expected = resnet18(images())
        assert float((model.network()(images()) - expected).abs().max()) < 1e-5 * float(expected.abs().max())


def test_tensorflows_padding_is_one_less_on_the_left_and_top(tmp_path: Path, resnet18: torch.nn.Module) -> None:
    """At stride 2 and an even side, "SAME" pads 2 and 3 around the first kernel of 7, where PyTorch pads 3 and 3."""
    path = tmp_path / "byol.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in resnet18.state_dict().items()}, path)
    options = {"architecture": "resnet18", "size": 64, "mean": (0,) * 3, "std": (1,) * 3, "checkpoint": str(path)}
    same = CheckpointResNet("byol", padding="same", **options).build()
    x = images()
    with torch.no_grad():
        padded = torch.nn.functional.pad(x, (2, 3, 2, 3))
        first = torch.nn.functional.conv2d(padded, resnet18.get_parameter("conv1.weight"), stride=2)
        assert torch.allclose(same.get_submodule("conv1")(x), first, atol=1e-5)
        positive = first.relu()
        pooled = torch.nn.functional.max_pool2d(torch.nn.functional.pad(positive, (0, 1, 0, 1)), 3, 2)
        assert torch.equal(same.get_submodule("maxpool")(positive), pooled)
        plain = CheckpointResNet("byol", **options).build()
        assert not torch.allclose(same(x), plain(x), atol=1e-3)
    assert (
        CheckpointResNet("byol", padding="same", **options).describe() != CheckpointResNet("byol", **options).describe()
    )


def test_without_a_file_the_message_says_which_and_where_to_give_it() -> None:
    model = CheckpointResNet("swav_rn50", published="SwAV's authors (swav_800ep_pretrain.pth.tar)")
    assert model.find_weights() is None
    with pytest.raises(UserError, match=r"feature_model\.checkpoint=FILE, the file of SwAV's authors"):
        model.network()


def test_a_pickle_of_another_library_is_refused_unread(tmp_path: Path) -> None:
    """DeepMind's own file is a pickle of JAX arrays: it has to be converted first."""
    path = tmp_path / "pretrain_res50x1.pkl"
    path.write_bytes(pickle.dumps({"experiment_state": Path("x")}))
    with pytest.raises(UserError, match="never unpickles code"):
        CheckpointResNet("byol", checkpoint=str(path)).network()


def test_a_file_of_another_resnet_is_refused_with_the_first_name_that_does_not_fit(
    tmp_path: Path, resnet18: torch.nn.Module
) -> None:
    path = tmp_path / "resnet18.pth"
    torch.save(resnet18.state_dict(), path)
    with pytest.raises(UserError, match=r"do not fit the network \(layer1.0.conv3.weight is missing"):
        CheckpointResNet("byol", checkpoint=str(path)).network()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"padding": "valid"}, "symmetric or same"), ({"architecture": "vgg16"}, "a ResNet of torchvision")],
)
def test_settings_are_checked(options: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        CheckpointResNet("byol", **options)  # type: ignore[arg-type]
