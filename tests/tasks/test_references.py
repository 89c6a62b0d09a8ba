"""References by name: fetched, verified, refused where they are not the run's; a registry of whole entries."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import genaudit
from genaudit.backbones.pixels import Pixels
from genaudit.cli import main
from genaudit.completion import candidates
from genaudit.config_files import config_folder
from genaudit.errors import DONE, USER, UserError
from genaudit.metrics.frechet import frechet_distance_from_moments
from genaudit.remote import http
from genaudit.tasks.run.from_python import compose
from genaudit.tasks.run.moments import expected_preparation, preparation_of
from genaudit.tasks.run.roles import check_there, open_role
from genaudit.tasks.run.settings import Settings
from genaudit.tasks.run.sources import meant, named, registered
from genaudit.tasks.run.specs import STORED
from tests.remote.server import Site, served

PIXELS = ["feature_model=pixels", "feature_model.size=2", "metric=[fd]", "progress=false"]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("GENAUDIT_DOWNLOADS", str(tmp_path / "downloads"))
    monkeypatch.setattr(http, "DELAYS", (0.0,))
    with served() as made:
        yield made


def _npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _entry(folder: Path, name: str, **keys: Any) -> Path:
    """An entry of a user's own folder; => the folder for --config-dir."""
    whole = {"holds": ["moments"], "networks": {"pixels": {"size": 2}}, "source": "a test", "license": "none"} | keys
    path = folder / "own" / "reference" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"# {name} of a test.\n{yaml.safe_dump(whole)}")
    return folder / "own"


ROWS = np.random.default_rng(0).normal(size=(40, 12))
STATISTICS = _npz(mu=ROWS.mean(0), sigma=np.cov(ROWS, rowvar=False))


def test_the_registry_is_whole_and_every_network_can_be_prepared_as_it_says() -> None:
    entries = registered()
    assert {"adm/imagenet256", "clean_fid/ffhq256", "edm2/img512", "edm/cifar10"} <= set(entries)
    for name, entry in entries.items():
        assert entry.about.endswith("."), name
        assert all(address.startswith("https://") for address in entry.addresses), name
        assert set(entry.networks) <= set(STORED), name  # those that files of moments name
        for network, keys in entry.networks.items():
            assert json.loads(expected_preparation(network, keys))["resize"]
        assert ("images" in entry.holds) == (entry.images is not None), name
    assert len({entry.addresses for entry in entries.values()}) == len(entries)
    # a preset of the same tool measures as its references want
    for name, preset in (("adm/imagenet256", "adm"), ("clean_fid/ffhq256", "clean_fid"), ("edm2/img512", "edm2")):
        text = yaml.safe_load((config_folder() / "preset" / f"{preset}.yaml").read_text())
        given = text["feature_model"].get("fid_inception", text["feature_model"])
        assert entries[name].networks["fid_inception"] == given


def test_a_reference_by_name_is_fetched_once_and_gives_the_distance_to_its_moments(
    site: Site, make_images: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site.files["stats.npz"] = STATISTICS
    own = str(_entry(tmp_path, "lab/set", url=site.url("stats.npz"), n=40))
    words = ["evaluate", str(make_images("gen", 20)), "reference=lab/set", "--config-dir", own, *PIXELS]
    documents = []
    for name in ("a", "b"):
        assert main([*words, f"out={tmp_path / name}", "offline=" + ("true" if name == "b" else "false")]) == DONE
        documents.append(json.loads((tmp_path / name / "report.json").read_text()))
    said = capsys.readouterr().err
    assert said.count("trusted on first use") == 1
    first, second = documents
    assert len(site.requests) == 1
    assert first["images"]["reference"]["source"] == "lab/set"
    assert first["metrics"]["fd"]["n"]["reference"] == 40
    for document in documents:
        (line,) = [each["message"] for each in document["warnings"] if each["code"] == "reference-by-name"]
        assert hashlib.sha256(STATISTICS).hexdigest() in line
        assert "nobody publishes" in line
    assert first["metrics"] == second["metrics"]
    assert first["warnings"] == second["warnings"]
    value = first["metrics"]["fd"]["values"]["fd"]["value"]
    # the mean colours of 2 x 2 fields, which is what the network of two pixels a side sees
    rows = Pixels(size=2).network()(_squares(Path(words[1]))).double().numpy()
    expected = frechet_distance_from_moments(
        rows.mean(0), np.cov(rows, rowvar=False), ROWS.mean(0), np.cov(ROWS, rowvar=False)
    )
    assert value == pytest.approx(expected, rel=1e-5)


def _squares(folder: Path) -> torch.Tensor:
    """(N, 3, 2, 2) in [0, 1]: the folder's images, resized by Pillow's own bicubic filter."""
    pictures = [Image.open(path).resize((2, 2), Image.Resampling.BICUBIC) for path in sorted(folder.iterdir())]
    return torch.from_numpy(np.stack([np.asarray(each) for each in pictures])).permute(0, 3, 1, 2).float() / 255


def test_another_network_or_preparation_is_refused_before_anything_is_fetched(
    site: Site, make_images: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = str(_entry(tmp_path, "set", url=site.url("stats.npz")))
    start = ["evaluate", str(make_images("gen", 6)), "reference=set", "--config-dir", own, "metric=[fd,vendi]"]
    assert main([*start, "feature_model=pixels", "feature_model.size=4"]) == USER
    said = capsys.readouterr().err
    assert "prepared for pixels otherwise than in this run (size 2, here 4)" in said
    assert "feature_model=pixels feature_model.size=2 prepares them alike" in said
    assert main([*start, "feature_model=efficientnet_lite0"]) == USER
    said = capsys.readouterr().err
    assert "reference=set holds moments of pixels, and this run measures with efficientnet_lite0" in said
    assert main([*start[:3], "metric=[fd]", "feature_model=efficientnet_lite0"]) == USER  # not known without the folder
    assert "set does not exist" in capsys.readouterr().err
    assert site.requests == []


def test_a_batch_with_images_serves_another_network_by_its_images(
    site: Site, make_images: Callable[..., Path], tmp_path: Path
) -> None:
    images = np.random.default_rng(1).integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
    site.files["VIRTUAL_x.npz"] = _npz(arr_0=images, mu=ROWS.mean(0), sigma=np.cov(ROWS, rowvar=False))
    networks = {"fid_inception": {"preprocessing": "torch-fidelity"}}
    url = site.url("VIRTUAL_x.npz")
    own = str(_entry(tmp_path, "batch", url=url, holds=["moments", "images"], networks=networks, images=12))
    words = ["evaluate", str(make_images("gen", 12)), "reference=batch", "--config-dir", own, *PIXELS]
    assert main([*words, f"out={tmp_path / 'out'}"]) == DONE
    document = json.loads((tmp_path / "out" / "report.json").read_text())
    assert document["metrics"]["fd"]["n"]["reference"] == 12
    assert document["images"]["reference"]["source"] == "batch"
    assert "reference-by-name" in {each["code"] for each in document["warnings"]}


def test_a_malicious_or_changed_file_is_a_sentence(
    site: Site, make_images: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, target = str(make_images("gen", 6)), tmp_path / "ran"
    site.files["evil.pkl"] = b"cos\nsystem\n(S'touch %s'\ntR." % str(target).encode()
    site.files["stats.npz"] = STATISTICS
    wrong = hashlib.sha256(b"").hexdigest()
    own = str(_entry(tmp_path, "evil", url=site.url("evil.pkl")))
    _entry(tmp_path, "wrong", url=site.url("stats.npz"), sha256=wrong)
    _entry(tmp_path, "large", url=site.url("stats.npz?2"), bytes=10)
    for name, said in (
        ("evil", "nothing in it was run"),
        ("wrong", f"its SHA-256 is {hashlib.sha256(STATISTICS).hexdigest()}, not {wrong}"),
        ("large", "not of 10"),
    ):
        assert main(["evaluate", images, f"reference={name}", "--config-dir", own, *PIXELS]) == USER
        error = capsys.readouterr().err
        assert said in error
        assert "Traceback" not in error
    assert not target.exists()


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"url": None}, "url (one address or a list) or file"),
        ({"url": "ftp://example.org/x.npz"}, "url (one address or a list) or file"),
        ({"sha256": "abc"}, "64 hexadecimal digits"),
        ({"holds": ["weights"]}, "some of moments"),
        ({"networks": {}}, "networks: a name and its keys"),
        ({"n": 0}, "n must be a positive integer or null, got 0"),
        ({"license": None}, "source and license are needed"),
        ({"_target_": "os.system"}, "unknown key _target_"),
    ],
)
def test_an_entry_that_is_none_is_a_sentence_that_names_its_file(
    keys: dict[str, Any], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = _entry(tmp_path, "bad", **({"url": "https://example.org/x.npz"} | keys))
    assert main(["evaluate", "nothing", "reference=bad", "--config-dir", str(own), *PIXELS]) == USER
    error = capsys.readouterr().err
    assert said in error
    assert "bad.yaml" in error


def test_a_path_wins_over_a_name_and_close_names_are_told(
    make_images: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = named("edm/cifar10")
    assert found is not None
    assert (found.name, found.holds, found.n) == ("edm/cifar10", ("moments",), 50_000)
    (tmp_path / "edm").mkdir()
    make_images("edm/cifar10", 3)
    assert named("edm/cifar10") is None
    assert "clean_fid/ffhq256" in meant("clean_fid/ffhq25")
    assert meant("nothing/like/it") == ""
    settings = Settings.of(_measuring())
    with pytest.raises(UserError, match=r"does not exist.*did you mean .*clean_fid/ffhq256"):
        open_role("reference", "clean_fid/ffhq25", settings)


def _measuring() -> dict[str, Any]:
    from genaudit.tasks.run.from_python import compose

    cfg: dict[str, Any] = compose("evaluate", ["progress=false"])
    return cfg


def test_references_are_listed_with_what_they_need(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    own = _entry(tmp_path, "lab/set", file="stats.npz")
    assert main(["list", "references", "--config-dir", str(own)]) == DONE
    text = " ".join(capsys.readouterr().out.split())
    assert "adm/imagenet256" in text
    assert "lab/set" in text
    assert "--config-dir" in text


def test_names_are_completed() -> None:
    assert candidates("genaudit evaluate reference=adm/imagenet2", config_folder()) == ["reference=adm/imagenet256"]


def test_python_takes_names_too_and_a_file_beside_its_entry(make_images: Callable[..., Path], tmp_path: Path) -> None:
    own = _entry(tmp_path, "lab", file="stats.npz")
    (own / "reference" / "stats.npz").write_bytes(STATISTICS)
    keys: dict[str, Any] = {"feature_model.size": 2, "progress": False}
    images = str(make_images("gen", 20))
    report = genaudit.evaluate(
        images, reference="lab", metrics="fd", feature_model="pixels", config_dir=str(own), **keys
    )
    assert report.to_dict()["images"]["reference"]["source"] == "lab"
    by_path = genaudit.evaluate(
        images, reference=str(own / "reference" / "stats.npz"), metrics="fd", feature_model="pixels", **keys
    )
    assert report["fd"] == by_path["fd"]


def test_what_moments_writes_is_what_an_entry_takes(make_images: Callable[..., Path], tmp_path: Path) -> None:
    """A laboratory's own reference: a file of `genaudit moments` and an entry beside it."""
    real, generated = str(make_images("real", 30, seed=1)), str(make_images("gen", 30, seed=2))
    own = _entry(tmp_path, "lab", file="stats.npz")
    out = own / "reference" / "stats.npz"
    assert main(["moments", real, f"out={out}", "feature_model=pixels", "feature_model.size=2"]) == DONE
    values = []
    for name, reference in (("name", "lab"), ("images", real)):
        words = [generated, f"reference={reference}", "--config-dir", str(own), *PIXELS]
        assert main(["evaluate", *words, f"out={tmp_path / name}"]) == DONE
        report = json.loads((tmp_path / name / "report.json").read_text())
        values.append(report["metrics"]["fd"]["values"]["fd"]["value"])
    assert values[0] == pytest.approx(values[1], rel=1e-9)


def test_preparations_of_two_tools_differ() -> None:
    found = {
        tool: expected_preparation("fid_inception", {"preprocessing": tool}) for tool in ("clean-fid", "pytorch-fid")
    }
    assert found["clean-fid"] != found["pytorch-fid"]
    with pytest.raises(UserError, match="no feature model"):
        expected_preparation("nothing", {})
    assert preparation_of(Pixels(size=3)) == expected_preparation("pixels", {"size": 3})


@pytest.mark.parametrize("role", ["generated", "reference", "train"])
def test_a_path_that_is_not_there_is_said_before_weights_are_asked_for(role: str, tmp_path: Path) -> None:
    sources = {name: str(tmp_path) for name in ("generated", "reference", "train")} | {role: str(tmp_path / "no")}
    with pytest.raises(UserError, match=f"{role}: .*no does not exist"):
        check_there(sources, Settings.of(compose("evaluate", [])))
    assert check_there(sources | {role: "clean_fid/ffhq256" if role == "reference" else "x*"}, None) is None  # type: ignore[arg-type]
