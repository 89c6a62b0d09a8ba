"""What a result class says of itself is all that the reports know of a metric."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import yaml

import genaudit
from genaudit.metrics.declared import result_class, result_class_of
from genaudit.metrics.result import NOT_NEGATIVE, declared

CONFIGS = Path(genaudit.__file__).parent.parent / "configs" / "metric"


def targets() -> dict[str, str]:
    """The function of every metric that ships, by the metric's name."""
    found = {}
    for path in sorted(CONFIGS.glob("*.yaml")):
        for name, node in yaml.safe_load(path.read_text(encoding="utf-8")).items():
            found[name] = node["fn"]["_target_"]
    return found


@pytest.mark.parametrize(("name", "target"), targets().items())
def test_every_metric_that_ships_explains_itself_and_each_of_its_values(name: str, target: str) -> None:
    cls = result_class_of(target)
    assert 30 <= len(cls.explanation) <= 250
    values = declared(cls)
    assert values
    if len(values) > 1:
        assert all(said.label for said in values.values())
    for said in values.values():
        assert said.range is None or said.range[0] < said.range[1]
        if isinstance(said.held_out, str):
            assert said.better == "none"
            assert said.held_out in cls.__dataclass_fields__


def test_shares_and_areas_have_their_natural_range() -> None:
    values = {value: said for target in targets().values() for value, said in declared(result_class_of(target)).items()}
    for name in ("as", "irs_inf", "precision", "recall", "coverage", "auroc", "auroc_raw", "typical_fraction_10"):
        assert values[name].range == (0, 1), name
    assert values["authpct"].range == (0, 100)
    assert values["spearman"].range == (-1, 1)
    assert values["density"].range == NOT_NEGATIVE  # may exceed 1
    assert values["kd"].range is None  # unbiased: as often below 0 as above where the laws are equal


def mine(*, generated: Any) -> NoSuchClass:  # type: ignore[name-defined]  # noqa: F821
    """A metric whose annotation cannot be had."""


def test_only_genaudits_own_functions_are_imported_and_what_says_nothing_is_none() -> None:
    assert result_class_of("genaudit.metrics.frechet.judge").__name__ == "FrechetResult"
    for target in ("os.system", "genaudit.metrics.nothing.judge", "genaudit.metrics.frechet.nothing", None, 3, ""):
        assert result_class_of(target) is None
    assert result_class(mine) is None
    assert result_class(functools.partial(functools.partial(len))) is None
