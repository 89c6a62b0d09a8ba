"""The line of each network above a run's results."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from genaudit.reports.networks import network_lines


def _lines(*uses: dict[str, Any]) -> list[str]:
    about = [{"feature_model": "eyes", "preprocessing": "8 x 8", **use} for use in uses]
    measures = {str(i): SimpleNamespace(about=each) for i, each in enumerate(about)}
    return network_lines(SimpleNamespace(measures=measures))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("uses", "line"),
    [
        ([{}], "eyes: 8 x 8"),
        ([{}, {"engine": "openvino"}], "eyes: 8 x 8, run by OpenVINO and PyTorch"),
        ([{"engine": "openvino"}, {"engine": "openvino"}], "eyes: 8 x 8, run by OpenVINO"),
        ([{"engine_note": "no such operation"}], "eyes: 8 x 8, run by PyTorch (no such operation)"),
        ([{}, {"engine_note": "no such operation"}], "eyes: 8 x 8, run by PyTorch (no such operation)"),
    ],
)
def test_a_network_with_one_preparation_has_one_line(uses: list[dict[str, Any]], line: str) -> None:
    assert _lines(*uses) == [line]


def test_another_size_of_a_network_has_a_line_of_its_own() -> None:
    assert _lines({"engine": "openvino"}, {"preprocessing": "4 x 4"}) == ["eyes: 8 x 8, run by OpenVINO", "eyes: 4 x 4"]
