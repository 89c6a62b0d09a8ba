"""Saved density models: what was saved is what is loaded, and anything else is refused with a reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from genaudit.errors import UserError
from genaudit.likelihood import saved
from genaudit.likelihood.glow import Glow, LocalGlow
from genaudit.likelihood.pixelcnnpp import PixelCNNpp

KINDS = {
    "glow.Glow": (Glow, {"channels": 1, "size": 8, "scales": 2, "steps": 1, "hidden": 4}),
    "glow.LocalGlow": (LocalGlow, {"channels": 3, "size": 8, "patch": 4, "steps": 1, "hidden": 4}),
    "pixelcnnpp.PixelCNNpp": (PixelCNNpp, {"channels": 1, "size": 8, "filters": 2, "blocks": 1, "components": 2}),
}


@pytest.mark.parametrize("target", KINDS)
def test_a_loaded_model_gives_the_likelihoods_of_the_saved_one(target: str, tmp_path: Path) -> None:
    kind, knobs = KINDS[target]
    model = kind(**knobs)
    x = torch.rand(3, *model.image_shape) - 0.5
    model.initialise(x)
    folder = saved.save(model, tmp_path / "run", {"_target_": f"genaudit.likelihood.{target}", **knobs}, images="abc")
    loaded = saved.load(folder)
    assert torch.equal(loaded.contributions(x), model.eval().contributions(x))
    assert bool(loaded.initialised)
    assert not any(p.requires_grad for p in loaded.parameters())
    about = saved.describe(folder)
    assert (about["channels"], about["size"], about["about"]) == (knobs["channels"], 8, {"images": "abc"})
    assert about["scales"] == model.contributions(x).shape[1]


def _glow(folder: Path) -> Path:
    kind, knobs = KINDS["glow.Glow"]
    return saved.save(kind(**knobs), folder, {"_target_": "genaudit.likelihood.glow.Glow", **knobs})


def test_a_folder_without_a_model_names_what_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved, "PRETRAINED", tmp_path / "pretrained")
    _glow(tmp_path / "pretrained" / "small")
    assert saved.names() == ["small"]
    assert saved.find("small") == tmp_path / "pretrained" / "small"
    with pytest.raises(UserError, match=r"is no folder.*ships: small"):
        saved.load("large")


def test_an_unfinished_training_is_distinguished_from_no_model(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").touch()
    with pytest.raises(UserError, match="not come to its end"):
        saved.describe(tmp_path)


def test_a_description_cannot_name_code_of_elsewhere(tmp_path: Path) -> None:
    path = _glow(tmp_path) / "model.json"
    description = json.loads(path.read_text())
    for target in ("os.system", "genaudit.likelihood.trainer.Trainer", "genaudit.likelihood.absent.Glow"):
        description["node"] = {"_target_": target, "command": "echo"}
        path.write_text(json.dumps(description))
        with pytest.raises(UserError, match="is not made for a model folder"):
            saved.load(tmp_path)


def test_other_weights_and_other_kinds_are_refused(tmp_path: Path) -> None:
    path = _glow(tmp_path) / "model.json"
    text = path.read_text()
    path.write_text(text.replace('"hidden": 4', '"hidden": 5'))
    with pytest.raises(UserError, match="does not hold the weights"):
        saved.load(tmp_path)
    path.write_text(text.replace('"likelihood"', '"piad"'))
    with pytest.raises(UserError, match="kind 'piad'"):
        saved.load(tmp_path)
    path.write_text("{}")
    with pytest.raises(UserError, match="does not describe a model"):
        saved.load(tmp_path)
    path.write_text(text)
    (tmp_path / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(UserError, match="does not hold the weights"):
        saved.load(tmp_path)


def test_the_address_is_of_the_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    first = saved.sha256(_glow(tmp_path / "a"))
    torch.manual_seed(0)
    assert saved.sha256(_glow(tmp_path / "b")) == first
    assert saved.sha256(_glow(tmp_path / "c")) != first
