"""The differences that the parity page allows, at a small size; the peers are part of the test extra."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"


def _script(name: str) -> Any:
    if str(SCRIPTS) not in sys.path:
        sys.path.insert(0, str(SCRIPTS))
    return importlib.import_module(name)


peers, whole, defects, parity_page, recorded = (
    _script(name) for name in ("peers", "peers_whole", "peer_defects", "parity_page", "recorded_peers")
)


@pytest.fixture(autouse=True)
def _without_dead_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where they happen to be installed they are not used: their numbers are recorded."""
    for package in ("pytorch_fid", "cleanfid"):
        monkeypatch.setitem(sys.modules, package, None)


@pytest.fixture(scope="module")
def rows() -> Any:
    return peers.Rows.draw(*recorded.ROWS)


@pytest.mark.parametrize("comparison", peers.COMPARISONS, ids=lambda each: f"{each.metric}-{each.peer}")
def test_statistics_of_equal_features_agree(comparison: Any, rows: Any) -> None:
    if comparison.package in recorded.DEAD:
        theirs = recorded.numbers()["values"][f"{comparison.metric}-{comparison.peer}"]
        rows = recorded.rows()
    else:
        theirs = comparison.theirs(rows)
    ours = comparison.ours(rows)
    assert set(theirs) == set(ours)
    for name, value in theirs.items():
        assert peers.relative_difference(value, ours[name]) <= comparison.allowed == 1e-6


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Images that every tool must resize, up in one direction for all their smoothness."""
    made = whole.prepare(tmp_path_factory.mktemp("pictures"), *recorded.PICTURES)
    assert recorded.digest(whole.batch_of(made).numpy()) == recorded.numbers()["pictures"], recorded.AGAIN
    drawn = recorded.sample_of_weights(made.weights)
    assert drawn == pytest.approx(recorded.arrays()["weights"], rel=1e-5), recorded.AGAIN
    return made


@pytest.mark.parametrize("tool", whole.FEATURES)
def test_features_of_the_same_images_and_weights_agree(tool: str, pictures: Any, tmp_path: Path) -> None:
    from genaudit.metrics.frechet import frechet_distance

    dead = tool in recorded.DEAD
    theirs = recorded.arrays()[f"features_{tool}"] if dead else whole.FEATURES[tool](pictures)
    ours = whole.own_features(pictures, tool, tmp_path)
    assert ours.shape == theirs.shape == (4, 2048)
    assert np.abs(ours - theirs).max() <= whole.NETWORK * np.abs(theirs).max()
    # the images differ far more from each other than the tools do, and a distance agrees as features do
    assert np.abs(theirs - theirs.mean(0)).max() > 100 * np.abs(ours - theirs).max()
    shifted = theirs * 1.25
    expected = frechet_distance(theirs, shifted)
    assert frechet_distance(ours, shifted) == pytest.approx(expected, rel=whole.NETWORK)


@pytest.mark.parametrize("example", defects.DEFECTS, ids=lambda each: each.__name__)
def test_where_a_peer_is_wrong_genaudit_is_right(example: Any) -> None:
    found = example()
    near = pytest.approx(found.right, rel=1e-9, abs=1e-9)
    assert found.ours == near
    assert example.__doc__
    for peer, value in found.theirs.items():
        assert value != near, f"{peer} is right by now: {found.how}"


def test_the_page_holds_every_number() -> None:
    entry = {
        **{
            "table": "rows",
            "metric": "FD",
            "peer": "peer",
            "version": "1.2",
            "knows": "",
        },
        "values": {"fd": {"theirs": 1.5, "ours": 1.5000001, "difference": 6.7e-8, "allowed": 1e-6, "why": "why"}},
        **{"seconds_theirs": 2.0, "seconds_ours": 1.0, "mebibytes_theirs": 30.0, "mebibytes_ours": 20.0},
    }
    apart = {
        **entry,
        "values": {"kd": {"theirs": 1.0, "ours": 2.0, "difference": 0.5, "allowed": 1e-6, "why": "because"}},
    }
    document = {
        **{
            "rows": 10,
            "dimensions": 2,
            "images": 0,
            "size": 0,
            "machine": "m",
            "python": "3",
            "torch": "2",
            "scipy": "1",
            "note": "Busy.",
        },
        "comparisons": [entry, apart],
        "defects": [{"shown": "Wrong.", "how": "So.", "right": 1.0, "theirs": {"peer": 2.0}, "ours": 1.0}],
    }
    text = parity_page.page(document)
    assert "| FD<br>peer 1.2 | fd | 1.5<br>1.5000001 | 6.7e-08 | 1e-06 | 2.00<br>1.00 | 30<br>20 |" in text
    assert "5.0e-01 **beyond**" in text
    assert text.count("1e-06: because") == 1
    assert "| Wrong. So. | 1 | peer 2 | 1 |" in text
    assert "scipy 1. Busy." in text
    assert "Equal images" not in text
