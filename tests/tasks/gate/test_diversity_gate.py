"""`genaudit.DiversityGate` and the hand-written loop: batches, embeddings, state, restarts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import genaudit
from genaudit.integrations.training_loop import check_diversity
from genaudit.tasks.gate.judge import Judge

KEYS: dict[str, Any] = {"feature_model": "pixels", "feature_model.size": 8, "progress": False}


@pytest.fixture
def pixels(make_images: Callable[..., Path]) -> np.ndarray:
    """(100, 20, 20, 3) training images."""
    return np.stack([np.asarray(Image.open(path)) for path in sorted(make_images("train", 100, seed=1).iterdir())])


def _rows(support: int, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Training embeddings (1500, 4), and embeddings of n samples of a model that reaches `support` of them."""
    rng = np.random.default_rng(seed)
    train = rng.normal(size=(1500, 4)).astype(np.float32)
    return train, train[rng.integers(0, support, n)] + np.float32(1e-4)


def test_images_of_any_form_and_their_embeddings_decide_alike(pixels: np.ndarray) -> None:
    gate = genaudit.DiversityGate(pixels, n_max=60, **KEYS)
    chosen = pixels[np.random.default_rng(0).integers(0, 3, 60)]
    first = torch.from_numpy(chosen).permute(0, 3, 1, 2)
    verdicts = []
    for batch in (chosen, first, first.float() / 255):
        gate.reset()
        verdicts.append(gate.update(batch))
        assert gate.n_sampled == verdicts[-1].first_rejected_at  # no more was measured
    assert verdicts[0] == verdicts[1] == verdicts[2]
    assert verdicts[0].decision == "reject"


@pytest.mark.parametrize(("support", "decision"), [(1500, "accept"), (8, "reject")])
def test_embeddings_alone_are_enough(support: int, decision: str) -> None:
    train, samples = _rows(support, 300)
    for given, batch in ((train, samples), (torch.from_numpy(train), torch.from_numpy(samples))):
        gate = genaudit.DiversityGate(given, n_max=300)
        for start in range(0, 300, 64):
            verdict = gate.update(batch[start : start + 64])
        assert verdict.decision == decision
        assert gate.decided


def test_restarted_gate_goes_on_where_it_was(tmp_path: Path) -> None:
    train, samples = _rows(60, 90)
    whole = genaudit.DiversityGate(train, n_max=90)
    expected = whole.update(samples)
    first = genaudit.DiversityGate(train, n_max=90)
    first.update(samples[:7])
    first.save(tmp_path / "state" / "gate.json")
    second = genaudit.DiversityGate(train, n_max=90)
    second.load(tmp_path / "state" / "gate.json")
    assert second.n_sampled == 7
    assert second.update(samples[7:]) == expected
    json.dumps(second.state_dict(), allow_nan=False)
    other = genaudit.DiversityGate(train[:100], n_max=90)
    with pytest.raises(genaudit.UserError, match="another training set"):
        other.load(tmp_path / "state" / "gate.json")
    with pytest.raises(genaudit.UserError, match="alpha"):
        genaudit.DiversityGate(train, n_max=90, alpha=0.01).load(tmp_path / "state" / "gate.json")
    (tmp_path / "torn.json").write_text('{"train": ')
    with pytest.raises(genaudit.UserError, match=r"torn\.json"):
        other.load(tmp_path / "torn.json")


def test_reference_adjusts_the_target(tmp_path: Path) -> None:
    train, reference = _rows(50, 300, 1)
    samples = train[np.random.default_rng(5).integers(0, 50, 240)]
    plain = genaudit.DiversityGate(train, n_max=240, irs_target=1.0, absolute=True).update(samples)
    adjusted = genaudit.DiversityGate(train, reference=reference, n_max=240).update(samples)
    assert plain.decision != "accept"
    assert adjusted.decision == "accept"
    assert (plain.calibration, adjusted.calibration) == ("absolute", "reference")


def test_gate_writes_the_files_of_the_command_line(pixels: np.ndarray, tmp_path: Path) -> None:
    gate = genaudit.DiversityGate(pixels, n_max=50, **KEYS)
    gate.update(pixels[np.random.default_rng(0).integers(0, 3, 50)])
    files = gate.write(tmp_path / "out")
    assert json.loads(files["decision.json"].read_text())["decision"] == "reject"
    assert "data:image/png" in files["decision.html"].read_text()


def test_loop_draws_until_the_decision_and_resumes_after_an_interruption(tmp_path: Path) -> None:
    train, _ = _rows(1, 1)
    calls: list[int] = []

    def sample(n: int, generator: torch.Generator) -> torch.Tensor:
        calls.append(n)
        return torch.from_numpy(train)[torch.randint(16, (n,), generator=generator)]

    gate = genaudit.DiversityGate(train, n_max=100)
    verdict = check_diversity(gate, sample, batch_size=4)
    assert verdict.decision == "reject"
    assert sum(calls) <= verdict.n_sampled + 4
    assert check_diversity(gate, sample, batch_size=4) == verdict  # the same checkpoint, the same samples

    def interrupted(n: int, generator: torch.Generator) -> torch.Tensor:
        if gate.n_sampled >= 4:
            raise KeyboardInterrupt
        return sample(n, generator)

    with pytest.raises(KeyboardInterrupt):
        check_diversity(gate, interrupted, batch_size=4, after_batch=lambda g: g.save(tmp_path / "gate.json"))
    restarted = genaudit.DiversityGate(train, n_max=100)
    restarted.load(tmp_path / "gate.json")
    assert check_diversity(restarted, sample, batch_size=4, resume=True) == verdict
    # Without n_max as many are drawn as the images set aside allow: 0.8 of a fifth of 1,500.
    assert genaudit.DiversityGate(train).n_max == 240
    with pytest.raises(genaudit.UserError, match="n_max"):
        check_diversity(genaudit.DiversityGate(train, absolute=True), sample)


def test_one_picture_is_one_sample(pixels: np.ndarray) -> None:
    gate = genaudit.DiversityGate(pixels, n_max=60, **KEYS)
    for count, picture in enumerate((pixels[0], torch.from_numpy(pixels[1]).permute(2, 0, 1), pixels[2]), start=1):
        gate.update(picture)
        assert gate.n_sampled == count
    with pytest.raises(genaudit.UserError, match=r"one grey image is \(1, 1, H, W\)"):
        gate.update(pixels[0, :, :, 0])


def test_wrong_batches_and_keys_are_refused(pixels: np.ndarray) -> None:
    train, _ = _rows(1, 1)
    gate = genaudit.DiversityGate(train, n_max=10)
    with pytest.raises(genaudit.UserError, match="embeddings"):
        gate.update(pixels[:2])
    with pytest.raises(genaudit.UserError, match="3 features"):
        gate.update(np.ones((2, 3), np.float32))
    with pytest.raises(genaudit.UserError, match="finite"):
        gate.update(np.full((2, 4), np.nan, np.float32))
    with pytest.raises(genaudit.UserError, match="irs_target"):
        genaudit.DiversityGate(train, irs_target=1.5)
    with pytest.raises(genaudit.UserError, match="unknown key"):
        genaudit.DiversityGate(train, irs_goal=0.5)
    with pytest.raises(ValueError, match="no sample"):
        genaudit.DiversityGate(train).verdict()
    for key in ("generated", "out"):
        with pytest.raises(genaudit.UserError, match=f"{key}=x: a gate that is fed batches takes none"):
            genaudit.DiversityGate(train, **{key: "x"})


def test_a_gate_that_cannot_be_saved_says_where(tmp_path: Path) -> None:
    gate = genaudit.DiversityGate(_rows(60, 1)[0], n_max=90)
    (tmp_path / "folder").mkdir()
    with pytest.raises(genaudit.UserError, match="folder: the gate cannot be saved there"):
        gate.save(tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize(
    "retrieved", [None, 3, [-1], [10**9], [1.5], ["a"], [[1]], [True], {}, float("inf"), 10**30], ids=str
)
def test_a_state_whose_samples_are_no_training_images_is_refused_and_the_gate_stays_usable(retrieved: Any) -> None:
    train, samples = _rows(60, 20)
    gate = genaudit.DiversityGate(train, n_max=90)
    gate.update(samples)
    state = gate.state_dict()
    with pytest.raises(genaudit.UserError, match="the saved gate does not fit this one: its retrieved must be"):
        gate.load_state_dict({**state, "gate": {**state["gate"], "retrieved": retrieved}})
    gate.load_state_dict(state)
    assert gate.state_dict() == state


@pytest.mark.parametrize("state", [None, [], {}, {"gate": None}, {"gate": []}], ids=str)
def test_what_is_no_state_is_refused(state: Any) -> None:
    with pytest.raises(genaudit.UserError, match="no saved gate"):
        genaudit.DiversityGate(_rows(60, 1)[0], n_max=90).load_state_dict(state)


@pytest.mark.parametrize(("precision", "ends"), [("bfloat16", "; precision=float32 may mend it"), ("float32", "")])
def test_a_network_that_overflows_is_told_what_may_mend_it(precision: str, ends: str) -> None:
    engine = SimpleNamespace(precision=precision)
    yardstick: Any = SimpleNamespace(measure=object(), settings=SimpleNamespace(engine=engine))
    never: Any = None  # it is not fed
    with pytest.raises(genaudit.UserError) as refused:
        Judge(yardstick, never, never).retrieve(np.array([[1.0, np.inf]], np.float32))
    assert str(refused.value) == f"generated holds values that are not finite (NaN or infinity){ends}"


def test_embeddings_that_cannot_be_compared_are_named_by_their_role() -> None:
    train, samples = _rows(60, 20)
    gate = genaudit.DiversityGate(train, n_max=90)
    for batch, wrong in (
        (samples * np.float32(1e26), "generated holds values of .* in size, and distances are computed up to 1e[+]15"),
        (np.full_like(samples, np.nan), "generated holds values that are not finite [(]NaN or infinity[)]$"),
        (samples * np.float32(1e-30), "generated holds no value above"),
        (samples[:0], "generated must have shape"),
        (torch.zeros(3, 4, device="meta"), "generated is a tensor of the device meta"),
    ):
        with pytest.raises(genaudit.UserError, match=wrong):
            gate.update(batch)
    assert gate.update(torch.from_numpy(samples[:9]).bfloat16()).n_sampled == 9
    for rows, wrong in (
        (train * np.float32(1e26), "train holds values of .*: divide all sets by one number"),
        (train[:, :0], "train: embeddings .* one row and one column or more"),
    ):
        with pytest.raises(genaudit.UserError, match=wrong):
            genaudit.DiversityGate(rows, n_max=90)
