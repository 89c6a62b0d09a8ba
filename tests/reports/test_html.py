"""The page is self-contained, escapes everything, and shows what the run holds and nothing that it doesn't."""

from __future__ import annotations

import base64
import dataclasses
import io
import re
from html.parser import HTMLParser
from importlib.resources import files

import numpy as np
import pytest
from markupsafe import escape
from PIL import Image

from genaudit.data.audit import Finding
from genaudit.metrics.result import Cloud, Curve, PictureRow, Pictures, Retrieval, RoleImage
from genaudit.reports.gallery import EXTREMES, FIRST, PAIRS, THUMBNAIL, Gallery, encode
from genaudit.reports.html import ends, render, visible, wrapped
from genaudit.reports.plots import ROLE_COLOURS, draw
from genaudit.reports.report import MetricEntry, Report, RoleImages

from .synthetic import HOSTILE, Clouds, Retrieved, make_report, photograph

VOID = {"meta", "img", "br", "wbr", "hr", "link", "input"}


class Page(HTMLParser):
    """Collects tags with attributes and checks that every tag is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def page() -> str:
    return render(make_report(40))


def test_the_page_loads_nothing_and_runs_nothing(page):
    parsed = Page(page)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in parsed.tags}
    for _, attributes in parsed.tags:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/"))
    assert not re.search(r"url\((?!#)|@import", page)


def test_hostile_names_are_shown_as_text(page):
    parsed = Page(page)
    assert "<script>" not in page
    assert "a<script>.png" in parsed.text  # among the skipped images and in a warning
    assert "<b>this</b> feature model" in parsed.text
    shown = {attributes.get("alt") for tag, attributes in parsed.tags if tag == "img"}
    assert shown & {visible(name) for name in HOSTILE}
    assert "49" not in shown  # {{ 7 * 7 }} is no template
    assert "\x1b" not in page
    assert page.encode()  # no lone surrogate is left


def test_plots_survive_hostile_labels():
    lines = {"</svg><script>": np.arange(3), "_hidden": np.ones(3)}
    curve = Curve("<script>$x_", "<b>", "$\\frac{", np.arange(3), lines)
    plot = draw(curve)
    assert plot is not None
    assert "<script>" not in plot.svg
    Page(plot.svg)


def test_every_section_is_there_with_its_numbers(page):
    text = Page(page).text
    for expected in (
        "3 kinds of warnings", "model-not-validated", "p = 0.01", "null mean 0.1100 · null 95 % 0.1500", "1,234,567",
        "0.150 to 0.260", "↓ lower", "40 gen · 60 ref · 30 train", "authpct", "needs <train> images",
        "Nobody et al., CVPR 2024", "efficientnet_lite0", "2 palette", "confidence: 0.95", "95 % interval",
        "Samples beside their nearest training images", "Most complex",
    ):  # fmt: skip
        assert expected in text


def test_an_unknown_metric_is_explained_by_its_class():
    entry = MetricEntry("new", Clouds(0.5), {"generated": 3}, "m")
    assert "Two clouds." in render(Report("", "", {}, {}, 0, {}, {}, {"new": entry}))


@pytest.mark.parametrize("n", [0, 1, 2])
def test_a_page_of_few_or_no_images_has_no_empty_galleries(n):
    text = render(make_report(n))
    Page(text)
    assert ("Extreme images" in text) == (n > 1)
    assert ("Samples beside" in text) == (n > 0)


def test_a_run_without_pictures_or_whose_pictures_are_gone_still_has_names():
    def gone(index: int) -> np.ndarray:
        raise OSError("moved")

    report = make_report(40, pictures=False)
    for pictures in ({}, {"generated": gone, "train": gone}):
        text = render(dataclasses.replace(report, pictures=pictures))
        assert "data:image" not in text
        assert "no picture" in text
        assert "train/000.png" in text


def test_extremes_are_the_highest_and_lowest_finite_values_without_overlap():
    report = make_report(40, pictures=False)
    values = report.metrics["as"].result.complexity
    order = [int(i) for i in np.argsort(values) if np.isfinite(values[i])]
    (extremes,) = Gallery(report).extremes()
    names = report.names["generated"]
    assert [each.name for each in extremes.lowest] == [names[i] for i in order[:EXTREMES]]
    assert [each.name for each in extremes.highest] == [names[i] for i in order[::-1][:EXTREMES]]
    (few,) = Gallery(make_report(8, pictures=False)).extremes()  # 7 finite values
    assert len(few.lowest) == len(few.highest) == 3
    assert not {each.name for each in few.lowest} & {each.name for each in few.highest}


def test_the_closest_pairs_come_first_and_favourites_are_counted():
    indices, distances = np.array([2, 0, 2, 2, 1, -1]), np.array([0.5, 0.1, 0.3, np.nan, 0.2, 0.0])
    result = Retrieved(1, retrieval=Retrieval("train", indices, distances))
    report = Report("", "", {}, {}, 0, {}, {}, {"irs": MetricEntry("irs", result, {}, "m")})
    (found,) = Gallery(report).neighbours()
    assert [(each.generated.name, each.other.name, each.distance, each.more) for each in found.pairs] == [
        ("#1", "#0", "0.1000", 0), ("#4", "#1", "0.2000", 0), ("#2", "#2", "0.3000", 1),
    ]  # fmt: skip
    assert not any(each.near for each in found.pairs), "without held-out images nothing says what is near"
    assert [(each.name, each.note) for each in found.favourites] == [("#2", "2×")]
    assert (found.distinct, found.count) == (3, 4)
    # ratios of another metric that retrieved the same images stand beside the distances
    ratios = Retrieval("train", indices, distances, ratios=np.array([0.5, 0.25, 1.0, 1.0, 0.75, 1.0]))
    entries = {
        "irs": MetricEntry("irs", result, {}, "m"),
        "own": MetricEntry("own", Retrieved(1, retrieval=ratios), {}, "m"),
    }
    (found,) = Gallery(Report("", "", {}, {}, 0, {}, {}, entries)).neighbours()
    assert [each.distance for each in found.pairs][:2] == ["0.1000, l2 ratio 0.2500", "0.2000, l2 ratio 0.7500"]
    assert len(Gallery(make_report(40, pictures=False)).neighbours()[0].pairs) == PAIRS


def test_pairs_nearer_than_half_of_the_held_out_images_are_framed_and_counted():
    indices, distances = np.array([0, 1, 2, 2, -1]), np.array([0.1, 0.2, 0.3, 0.05, 0.0])
    result = Retrieved(1, retrieval=Retrieval("train", indices, distances, held_out=0.2))
    report = Report("", "", {}, {}, 0, {}, {}, {"irs": MetricEntry("irs", result, {}, "m")})
    (found,) = Gallery(report).neighbours()
    assert [(each.other.name, each.near) for each in found.pairs] == [("#2", True), ("#0", True), ("#1", False)]
    assert (found.held_out, found.below) == ("0.2000", 2)
    text = render(report)
    assert text.count('class="pair near"') == 2
    assert "Half of the held-out real images lie within <b>0.2000</b>" in text


def test_random_images_of_both_sides_come_first_after_the_verdict_and_repeat(page):
    look = Gallery(make_report(60, seed=3)).first_look()
    assert look is not None
    assert look == Gallery(make_report(60, seed=3)).first_look()
    assert look != Gallery(make_report(60, seed=4)).first_look()
    assert len({each.name for each in look.generated}) == len(look.generated) == FIRST
    assert len({each.name for each in look.real}) == FIRST
    assert look.noun == "training, at random", "the reference images cannot be seen"
    assert page.index("Generated <small>at random") < page.index("Real <small>training") < page.index("<h2>Results")
    few = Gallery(make_report(5)).first_look()
    assert few is not None
    assert len(few.generated) == 5
    assert Gallery(make_report(5, pictures=False)).first_look() is None


def test_a_picture_opens_large_without_a_script(page):
    parsed = Page(page)
    opened = [attributes for tag, attributes in parsed.tags if tag == "details" and attributes.get("class") == "zoom"]
    assert len(opened) == len([1 for tag, _ in parsed.tags if tag == "img"]) > 2 * FIRST


def test_a_long_name_keeps_its_end():
    head, tail = ends("folder/" + "a" * 60 + "_seed_000123.png")
    assert head + tail == "a" * 60 + "_seed_000123.png"
    assert tail.endswith("000123.png")
    assert ends("short.png") == ("shor", "t.png")


def test_text_keeps_its_contrast_on_every_ground_light_and_dark():
    """WCAG 2.1, 1.4.3: 4.5 to 1."""

    def luminance(colour: str) -> float:
        channels = [int(colour[1 + 2 * i : 3 + 2 * i], 16) / 255 for i in range(3)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for file, grounds in (("style.css", ("paper", "faint", "note-paper")), ("explore.css", ("paper", "faint"))):
        blocks = re.findall(r":root \{(.*?)\}", files("genaudit.reports").joinpath(file).read_text(), re.S)
        for block in blocks[:2]:  # light, dark
            colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{3,6});", block))
            colours = {name: c if len(c) == 7 else "#" + "".join(2 * x for x in c[1:]) for name, c in colours.items()}
            for ink in {"ink", "muted", "accent", "good", "note", "bad"} & colours.keys():
                for ground in grounds:
                    low, high = sorted(luminance(colours[each]) for each in (ink, ground))
                    assert (high + 0.05) / (low + 0.05) >= 4.5, (file, ink, ground)


def test_a_plot_of_the_same_data_is_drawn_once_whatever_its_title():
    x = np.arange(5)

    def curve(title: str, y: np.ndarray, label: str = "share") -> Retrieved:
        return Retrieved(1, curve=Curve(title, "samples", label, x, {"generated": y, "ideal": x}, guides=("ideal",)))

    results = [curve("First", x), curve("Again", x), curve("Other axis", x, "count"), curve("Other data", x + 1)]
    metrics = {f"m{i}": MetricEntry(f"m{i}", each, {}, "m") for i, each in enumerate(results)}
    text = render(Report("", "", {}, {}, 0, {}, {}, metrics))
    assert [title for title in ("First", "Again", "Other axis", "Other data") if f"<b>{title}</b>" in text] == [
        "First", "Other axis", "Other data",
    ]  # fmt: skip


def test_chance_is_grey_and_no_result_is():
    x = np.linspace(0, 1, 5)
    lines = {"log-likelihood": x, "last scale": x, "ratio": x, "control: code": x, "chance": x}
    plot = draw(Curve("ROC", "x", "y", x, lines, guides=("chance",), controls=("control: code",)))
    assert plot is not None
    grey = ROLE_COLOURS["train"]
    assert grey not in plot.svg, "grey is what no measurement made"
    assert "stroke-dasharray" in plot.svg
    assert re.search(r"stroke: var\(--muted\); stroke-width: 1\.1", plot.svg), "chance"
    coloured = set(re.findall(r"stroke: (#[0-9a-f]{6})", plot.svg))
    assert len(coloured) == 4, "each of the others has a colour of its own"


def test_every_p_value_that_a_page_shows_names_its_hypothesis():
    import importlib
    import pkgutil

    from genaudit import metrics

    seen = 0
    for module in pkgutil.iter_modules(metrics.__path__):
        for name, cls in vars(importlib.import_module(f"genaudit.metrics.{module.name}")).items():
            fields = getattr(cls, "__dataclass_fields__", {})
            if isinstance(cls, type) and "pvalue" in fields and hasattr(cls, "explanation"):
                seen += 1
                assert getattr(cls, "hypothesis", ""), name
    assert seen >= 3

    @dataclasses.dataclass(frozen=True)
    class Tested:
        hypothesis = "both are <alike>"
        score: float = 1.0
        pvalue: float | None = 0.25

    text = render(Report("", "", {}, {}, 0, {}, {}, {"t": MetricEntry("t", Tested(), {}, "m")}))
    assert "p = 0.25 under the hypothesis that both are &lt;alike&gt;" in text


def test_the_header_says_on_what_device_and_with_what_precision_a_network_ran():
    report = make_report(3)
    report.measures["embedding"].about = {"feature_model": "net", "preprocessing": "64 x 64, bicubic"}
    report.environment = {"device": "cuda:1", "device_name": "A <GPU>"}
    report.config = {"precision": "bfloat16"}
    assert "<li>net: 64 x 64, bicubic · cuda:1 (A &lt;GPU&gt;) · bfloat16</li>" in render(report)


@pytest.mark.parametrize(
    ("shape", "size", "pixelated"),
    [((28, 28), (28, 28), True), ((28, 28, 1), (28, 28), True), ((900, 450, 3), (160, 320), False),
     ((100, 100, 4), (100, 100), False), ((1, 4000, 3), (320, 1), False)],
)  # fmt: skip
def test_thumbnails_keep_small_images_exactly_and_shrink_large_ones(shape, size, pixelated):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    uri, small = encode(image)
    decoded = Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))
    assert decoded.size == size
    assert max(decoded.size) <= THUMBNAIL
    assert small is pixelated
    if pixelated:
        assert np.array_equal(np.asarray(decoded), image.reshape(28, 28))


def test_a_cloud_names_the_points_that_it_does_not_show():
    points = np.random.default_rng(0).normal(size=(1000, 2))
    points[0] = np.nan
    points[1] = 1e6
    plot = draw(Cloud("title", "x", "y", {"generated": points, "empty": np.zeros((0, 2))}))
    assert plot is not None
    assert plot.remark == "1 of 1,000 points outside the frame, 1 of 1,000 points not finite and not drawn"
    assert draw(Cloud("title", "x", "y", {"generated": points[:1]})) is None


def test_few_points_get_no_densities():
    points = np.random.default_rng(0).normal(size=(40, 2))
    many, few = (draw(Cloud("title", "x", "y", {"a": points, "b": points[:count]})) for count in (8, 7))
    assert many is not None
    assert few is not None
    # two margins with a filled density and its line for each of two roles
    assert many.svg.count("<path") - few.svg.count("<path") >= 4
    assert (many.svg.count("<clipPath"), few.svg.count("<clipPath")) == (3, 1)  # one for each pair of axes


def test_drawings_are_the_same_text_every_time_and_small_for_many_points():
    points = np.random.default_rng(0).normal(size=(30_000, 2))
    first, second = (draw(Cloud("title", "x", "y", {"generated": points, "train": points[:9] * 0})) for _ in range(2))
    assert first == second
    assert first is not None
    assert len(first.svg) < 500_000
    assert "var(--ink)" in first.svg


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("runs/seed=1,lr=0.001", ["runs/", "seed=", "1,", "lr=", "0.001"]),
        ("vit_small_patch16_224.augreg-in21k", ["vit_", "small_", "patch16_", "224.", "augreg-", "in21k"]),
        ("metric.irs.alpha=1e-05", ["metric.", "irs.", "alpha=", "1e-05"]),
        ("1,000,000.123456", ["1,000,000.123456"]),  # a number stays whole
        ("short_name", ["short_name"]),
        ("<b>&amp;/<script>", ["<b>&", "amp;/<script>"]),
    ],
)
def test_a_long_word_breaks_after_its_separators_alone(text: str, pieces: list[str]) -> None:
    assert str(wrapped(text)) == "<wbr>".join(str(escape(piece)) for piece in pieces)


def test_converted_images_are_counted_in_words() -> None:
    roles = {"generated": RoleImages("a", 3, "0", converted={"L": 1_200, "RGBA": 2})}
    assert "1,200 grey; 2 RGB with alpha" in render(Report("", "", {}, {}, 0, roles, {}, {}))


def test_the_page_is_the_same_text_every_time():
    assert render(make_report(12, photograph=photograph)) == render(make_report(12, photograph=photograph))


@dataclasses.dataclass(frozen=True)
class Reconstructed:
    score: float
    pictures: Pictures


def test_a_grid_of_pictures_shows_images_of_roles_beside_made_ones() -> None:
    made = np.zeros((4, 4), np.uint8)
    grid = Pictures(
        "Beside their reconstructions",
        ("image", "reconstruction"),
        (
            PictureRow("score <1>", (RoleImage("generated", 0), made)),
            PictureRow("second", (RoleImage("nowhere", 0), made)),
        ),
    )
    report = make_report(4)
    report.metrics["piad"] = MetricEntry("piad", Reconstructed(1.0, grid), {"generated": 4}, "anomaly")
    page = Page(render(report))
    assert "Beside their reconstructions" in page.text
    assert "score <1>" in page.text
    assert sum(attrs.get("src") == encode(made)[0] for tag, attrs in page.tags if tag == "img") == 2
    assert "no picture" in page.text  # of a role that is not there


def test_the_audit_opens_the_page_and_its_findings_are_not_told_twice() -> None:
    finding = Finding("formats-differ", ("generated", "reference"), "One <side> is JPEG.", ("fd",))
    broken = Finding("sizes-differ", ("generated", "reference"), "Four times the size.", (), breaks=True)
    about = {"formats": {"PNG": 2, "JPEG": 1}, "sizes": {"8x8": 3}, "modes": {"L": 2, "I;16": 1},
             "bit_depth": {"8 bits": 3}, "alpha": 0, "oriented": 0, "sampled": 3, "grey": 0.0,
             "aspect": {"lowest": 1.0, "highest": 1.0}}  # fmt: skip
    roles = {"generated": RoleImages("a", 3, "0", audit=about), "reference": RoleImages("b", 3, "1", audit=about)}
    report = Report("", "", {}, {}, 0, roles, {}, {}, findings=[finding, broken])
    page = render(report)
    assert page.count("One &lt;side&gt; is JPEG.") == 1
    assert page.index("No.</b> What was found") < page.index("Four times the size.") < page.index("One &lt;side&gt;")
    assert "PNG (2), JPEG (1)" in page
    assert "grey (2), grey, 16 bits (1)" in page, "words, not an image library's codes"
    assert "bit depth" not in page, "what is as usual on all sides is left out"
    assert "<h2>0 warning" not in page
    fine = render(Report("", "", {}, {}, 0, roles, {}, {}))
    assert "<b>Yes.</b>" in fine
    features = {"generated": RoleImages("a", 3, "0")}
    assert "May these sets be compared?" not in render(Report("", "", {}, {}, 0, features, {}, {}))
