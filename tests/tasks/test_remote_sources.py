"""Roles and model files by address: fetched, read as local files are, named by their address in the report."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import genaudit
from genaudit.cli import main
from genaudit.errors import DONE, USER, UserError
from genaudit.hydra_words import is_override
from genaudit.remote import http
from tests.remote.server import Site, cut, served, status

FAST = ["feature_model=pixels", "feature_model.size=4", "metric=[fd]", "progress=false"]


def _zip(seed: int, count: int = 8) -> bytes:
    rng = np.random.default_rng(seed)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for index in range(count):
            picture = io.BytesIO()
            Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).save(picture, "png")
            archive.writestr(f"{index}.png", picture.getvalue())
    return buffer.getvalue()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("GENAUDIT_DOWNLOADS", str(tmp_path / "downloads"))
    monkeypatch.setattr(http, "DELAYS", (0.0,))
    with served() as made:
        made.files |= {f"s-{number}.zip": _zip(number) for number in range(3)}
        yield made


def _report(out: Path, *words: str) -> dict[str, Any]:
    assert main(["evaluate", *words, *FAST, f"out={out}"]) == DONE
    document: dict[str, Any] = json.loads((out / "report.json").read_text())
    return document


def test_sets_by_address_are_those_of_their_files(site: Site, tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"s-{number}.zip").write_bytes(site.files[f"s-{number}.zip"])
    site.faults = [cut(300)]
    words = [site.url("s-0.zip?key=value"), f"reference={site.url('s-{1..2}.zip')}"]
    remote = _report(tmp_path / "a", *words)
    local = _report(tmp_path / "b", str(tmp_path / "s-0.zip"), f"reference={tmp_path / 's-{1..2}.zip'}")
    assert remote["metrics"]["fd"]["values"] == local["metrics"]["fd"]["values"]
    for role in ("generated", "reference"):
        assert remote["images"][role]["digest"] == local["images"][role]["digest"]
    assert remote["images"]["generated"]["source"] == site.url("s-0.zip")
    assert remote["images"]["reference"]["count"] == 16
    asked = len(site.requests)
    again = _report(tmp_path / "c", *words)
    assert again["metrics"] == remote["metrics"]
    assert len(site.requests) == asked + 3  # whether they have changed, and nothing of them
    site.faults = [status(500)] * 12
    assert _report(tmp_path / "d", *words)["metrics"] == remote["metrics"]  # the copies that are here


def test_what_cannot_be_fetched_is_exit_code_2_and_one_sentence(
    site: Site, make_images: Callable[..., Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = str(make_images("a", 3))
    site.files["page"] = b"<html>Not what you wanted</html>"
    site.files["torn.zip"] = site.files["s-0.zip"][:400]
    for reference, said in (
        (site.url("none.zip"), "answers 404"),
        (site.url("page"), "is of no kind that can be read"),
        (site.url("torn.zip"), "torn.zip"),
        ("http://127.0.0.1:9/x.zip", "cannot be reached"),
        ("s3://bucket/set", "s3:// needs the package s3fs: pip install 'genaudit-images[remote]'"),
    ):
        monkeypatch.setitem(__import__("sys").modules, "s3fs", None)  # as where the extra is missing
        for verb in (["evaluate", images], ["check", images]):
            assert (
                main([*verb, f"reference={reference}", "progress=false", *FAST[: 2 * (verb[0] == "evaluate")]]) == USER
            )
            error = capsys.readouterr().err
            assert said in error
            assert "Traceback" not in error


def test_check_moments_and_python_take_addresses(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = site.url("s-0.zip")
    assert main(["check", address, "progress=false"]) == DONE
    assert "8 images" in capsys.readouterr().out
    assert main(["moments", address, f"out={tmp_path / 'm.npz'}", *FAST[:2], "progress=false"]) == DONE
    keys: dict[str, Any] = {"feature_model.size": 4, "progress": False}
    report = genaudit.evaluate(
        [address, site.url("s-1.zip")], reference=site.url("s-2.zip"), metrics="fd", feature_model="pixels", **keys
    )
    assert report.roles["generated"].count == 16
    with pytest.raises(UserError, match="not on this machine"):
        genaudit.evaluate(site.url("x.zip"), address, metrics="fd", feature_model="pixels", offline=True, **keys)


def test_a_network_takes_its_weights_by_address(
    site: Site, make_images: Callable[..., Path], tiny: list[str], tmp_path: Path
) -> None:
    import timm
    import torch

    weights = io.BytesIO()
    torch.save(timm.create_model("test_resnet", pretrained=False).state_dict(), weights)
    site.files["net.pth"] = weights.getvalue()
    (tmp_path / "net.pth").write_bytes(weights.getvalue())
    images = str(make_images("a", 8))
    network = [key for key in tiny if "pretrained" not in key]
    found = []
    for name, checkpoint in (("a", site.url("net.pth")), ("b", str(tmp_path / "net.pth"))):
        out = tmp_path / name
        words = ["evaluate", images, f"reference={images}", *network, f"feature_model.checkpoint={checkpoint}"]
        assert main([*words, "metric=[fd]", "progress=false", f"out={out}"]) == DONE
        found.append(json.loads((out / "report.json").read_text()))
    assert found[0]["measures"].keys() == found[1]["measures"].keys()
    for measure in found[0]["measures"]:
        assert found[0]["measures"][measure]["weights_sha256"] == found[1]["measures"][measure]["weights_sha256"]
    # the same weights: rows of the same fingerprint, of both roles' eight images
    use = found[1]["measures"]["embedding test_resnet"]
    assert (use["computed"], use["reused"]) == (0, 16)


def test_an_address_with_a_question_is_no_setting(tmp_path: Path) -> None:
    from genaudit.config_files import config_folder

    for own in (True, False):
        assert not is_override("https://example.org/a.zip?x=1", config_folder(), "evaluate", own_configs=own)
        assert is_override("reference=https://example.org/a.zip?x=1", config_folder(), "evaluate", own_configs=own)
