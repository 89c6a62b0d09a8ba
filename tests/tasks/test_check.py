"""`genaudit check`: what would be used, and whether roles may be compared."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genaudit.cli import main
from genaudit.errors import DONE, USER


def _check(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["check", *arguments, "progress=false"]) == DONE
    return re.sub(r"\s+", " ", capfd.readouterr().out)


def test_roles_are_tabulated_and_their_differences_said(
    make_images: Callable[..., Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sets = {role: make_images(role, 20, seed=seed) for seed, role in enumerate(("reference", "train", "png"))}
    (tmp_path / "jpg").mkdir()
    for path in sets["png"].iterdir():
        Image.open(path).save(tmp_path / "jpg" / f"{path.stem}.jpg", quality=70)
    for path in sorted(sets["train"].iterdir())[:4]:
        shutil.copy(path, sets["reference"] / f"x{path.name}")
    shown = _check(capfd, str(tmp_path / "jpg"), *(f"{role}={sets[role]}" for role in ("reference", "train")))
    assert "generated reference train images 20 24 20 format JPEG PNG PNG JPEG quality 70" in shown
    assert "warning The compression differs (generated: JPEG; reference: lossless; train: lossless)" in shown
    assert "4 of 24 reference images are byte for byte also train images: the reference is not held out" in shown
    assert shown.count("warning") == 2


def test_roles_that_differ_in_nothing_are_said_to(
    make_images: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    shown = _check(capfd, str(make_images("a", 20, seed=1)), f"reference={make_images('b', 22, seed=2)}")
    assert "nothing was found that would keep these sets from being compared" in shown


def test_counts_copies_and_the_set_itself_are_said(
    make_images: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    first = make_images("a", 20, seed=1)
    shown = _check(capfd, str(first), f"reference={first}")
    assert "not comparable 20 of 20 generated images are byte for byte also reference images" in shown
    second = make_images("b", 60, seed=2)
    many = _check(capfd, str(first), f"reference={second}")
    assert "and their like: 20 generated and 60 reference images. These values depend on both numbers" in many
    limited = _check(capfd, str(first), f"reference={second}", "limit_reference=22", "limit=18")
    assert "counts-differ" not in limited
    assert "images 18 22" in limited


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{a}", "{b}", "reference={b}"], "with reference=, one set of generated images is needed"),
        (["{a}", "harm=true"], "harm=true needs reference="),
        (["{a}", "harm=maybe", "reference={b}"], "harm must be true or false"),
        (["{a}", "reference=nowhere"], "reference: nowhere does not exist"),
        (["{a}", "reference={f}", "harm=true"], "harm=true needs images as generated and as reference"),
        (["{a}", "reference={b}", "harm=true"], "harm=true needs 40 images or more, and reference has 12"),
    ],
)
def test_what_cannot_be_checked_is_a_sentence(
    arguments: list[str],
    words: str,
    make_images: Callable[..., Path],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    np.savez(tmp_path / "f.npz", features=np.ones((5, 3)))
    paths = {"a": make_images("a", 12), "b": make_images("b", 12, seed=2, size=40), "f": tmp_path / "f.npz"}
    filled = [argument.format(**paths) for argument in arguments]
    assert main(["check", *filled, "progress=false"]) == USER
    assert words in capfd.readouterr().err


def test_harm_says_by_how_much_a_recoded_half_moves(
    make_images: Callable[..., Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    reference = make_images("reference", 60, seed=1, size=32)
    (tmp_path / "jpg").mkdir()
    for path in make_images("generated", 60, seed=2, size=32).iterdir():
        Image.open(path).convert("L").resize((16, 16)).save(tmp_path / "jpg" / f"{path.stem}.jpg", quality=10)
    keys = "feature_model=pixels", "feature_model.size=8"
    shown = _check(capfd, str(tmp_path / "jpg"), f"reference={reference}", "harm=true", *keys)
    assert "harm: 60 reference images are recoded as the generated images are" in shown
    found = re.findall(
        r"(resized to 16x16|made grey|JPEG at quality 10|all of these): FD 0 becomes (\S+), recall", shown
    )
    harm = {step: float(distance) for step, distance in found}
    assert list(harm) == ["resized to 16x16", "made grey", "JPEG at quality 10", "all of these"]
    # images of smooth colours: of 8x8 means, a smaller size changes little and grey much
    assert 0 < harm["resized to 16x16"] < harm["JPEG at quality 10"] < harm["made grey"]
    # the reference is not to be recoded where it is what has been through JPEG: then the samples are
    swapped = _check(capfd, str(reference), f"reference={tmp_path / 'jpg'}", "harm=true", *keys)
    assert "harm: 60 generated images are recoded as the reference images are" in swapped
    same = _check(capfd, str(reference), f"reference={tmp_path / 'generated'}", "harm=true", *keys)
    assert "nothing differs that recoding would change" in same


def test_check_runs_nothing_of_what_it_reads(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A pickle among the images is neither unpickled nor an image."""
    import pickle

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (exec, ("import pathlib; pathlib.Path('exploded').touch()",))

    (tmp_path / "images").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "images" / "a.png")
    for name in ("b.pt", "c.pkl", "d.npy", "e.png"):
        (tmp_path / "images" / name).write_bytes(pickle.dumps(Bomb()))
    shown = _check(capfd, str(tmp_path / "images"), f"reference={tmp_path / 'images'}")
    assert "1 images would be used, 1 skipped" in shown
    assert main(["check", str(tmp_path / "images" / "b.pt"), "progress=false"]) == USER
    assert not Path("exploded").exists()
