"""Names of entries: a metric, with its network where there are several."""

from __future__ import annotations

import pytest

from genaudit.metrics.result import base_name


@pytest.mark.parametrize(
    ("entry", "metric"),
    [("fd", "fd"), ("fd@dinov2_l14", "fd"), ("as_i@a@b", "as_i"), ("@a", ""), ("", "")],
)
def test_an_entrys_metric_is_what_stands_before_its_network(entry: str, metric: str) -> None:
    assert base_name(entry) == metric
