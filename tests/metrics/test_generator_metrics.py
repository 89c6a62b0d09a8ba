"""Metrics of inversion and likelihood rows: closed forms, independent references, cautions, absent roles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest, spearmanr
from sklearn.metrics import accuracy_score, roc_auc_score

from genaudit.metrics import ais, flatness, inversion, typicality
from genaudit.metrics.generator_rows import AIS, INVERSION
from genaudit.metrics.result import RoleImage, Unavailable


def inverted(errors: Any, *, restart_range: float = 0.0) -> np.ndarray:
    """Rows of `measures.inversion` under a generator without classes."""
    errors = np.asarray(errors, np.float64)
    head = {"error": errors, "distance": errors, "restart_range": restart_range, "label": np.nan, "dims": 784}
    columns = [np.broadcast_to((head | {"classes": 0})[name], errors.shape) for name in INVERSION]
    return np.stack(columns, axis=1).astype(np.float32)


def sampled(nats: Any, *, spread: float = 0.5) -> np.ndarray:
    """Rows of `measures.ais` with 784 dimensions."""
    nats = np.asarray(nats, np.float64)
    values = {"log_likelihood": nats, "bits_per_dim": nats / (784 * np.log(2)) - 8, "spread": spread}
    values |= {"effective_chains": 3.0, "standard_error": 0.2, "acceptance": 0.6, "dims": 784}
    values |= {"sigma2": 0.01, "chains": 4}
    return np.stack([np.broadcast_to(values[name], nats.shape) for name in AIS], axis=1)


def test_inversion_tells_medians_ratio_noise_and_what_the_error_separates(on_disk) -> None:
    rng = np.random.default_rng(0)
    made, train, held_out, foreign = (rng.gamma(4, scale, 60) for scale in (1e-4, 1e-2, 1e-2, 3e-2))
    found = inversion.judge(
        generated=on_disk(inverted(made)),
        train=inverted(train),
        reference=inverted(held_out),
        anomalies=inverted(foreign),
    )
    assert found.error_generated == pytest.approx(np.median(made), rel=1e-6)
    assert found.error_ratio == pytest.approx(np.median(train) / np.median(made), rel=1e-5)
    assert found.sigma2 == pytest.approx(train.mean(), rel=1e-6)
    assert found.psnr == pytest.approx(-10 * np.log10(train.mean()), rel=1e-6)
    truth = np.repeat([0, 1], 60)
    assert found.auroc_train == pytest.approx(roc_auc_score(truth, np.concatenate([made, train]).astype(np.float32)))
    expected = roc_auc_score(truth, np.concatenate([held_out, foreign]).astype(np.float32))
    assert found.auroc_anomalies == pytest.approx(expected)
    for name in ("error_train", "error_ratio", "sigma2", "auroc_anomalies"):
        assert getattr(found, name).lower <= getattr(found, name) <= getattr(found, name).upper
    assert found.cautions == ()
    np.testing.assert_allclose(found.inversion_error, made, rtol=1e-6)
    assert found.inversion_class is None


def test_inversion_shows_images_beside_their_reconstructions() -> None:
    pictures = {"generated": np.full((3, 2, 2, 1), [[[[10]]], [[[20]]], [[[30]]]], np.uint8)}
    pictures["train"] = np.zeros((9, 2, 2, 3), np.uint8)
    rows = {"generated": inverted([3e-4, 1e-4, 2e-4]), "train": inverted(np.linspace(1e-2, 2e-2, 9))}
    found = inversion.judge(**rows, attachments={role: {"picture": each} for role, each in pictures.items()})
    grid = found.reconstructions
    assert grid is not None
    assert [row.caption.split(":")[0] for row in grid.rows] == ["generated", "train"]
    first = grid.rows[0].cells
    assert first[0] == RoleImage("generated", 1)  # recovered best
    assert [cell.tolist() for cell in first[1::2]] == [[[grey] * 2] * 2 for grey in (20, 30, 10)]
    assert grid.rows[1].cells[1].shape == (2, 2, 3)
    assert len(grid.columns) == max(len(row.cells) for row in grid.rows)
    without = inversion.judge(generated=inverted([1e-4, 2e-4]))
    assert without.reconstructions is None
    assert without.error_train is None
    assert without.sigma2 is None


def test_inversion_warns_where_it_stopped_short_or_images_are_not_the_generators() -> None:
    short = inversion.judge(generated=inverted([1e-3] * 5, restart_range=1.0))
    assert [each.code for each in short.cautions] == ["inversion-not-converged"]
    near = inversion.judge(generated=inverted([1e-3] * 5), train=inverted([2e-3] * 5))
    assert [each.code for each in near.cautions] == ["generated-not-recovered"]


def test_ais_tells_bits_and_which_role_is_likelier() -> None:
    rng = np.random.default_rng(1)
    made, held_out, foreign = (rng.normal(mean, 30, 50) for mean in (900, 700, 750))
    found = ais.judge(generated=sampled(made), reference=sampled(held_out), anomalies=sampled(foreign))
    assert found.bits_generated == pytest.approx(made.mean() / (784 * np.log(2)) - 8)
    assert found.bits_reference.lower < found.bits_reference < found.bits_reference.upper
    assert found.bits_train is None
    scores = np.concatenate([foreign, held_out])
    assert found.auroc_anomalies == pytest.approx(roc_auc_score(np.repeat([0, 1], 50), scores))
    assert found.psnr == pytest.approx(20)
    assert found.cautions == ()
    doubtful = ais.judge(generated=sampled(made, spread=5.0))
    assert [each.code for each in doubtful.cautions] == ["chains-disagree"]
    assert "100% of generated" in doubtful.cautions[0].message


def test_typicality_accepts_the_models_own_images_and_refuses_likelier_ones() -> None:
    rng = np.random.default_rng(2)
    model, alike, likelier = rng.normal(900, 20, 2000), rng.normal(900, 20, 400), rng.normal(960, 20, 400)
    same = typicality.judge(generated=sampled(model), reference=sampled(alike), train=sampled(likelier))
    assert same.tested == "reference"
    for size in (10, 25, 50, 75):
        # 100 trials of about 0.95, and the error of an entropy from 1,000 samples at N = 75: well above 0.8
        assert getattr(same, f"typical_fraction_{size}") > 0.8
        assert same.control[str(size)] > 0.8
        assert same.fractions["train"][str(size)] == 0.0
        assert same.too_likely["train"][str(size)] == 1.0
    assert same.deviation["train"] == pytest.approx(60, abs=5)
    assert same.cautions == ()


def test_typicality_leaves_out_batches_larger_than_the_set_and_says_what_it_lacks() -> None:
    rng = np.random.default_rng(3)
    few = typicality.judge(generated=sampled(rng.normal(0, 1, 60)), train=sampled(rng.normal(0, 1, 30)))
    assert few.tested == "train"
    assert few.typical_fraction_25 is not None
    assert few.typical_fraction_50 is None
    assert [each.code for each in few.cautions] == ["few-model-samples"]
    # ten samples for each image of the largest batch are enough: 250 for batches of 25
    enough, lacking = (
        typicality.judge(generated=sampled(rng.normal(0, 1, n)), train=sampled(rng.normal(0, 1, 30))).cautions
        for n in (250, 249)
    )
    assert enough == ()
    assert [each.code for each in lacking] == ["few-model-samples"]
    with pytest.raises(Unavailable, match="reference= or train="):
        typicality.judge(generated=sampled(np.zeros(60)))
    with pytest.raises(Unavailable, match="40 generated"):
        typicality.judge(generated=sampled(np.zeros(30)), train=sampled(np.zeros(30)))


def test_flatness_is_the_rank_correlation_over_real_images() -> None:
    rng = np.random.default_rng(4)
    variation = rng.gamma(2, 0.3, 40)
    nats = 900 - 100 * variation + rng.normal(0, 10, 40)
    variation[3] = np.nan  # a black image
    rows = {"likelihood": sampled(nats), "patches": np.stack([variation, np.full(40, 0.3)], axis=1)}
    found = flatness.judge(generated={key: each[:20] for key, each in rows.items()}, reference=rows)
    known = np.isfinite(variation)
    assert found.over == "reference"
    assert found.spearman == pytest.approx(spearmanr(variation[known], nats[known])[0])
    assert found.pearson == pytest.approx(np.corrcoef(variation[known], nats[known])[0, 1])
    assert found.spearman.lower < found.spearman < found.spearman.upper
    assert set(found.by_role) == {"generated", "reference"}
    assert [each.code for each in found.cautions] == ["black-patches"]
    with pytest.raises(Unavailable, match="10 generated"):
        flatness.judge(generated={key: each[:5] for key, each in rows.items()})


def by_class(scores: np.ndarray, kind: str) -> np.ndarray:
    """Rows of a class-conditional generator: scores (N, K) are distances or log-likelihoods."""
    classes = scores.shape[1]
    if kind == "ais":
        return np.concatenate([sampled(scores.max(1)), scores], axis=1)
    plain = inverted(scores.min(1))
    plain[:, INVERSION.index("classes")] = classes
    return np.concatenate([plain, scores], axis=1)


@pytest.mark.parametrize("kind", ["inversion", "ais"])
def test_a_class_conditional_generator_classifies_labelled_images_as_scikit_learn_counts(kind: str) -> None:
    rng = np.random.default_rng(5)
    truth = rng.integers(0, 3, 90)
    likelihoods = rng.normal(size=(90, 3)) + 1.5 * np.eye(3)[truth]
    scores = likelihoods if kind == "ais" else np.exp(-likelihoods)
    # the labels are 0 to 2 in the order of the names; a fifth of the images has no class
    names = np.array(["bird", "car", "dog"])[truth]
    names[::5] = ""
    judge = {"inversion": inversion.judge, "ais": ais.judge}[kind]
    rows = by_class(scores, kind)
    known = names != ""
    found = judge(generated=rows[:30], reference=rows, classes={"reference": names.tolist()}).accuracy
    assert found is not None
    assert found == pytest.approx(accuracy_score(truth[known], likelihoods[known].argmax(1)))
    assert (found.lower, found.upper) == pytest.approx(
        tuple(binomtest(round(found * known.sum()), int(known.sum())).proportion_ci(method="wilson"))
    )
    # without held-out images it is of the training images; labels of samples are no real images'
    train = judge(generated=rows[:30], train=rows[:45], classes={"train": names[:45].tolist()}).accuracy
    assert train == pytest.approx(accuracy_score(truth[:45][known[:45]], likelihoods[:45][known[:45]].argmax(1)))
    assert judge(generated=rows, classes={"generated": names.tolist()}).accuracy is None
    # names that are numbers are the labels themselves
    numbers = judge(generated=rows, reference=rows, classes={"reference": [str(2 - each) for each in truth]}).accuracy
    assert numbers == pytest.approx(accuracy_score(2 - truth, likelihoods.argmax(1)))


def test_classes_that_are_not_the_generator_s_give_a_caution_and_no_accuracy() -> None:
    rows = by_class(np.random.default_rng(0).gamma(2, 1, (20, 3)), "inversion")
    found = inversion.judge(generated=rows, reference=rows, classes={"reference": ["a", "b"] * 10})
    assert found.accuracy is None
    (caution,) = [each for each in found.cautions if each.code == "classes-unknown"]
    assert "3 outputs and the images 2 classes" in caution.message
    # a generator without classes has none to tell
    plain = inverted(np.ones(20))
    assert inversion.judge(generated=plain, reference=plain, classes={"reference": ["a"] * 20}).accuracy is None
