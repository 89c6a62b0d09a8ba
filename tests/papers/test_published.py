"""The published numbers are complete, as printed, and each table has a source and its recipes."""

from __future__ import annotations

import json
import re
from importlib.resources import files

import pytest

from genaudit_papers.published import UNREADABLE, compared, papers, parse, published, tables

# rows and columns of every table as it stands on the page (mean rows and idealised rows among them)
SHAPES = {
    ("hwang2024", "Table B.1"): (4, 4),
    ("hwang2024", "Table C.1"): (6, 3),
    ("hwang2024", "Table E.1"): (9, 6),
    ("schirrmeister2020", "Table S1"): (3, 3),
    ("schirrmeister2020", "Table S2"): (9, 6),
    ("schirrmeister2020", "Table S3"): (4, 6),
    ("schirrmeister2020", "Table S4"): (9, 1),
    ("dombrowski2025", "Table 4"): (10, 4),
    ("dombrowski2025", "Table 5"): (12, 2),
    ("dombrowski2025", "Table 6"): (10, 5),
    ("modern_gans", "Table 1"): (9, 2),
    ("modern_gans", "Table 2"): (3, 12),
    ("modern_gans", "Table 3"): (5, 2),
    ("raisa2025", "Table 3"): (30, 6),
    ("raisa2025", "Table 4"): (30, 6),
    ("tuluptceva2019", "Table 1"): (2, 6),
    ("tuluptceva2019", "Table 2"): (22, 9),
    ("tuluptceva2019", "Table 3 (left)"): (3, 2),
    ("tuluptceva2019", "Table 3 (centre)"): (5, 1),
    ("tuluptceva2019", "Table 3 (right)"): (5, 1),
    # layers of the generator, the image critic, the encoder and the latent critic
    ("tuluptceva2019", "Supplement Table 1"): (8 + 11 + 9 + 7, 3),
    ("tuluptceva2019", "Supplement Table 2"): (8 + 11 + 9 + 7, 3),
    ("tuluptceva2019", "Supplement Table 3"): (9 + 12 + 9 + 7, 3),
    ("tuluptceva2019", "Supplement Table 4"): (9 + 12 + 10 + 7, 3),
}
# what the issue that asked for the tables names
NAMED = {
    "hwang2024": ["Table B.1", "Table C.1", "Section D", "Table E.1", "Section E.2", "Section F", "Fig. G.1"],
    "schirrmeister2020": ["Table S1", "Table S2", "Table S3", "Table S4", "Section S3", "Section S5.2", "Section S6"],
    "dombrowski2025": [
        *("Fig. 6", "Fig. 7", "Fig. 8", "Fig. 9", "Fig. 10", "Fig. 11", "Fig. 13", "Fig. 14"),
        *("Table 4", "Table 5", "Table 6", "Section 11"),
    ],
    "modern_gans": ["Fig. 3", "Fig. 4", "Fig. 7", "Fig. 8", "Fig. 9", "Table 1", "Table 2", "Table 3"],
    "raisa2025": ["Table 3", "Table 4"],
    "tuluptceva2019": [
        "Table 1",
        "Table 2",
        "Table 3 (left)",
        "Table 3 (centre)",
        "Table 3 (right)",
        "Fig. 1",
        "Fig. 5",
    ],
}


@pytest.mark.parametrize("place", SHAPES)
def test_a_table_has_the_rows_and_columns_of_the_page(place: tuple[str, str]) -> None:
    table = published(*place)
    assert (len(table.rows), len(table.columns)) == SHAPES[place]
    assert len(table.cells) == len(table.rows) * len(table.columns)


def test_every_table_and_figure_that_was_asked_for_is_there_with_a_source_and_a_recipe() -> None:
    for paper, names in NAMED.items():
        for name in names:
            table = published(paper, name)
            assert table.recipes, (paper, name)
            assert table.where.startswith(("section", "Table", "Fig", "supplement"))
            assert papers()[paper] in table.source


def test_every_file_of_numbers_belongs_to_one_table() -> None:
    for paper in papers():
        folder = files("genaudit_papers") / paper
        named = [
            each["file"]
            for each in json.loads((folder / "published.json").read_text("utf-8"))["tables"]
            if each.get("file")
        ]
        assert sorted(named) == sorted(each.name for each in (folder / "published").iterdir())


def test_cells_are_numbers_dashes_or_marked_as_unreadable() -> None:
    """Where a table of results is not a number it says so; only the supplement's tables of layers hold words.

    The tables of sanity checks print T, F, H and L: passed, failed, passed as a high or as a low metric.
    """
    for table in tables():
        for cell in table:
            if cell.value is None and not table.where.startswith("supplement, Table"):
                words = "TFHL" if table.paper == "raisa2025" else ("", "-", "40 attrib.")
                assert cell.printed in words, (table.paper, table.table, cell)
    unreadable = [cell for table in tables() for cell in table if cell.printed == UNREADABLE]
    assert len(unreadable) == 10  # the encoders of PIAD's supplement, Tables 3 and 4
    assert all(cell.row.startswith("encoder") for cell in unreadable)


@pytest.mark.parametrize(
    ("printed", "value", "spread", "bound"),
    [
        ("67.46 ± 0.04", 67.46, 0.04, ""),
        ("82.30 ± 0.66%", 82.30, 0.66, ""),
        ("96.4 (1.4)", 96.4, 1.4, ""),
        ("<0.0001*", 0.0001, None, "<"),
        ("> 0.8", 0.8, None, ">"),
        ("3,033,342", 3033342, None, ""),
        ("1281166", 1281166, None, ""),
        ("-7.27", -7.27, None, ""),
        ("-", None, None, ""),
        ("32 × 4 × 4", None, None, ""),
    ],
)
def test_a_cell_is_read_as_printed(printed: str, value: float | None, spread: float | None, bound: str) -> None:
    cell = parse("row", "column", printed)
    assert (cell.value, cell.spread, cell.bound, cell.printed) == (value, spread, bound, printed)


def test_half_a_unit_counts_trailing_zeros() -> None:
    assert parse("", "", "0.650").half_unit == pytest.approx(0.0005)
    assert parse("", "", "70,000").half_unit == 0.5
    assert parse("", "", "67.40 ± 0.04").half_unit == pytest.approx(0.005)
    with pytest.raises(ValueError, match="not a number"):
        _ = parse("", "", "-").half_unit


def test_numbers_that_other_places_of_the_paper_repeat_agree() -> None:
    """Independent of the transcription: what a paper prints twice must be the same here."""
    ablation = published("tuluptceva2019", "Table 3 (right)")["+ gr-norm w + rel-perc-L1", "ROC AUC"]
    assert ablation.value == published("tuluptceva2019", "Table 2")["CIFAR-10 avg", "PIAD"].value
    assert published("dombrowski2025", "Table 4")["Idealized", "euclidean alpha 2"].value == 86.47
    fids = published("modern_gans", "Section 3.1")
    assert (
        fids["StyleGAN-XL", "CIFAR10"].value == published("modern_gans", "Table 1")["StyleGAN-XL CIFAR10", "FID"].value
    )
    assert fids["BigGAN", "ImageNet"].value == published("modern_gans", "Table 1")["BigGAN ImageNet", "FID"].value


def test_the_papers_own_inconsistencies_are_noted_where_they_stand() -> None:
    assert "7/2" in " ".join(published("dombrowski2025", "Table 6").notes)
    assert "7/3" in " ".join(published("dombrowski2025", "Fig. 13").notes)
    assert "48,744" in " ".join(published("dombrowski2025", "Section 11").notes)
    assert "3.35" in " ".join(published("modern_gans", "Table 1").notes)


def test_an_unknown_table_or_cell_names_those_there_are() -> None:
    with pytest.raises(KeyError, match="Table 4"):
        published("dombrowski2025", "Table 40")
    with pytest.raises(KeyError, match="BYOL"):
        published("dombrowski2025", "Table 4")["BYOLA", "cosine alpha 2"]


@pytest.mark.parametrize(
    ("printed", "recomputed", "verdict"),
    [
        ("0.650", 0.6505, "reproduced"),
        ("0.650", 0.6506, "within 1 %"),
        ("0.650", 0.66, "same order"),
        ("<0.0001*", 0.00005, "reproduced"),
        ("<0.0001*", 0.0002, "same order"),
        ("< 0.05", -0.2, "reproduced"),
        ("> 0.8", 0.81, "reproduced"),
        ("> 0.8", 0.79, "same order"),
        ("> 0.8", 0.795, "within 1 %"),
        ("> 0.8", -0.81, "differs"),
        ("-", 1.0, "not published"),
    ],
)
def test_printed_digits_and_bounds_decide(printed: str, recomputed: float, verdict: str) -> None:
    assert compared(parse("row", "column", printed), recomputed).verdict == verdict


def test_papers_are_named_by_citation_key_and_each_is_a_folder_of_recipes() -> None:
    assert set(papers()) == {table.paper for table in tables()} == set(NAMED)
    for paper in papers():
        assert re.fullmatch(r"[a-z_]+(\d{4})?", paper)
        assert [each for each in (files("genaudit_papers") / paper).iterdir() if each.name.endswith(".py")]
