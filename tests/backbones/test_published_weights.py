"""Weights that are known by address and SHA-256: fetched once, verified, found again, or a sentence."""

from __future__ import annotations

import dataclasses
import hashlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from genaudit.backbones import fid_inception
from genaudit.backbones.downloads import Published
from genaudit.backbones.fid_inception import PUBLISHED, FidInception
from genaudit.backbones.torchvision_model import TorchvisionModel
from genaudit.cli import main
from genaudit.errors import USER, UserError
from genaudit.remote import http
from tests.remote.server import Site, cut, served


def _weights(seed: int = 0) -> bytes:
    buffer = io.BytesIO()
    torch.save({"a": torch.arange(4000, dtype=torch.float32) + seed}, buffer)
    return buffer.getvalue()


FILE = _weights()
SHA = hashlib.sha256(FILE).hexdigest()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """FID's Inception published at a server of the test's own, with a mirror; no hub folder and no cache."""
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("GENAUDIT_DOWNLOADS", str(tmp_path / "downloads"))
    monkeypatch.setattr(http, "DELAYS", (0.0,))
    with served() as made:
        addresses = (made.url("first.pth"), made.url("mirror.pth"))
        changed = dataclasses.replace(PUBLISHED, addresses=addresses, sha256=SHA, size=len(FILE))
        monkeypatch.setattr(fid_inception, "PUBLISHED", changed)
        yield made


def test_the_published_inception_is_the_file_whose_name_holds_its_hash() -> None:
    for name in PUBLISHED.names:
        assert name.endswith(f"-{PUBLISHED.sha256[:8]}.pth")
    assert len(PUBLISHED.sha256) == 64
    assert all(address.startswith("https://") for address in PUBLISHED.addresses)
    assert [address.rpartition("/")[2] for address in PUBLISHED.addresses] == list(PUBLISHED.names)


def test_inception_fetches_its_weights_once(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.files["first.pth"] = FILE
    site.faults = [cut(5000)]
    assert FidInception().find_weights() is None
    weights = FidInception().load_weights()
    assert weights.sha256 == SHA
    assert torch.equal(weights.state_dict["a"], torch.arange(4000.0))
    assert "fetches its weights from" in capsys.readouterr().err
    assert site.requests[1][1]["range"] == "bytes=5000-"
    again = FidInception(offline=True)
    assert again.find_weights() == weights.source
    assert again.load_weights().sha256 == SHA
    assert len(site.requests) == 2


def test_a_mirror_serves_and_another_file_does_not(site: Site) -> None:
    site.files["first.pth"] = _weights(seed=1)
    with pytest.raises(UserError, match="SHA-256") as caught:
        FidInception().load_weights()
    assert "answers 404" in str(caught.value)  # the mirror
    assert "feature_model.checkpoint=FILE" in str(caught.value)
    assert FidInception().find_weights() is None
    site.files["mirror.pth"] = FILE
    assert FidInception().load_weights().sha256 == SHA


def test_what_other_tools_fetched_is_used_where_it_is_that_file(site: Site, tmp_path: Path) -> None:
    hub = tmp_path / "torch" / "hub" / "checkpoints"
    hub.mkdir(parents=True)
    place = hub / PUBLISHED.names[1]  # pytorch-fid's
    place.write_bytes(FILE)
    assert FidInception(offline=True).load_weights().source == str(place)
    place.write_bytes(_weights(seed=1))
    with pytest.raises(UserError, match="is not the published file"):
        FidInception().load_weights()
    assert FidInception(checkpoint=str(place)).load_weights().trained  # asked for by its path
    assert site.requests == []


def test_offline_is_a_sentence_and_asks_nobody(
    site: Site, make_images: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    images = str(make_images("a", 3))
    words = ["evaluate", images, f"reference={images}", "feature_model=fid_inception", "metric=[fd]"]
    assert main([*words, "offline=true"]) == USER
    said = capsys.readouterr().err
    assert "its weights are not on this machine" in said
    assert "feature_model.checkpoint=FILE" in said
    assert site.requests == []
    assert main(words) == USER
    said = capsys.readouterr().err
    assert "answers 404" in said
    assert "Traceback" not in said


def test_torchvisions_weights_are_verified_by_the_hash_in_their_name(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.files[f"net-{SHA[:8]}.pth"], site.files["net-00000000.pth"] = FILE, FILE
    model: Any = TorchvisionModel("resnet18")
    monkeypatch.setattr(model, "_published", lambda: Published.of_torch(site.url("net-00000000.pth")))
    with pytest.raises(UserError, match="not 00000000"):
        model.load_weights()
    monkeypatch.setattr(model, "_published", lambda: Published.of_torch(site.url(f"net-{SHA[:8]}.pth")))
    assert model.find_weights() is None
    assert model.load_weights().sha256 == SHA
    assert model.find_weights() == model.load_weights().source
    assert TorchvisionModel("resnet18")._published().sha256 == "f37072fd"  # as torchvision names the file
