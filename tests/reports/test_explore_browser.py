"""explore.html in a real browser: what is drawn, sorted, filtered, selected and copied, by mouse and keyboard.

report.html too: pictures that open large, a narrow window, print. And comparison.html, whose runs a click orders.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genaudit.reports import explore
from genaudit.reports.comparison import Comparison, compare
from genaudit.reports.comparison_runs import Difference

from .synthetic import make_report

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "browser.py"
spec = importlib.util.spec_from_file_location("browser", SCRIPT)
assert spec is not None
assert spec.loader is not None
browser_module = importlib.util.module_from_spec(spec)
sys.modules["browser"] = browser_module
spec.loader.exec_module(browser_module)

pytestmark = pytest.mark.skipif(
    browser_module.find() is None,
    reason="there is no Chromium on this machine (Debian and Ubuntu: apt-get install chromium)",
)
N = 600


def colour(index: int, size: int = 8, seed: int = 0) -> np.ndarray:
    """One colour an image: which image a canvas shows is told by its pixels."""
    return np.full((size, size, 3), (index % 256, index // 256 * 40, 20 * seed), np.uint8)


@pytest.fixture(scope="module")
def run():
    report = make_report(N, size=8, photograph=colour)
    report.images["label"] = [("cat", "dog", "eel")[i % 3] for i in range(N)]
    return report


@pytest.fixture(scope="module")
def browser():
    with browser_module.Browser() as started:
        yield started


@pytest.fixture(scope="module")
def file(run, tmp_path_factory) -> Path:
    return run.save(tmp_path_factory.mktemp("run"))["explore.html"]


@pytest.fixture
def page(browser, file):
    return browser.open(file, width=1000, height=700)


SHOWN = "[...document.querySelectorAll('[data-place]')].map(e => e.id.replace('image-', '') | 0)"


def sort(page, name: str, *, down: bool = False) -> None:
    page.js(f"(() => {{ const s = document.getElementById('sort'); s.value = '{name}';"
            "s.dispatchEvent(new Event('change')); })()")  # fmt: skip
    if down:
        page.press("r")


def test_only_what_is_seen_is_drawn_and_each_canvas_shows_its_own_image(page):
    shown = page.js(SHOWN)
    assert shown[0] == 0
    assert 20 < len(shown) < 150
    page.js("document.getElementById('scroll').scrollTop = 1e6")
    page.wait(f"{SHOWN}.includes({N - 1})")
    assert 0 not in page.js(SHOWN)
    assert len(page.js(SHOWN)) < 150
    page.wait("[...document.querySelectorAll('canvas')].every(c => c.dataset.drawn)")
    pixels = page.js(
        "[...document.querySelectorAll('[data-place]')].map(e => { const c = e.querySelector('canvas');"
        "return [...c.getContext('2d').getImageData(c.width / 2, c.height / 2, 1, 1).data].slice(0, 3); })"
    )
    assert pixels == [[int(x) for x in colour(i, seed=1)[0, 0]] for i in page.js(SHOWN)]


def test_sorting_is_that_of_numpy_and_what_has_no_number_comes_last_either_way(page, run):
    values = run.images["complexity"]
    assert np.isnan(values).sum() == 1
    order = np.argsort(values, kind="stable")  # NumPy puts what is no number last
    sort(page, "complexity")
    assert page.js(SHOWN)[:20] == order[:20].tolist()
    page.press("r")
    falling = [i for i in order[::-1] if np.isfinite(values[i])]
    assert page.js(SHOWN)[:20] == [int(i) for i in falling[:20]]
    page.press("End")
    page.wait(f"{SHOWN}.at(-1) === 3")


def test_filters_of_range_class_and_name_hold_together(page, run):
    page.click("#filters")
    for name, value in (("complexity, least", "0.2"), ("complexity, most", "0.3")):
        page.js(f"(() => {{ const i = document.querySelector('[aria-label=\"{name}\"]'); i.value = '{value}';"
                "i.dispatchEvent(new Event('change')); })()")  # fmt: skip
    page.js("(() => { const s = document.querySelector('#panel select');"
            "s.value = [...s.options].find(o => o.text === 'eel').value;"
            "s.dispatchEvent(new Event('change')); })()")  # fmt: skip
    values, labels = run.images["complexity"], np.array(run.images["label"])
    expected = np.flatnonzero((values >= 0.2) & (values <= 0.3) & (labels == "eel"))
    assert 0 < len(expected) < N // 3
    assert page.js("document.getElementById('status').textContent") == f"{len(expected)} of {N} images"
    assert page.js(SHOWN)[:10] == expected[:10].tolist()
    page.js("(() => { const i = document.getElementById('search'); i.value = 'no such name';"
            "i.dispatchEvent(new Event('input')); })()")  # fmt: skip
    assert page.js("!document.getElementById('nothing').hidden")


def test_names_are_selected_by_key_and_mouse_and_copied_in_the_order_shown(page, run):
    page.js("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    sort(page, "vulnerability", down=True)
    page.press(" ")
    page.press("ArrowRight")
    page.press("ArrowRight")
    page.press(" ")
    page.click("[data-place='4']", modifiers=8)  # with Shift: from the last one to here
    page.press("c", modifiers=2)
    page.wait("window.copied !== undefined")
    order = np.argsort(-run.images["vulnerability"], kind="stable")
    names = page.js("data.names")
    assert page.js("window.copied").split("\n") == [names[order[i]] for i in (0, 2, 3, 4)]
    assert page.js("document.getElementById('status').textContent").endswith("4 selected · copied 4 names")


def test_an_image_opens_large_beside_its_nearest_training_image(page, run):
    page.press("ArrowRight")
    page.press("Enter")
    assert page.js("document.getElementById('large').open")
    text = page.js("document.getElementById('large').innerText")
    assert run.images["nearest_train"][1] in text
    index = run.names["train"].index(run.images["nearest_train"][1])
    page.wait("[...document.querySelectorAll('dialog canvas')].every(c => c.dataset.drawn)")
    pixels = page.js("[...document.querySelectorAll('dialog canvas')]"
                     ".map(c => [...c.getContext('2d').getImageData(2, 2, 1, 1).data].slice(0, 3))")  # fmt: skip
    expected = [colour(1, seed=1), colour(index, seed=2)]
    assert pixels == [[int(x) for x in each[0, 0]] for each in expected]
    page.press("ArrowRight")
    assert run.images["nearest_train"][2] in page.js("document.getElementById('large').innerText")
    page.press("Escape")
    page.wait("!document.getElementById('large').open")


def test_a_partner_has_a_name_and_no_distance(browser, tmp_path):
    report = make_report(6, size=8, photograph=colour)
    report.images["partner"] = [report.names["train"][0]] * 6
    report.pointers["partner"] = ("train", np.zeros(6, int))
    page = browser.open(report.save(tmp_path)["explore.html"], width=1000, height=700)
    page.press("Enter")
    captions = [
        each for each in page.js("document.getElementById('large').innerText").split("\n") if "distance" in each
    ]
    assert all(report.names["train"][0] not in each for each in captions)


def test_the_page_asks_for_nothing_runs_nothing_else_and_complains_of_nothing(page):
    sort(page, "nearest_train")
    page.press("t")
    page.press("Enter")
    assert all(url.startswith(("file:", "data:")) for url in page.requests())
    assert page.complaints() == []
    assert not any(method == "Page.javascriptDialogOpening" for method, _ in page.events), "a name ran"
    # what its policy refuses
    page.js("(() => { const s = document.createElement('script'); s.textContent = 'window.ran = 1';"
            "document.body.append(s);"
            "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.ran=1\">'); })()")  # fmt: skip
    refused = "fetch('https://example.org/').then(() => 'went', () => 'refused')"
    assert page.js(refused) == "refused"
    assert page.js("window.ran === undefined")


def test_an_image_that_is_opened_is_its_own_file_at_its_own_size_where_that_is_still_there(browser, tmp_path):
    class Files:
        folder = str(tmp_path / "a folder #1")

        def __call__(self, index: int) -> np.ndarray:
            return np.full((300, 300, 3), index, np.uint8)

    names = [f"sub {i}%/{i}.png" for i in range(4)]
    for i, name in enumerate(names[:2]):  # the third is gone, the fourth's name is no picture of a browser's
        (tmp_path / "a folder #1" / name).parent.mkdir(parents=True)
        Image.fromarray(np.full((1500, 1300, 3), i, np.uint8)).save(tmp_path / "a folder #1" / name)
    report = make_report(4, names=names)
    report.pictures = {"generated": Files()}
    page = browser.open(report.save(tmp_path / "run")["explore.html"], width=1000, height=700)
    page.press("Enter")
    page.wait("document.querySelector('dialog img')?.naturalWidth === 1300")
    width = "document.querySelector('dialog figure > :first-child').getBoundingClientRect().width"
    assert page.js(width) < 600
    page.press("z")
    assert page.js(width) == 1300
    assert page.complaints() == []
    page.press("ArrowRight")
    page.press("ArrowRight")
    page.wait("document.querySelector('dialog canvas')?.dataset.drawn === 'yes'")
    assert page.js("[document.querySelector('dialog canvas').width, document.querySelector('dialog img')]") == [
        300,
        None,
    ]


def test_thumbnails_beside_the_page_are_drawn_from_their_folder(browser, run, tmp_path, monkeypatch):
    monkeypatch.setattr(explore, "EMBEDDED", 100)
    page = browser.open(run.save(tmp_path, explore=True)["explore.html"], width=420, height=800, dark=True)
    page.wait("document.querySelector('canvas').dataset.drawn === 'yes'")
    assert any(url.endswith("/explore/generated-0000.png") for url in page.requests())
    assert page.complaints() == []
    assert page.js("document.documentElement.scrollWidth") <= 420
    assert page.js("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)", "dark where it is asked for"


def test_a_picture_of_the_report_opens_large_and_closes_and_one_at_a_time(browser, file):
    page = browser.open(file.with_name("report.html"), width=1000, height=700)
    widths = "[...document.querySelectorAll('.mosaic img')].map(e => e.getBoundingClientRect().width)"
    before = page.js(widths)
    assert max(before) < 100
    page.click(".mosaic .zoom summary")
    assert page.js(widths)[0] > 500
    assert page.js(widths)[1:] == before[1:], "nothing else moves"
    page.js("document.querySelectorAll('.mosaic .zoom')[1].open = true")
    assert page.js("document.querySelectorAll('.zoom[open]').length") == 1
    page.click(".zoom[open] summary")
    assert page.js(widths) == before
    assert page.complaints() == []


def test_the_report_fits_a_narrow_window_and_print_unfolds_what_is_folded(browser, file):
    page = browser.open(file.with_name("report.html"), width=420, height=800)
    assert page.js("document.documentElement.scrollWidth") <= 420
    unfolded = (
        "[...document.querySelectorAll('details:not(.zoom)')].map(e =>"
        "e.getBoundingClientRect().height > e.querySelector('summary').getBoundingClientRect().height + 8)"
    )
    assert True not in page.js(unfolded)
    page.send("Emulation.setEmulatedMedia", media="print")
    assert len(page.js(unfolded)) > 3
    assert False not in page.js(unfolded)


@pytest.fixture(scope="module")
def compared(tmp_path_factory) -> tuple[Path, Comparison]:
    """Four runs with a value each way, one value absent, and differences to the second run."""
    folder = tmp_path_factory.mktemp("runs")
    for place, (name, shift) in enumerate({"b10": 0.2, "<b>2": 0.0, "a": 0.3, "c": 0.1}.items()):
        report = make_report(20 + place, pictures=False, shift=shift)
        if name == "a":
            del report.metrics["as"]
        report.save(folder / str(place) / name, explore=False)
    comparison = compare(sorted(path for path in folder.glob("*/*")))
    labels = [run.label for run in comparison.runs]
    differences = [(labels[0], 0.2), (labels[2], 0.3), (labels[3], -0.1)]
    comparison.view.baseline = labels[1]
    comparison.view.differences = [
        Difference("irs", "irs_inf", "higher", name, labels[1], 0.5 + each, 0.5) for name, each in differences
    ]
    return comparison.write(folder)["comparison.html"], comparison


HEADS = "[...document.querySelectorAll('.compared thead th[data-run]')].map(e => Number(e.dataset.run))"
ROWS = "[...document.querySelectorAll('.runs tr[data-run]')].map(e => Number(e.dataset.run))"


def order_by(page, name: str, *, within: str = ".compared") -> None:
    heads = f"[...document.querySelectorAll('{within} [data-order]')]"
    page.js(f"{heads}.find(e => e.querySelector('span').textContent === '{name}').querySelector('button').click()")


def test_a_click_on_a_value_orders_the_runs_everywhere_the_best_first_and_those_without_it_last(browser, compared):
    file, comparison = compared
    page = browser.open(file)
    given = [0, 1, 2, 3]
    assert page.js(ROWS) == given
    order_by(page, "as")  # lower is better
    best = [1, 3, 0, 2]
    assert page.js(HEADS)[:4] == best
    assert page.js(HEADS)[4:] == [3, 0, 2], "the table of differences has no column of the baseline"
    assert page.js(ROWS) == best
    shown = page.js("[...document.querySelectorAll('.runs tr[data-run] th')].map(e => e.textContent)")
    assert shown == [comparison.runs[run].label for run in best], "the cells moved with their heads"
    assert page.js("document.querySelector('[aria-sort] .ordered').textContent") == "best first"
    order_by(page, "as")
    assert page.js(ROWS) == [0, 3, 1, 2], "a run without the value stands last either way"
    order_by(page, "as")
    assert page.js(ROWS) == given
    assert page.js("document.querySelector('[aria-sort]')") is None
    order_by(page, "irs irs_inf")  # of the differences: 0.2, none, 0.3, -0.1, higher is better
    assert page.js(ROWS) == [2, 0, 1, 3]
    order_by(page, "images", within=".runs")
    assert page.js(ROWS) == given
    order_by(page, "images", within=".runs")
    assert page.js(ROWS) == given[::-1]
    order_by(page, "run", within=".runs")  # numbers within names count as numbers
    labels = page.js("[...document.querySelectorAll('.runs tr[data-run] th')].map(e => e.textContent)")
    assert labels == page.js(f"{labels!r}.sort(new Intl.Collator(undefined, {{numeric: true}}).compare)")


def test_the_comparison_runs_its_own_script_alone_and_fits_a_narrow_window(browser, compared):
    page = browser.open(compared[0], width=420, height=800)
    assert page.js("document.documentElement.scrollWidth") <= 420
    page.js("(() => { const s = document.createElement('script'); s.textContent = 'window.ran = 1';"
            "document.body.append(s); })()")  # fmt: skip
    assert page.js("window.ran === undefined")
    assert all(url.startswith(("file:", "data:")) for url in page.requests())
    [refused] = page.complaints()
    assert "Content Security Policy" in refused
