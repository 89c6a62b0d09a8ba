"""`by=class`: every class judged on the rows of the run, the worst first, as a run of its images alone would be."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import genaudit
from genaudit.errors import UserError
from genaudit.stats.class_names import outputs_of
from genaudit.verdict.answers import verdict
from genaudit.verdict.by_class import class_verdicts
from tests.reports.synthetic import photograph

N = 80  # images of a class and role
METRICS = ["kd", "prdc", "irs", "authpct", "fd"]
BAD, COLLAPSED = "bad", "collapsed"
NAMES = ["a", "b", BAD, COLLAPSED]


def rows(role: str, seed: int) -> tuple[np.ndarray, list[str]]:
    """Four classes in six dimensions; of the generated images one lies elsewhere, one is all of one place."""
    rng = np.random.default_rng(seed)
    features, labels = [], []
    for place, name in enumerate(NAMES):
        own = rng.normal(size=(N, 6)) + 8 * place
        if role == "generated":
            own = own + 4.0 if name == BAD else own[:1] + 0.05 * (own - 8 * place) if name == COLLAPSED else own
        features.append(own)
        labels += [name] * len(own)
    order = rng.permutation(len(labels))
    return np.concatenate(features)[order].astype(np.float32), [labels[place] for place in order]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("classes")
    made = {}
    for seed, role in enumerate(("generated", "reference", "train")):
        features, labels = rows(role, seed)
        if role == "generated":  # a class with too few images, and one image without a class
            features = np.concatenate([features, features[:6]])
            labels = [*labels, *["rare"] * 5, ""]
        np.savez(folder / f"{role}.npz", features=features, labels=np.array(labels))
        made[role] = str(folder / f"{role}.npz")
    return made


@pytest.fixture(scope="module")
def report(sources: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Any:
    return genaudit.evaluate(
        **sources, metrics=METRICS, by="class", store=tmp_path_factory.mktemp("store"), progress=False
    )


def test_the_worst_classes_come_first_and_good_ones_are_not_worse(report) -> None:
    classes = report.by_class.classes
    assert {each.name for each in classes[:2]} == {BAD, COLLAPSED}
    answers = {each.name: {q: a.answer for q, a in each.verdict.answers.items()} for each in classes}
    assert answers[BAD]["quality"] == "much_worse"
    assert answers[COLLAPSED]["diversity"] == "much_worse"
    for good in ("a", "b"):
        assert answers[good]["quality"] in ("as_real", "cannot_tell")
        assert answers[good]["diversity"] in ("as_real", "cannot_tell")
    assert report.by_class.summary()[0].startswith("2 of 4 classes are worse than real images")


def test_a_class_scores_as_a_run_of_its_images_alone(report, tmp_path: Path) -> None:
    alone = {}
    for seed, role in enumerate(("generated", "reference", "train")):
        features, labels = rows(role, seed)
        alone[role] = features[np.array(labels) == "a"]
    run = genaudit.evaluate(**alone, metrics=METRICS[:-1], store=tmp_path, progress=False)
    one = next(each for each in report.by_class.classes if each.name == "a")
    assert one.n == {"generated": N, "reference": N, "train": N}
    for metric in METRICS[:-1]:
        mine, theirs = one.metrics[metric], run.metrics[metric]
        for name, value in theirs.values.items():
            assert mine.values[name].value == pytest.approx(value.value, rel=1e-9, nan_ok=True), name
            assert (mine.values[name].lower, mine.values[name].upper) == (value.lower, value.upper), name
            floor = mine.values[name].real
            if name in ("irs_inf", "irs_chao1"):  # estimates of which no verdict asks have no floor
                assert floor is None
            elif value.real is not None:
                assert (floor.n, floor.source) == (value.real.n, value.real.source)
                assert floor.value == pytest.approx(value.real.value, rel=1e-9)
    assert "fd" not in one.metrics
    assert any("Not judged by class: fd" in each for each in report.by_class.remarks)


def test_few_images_and_images_without_a_class_are_said(report) -> None:
    assert [each.name for each in report.by_class.few] == ["rare"]
    assert report.by_class.few[0].verdict is None
    assert report.by_class.unlabelled == {"generated": 1}
    assert "Not judged, with fewer than 20 generated or reference images: rare." in report.by_class.summary()
    assert "1 generated image has no class." in report.by_class.summary()
    assert report.by_class.balance.pvalue > 0.05  # five of a sixth class in 325 images, none in the reference
    assert report.images["class"][-1] == ""


def test_the_files_hold_the_classes(report, tmp_path: Path) -> None:
    import jsonschema

    files = report.save(tmp_path)
    with open(files["classes.csv"], newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["class"] for row in table] == [each.name for each in (*report.by_class.classes, *report.by_class.few)]
    one = report.by_class.classes[0]
    assert float(table[0]["precision"]) == one.values["precision"].value
    assert table[0]["quality"] == one.verdict.quality.answer
    assert table[-1]["kd"] == ""
    document = json.loads(files["report.json"].read_text())
    schema = json.loads((Path(genaudit.__file__).parent / "reports" / "schema.json").read_text())
    jsonschema.validate(document, schema)
    assert document["by_class"]["classes"][0]["verdict"]["quality"]["answer"] == one.verdict.quality.answer
    page = files["report.html"].read_text()
    assert page.index("Classes, the worst first") < page.index(f'"row">{one.name}<') < page.index('"row">a<')
    first = page[page.index('aria-label="Verdict"') : page.index("<h2>Results")]
    assert '<a href="#classes">2 of 4 classes</a>' in first
    assert BAD in first
    assert 'id="classes"' in page
    without = genaudit.evaluate(np.zeros((12, 3), np.float32), np.ones((12, 3), np.float32), metrics=["kd"],
                                store=tmp_path, progress=False)  # fmt: skip
    assert "classes.csv" not in without.save(tmp_path)
    assert not (tmp_path / "classes.csv").exists()


def documents(pvalues: list[float]) -> list[dict[str, Any]]:
    """Runs whose precision has these p-values against a floor with 1,000 parts, and misses half of it."""
    from scipy import special

    found = []
    for pvalue in pvalues:
        error = 0.4 / -special.stdtrit(1 / (1 / 999 + 2 / 50), pvalue)  # of 1,000 parts of 50 images
        real = {
            "value": 0.8,
            "lower": 0.7,
            "upper": 0.9,
            "n": 50,
            "error": error,
            "resamplings": 1000,
            "source": "reference_halves",
        }
        values = {"precision": {"value": 0.4, "real": real}}
        found.append({
            "images": {role: {"count": 50} for role in ("generated", "reference")}, "warnings": [],
            "metrics": {"prdc": {"values": values, "n": {"generated": 50}, "details": {}, "p_value": None}},
        })  # fmt: skip
    return found


def test_verdicts_are_corrected_for_the_number_of_classes() -> None:
    one = documents([0.004])[0]
    assert verdict(one).quality.answer == "worse"
    # Holm over ten: 0.001 times 10, then 0.004 times 9, which is beyond the level of 0.025
    found = class_verdicts(documents([0.004, 0.001, *[0.4] * 8]))
    assert [each.quality.answer for each, _ in found[:3]] == ["cannot_tell", "worse", "cannot_tell"]
    assert found[1][1]["quality"] == pytest.approx(0.01, rel=1e-6)
    assert found[0][1]["quality"] == pytest.approx(0.036, rel=1e-6)
    # step down: the second smallest of two is not multiplied
    assert [each.quality.answer for each, _ in class_verdicts(documents([0.001, 0.02]))] == ["worse", "worse"]


def test_a_floor_that_did_not_vary_condemns_no_class_of_few_images() -> None:
    """Where all parts of the real images lie in the balls their share has no error by parts: 46 of 50 may be chance."""
    from scipy import stats

    documents_of = {}
    for share in (0.92, 0.7):
        (one,) = documents([0.01])
        precision = one["metrics"]["prdc"]["values"]["precision"]
        precision["value"] = share
        precision["real"] |= {"value": 1.0, "lower": 1.0, "upper": 1.0, "error": 0.0}
        documents_of[share] = one
    assert verdict(documents_of[0.92]).quality.answer != "worse"  # negligible, though as sure as can be
    found = class_verdicts([documents_of[0.92], documents_of[0.7], *documents([0.4] * 8)])
    assert [each.quality.answer for each, _ in found[:2]] == ["cannot_tell", "worse"]
    # as sure as Fisher's exact test of the same counts, within the error of an approximation
    for share, (_, pvalues) in zip((0.92, 0.7), found, strict=False):
        good = round(50 * share)
        exact = stats.fisher_exact([[good, 50 - good], [50, 0]], alternative="less").pvalue
        uncorrected = pvalues["quality"] / (9 if share == 0.92 else 10)
        assert 0.1 < uncorrected / exact < 100  # with few images never much surer


def test_what_cannot_be_split_is_said_before_anything_is_measured(sources, tmp_path: Path) -> None:
    shared = {"metrics": ["kd"], "by": "class", "store": tmp_path, "progress": False}
    plain = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    with pytest.raises(UserError, match="generated names no classes"):
        genaudit.evaluate(plain, sources["reference"], **shared)
    with pytest.raises(UserError, match="reference names no classes"):
        genaudit.evaluate(sources["generated"], plain, **shared)
    np.savez(tmp_path / "other.npz", features=plain, labels=np.arange(40) % 2)
    with pytest.raises(UserError, match="no class in common"):
        genaudit.evaluate(sources["generated"], str(tmp_path / "other.npz"), **shared)
    with pytest.raises(UserError, match="none of fd is judged by class"):
        genaudit.evaluate(sources["generated"], sources["reference"], **{**shared, "metrics": ["fd"]})
    with pytest.raises(UserError, match="by must be class or null"):
        genaudit.evaluate(sources["generated"], sources["reference"], **{**shared, "by": "classes"})


def test_outputs_stand_for_numbers_wordnet_names_and_names_in_order() -> None:
    assert outputs_of(["1", "0", "2"], 3)[0] == {"0": 0, "1": 1, "2": 2}
    assert outputs_of(["b", "a"], 2)[0] == {"a": 0, "b": 1}
    assert outputs_of(["n02123045", "n01440764"], 1000)[0] == {"n01440764": 0, "n02123045": 281}  # tabby, tench
    assert outputs_of(["n02123045", "n00000000"], 1000)[0] is None
    # ten classes of CIFAR-10 and a classifier of ImageNet have nothing to do with one another
    assert outputs_of([str(each) for each in range(10)], 1000)[0] is None


def test_accuracy_is_the_share_of_images_that_logits_put_into_their_class() -> None:
    from genaudit.data import open_images
    from genaudit.data.columns import labelled
    from genaudit.tasks.run.by_class import _recognised
    from genaudit.tasks.run.from_python import compose
    from genaudit.tasks.run.measuring import Measurements
    from genaudit.tasks.run.settings import Settings

    rng = np.random.default_rng(0)
    names, truth = ["bird", "cat", "dog"], rng.integers(0, 3, 60)
    logits = rng.normal(size=(60, 3)) + 2 * np.eye(3)[truth]
    roles = {"generated": open_images(labelled(logits, labels=[names[place] for place in truth]))}
    members = {name: {"generated": np.flatnonzero(truth == place)} for place, name in enumerate(names)}
    settings = Settings.of(compose("evaluate", ["generated=x"]))
    found, how, _ = _recognised(Measurements(roles, {"logits net": {"generated": logits}}), members, names, settings)
    for place, name in enumerate(names):
        share = (logits.argmax(1) == place)[truth == place].mean()
        assert found[name].value == pytest.approx(share)
        assert found[name].n == (truth == place).sum()
    assert how == "logits net, classes in alphabetical order"
    wide = Measurements(roles, {"logits net": {"generated": np.zeros((60, 1000))}})
    none, _, why = _recognised(wide, members, names, settings)
    assert none == {}
    assert why == "No accuracy by logits net: the classifier has 1,000 outputs and the images 3 classes."


def test_images_in_sub_folders_are_shown_by_class(tmp_path: Path) -> None:
    from PIL import Image

    for role in ("generated", "reference"):
        for place in range(48):
            path = tmp_path / role / f"c{place % 2}" / f"{place}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(photograph(place, 32, seed=len(role))).save(path)
    report = genaudit.evaluate(
        tmp_path / "generated", tmp_path / "reference", metrics=["kd"], feature_model="pixels", by="class",
        store=tmp_path / "store", progress=False,
    )  # fmt: skip
    page = report.save(tmp_path / "out")["report.html"].read_text()
    assert {each.name for each in report.by_class.classes} == {"c0", "c1"}
    section = page[page.index("Classes, the worst first") :]
    section = section[: section.index("</section>")]
    assert section.count("<img") == 2 * 2 * 8  # two classes, two roles, eight pictures
