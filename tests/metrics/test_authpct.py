from __future__ import annotations

import numpy as np
import pytest

from genaudit.metrics.authpct import authpct, judge
from genaudit.metrics.result import Unavailable


def test_on_a_line_it_is_counted_by_hand() -> None:
    # Training images at 0, 1, 5: own distances 1, 1, 4. 0.4 -> not; 2.5 (to 1: 1.5 > 1) -> yes; 9 (to 5: 4, not more
    # than 4) -> not; 9.5 -> yes; -1 (to 0: 1, not more than 1) -> not.
    assert authpct([[0.0], [1.0], [5.0]], [[0.4], [2.5], [9.0], [9.5], [-1.0]]) == pytest.approx(40.0)


def test_it_equals_the_definition_with_every_distance_stored(on_disk) -> None:
    rng = np.random.default_rng(0)
    train, generated = rng.normal(size=(150, 6)), rng.normal(size=(90, 6))
    own = np.linalg.norm(train[:, None] - train[None], axis=2)
    np.fill_diagonal(own, np.inf)
    between = np.linalg.norm(generated[:, None] - train[None], axis=2)
    expected = 100 * np.mean(between.min(axis=1) > own.min(axis=1)[between.argmin(axis=1)])
    assert authpct(train, generated) == pytest.approx(expected)
    assert authpct(on_disk(train), on_disk(generated)) == pytest.approx(expected)
    assert authpct(rng.permutation(train) * 7 + 3, generated * 7 + 3) == pytest.approx(expected)


def test_copies_of_training_images_are_not_authentic_even_where_the_training_set_repeats_itself() -> None:
    rng = np.random.default_rng(1)
    train = rng.normal(size=(40, 5))
    repeated = np.concatenate([train, train, train])
    assert authpct(train, train[:10]) == 0.0
    assert authpct(repeated, train[:10]) == 0.0  # 0 is not more than 0
    assert authpct(repeated, train[:10] + 1e-3) == 100.0  # farther than the copies are from each other


def test_judge_tells_the_reference_beside_and_brackets_its_value() -> None:
    rng = np.random.default_rng(2)
    train, held_out = rng.normal(size=(200, 4)), rng.normal(size=(100, 4))
    near_copies = train[:100] + rng.normal(size=(100, 4)) * 1e-3
    result = judge(train=train, generated=near_copies, reference=held_out)
    assert result.authpct == 0.0
    assert result.authpct.lower == 0.0
    assert 0 < result.authpct.upper < 5
    assert result.authpct_reference == pytest.approx(authpct(train, held_out))
    assert result.authpct_reference > 30
    np.testing.assert_array_equal(result.nearest.indices, np.arange(100))
    assert not result.authentic.any()


def test_a_single_training_image_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        authpct([[0.0]], [[1.0]])
    with pytest.raises(Unavailable, match="at least 2"):
        judge(train=[[0.0]], generated=[[1.0]])


def test_training_images_that_have_copies_are_said() -> None:
    rng = np.random.default_rng(3)
    train, generated = rng.normal(size=(40, 3)), rng.normal(size=(50, 3))
    assert judge(generated=generated, train=train).cautions == ()
    found = judge(generated=generated, train=np.concatenate([train, train]))
    assert found.authpct == 100.0
    (caution,) = found.cautions
    assert (caution.code, caution.message[:8]) == ("duplicates", "50 of 50")
