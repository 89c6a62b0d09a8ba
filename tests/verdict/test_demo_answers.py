"""The verdict on the demo's five sets is what genaudit/demo/README.md says of them.

`demo_features.npz` holds the default network's features (N, 1280) less their mean, on the first 30 eigenvectors
of the covariance of all seven sets together, as float16. All sets, because components of the real images alone lose
what the Gaussian set lacks. The metrics are the default ones with train=.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

import genaudit
from genaudit import demo

FEATURES = Path(__file__).with_name("demo_features.npz")
STATED = {
    "held_out": {"quality": {"as_real"}, "diversity": {"as_real"}, "memorised": {"no"}},
    "vae": {"quality": {"worse", "much_worse"}, "diversity": {"worse", "much_worse"}, "memorised": {"no"}},
    "vae_collapsed": {"diversity": {"much_worse"}, "memorised": {"no"}},
    "memorised": {"diversity": {"cannot_tell"}, "memorised": {"yes"}},
    "gaussian": {"quality": {"much_worse"}},
}


@cache
def features() -> dict[str, np.ndarray]:
    with np.load(FEATURES) as file:
        return {name: file[name].astype(np.float32) for name in file.files}


def test_every_generated_set_of_the_demo_has_an_answer_stated_and_features_of_all_its_images() -> None:
    assert set(STATED) == {name for name, each in demo.SETS.items() if each.role == "generated"}
    assert {name: len(rows) for name, rows in features().items()} == {
        name: each.count for name, each in demo.SETS.items()
    }
    assert FEATURES.stat().st_size < 200_000


@pytest.mark.parametrize("name", STATED)
def test_the_verdict_on_the_demos_sets_is_the_one_that_its_page_states(name: str, tmp_path: Path) -> None:
    sets = features()
    report = genaudit.evaluate(
        generated=sets[name], reference=sets["reference"], train=sets["train"], store=tmp_path, progress=False
    )
    answers = {question: each.answer for question, each in report.verdict.answers.items()}
    for question, allowed in STATED[name].items():
        assert answers[question] in allowed, report.verdict.answers[question].sentence
