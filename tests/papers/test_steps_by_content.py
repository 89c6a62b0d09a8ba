"""`reproduce` never reads back a step of other images, weights or models: each is replaced, and the table changes."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from genaudit import demo
from genaudit.cli import main
from genaudit.errors import DONE
from genaudit.likelihood import saved
from genaudit.likelihood.glow import Glow
from genaudit.recipe import Context
from genaudit.tasks.run import recipes
from genaudit.tasks.run.recipes import NamedRecipe, contents
from genaudit_papers.schirrmeister2020.glow_exact import Fourier
from genaudit_papers.tuluptceva2019.piad_fig1 import PIADFig1

NODE = {"_target_": "genaudit.likelihood.glow.Glow", "channels": 1, "size": 8, "scales": 1, "steps": 1, "hidden": 4}


def train_again(folder: Path, seed: int) -> None:
    """Another model in the same folder."""
    torch.manual_seed(seed)
    model = Glow(**{key: value for key, value in NODE.items() if key != "_target_"})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    saved.save(model.eval(), folder, NODE)


def draw_again(folder: Path, seed: int) -> None:
    """Other images under the same names, of the same size in pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, image in enumerate(np.random.default_rng(seed).integers(0, 256, (12, 8, 8), dtype=np.uint8)):
        Image.fromarray(image).save(folder / f"{index}.bmp")


def test_a_model_or_images_that_were_replaced_in_their_place_change_the_table(tmp_path: Path) -> None:
    model, data = tmp_path / "model", tmp_path / "data"
    train_again(model, 0)
    draw_again(data / "real", 0)
    keys = [f"table.model={model}", "table.sets=[real]", f"data={data}", f"store={tmp_path / 'store'}"]

    def made(root: Path = data) -> list[float]:
        where = [*keys, f"data={root}", f"out={tmp_path / 'out'}", "progress=false"]
        assert main(["reproduce", "table=likelihood_fourier", *where]) == DONE
        document = json.loads((tmp_path / "out" / "likelihood_fourier.json").read_text())
        return [cell["recomputed"] for cell in document["cells"]]

    first = made()
    assert made() == first
    train_again(model, 1)
    assert made()[:2] != first[:2]
    train_again(model, 0)
    draw_again(data / "real", 1)
    assert made() != first
    draw_again(data / "real", 0)
    steps = list((tmp_path / "store").rglob("correlations.json"))
    shutil.move(data, tmp_path / "elsewhere")
    assert made(tmp_path / "elsewhere") == first  # the same images in another place are the same
    assert sorted((tmp_path / "store").rglob("correlations.json")) == sorted(steps)
    assert len(steps) == 3


def test_another_file_of_vgg19_is_another_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    draw_again(tmp_path / "data" / "lsun" / "bedroom", 0)
    file = tmp_path / "checkpoints" / "vgg19-dcbb9e9d.pth"
    file.parent.mkdir()
    named = NamedRecipe("piad_fig1", PIADFig1(), {})
    places = []
    for content in (b"one", b"two", b"one"):
        file.write_bytes(content)
        places.append(named.folder({"store": str(tmp_path)}, "paper", 0, tmp_path / "data"))
    assert places[0] == places[2] != places[1]


def test_other_code_another_version_and_other_demo_images_are_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def place() -> Path:
        return NamedRecipe("piad_fig1", PIADFig1(), {}).folder({"store": str(tmp_path)}, "laptop", 0, None)

    (tmp_path / "demo").mkdir()
    first = place()
    changes = {
        f"{recipes.__name__}._sources": lambda module: ["another line"],
        f"{recipes.__name__}.__version__": "99",
        "genaudit.demo.FOLDER": tmp_path / "demo",
    }
    others = []
    for name, value in changes.items():
        with monkeypatch.context() as patched:
            patched.setattr(name, value)
            others.append(place())
    assert len({first, *others}) == 4
    assert place() == first


def test_a_training_is_named_by_what_it_depends_on_and_by_the_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, another = (Context("laptop", tmp_path / table, None, tmp_path / "store") for table in ("one", "another"))
    here = one.training_folder("glow", {"images": "a", "seed": 0})
    assert another.training_folder("glow", {"seed": 0, "images": "a"}) == here  # tables share it
    assert one.training_folder("glow", {"images": "b", "seed": 0}) != here
    monkeypatch.setattr("genaudit.recipe.__version__", "99")
    assert one.training_folder("glow", {"images": "a", "seed": 0}) != here


def test_the_contents_of_a_folder_are_its_files_and_their_names(tmp_path: Path) -> None:
    draw_again(tmp_path / "a", 0)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    (tmp_path / "b" / "0.bmp").rename(tmp_path / "b" / "label 1.bmp")
    assert contents(tmp_path / "a") != contents(tmp_path / "b")
    # same size, same time: only the bytes tell
    file = tmp_path / "a" / "0.bmp"
    before, times = contents(tmp_path / "a"), (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    os.utime(file, ns=times)
    assert contents(tmp_path / "a") != before


OPENED: list[list[str]] = []  # the paths that are opened while a test asks for them


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and OPENED and isinstance(arguments[0], str):
        OPENED[-1].append(arguments[0])


sys.addaudithook(_hear)


@contextmanager
def opened() -> Iterator[list[str]]:
    OPENED.append([])
    try:
        yield OPENED[-1]
    finally:
        OPENED.pop()


@pytest.mark.parametrize(
    "recipe", [Fourier("MODEL", ("real", "demo:held_out")), PIADFig1(size=32)], ids=["fourier", "fig1"]
)
def test_a_recipe_names_every_file_that_it_reads(recipe: Any, tmp_path: Path) -> None:
    """Weights, images, models: what is opened during a run is below a path of a need, or ships with the demo."""
    if isinstance(recipe, Fourier):
        recipe.model, recipe.sets = str(tmp_path / "model"), {"laptop": ("real",)}
        train_again(tmp_path / "model", 0)
        draw_again(tmp_path / "data" / "real", 0)
    named = [path.resolve() for need in recipe.needs("laptop", tmp_path / "data") for path in need.paths]
    with opened() as paths:
        recipe.run(Context("laptop", tmp_path / "run" / "recipe", tmp_path / "data", tmp_path / "store"))
    kinds = (".png", ".jpg", ".bmp", ".pth", ".safetensors", ".npz")
    images = {Path(each).resolve() for each in paths if each.endswith(kinds)}
    read = {each for each in images if tmp_path / "run" not in each.parents and demo.FOLDER not in each.parents}
    assert read
    unnamed = {each for each in read if not any(each == path or path in each.parents for path in named)}
    assert not unnamed
