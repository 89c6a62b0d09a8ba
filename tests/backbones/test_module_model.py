"""A user's network as a feature model: its features, what it lacks, and that stored rows are never another's."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import genaudit
from genaudit.backbones.module_identity import identity_of
from genaudit.backbones.module_model import ModuleModel, checked_features
from genaudit.errors import UserError

PREPARED: dict[str, Any] = {"size": 8, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}


class Small(nn.Module):
    def __init__(self, width: int = 4, gain: float = 1.0) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, width, 3, stride=2)
        self.norm = nn.BatchNorm2d(width)
        self.gain = gain

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gain * self.norm(self.layer(x))


def small(seed: int = 0, **settings: Any) -> Small:
    torch.manual_seed(seed)
    return Small(**settings)


def test_features_are_the_networks_of_normalised_images_and_it_stays_as_it_was() -> None:
    network = small().train()
    images = torch.rand(5, 3, 8, 8)
    made = ModuleModel(network, **PREPARED).network()
    mean, std = (torch.tensor(PREPARED[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    expected = small().eval()((images - mean) / std).flatten(1)
    assert made(images).detach().numpy() == pytest.approx(expected.detach().numpy(), abs=1e-5)
    assert network.training
    assert network.layer.weight.requires_grad


def test_a_method_of_a_module_is_evaluated_with_a_copy_of_its_owner() -> None:
    network = small().train()
    model = ModuleModel(network.forward, **PREPARED)
    images = torch.rand(5, 3, 8, 8)
    assert torch.equal(model.network()(images), ModuleModel(small(), **PREPARED).network()(images))
    assert network.training  # and its running means are as they were
    assert torch.equal(network.norm.running_mean, small().norm.running_mean)
    assert model.weights.sha256 != ModuleModel(small(1).forward, **PREPARED).weights.sha256
    network.handle = (value for value in range(3))
    with pytest.raises(UserError, match="cannot be copied"):
        ModuleModel(network, **PREPARED).network()


def different() -> Iterator[tuple[str, Any]]:
    yield "weights", small(1)
    yield "gain", small(gain=2.0)
    wider = small()
    wider.layer.stride = (1, 1)
    yield "stride", wider
    buffer = small()
    buffer.norm.running_mean[0] = 1.0
    yield "buffer", buffer
    extra = small()
    extra.table = np.arange(3)
    yield "array", extra
    yield "class", nn.Sequential(small())
    yield "function", lambda x: x.mean((2, 3))
    yield "another function", lambda x: x.std((2, 3))


def test_whatever_changes_the_features_changes_the_identity() -> None:
    found = {"same": identity_of(small()).digest}
    assert identity_of(small()).digest == found["same"]
    assert not identity_of(small()).unseen
    for what, network in different():
        digest = identity_of(network).digest
        assert digest not in found.values(), what
        found[what] = digest


def test_a_closure_is_part_of_a_function_and_a_change_of_a_file_of_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scaled(factor: float) -> Any:
        return lambda x: factor * x.flatten(1)

    assert identity_of(scaled(1.0)).digest == identity_of(scaled(1.0)).digest != identity_of(scaled(2.0)).digest
    monkeypatch.syspath_prepend(tmp_path)
    helper, network = tmp_path / "helper_of_it.py", tmp_path / "network_of_it.py"
    helper.write_text("def feature(x):\n    return x.mean((2, 3))\n")
    network.write_text("import helper_of_it\n\n\ndef encode(x):\n    return helper_of_it.feature(x)\n")
    digests = []
    for text in ("mean", "mean", "amax"):
        helper.write_text(f"def feature(x):\n    return x.{text}((2, 3))\n")
        for name in ("helper_of_it", "network_of_it"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        digests.append(identity_of(importlib.import_module("network_of_it").encode).digest)
    assert digests[0] == digests[1] != digests[2]


def test_what_cannot_be_seen_into_is_good_for_one_object() -> None:
    network = small()
    network.handle = (value for value in range(3))  # a generator: an object of an unknown kind
    found = identity_of(network)
    assert "handle" in found.unseen[0]
    other = small()
    other.handle = (value for value in range(3))
    assert identity_of(other).digest != found.digest == identity_of(network).digest


def images(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (24, 8, 8, 3), dtype=np.uint8)


def test_a_run_takes_modules_functions_and_metrics_that_are_functions(tmp_path: Path) -> None:
    def spread(*, generated: np.ndarray, reference: np.ndarray) -> dict[str, float]:
        return {"spread": float(generated.std() / reference.std())}

    shared: dict[str, Any] = {"store": tmp_path, "progress": False}
    keys = {f"feature_model.{key}": value for key, value in PREPARED.items()}
    first = genaudit.evaluate(images(0), images(1), metrics=[spread, "kd"], feature_model=small(), **shared, **keys)
    network = ModuleModel(small(), **PREPARED).network()
    ours, theirs = (network(torch.from_numpy(images(seed)).permute(0, 3, 1, 2) / 255) for seed in (0, 1))
    ratio = float(ours.std(correction=0) / theirs.std(correction=0))
    assert first["spread"].values["spread"].value == pytest.approx(ratio, rel=1e-4)
    use = first.measures["embedding Small"]
    assert (use.computed, use.reused) == (48, 0)
    assert use.weights_sha256
    model = ModuleModel(small(), **PREPARED)
    again = genaudit.evaluate(images(0), images(1), metrics="kd", feature_model=model, **shared)
    assert again.measures["embedding Small"].computed == 0
    assert again["kd"].values["kd"].value == first["kd"].values["kd"].value
    other = genaudit.evaluate(images(0), images(1), metrics="kd", feature_model=small(1), **shared, **keys)
    assert other.measures["embedding Small"].computed == 48
    assert first.config["metric"]["spread"]["fn"].endswith("spread")


def test_mistakes_are_said(tmp_path: Path) -> None:
    shared: dict[str, Any] = {"metrics": "kd", "store": tmp_path, "progress": False}
    with pytest.raises(UserError, match=r"give feature_model.size, feature_model.mean, feature_model.std"):
        genaudit.evaluate(images(0), images(1), feature_model=small(), **shared)
    with pytest.raises(UserError, match="lacks __call__"):
        genaudit.evaluate(images(0), images(1), feature_model=object(), **shared)
    with pytest.raises(UserError, match="lacks forward"):
        ModuleModel(nn.Module(), **PREPARED)
    with pytest.raises(UserError, match="has no nothing"):
        ModuleModel("torch.nn.nothing", **PREPARED)
    with pytest.raises(UserError, match="no module nowhere_at_all"):
        ModuleModel("nowhere_at_all.it", **PREPARED)
    with pytest.raises(UserError, match=r"cannot be made \(.*feature_model.kwargs"):
        ModuleModel("torch.nn.Linear", **PREPARED)
    with pytest.raises(UserError, match="returned a tuple"):
        ModuleModel(lambda x: (x, x), **PREPARED).network()(torch.rand(2, 3, 8, 8))

    def kd(*, generated: Any) -> float:
        return 0.0

    with pytest.raises(UserError, match="two of the name kd"):
        genaudit.evaluate(images(0), images(1), **{**shared, "metrics": [kd, "kd"]})
    with pytest.raises(UserError, match="a function without a name"):
        genaudit.evaluate(images(0), images(1), **{**shared, "metrics": [lambda *, generated: 0.0]})


def test_the_command_line_takes_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    from genaudit.cli import main
    from genaudit.errors import DONE, USER

    for name, seed in (("a", 0), ("b", 1)):
        np.save(tmp_path / f"{name}.npy", images(seed))
    (tmp_path / "my_networks.py").write_text(
        "import torch\n\n\nclass Net(torch.nn.Module):\n    def __init__(self, k=1):\n        super().__init__()\n"
        "        self.k = k\n\n    def forward(self, x):\n        return self.k * x.mean((2, 3))\n\n\n"
        "class Half(torch.nn.Module):\n    pass\n\n\nclass Bad:\n    name, columns = 'bad', None\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    base = ["evaluate", "a.npy", "reference=b.npy", "metric=[kd]", "feature_model=module", f"store={tmp_path / 's'}"]
    prepared = ["feature_model.size=8", "feature_model.mean=[0,0,0]", "feature_model.std=[1,1,1]"]
    assert main([*base, *prepared, "feature_model.module=my_networks.Net", "+feature_model.kwargs.k=2"]) == DONE
    assert main([*base, *prepared, "feature_model.module=my_networks.Half"]) == USER
    assert "lacks forward" in capsys.readouterr().err
    assert main([*base, "feature_model.module=my_networks.Net"]) == USER
    assert "feature_model.size=" in capsys.readouterr().err
    assert main([*base, *prepared, "feature_model.module=my_networks.Net",
                 "metric.kd.measure={_target_: my_networks.Bad}"]) == USER  # fmt: skip
    assert "Bad lacks weights_sha256, describe, prepare, open, batch_size" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("features", "got"),
    [
        (lambda x: None, "a NoneType of 2 images"),
        (lambda x: {"features": x}, "a dict of 2 images"),
        (lambda x: torch.zeros(4), r"a tensor \(4,\) of 2 images"),
        (lambda x: torch.zeros(len(x), 0), r"a tensor \(2, 0\) of 2 images"),
        (lambda x: torch.zeros(len(x), 3, dtype=torch.complex64), "complex numbers of 2 images"),
        (lambda x: torch.zeros(len(x), 3, device="meta"), "a tensor of the device meta, without values, of 2 images"),
    ],
)
def test_what_is_no_row_of_real_numbers_an_image_is_refused(features: Any, got: str) -> None:
    with pytest.raises(UserError, match=f"feature_model net returned {got}; expected a tensor"):
        checked_features(features(torch.zeros(2, 3, 4, 4)), 2, "net")


def test_sparse_features_are_rows_too() -> None:
    rows = torch.eye(3)
    assert torch.equal(checked_features(rows.to_sparse(), 3, "net"), rows)


@pytest.mark.parametrize(("size", "wrong"), [(1e20, "holds values of .*e[+]20 in size"), (1e-20, "no value above")])
def test_measured_features_that_cannot_be_compared_are_named_by_role(size: float, wrong: str, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
    network = ModuleModel(lambda x: (x.mean((2, 3)) + 9) * size, **PREPARED)
    with pytest.raises(UserError, match=f"reference: the features .*{wrong}|generated: the features .*{wrong}"):
        genaudit.evaluate(images, images[::-1].copy(), metrics=["fd"], feature_model=network, store=str(tmp_path))
