"""Every key is checked before anything is measured, in one table; a metric's own against its signature."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hydra.utils import get_object

from genaudit.cli import main
from genaudit.config_files import config_folder
from genaudit.errors import DONE, USER, UserError
from genaudit.stats.bounds import Bounds, Count, Natural, Positive, Probability
from genaudit.tasks.listing import _group
from genaudit.tasks.run.from_python import compose
from genaudit.tasks.run.instantiate import instantiate
from genaudit.tasks.run.judging import make_spec
from genaudit.tasks.run.keys import FILES, MEASURING, VERB_KEYS
from genaudit.tasks.run.measuring import measure_roles
from genaudit.tasks.run.signatures import check_node, hints_of
from genaudit.verbs import VERBS

PIXELS = ("feature_model=pixels", "feature_model.size=4", "progress=false", "device=cpu")


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_key_of_every_verb_is_in_the_table(verb: str) -> None:
    """A key that is added to a YAML without a check would be found wrong only after hours of measuring."""
    keys = {str(key) for key in compose(verb, [])}
    assert not keys - set(MEASURING) - set(VERB_KEYS[verb])
    assert verb in FILES or verb in ("cache", "check", "list")  # they write nothing but what they print


@pytest.mark.parametrize("group", ["metric", "anomaly", "ais", "feature_model"])
def test_what_is_repeated_has_a_most(group: str) -> None:
    """A slip such as trials=1000000000 would otherwise run as long as it was asked to, or ask for all memory.

    What is not repeated is left out: seeds, and counts of images or of their neighbours, which the images bound.
    """
    bounded_by_images = {"k", "cells", "min_generated", "smallest", "splits", "split_size", "patch", "shown", "picture"}
    targets = set()
    for path in (config_folder() / group).glob("*.yaml"):
        targets |= set(re.findall(r"_target_: ([\w.]+)", path.read_text()))
    assert targets
    for target in sorted(targets):
        for name, check in hints_of(get_object(target)).items():
            whole = check.accepts(5) and not check.accepts(5.5)
            if whole and "seed" not in name and name not in bounded_by_images:
                assert not check.accepts(10**9), f"{target}: {name}"


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == USER
    said = capsys.readouterr().err
    assert len(said.strip().splitlines()) == 1
    return said


@pytest.fixture
def nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("genaudit.tasks.evaluate.measure_roles", "genaudit.tasks.evaluate.open_roles"):
        monkeypatch.setattr(name, lambda *_: pytest.fail("it was opened or measured"))


@pytest.mark.usefixtures("nothing_is_measured")
@pytest.mark.parametrize(
    ("setting", "right"),
    [
        ("progress=off", "progress must be true or false, got off"),
        ("offline=no", "offline must be true or false, got no"),
        ("progress=1", "progress must be true or false, got 1"),
        ("workers=-1", "workers must be auto or an integer of 0 or more, got -1"),
        ("batch_size=2.5", "batch_size must be auto or an integer from 1 to 65536, got 2.5"),
        ("limit=true", "limit must be a positive integer or null, got true"),
        ("on_error=ignore", "on_error must be fail or skip, got ignore"),
        ("max_skipped=1.5", "max_skipped must be a number from 0 to 1, got 1.5"),
        ("max_pixels=null", "max_pixels must be a positive integer, got null"),
        ("confidence=nan", "confidence must be a number from 0.001 to 0.999999, got nan"),
        ("confidence=1e-300", "confidence must be a number from 0.001 to 0.999999, got 1e-300"),
        ("confidence=0.9999999999999999", "confidence must be a number from 0.001 to 0.999999"),
        ("seed=2147483648", "seed must be an integer from 0 to 2147483647, got 2147483648"),
        ("seed=null", "seed must be an integer from 0 to 2147483647, got null"),
        ("device=cuda:x", "device must be auto, cpu, cuda, cuda:N or mps, got cuda:x"),
        ("skip=maybe", "skip must be true or false, got maybe"),
        ("metric.prdc.fn.k=0", "metric.prdc.fn.k must be a positive integer, got 0"),
        ("metric.prdc.fn.k=5.0", "metric.prdc.fn.k must be a positive integer, got 5.0"),
        ("metric.prdc.fn.k=abc", "metric.prdc.fn.k must be a positive integer, got abc"),
        ("metric.irs.fn.metric=manhattan", "metric.irs.fn.metric must be euclidean or cosine, got manhattan"),
        ("metric.irs.fn.alpha=1", "metric.irs.fn.alpha must be a number above 0 and below 1 or null, got 1"),
        ("metric.vendi.fn.q=abc", "metric.vendi.fn.q must be a positive number or infinity, got abc"),
        ("metric.swd.fn.directions=0", "metric.swd.fn.directions must be an integer from 1 to 100000, got 0"),
        ("metric.as.fn.permutations=null", "metric.as.fn.permutations must be an integer from 1 to 100000, got null"),
        ("metric.prdc.fn._partial_=tru", "metric.prdc.fn._partial_ must be true or false, got tru"),
        ("+metric.prdc.fn._convert_=al", "metric.prdc.fn._convert_ must be none, partial, object or all, got al"),
        ("+metric.prdc.fn._args_=x", "metric.prdc.fn._args_ must be a list, got x"),
        ("feature_model.size=0", "feature_model.size must be an integer from 1 to 8192, got 0"),
        ("anomaly.path_steps=1", "anomaly.path_steps must be an integer from 2 to 100000, got 1"),
        ("ais.chains=many", "ais.chains must be an integer from 1 to 100000, got many"),  # of no metric of the run
    ],
)
def test_a_setting_that_is_not_valid_is_named(setting: str, right: str, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = "metric=[as,irs,prdc,vendi,swd]"
    assert right in complaint(capsys, "evaluate", "gen", "reference=ref", *PIXELS, metrics, setting)


@pytest.mark.parametrize(
    ("arguments", "right"),
    [
        (["check", "gen", "workers=abc"], "workers must be"),
        (["check", "gen", "limit=abc"], "limit must be"),
        (["sample", "generator=demo_vae", "seed=abc"], "seed must be"),
        (["sample", "generator=demo_vae", "n=0"], "n must be an integer from 1 to 100000000, got 0"),
        (["explain", "gen", "trials=0"], "trials must be an integer from 1 to 100000, got 0"),
        (["explain", "gen", "alpha=0"], "alpha must be a positive number, got 0"),
        (["moments", "gen", "spatial=yes"], "spatial must be true or false, got yes"),
        (["compare", "a", "b", "confidence=2"], "confidence must be"),
        (["compare", "a", "b", "relabellings=5"], "relabellings must be 0 or an integer from 10 to 100000, got 5"),
        (["compare", "a", "b", "equal_n=yes"], "equal_n must be true or false, got yes"),
        (["reject", "gen", "train=t", "plan=perhaps"], "plan must be true or false, got perhaps"),
        (["reject", "--plan", "n_train=0"], "n_train must be a positive integer or null, got 0"),
        (["train", "likelihood=glow_laptop", "train=t", "checkpoint_seconds=-1"], "checkpoint_seconds must be"),
        (["train", "likelihood=glow_laptop", "train=t", "every=0"], "every must be a positive integer or null, got 0"),
        (["train", "likelihood=glow_laptop", "train=t", "samples=x"], "samples must be"),
        (["train", "likelihood=glow_laptop", "train=t", "likelihood.model.channels=2"], "channels must be 1 or 3"),
        (["train", "likelihood=glow_laptop", "train=t", "likelihood.recipe.clip_norm=a"], "clip_norm must be a number"),
        (
            ["train", "piad=mnist", "train=t", "piad.recipe.learning_rate=fast"],
            "piad.recipe.learning_rate must be a number, got fast",
        ),
        (["reproduce", "table=irs_section11", "scale=big"], "scale must be laptop, desk or paper, got big"),
        (["demo", "sets=vae"], "sets must be a list"),
        (["list", "metrics", "progress=off"], "progress must be true or false"),
    ],
)
def test_other_verbs_settings_are_named_too(
    arguments: list[str],
    right: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert right in complaint(capsys, *arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        (["evaluate", "gen", "feature_model=timm"], "feature_model.name"),
        (["evaluate", "gen", "feature_model=torchvision"], "feature_model.architecture"),
        (["evaluate", "gen", "dataset@reference=huggingface"], "reference.path"),
        (["evaluate", "gen", "dataset@reference=moments"], "reference.path"),
        (["train", "piad=mnist", "piad/perceptual=layer", "train=t"], "piad.perceptual.layer"),
    ],
)
def test_a_value_that_is_missing_is_named(arguments: list[str], key: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"{key}=..." in complaint(capsys, *arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", "gen", "reference="],
        ["evaluate", "gen", "reference=''"],
        ["evaluate", "gen", 'reference=" "'],
        ["evaluate", "gen", "reference=[ref,'']"],
        ["evaluate", "", "reference=ref"],
        ["evaluate", "gen", "out="],
        ["evaluate", "gen", "store="],
        ["evaluate", "gen", "density_model=", "metric=[llr]"],
        ["reject", "gen", "train="],
        ["train", "likelihood=glow_laptop", "train="],
        ["train", "likelihood=glow_laptop", "train=t", "finetune="],
        ["moments", "", "out=m.npz"],
        ["moments", "ref", "out="],
        ["check", "gen", ""],
        ["compare", "a", ""],
        ["compare", "a", "b", "column="],
        ["sample", "generator=torchscript", "generator.file="],
        ["reproduce", "table=irs_section11", "data="],
    ],
)
def test_an_empty_value_is_not_the_current_folder(
    arguments: list[str], capsys: pytest.CaptureFixture[str], make_images: Callable[..., Path], monkeypatch: Any
) -> None:
    monkeypatch.chdir(make_images("gen", 2).parent)
    said = complaint(capsys, *arguments)
    assert "is empty" in said or "must be a path" in said


def test_empty_paths_are_refused_from_python() -> None:
    with pytest.raises(UserError, match="reference= is empty"):
        compose("evaluate", ["generated=gen", "reference=''"])


def test_an_empty_variable_of_the_environment_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENAUDIT_STORE", "")
    assert compose("evaluate", ["generated=gen"]).store == ""


def test_whole_numbers_may_be_written_as_powers_of_ten() -> None:
    cfg = compose("evaluate", ["limit=1e3", "max_pixels=1e6"])
    assert (cfg.limit, cfg.max_pixels) == (1000, 1_000_000)
    assert isinstance(cfg.limit, int)


def made(
    *, k: Count = 1, n: Natural = 0, share: Probability = 0.5, rate: Positive | None = None, word: str = "a",
    kind: Literal["x", "y"] = "x", percent: Annotated[float, Bounds(0, 50, below=True)] = 1.0, on_or_off: bool = True,
    pair: tuple[float, float] = (0.0, 1.0), anything: Any = None, sizes: list[int] | None = None,
) -> None:  # fmt: skip
    """What a user's own metric or model may look like."""


@pytest.mark.parametrize(
    ("key", "good", "bad"),
    [
        ("k", [1, 10**9], [0, -1, 1.0, True, "1", None, float("nan")]),
        ("n", [0], [-1, 0.5, False]),
        ("share", [0.1, 0.999], [0, 1, -0.1, "0.5", None]),
        ("rate", [1, 1e-9, None], [0, -1.0, float("nan"), "fast", True]),
        ("word", ["b"], ["", 1, None, ["b"]]),
        ("kind", ["x", "y"], ["z", "", None, 1]),
        ("percent", [0, 49.9], [50, -1e-9]),
        ("on_or_off", [True, False], ["on", "off", "yes", 0, 1, None]),
        ("pair", [[0, 1], (0.5, 2)], [0, ["a", "b"], None]),
        ("anything", [1, "x", None, [1]], []),
        ("sizes", [[1, 2], None, []], [[1.5], ["a"], 3]),
    ],
)
def test_the_signature_is_the_check(key: str, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        check_node({"_target_": made, key: value}, "metric.own.fn")
    for value in bad:
        with pytest.raises(UserError, match=rf"metric\.own\.fn\.{key} must be "):
            check_node({"_target_": made, key: value}, "metric.own.fn")


def test_a_class_that_hands_arguments_on_is_asked_with_what_it_inherits_from() -> None:
    class Base:
        def __init__(self, size: Count = 1) -> None: ...

    class Own(Base):
        def __init__(self, name: str, **shared: Any) -> None:
            super().__init__(**shared)

    assert set(hints_of(Own)) == {"size", "name"}


def test_every_number_and_word_of_every_metric_is_checked() -> None:
    """A metric that is added without annotations would let anything through."""
    left = {}
    for name, config, _ in _group("metric"):
        for metric, node in config.items():
            spec = make_spec(str(metric), node, {}, False)
            function = getattr(spec.fn, "func", spec.fn)
            own = {key for key in node.fn if not str(key).startswith("_")}
            left[name] = own - set(hints_of(function))
    assert {name: keys for name, keys in left.items() if keys} == {}


def test_a_node_is_checked_where_it_is_made() -> None:
    with pytest.raises(UserError, match="size must be an integer from 1 to 8192, got big"):
        instantiate({"_target_": "genaudit.backbones.pixels.Pixels", "size": "big"})


def test_bounds_read_as_sentences() -> None:
    said = {
        Bounds(1).describe("integer"): "a positive integer",
        Bounds(0).describe("integer"): "an integer of 0 or more",
        Bounds(0, above=True).describe("number"): "a positive number",
        Bounds(0, 1).describe("number"): "a number from 0 to 1",
        Bounds(0, 50, below=True).describe("number"): "a number of 0 or more and below 50",
        Bounds(high=0).describe("number"): "a number up to 0",
        Bounds(2, above=True).describe("number"): "a number above 2",
    }
    assert all(found == wanted for found, wanted in said.items())


def test_a_metric_that_was_named_and_lacks_a_role_ends_the_run_before_it_measures(
    make_images: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("genaudit.tasks.evaluate.measure_roles", lambda *_: pytest.fail("it was measured"))
    gen = str(make_images("gen", 4))
    for metric, role in (("fd", "reference="), ("authpct", "train="), ("irs", "train= or reference="), ("ct", "")):
        said = complaint(capsys, "evaluate", gen, *PIXELS, f"metric=[vendi,{metric}]")
        assert f"metric={metric} cannot be computed" in said
        assert role in said
        assert "skip=true" in said


def test_a_metric_that_was_named_and_could_not_be_computed_is_exit_code_2_beside_its_report(
    make_images: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = [str(make_images("gen", 4)), f"reference={make_images('ref', 4, seed=1)}", *PIXELS, f"out={tmp_path / 'o'}"]
    assert main(["evaluate", *sets, "metric=[kd,prdc]"]) == USER  # k = 5 needs more images
    shown = capsys.readouterr()
    assert "metric=prdc cannot be computed (prdc: " in shown.err
    assert "not computed prdc" in shown.out
    assert (tmp_path / "o" / "report.json").exists()
    assert main(["evaluate", *sets, "metric=[kd,prdc]", "skip=true"]) == DONE


def test_the_default_metrics_that_lack_a_role_are_said_before_measuring_and_are_no_error(
    make_images: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []

    def measured(*arguments: Any) -> Any:
        said.append(capsys.readouterr().err)
        return measure_roles(*arguments)

    monkeypatch.setattr("genaudit.tasks.evaluate.measure_roles", measured)
    assert main(["evaluate", str(make_images("gen", 4)), *PIXELS, f"out={tmp_path / 'o'}"]) == DONE
    assert "metric fd will not be computed: it needs reference= (real images)" in said[0]
