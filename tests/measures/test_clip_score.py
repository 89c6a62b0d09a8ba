"""CLIPScore of images with prompts through a run, on a small CLIP of open_clip's with weights of a local file."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import genaudit
from genaudit.errors import UserError
from tests.reports.synthetic import photograph

PROMPTS = ["a cat", "a dog in the rain", "a cat", "ein Haus", "nothing at all", "two red cubes"] * 2
SMALL = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Overrides for a tiny network, and the network."""
    open_clip = pytest.importorskip("open_clip")
    folder = tmp_path_factory.mktemp("clip")
    (folder / "tiny-for-tests.json").write_text(json.dumps(SMALL))
    open_clip.add_model_config(folder / "tiny-for-tests.json")
    torch.manual_seed(0)
    network = open_clip.create_model("tiny-for-tests").eval()
    torch.save(network.state_dict(), folder / "tiny.pt")
    measure = "metric.clip_score.measure."
    return {
        "keys": {f"{measure}model": "tiny-for-tests", f"{measure}weights": str(folder / "tiny.pt")},
        "network": network,
    }


def write(folder: Path, seed: int) -> Path:
    folder.mkdir()
    for place in range(len(PROMPTS)):
        Image.fromarray(photograph(place if seed else place % 4, 40, seed)).save(folder / f"{place}.png")
    with open(folder / "list.csv", "w", newline="") as file:
        csv.writer(file).writerows(
            [("path", "prompt"), *((f"{place}.png", text) for place, text in enumerate(PROMPTS))]
        )
    return folder / "list.csv"


def test_a_run_scores_each_image_with_its_prompt(clip, tmp_path: Path) -> None:
    import open_clip

    ours, real = write(tmp_path / "ours", 0), write(tmp_path / "real", 1)
    shared: dict[str, Any] = {"metrics": "clip_score", "store": tmp_path / "store", "progress": False, **clip["keys"]}
    report = genaudit.evaluate(ours, real, **shared)
    # open_clip's own preprocessing and tokens; its resize rounds to uint8 as genaudit's does
    _, _, transform = open_clip.create_model_and_transforms("tiny-for-tests")
    pictures = torch.stack([transform(Image.open(tmp_path / "ours" / f"{place}.png")) for place in range(len(PROMPTS))])
    with torch.no_grad():
        seen = clip["network"].encode_image(pictures, normalize=True)
        read = clip["network"].encode_text(open_clip.get_tokenizer("tiny-for-tests")(PROMPTS), normalize=True)
    expected = 100 * (seen * read).sum(1).clamp(min=0).numpy()
    assert report.images["clip_score"] == pytest.approx(expected, abs=0.05)
    assert report["clip_score"].values["clip_score"].value == pytest.approx(float(expected.mean()), abs=0.05)
    assert report["clip_score"].values["clip_score"].real.n == len(PROMPTS)  # real images with their own prompts
    name = next(name for name in report.measures if name.startswith("clip "))
    # the same image with the same prompt is one row, with another prompt another
    pairs = {(place % 4, text) for place, text in enumerate(PROMPTS)}
    again = genaudit.evaluate(ours, real, **shared)
    assert again.measures[name].computed == 0
    assert report.measures[name].computed <= 2 * len(PROMPTS)
    assert len(pairs) > 4
    with open(ours, "a") as file:
        file.write("0.png,another prompt\n")
    more = genaudit.evaluate(ours, real, **shared)
    assert more.measures[name].computed == 1
    assert more["clip_score"].details["shuffled"] is not None


def test_long_prompts_are_cut_and_said(clip, tmp_path: Path) -> None:
    images = np.stack([photograph(place, 32) for place in range(12)])
    texts = ["short", "a very long prompt with far more words than this small network can ever read at once"] * 6
    report = genaudit.evaluate(
        genaudit.labelled(images, prompts=texts), metrics="clip_score", store=tmp_path, progress=False, **clip["keys"]
    )
    (caution,) = report["clip_score"].cautions
    assert caution.message.startswith("6 of 12 prompts")


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.stack([photograph(place, 32) for place in range(12)])
    shared: dict[str, Any] = {"metrics": "clip_score", "store": tmp_path, "progress": False}
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(UserError, match=r"pip install 'genaudit-images\[clip\]'"):
        genaudit.evaluate(genaudit.labelled(images, prompts=["x"] * 12), **shared)
    monkeypatch.undo()
    pytest.importorskip("open_clip")
    with pytest.raises(UserError, match="open_clip has no network of this name"):
        genaudit.evaluate(images, **shared, **{"metric.clip_score.measure.model": "ViT-nothing"})
    missing = str(tmp_path / "none.pt")
    with pytest.raises(UserError, match="cannot be loaded"):
        genaudit.evaluate(
            genaudit.labelled(images, prompts=["x"] * 12), **shared, **{"metric.clip_score.measure.weights": missing}
        )


def test_prompts_are_needed_of_every_image(clip, tmp_path: Path) -> None:
    images = np.stack([photograph(place, 32) for place in range(12)])
    shared: dict[str, Any] = {"metrics": "clip_score", "store": tmp_path, "progress": False, **clip["keys"]}
    with pytest.raises(UserError, match="needs a prompt of every image"):
        genaudit.evaluate(images, **shared)
    with pytest.raises(UserError, match="2 images have none"):
        genaudit.evaluate(genaudit.labelled(images, prompts=["x"] * 10 + [""] * 2), **shared)
