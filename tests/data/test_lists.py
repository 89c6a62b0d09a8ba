"""Lists of images and of shards, with and without labels, and brace patterns."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest

from genaudit.data import ImageSet, open_images
from genaudit.data.braces import expand, has_braces
from genaudit.data.ignored import COMMENT, NO_NAME
from genaudit.errors import UserError

from .conftest import encode


def opened(source: object, **options: object) -> ImageSet:
    found = open_images(source, **options)  # type: ignore[arg-type]
    assert isinstance(found, ImageSet)
    return found


@pytest.fixture
def root(tmp_path: Path, pixels: np.ndarray) -> Path:
    for name, image in (("a b.png", pixels[0]), ("c.png", pixels[1]), ("d", pixels[2])):
        (tmp_path / name).write_bytes(encode(image))
    for shard in range(12):
        with tarfile.open(tmp_path / f"s-{shard:03}.tar", "w") as archive:
            archive.add(tmp_path / "c.png", f"{shard}.png")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("l.txt", "a b.png\nc.png\n"),
        ("l.txt", "a b.png 3\nc.png 14\n"),
        ("l.txt", "a b.png\tcat\nc.png\tdog\n"),
        ("l.txt", "a b.png,cat\nc.png,dog\n"),
        ("l.csv", "label,path\n3,a b.png\n4,c.png\n"),
        ("l.csv", "3,a b.png\n4,c.png\n"),
        ("l.csv", "class,sample\ncat,a b.png\ndog,c.png\n"),
        ("l.csv", "a b.png;3\nc.png;4\n"),
        ("l.csv", "a b.png,cat\nc.png,dog\n"),
        ("l.tsv", "caption\tfile_name\na, b\ta b.png\nc\tc.png\n"),
        ("l.jsonl", '{"file_name": "a b.png", "label": 3}\n\n{"file_name": "c.png", "text": "x"}\n'),
        ("l.jsonl", '"a b.png"\n"c.png"\n'),
        ("l.jsonl", '{"label": 1, "IMAGE": "a b.png"}\n{"label": 2, "IMAGE": "c.png"}'),
    ],
)
def test_names_are_found_beside_labels(root: Path, name: str, text: str) -> None:
    (root / name).write_text(text)
    images = opened(root / name)
    assert images.names == ["a b.png", "c.png"]
    assert images.ignored == {}


def test_a_file_without_extension_is_read_where_a_list_or_a_path_names_it(root: Path) -> None:
    for name, text in (("l.txt", "d\nc.png\n"), ("l.csv", "path,label\nd,1\nc.png,2\n"), ("m.csv", "d,1\nc.png,2\n")):
        (root / name).write_text(text)
        assert opened(root / name).names == ["d", "c.png"]
    assert opened(root / "d").names == ["d"]


def test_lines_that_are_left_out_are_counted(root: Path) -> None:
    (root / "l.txt").write_text("# by hand\nc.png\n\n#d\n")
    assert opened(root / "l.txt").ignored == {COMMENT: 2}
    (root / "l.csv").write_text("label,path\n1,c.png\n2\n3,\n")
    assert opened(root / "l.csv").ignored == {NO_NAME: 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [("{}\n", "line 1 names no image"), ('"c.png"\nnot json\n', "line 2 is no JSON"), ("[1]\n", "names no image")],
)
def test_lines_of_json_that_name_nothing_are_refused(root: Path, text: str, message: str) -> None:
    (root / "l.jsonl").write_text(text)
    with pytest.raises(UserError, match=message):
        open_images(root / "l.jsonl")


def test_names_that_are_parted_by_nul_are_refused(root: Path) -> None:
    for name, text in (("l.txt", "c.png\0a b.png\0"), ("l.jsonl", '"c.png\\u0000"')):
        (root / name).write_text(text)
        with pytest.raises(UserError, match="holds NUL bytes"):
            open_images(root / name)


def test_lists_name_shards_and_braces(root: Path) -> None:
    expected = opened(f"{root}/s-*.tar")
    assert len(expected) == 12
    (root / "l.txt").write_text("".join(f"s-{i:03}.tar\n" for i in range(12)))
    (root / "b.txt").write_text("s-{000..011}.tar\n")
    for source in (root / "l.txt", root / "b.txt", f"{root}/s-{{000..011}}.tar", f"{root}/s-0{{00..11}}.tar"):
        assert opened(source).digest == expected.digest
        assert opened(source).names[11].endswith("s-011.tar/11.png")


def test_braces_stand_for_several_paths_and_all_must_be_there(root: Path) -> None:
    assert expand("s-{008..010}.{tar,zip}", "r") == [f"s-{i:03}.{kind}" for i in (8, 9, 10) for kind in ("tar", "zip")]
    assert expand("{3..1}", "r") == ["3", "2", "1"]
    assert not any(map(has_braces, ("a{b}.png", "{}", "x{1..}y", "{{a}}")))
    with pytest.raises(UserError, match=r"s-012\.tar does not exist"):
        open_images(f"{root}/s-{{010..012}}.tar")
    with pytest.raises(UserError, match="more than 100,000 paths"):
        open_images(f"{root}/{{0..99999999999}}.tar")
    (root / "{a,b}.png").write_bytes((root / "c.png").read_bytes())
    assert opened(root / "{a,b}.png").names == ["{a,b}.png"]  # a literal path wins
