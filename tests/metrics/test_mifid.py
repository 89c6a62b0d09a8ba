from __future__ import annotations

import numpy as np
import pytest
import torch

from genaudit.metrics.frechet import frechet_distance
from genaudit.metrics.mifid import EPSILON, judge, memorisation_distance, mifid
from genaudit.metrics.result import Unavailable


def _sets(sign: bool = True) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    train, generated = rng.normal(size=(80, 10)), rng.normal(size=(60, 10)) + 0.2
    return (train, generated) if sign else (np.abs(train), np.abs(generated))


@pytest.mark.parametrize("sign", [True, False])
def test_the_distance_is_torchmetrics_with_its_arguments_in_the_papers_order(sign: bool) -> None:
    peer = pytest.importorskip("torchmetrics.image.mifid")
    train, generated = _sets(sign)
    rows = [torch.from_numpy(each) for each in (generated, train)]
    theirs = float(peer._compute_cosine_distance(*rows, cosine_distance_eps=1.0))
    assert memorisation_distance(train, generated) == pytest.approx(theirs, rel=1e-12)
    cosines = np.abs(generated @ train.T) / np.outer(*(np.linalg.norm(each, axis=1) for each in (generated, train)))
    assert memorisation_distance(train, generated) == pytest.approx((1 - cosines.max(axis=1)).mean(), rel=1e-12)


def test_it_is_fd_above_the_threshold_and_fd_over_the_distance_below() -> None:
    train, generated = _sets()
    distance, fd = memorisation_distance(train, generated), frechet_distance(generated, train)
    assert mifid(train, generated, threshold=distance / 2) == pytest.approx(fd, rel=1e-12)
    assert mifid(train, generated, threshold=1) == pytest.approx(fd / distance, rel=1e-12)


def test_copies_of_one_training_image_are_punished_here_and_not_by_torchmetrics() -> None:
    # Every sample copies a training image, most training images are far from all samples.
    peer = pytest.importorskip("torchmetrics.image.mifid")
    train, _ = _sets()
    copies = np.repeat(train[:2], 30, axis=0)
    result = judge(generated=copies, train=train)
    assert result.memorisation_distance == pytest.approx(0.0, abs=1e-15)
    assert result.penalised
    assert result.mifid == pytest.approx(result.fd / EPSILON, rel=0.1)  # the distance is rounding, 1e-16 or so
    rows = [torch.from_numpy(each) for each in (train, copies)]  # torchmetrics' order
    assert float(peer._compute_cosine_distance(*rows)) == 1.0  # no penalty
    assert (result.nearest.indices < 2).all()


def test_it_does_not_depend_on_row_lengths_order_or_where_the_rows_lie(on_disk) -> None:
    train, generated = _sets()
    rng = np.random.default_rng(1)
    expected = memorisation_distance(train, generated)
    assert memorisation_distance(
        -rng.permutation(train) * rng.uniform(0.1, 9, (80, 1)), rng.permutation(generated) * 3
    ) == pytest.approx(expected, rel=1e-9)
    assert memorisation_distance(on_disk(train), on_disk(generated)) == pytest.approx(expected, rel=1e-12)


def test_reference_images_are_compared_with_and_show_where_the_threshold_should_lie() -> None:
    train, generated = _sets()
    reference = np.random.default_rng(2).normal(size=(70, 10))
    result = judge(generated=generated, train=train, reference=reference, threshold=0.9)
    assert result.compared_with == "reference"
    assert result.fd == pytest.approx(frechet_distance(generated, reference), rel=1e-12)
    assert result.memorisation_distance_reference == pytest.approx(memorisation_distance(train, reference), rel=1e-12)
    assert [each.code for each in result.cautions] == ["threshold-above-honest-images"]


def test_zero_rows_are_left_out_and_counted() -> None:
    train, generated = _sets()
    padded = np.concatenate([generated, np.zeros((3, 10))])
    result = judge(generated=padded, train=np.concatenate([np.zeros((1, 10)), train]))
    assert result.images_without_direction == 3
    assert result.memorisation_distance == pytest.approx(memorisation_distance(train, generated), rel=1e-12)
    assert (result.nearest.indices[-3:] == -1).all()
    with pytest.raises(Unavailable, match="all features of train are zero"):
        judge(generated=generated, train=np.zeros((4, 10)))
    with pytest.raises(ValueError, match="threshold must lie"):
        mifid(train, generated, threshold=0)
