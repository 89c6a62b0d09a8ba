"""Finished runs side by side: ranks by direction, overlaps with the best, and warnings where they don't compare."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import pytest
from rich.console import Console

from genaudit.errors import UserError
from genaudit.reports.comparison import Comparison, compare
from genaudit.reports.decisions import by_intervals, why_unrankable
from genaudit.reports.files import json_text

from .synthetic import make_report, photograph

Change = Callable[[dict[str, Any]], None]


def run(folder: Path, *, shift: float = 0.0, n: int = 20, change: Change | None = None) -> Path:
    folder.mkdir(parents=True)
    document = make_report(n, pictures=False, shift=shift).to_dict()
    document["images"]["generated"]["source"] = f"samples/{folder.name}"
    if change:
        change(document)
    (folder / "report.json").write_text(json_text(document), errors="backslashreplace")
    return folder


def cells(comparison: Comparison, name: str) -> list[Any]:
    (row,) = [row for row in comparison.rows if row.name == name]
    return list(row.cells)


def test_ranks_follow_the_direction_and_overlaps_are_with_the_best(tmp_path):
    # as (lower is better) is 0.2 in [0.15, 0.26] shifted up, irs_inf (higher) is 0.6 in [0.5, 0.7] shifted down.
    comparison = compare([run(tmp_path / "a", shift=0.05), run(tmp_path / "b"), run(tmp_path / "c", shift=0.3)])
    assert [run.label for run in comparison.runs] == ["a", "b", "c"]
    for name in ("as", "irs_inf"):
        assert [(cell.rank, cell.overlaps_best) for cell in cells(comparison, name)] == [
            (2, True), (1, True), (3, False),
        ]  # fmt: skip
    assert [(cell.rank, cell.overlaps_best) for cell in cells(comparison, "as_i_median")] == [(None, None)] * 3
    assert comparison.warnings == []


def test_what_genaudits_own_metrics_declare_is_known_of_finished_runs(tmp_path):
    def judged(by: str, reached: float) -> Change:
        def change(document: dict[str, Any]) -> None:
            document["config"]["metric"] = {"rarity": {"fn": {"_target_": by}}}
            entry = {**document["metrics"]["as_i"], "details": {"rarity_reference": 3.0}}
            entry["values"] = {"rarity_mean": {"value": reached, "lower": None, "upper": None, "better": "none"}}
            document["metrics"] = {"rarity": entry, "as": document["metrics"]["as"]}

        return change

    own, users = "genaudit.metrics.rarity.judge", "mine.judge"
    comparison = compare(
        [run(tmp_path / "a", change=judged(own, 2.5)), run(tmp_path / "b", change=judged(users, 5.0), n=30)]
    )
    assert [cell.from_held_out for cell in cells(comparison, "rarity_mean")] == [0.5, None]
    assert comparison.explanation("rarity").startswith("How sparse the real images are")
    assert comparison.explanation("as") == ""
    html = comparison.write(tmp_path)["comparison.html"].read_text()
    assert "How sparse the real images are" in html
    # its mean does not move with the number of images, that of another metric may
    same = compare([run(tmp_path / "c", change=judged(own, 2.5)), run(tmp_path / "d", change=judged(own, 5.0), n=30)])
    reasons = why_unrankable(same.runs)
    assert "rarity" not in reasons
    assert "number of images" in reasons["as"]


def test_values_of_other_settings_have_no_rank_and_a_warning_says_so(tmp_path):
    def with_k(k: int):
        def change(document: dict[str, Any]) -> None:
            document["config"]["metric"] = {"as": {"measure": "m", "fn": {"_target_": "x", "k": k}}}

        return change

    same = compare([run(tmp_path / "a", change=with_k(5)), run(tmp_path / "b", change=with_k(5), shift=0.3)])
    assert [cell.rank for cell in cells(same, "as")] == [1, 2]
    other = compare([run(tmp_path / "c", change=with_k(5)), run(tmp_path / "d", change=with_k(3), shift=0.3)])
    assert [cell.rank for cell in cells(other, "as")] == [None, None]
    assert [each.code for each in other.warnings] == ["different-settings"]
    assert [cell.rank for cell in cells(other, "irs_inf")] == [1, 2]


def test_equal_values_share_a_rank_and_missing_numbers_have_none(tmp_path):
    def lose(document: dict[str, Any]) -> None:
        document["metrics"]["as"]["values"]["as"].update(value=None)

    def drop(document: dict[str, Any]) -> None:
        del document["metrics"]["as"]

    def bare(document: dict[str, Any]) -> None:
        document["metrics"]["as"]["values"]["as"].update(lower=None, upper=None)

    paths = [run(tmp_path / "a"), run(tmp_path / "b"), run(tmp_path / "c", shift=0.1, change=bare)]
    paths += [run(tmp_path / "d", change=lose), run(tmp_path / "e", change=drop)]
    comparison = compare(paths)
    found = cells(comparison, "as")
    assert [cell and cell.rank for cell in found] == [None] * 5  # c has no interval, so that none can be ranked
    assert next(row for row in comparison.rows if row.name == "as").unranked == "there is no interval"
    assert found[4] is None
    found = cells(compare([*paths[:2], *paths[3:]]), "as")
    assert [cell and cell.rank for cell in found] == [1, 1, None, None]
    assert [cell and cell.overlaps_best for cell in found] == [True, True, None, None]


@pytest.mark.parametrize(
    ("code", "metric", "change"),
    [
        ("different-measure", None, lambda d: d["measures"]["anomaly"].update(fingerprint="00" * 16)),
        ("different-measure", "mine", lambda d: d["metrics"]["mine"].update(measure="anomaly")),
        ("different-reference", None, lambda d: d["images"]["reference"].update(digest="00" * 16)),
        ("different-train", None, lambda d: d["images"]["train"].update(digest="00" * 16)),
        ("different-n", "irs", lambda d: d["metrics"]["irs"]["n"].update(reference=59)),
    ],
)
def test_runs_that_do_not_compare_are_named(tmp_path, code, metric, change):
    comparison = compare([run(tmp_path / "a"), run(tmp_path / "b"), run(tmp_path / "c", change=change)])
    assert [(each.code, each.metric) for each in comparison.warnings] == [(code, metric)]
    assert "(a, b)" in comparison.warnings[0].message
    assert "(c)" in comparison.warnings[0].message


def test_different_generated_images_are_what_is_compared_and_no_warning(tmp_path):
    def other(document: dict[str, Any]) -> None:
        document["images"]["generated"]["digest"] = "00" * 16

    assert compare([run(tmp_path / "a"), run(tmp_path / "b", change=other)]).warnings == []


def test_labels_are_the_shortest_that_differ(tmp_path):
    def same(document: dict[str, Any]) -> None:
        document["images"]["generated"]["source"] = "samples"

    first, second = run(tmp_path / "x" / "1", change=same), run(tmp_path / "y" / "1", change=same)
    assert [run.label for run in compare([first, second / "report.json"]).runs] == ["x/1", "y/1"]
    assert [run.label for run in compare([first, first]).runs] == ["1", "1 (2)"]


def test_the_files_agree_with_each_other(tmp_path):
    comparison = compare([run(tmp_path / "a"), run(tmp_path / "<script>b", shift=0.3)])
    paths = comparison.write(tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(paths)
    document = json.loads(paths["comparison.json"].read_text())
    assert document["schema"] == "genaudit/comparison/1"
    with open(paths["comparison.csv"], newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == sum(len(row["cells"]) for row in document["rows"])
    assert {
        "metric": "as", "name": "as", "better": "lower", "run": "<script>b",
        "value": "0.5", "lower": "0.44999999999999996", "upper": "0.56", "rank": "2", "overlaps_best": "False",
    }.items() <= rows[1].items()  # fmt: skip
    assert rows[1]["differs_from_best"] == "True"
    assert float(rows[1]["p_value"]) < 0.001
    page = paths["comparison.html"].read_text()
    assert page.count("<script>") == 1, "the page's own"
    assert "<script>b" not in page
    assert "&lt;script&gt;b" in page


def test_the_console_shows_every_run(tmp_path):
    comparison = compare([run(tmp_path / "a"), run(tmp_path / "[red]b", shift=0.05)])
    stream = io.StringIO()
    Console(file=stream, width=120).print(comparison.console(plain=True))
    assert "[red]b" in stream.getvalue()
    assert "≈ 0.250 #2" in stream.getvalue()
    assert re.search(r"≈ 0\.250 #2 *\n *0\.150 to 0\.260 +0\.200 to 0\.310", stream.getvalue())  # a line of its own


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "holds no report.json"),
        (b"{", "is not JSON"),
        (b'{"a": NaN}', "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[1]", "has no key 'schema'"),
        (b'{"schema": "genaudit/report/99"}', "has the schema .genaudit/report/99."),
        (b'{"schema": "genaudit/report/1"}', "at the top level"),
    ],
)
def test_what_is_no_report_is_refused_by_name(tmp_path, content, message):
    folder = tmp_path / "bad"
    folder.mkdir()
    if content is not None:
        (folder / "report.json").write_bytes(content)
    with pytest.raises(UserError, match=message) as raised:
        compare([run(tmp_path / "a"), folder])
    assert str(folder) in str(raised.value)


def test_a_value_of_the_wrong_type_is_named_with_its_place(tmp_path):
    def spoil(document: dict[str, Any]) -> None:
        document["metrics"]["as"]["values"]["as"]["value"] = "low"

    with pytest.raises(UserError, match=r"at metrics\.as\.values\.as\.value"):
        compare([run(tmp_path / "a"), run(tmp_path / "b", change=spoil)])


def test_missing_paths_and_single_runs_are_refused(tmp_path):
    with pytest.raises(UserError, match="nowhere does not exist"):
        compare([run(tmp_path / "a"), tmp_path / "nowhere"])
    with pytest.raises(UserError, match="two runs or more"):
        compare([tmp_path / "a"])


def photograph_of(run: int, index: int, size: int, seed: int) -> Any:
    return photograph(index, size, seed + 10 * run)


def test_the_page_shows_each_runs_pictures_and_links_to_its_report(tmp_path):
    folders = [tmp_path / "runs" / name for name in ("a b", "c#d", "no page")]
    for seed, folder in enumerate(folders[:2]):
        own = partial(photograph_of, seed)
        make_report(20, size=8, seed=seed, photograph=own).save(folder)
        document = json.loads((folder / "report.json").read_text())
        document["images"]["generated"]["source"] = f"samples/{folder.name}"
        (folder / "report.json").write_text(json_text(document))
    run(folders[2])
    out = tmp_path / "compared" / "here"
    page = compare(folders).write(out)["comparison.html"].read_text()
    links = re.findall(r'href="([^"#][^"]*)"', page)
    assert sorted(set(links)) == ["./../../runs/a%20b/report.html", "./../../runs/c%23d/report.html"]
    for link in set(links):
        assert (out / unquote(link)).resolve().is_file()
    heads = page.partition("</thead>")[0]
    shown = re.findall(r'<img src="(data:image/png;base64,[^"]+)"', heads)
    assert len(shown) == len(set(shown)) == 12
    for place, folder in enumerate(folders[:2]):
        report = (folder / "report.html").read_text()
        look = report.partition('data-role="generated"')[2].partition('data-role="real"')[0]
        assert all(uri in look for uri in shown[6 * place : 6 * place + 6]), "generated images of this very run"


def test_of_a_strangers_page_nothing_but_pictures_passes(tmp_path):
    folders = [run(tmp_path / "a"), run(tmp_path / "b", shift=0.3)]
    bad = ('<img src="data:image/svg+xml;base64,PHN2Zz4=">', '<img src="https://example.org/x.png">',
           '<img src="data:image/png;base64,AA==\' onerror=alert(1)">', "<script>alert(1)</script>")  # fmt: skip
    (folders[0] / "report.html").write_text(
        f'<div data-role="generated">{"".join(bad)}<img src="data:image/png;base64,AAAA" alt="x" class="pixels"></div>'
    )
    (folders[1] / "report.html").write_text("no such section")
    page = compare(folders).write(tmp_path / "out")["comparison.html"].read_text()
    assert re.findall(r'<img src="([^"]*)"', page) == ["data:image/png;base64,AAAA"]
    assert "alert" not in page
    assert "example.org" not in page


def test_the_first_difference_comes_before_what_explains_the_table(tmp_path):
    def other(document: dict[str, Any]) -> None:
        document["images"]["reference"]["digest"] = "0" * 32

    folders = [run(tmp_path / "a"), run(tmp_path / "b", shift=0.3, change=other)]
    page = compare(folders).write(tmp_path / "out")["comparison.html"].read_text()
    assert page.index("</summary>") < page.index("The reference images differ"), "warnings are folded"
    assert page.index('class="compared"') < page.index("Best in bold")


def test_an_interval_too_wide_for_the_square_of_its_error_tells_nothing_apart() -> None:
    """A report of somebody else's may hold any numbers."""
    wide, narrow = (SimpleNamespace(value=0.0, lower=-end, upper=end) for end in (1e200, 1.0))
    assert by_intervals([wide, narrow], [0.95, 0.95]) == 1.0  # type: ignore[list-item]
