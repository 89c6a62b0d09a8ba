"""Every verb's keys and what their values must be: one table, checked before anything is opened or measured.

A metric's, network's or recipe's own keys are checked against the signature of what takes them
(`genaudit.tasks.run.signatures`). A key that a verb's YAML gains is added here; a test compares the two.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import ListConfig, OmegaConf

from genaudit.errors import UserError
from genaudit.metrics.result import ROLES
from genaudit.stats.bounds import MOST_REPEATS, MOST_SEED, Bounds
from genaudit.tasks.run.folder import STEPS, check_folder, run_folder, store_folder
from genaudit.tasks.run.networks import refuse_merged
from genaudit.tasks.run.signatures import NULL, SWITCH, WORD, Check, check_node, integer, list_of, number, one_of

PRECISIONS = ("float32", "tf32", "bfloat16", "float16", "float64")
ENGINES = ("auto", "torch", "openvino")


def _is_device(value: Any) -> bool:
    kind, _, index = str(value).partition(":")
    return value in ("auto", "cpu", "cuda", "mps") or (kind == "cuda" and index.isdigit())


def _is_path(value: Any) -> bool:
    return isinstance(value, os.PathLike) or (isinstance(value, str) and value.strip() != "" and "\0" not in value)


COUNT, NATURAL = integer(Bounds(1)), integer(Bounds(0))
SEED = integer(Bounds(0, MOST_SEED))
REPEATS = integer(Bounds(1, MOST_REPEATS))
AUTO = one_of("auto")
PATH = Check("a path", _is_path)
NODE = Check("a config", lambda value: isinstance(value, (Mapping, list)))  # its own keys are checked elsewhere
DATASET = Check("a dataset config", lambda value: isinstance(value, Mapping))
SOURCE = PATH | list_of(PATH) | DATASET | NULL
WORDS = list_of(WORD)
ANY = Check("anything", lambda value: True)

MEASURING: dict[str, Check] = {
    "seed": SEED,
    "device": Check("auto, cpu, cuda, cuda:N or mps", _is_device),
    "precision": one_of(*PRECISIONS),
    "engine": one_of(*ENGINES),
    "compile": SWITCH,
    "batch_size": AUTO | integer(Bounds(1, 65536)),
    "workers": AUTO | NATURAL,
    **dict.fromkeys(("limit", "limit_reference", "limit_train", "limit_anomalies", "n_samples"), COUNT | NULL),
    "store": Check("a path or null", lambda value: value in (None, "") or _is_path(value)),  # GENAUDIT_STORE may be ""
    "out": PATH | NULL,
    "on_error": one_of("fail", "skip"),
    "max_skipped": number(Bounds(0, 1)),
    "max_pixels": COUNT,
    **dict.fromkeys(("offline", "trust"), SWITCH),
    "progress": SWITCH,
    "confidence": number(Bounds(0.001, 0.999999)),  # beyond, the quantiles are rounding
}
MODELS = {"feature_model": NODE, "anomaly": NODE, "ais": NODE | NULL, "metric": NODE, "generator": NODE | NULL}
TRAINED = dict.fromkeys(("density_model", "general_model", "piad_model"), PATH | NULL)
RULES = {"require": WORD | list_of(WORD) | NULL, "baseline": PATH | NULL, "strict": SWITCH}
SOURCES = dict.fromkeys(ROLES, SOURCE)

VERB_KEYS: dict[str, dict[str, Check]] = {
    "evaluate": {
        **{"preset": NODE | NULL, **SOURCES, **MODELS, **TRAINED, **RULES, "skip": SWITCH, "pool": SWITCH | NULL},
        "explore": AUTO | SWITCH,
        "by": one_of("class") | NULL,
        "paired": SWITCH | one_of("name", "order"),
    },
    # The gate's own keys belong to one another: `genaudit.tasks.gate.keys.GateKeys` checks them.
    "reject": {
        **{role: SOURCES[role] for role in ("generated", "reference", "train")},
        **dict.fromkeys(("irs_target", "alpha", "detect", "power", "absolute"), ANY),
        **dict.fromkeys(("mode", "n_max", "distance", "diversity"), ANY),
        "feature_model": NODE,
        "pool": SWITCH | NULL,
        "plan": SWITCH,
        "n_train": COUNT | NULL,
    },
    "train": {
        **dict.fromkeys(("train", "reference", "anomalies", "outliers", "images"), SOURCE),
        **dict.fromkeys(("general", "finetune", "labels"), PATH | NULL),
        **dict.fromkeys(("likelihood", "piad"), NODE | NULL),
        "what": WORD | NULL,
        "every": COUNT | NULL,
        "checkpoint_seconds": number(Bounds(0)),
        "samples": integer(Bounds(0, MOST_REPEATS)) | NULL,
    },
    "explain": {
        **dict.fromkeys(("superpixels", "trials", "least", "most", "attack_steps"), REPEATS),
        "alpha": number(Bounds(0, above=True)),
        "generated": SOURCE,
        "feature_model": NODE,
    },
    "moments": {"reference": SOURCE, "feature_model": NODE, "spatial": SWITCH},
    "reproduce": {
        "table": NODE | NULL,
        "scale": one_of("laptop", "desk", "paper"),
        **dict.fromkeys(("data", "piad_model"), PATH | NULL),
        "generator": NODE | NULL,
        "checkpoint_seconds": number(Bounds(0)),
    },
    "gate": {"run": PATH | NULL, **RULES, "relabellings": one_of(0) | integer(Bounds(10))},
    "compare": {
        "runs": list_of(PATH),
        "sort": WORD | NULL,
        "baseline": PATH | NULL,
        "pareto": WORDS | NULL,
        "relabellings": one_of(0) | integer(Bounds(10, MOST_REPEATS)),  # 0: differences by the intervals
        "equal_n": SWITCH,
        "column": PATH | NULL,
        "column_name": WORD | NULL,
    },
    "check": {
        "paths": list_of(PATH),
        **{role: SOURCES[role] for role in ("reference", "train")},
        "feature_model": NODE,
        "harm": SWITCH,
    },
    "export": {
        "run": PATH | NULL,
        "what": one_of("features", "rows", "images"),
        "format": one_of("npz", "parquet", "csv"),
        "measure": WORD | NULL,
        "role": one_of("generated", "reference", "train", "anomalies") | NULL,
    },
    "sample": {"generator": NODE | NULL, "piad_model": PATH | NULL, "n": integer(Bounds(1, 100_000_000))},
    "list": {"what": WORD | NULL, "name": WORD | NULL, "data": PATH | NULL},
    "cache": {"what": WORD | NULL, "older_than": number(Bounds(0)) | NULL, "measure": WORD | NATURAL | NULL},
    "demo": {**MODELS, **TRAINED, "sets": WORDS | NULL, "skip": SWITCH},
}
# Verbs that keep rows, and what each verb writes into out=
STORES = frozenset({"evaluate", "reject", "moments", "demo", "reproduce"})
REPORT = ("metrics.csv", "images.csv", "explore.html", "report.html", "report.json")
FILES: dict[str, tuple[str, ...]] = {
    "evaluate": REPORT,
    "reject": ("decision.json", "decision.html"),
    "train": ("checkpoint.pt", "log.csv", "model.safetensors", "model.json", "samples.png", "train.html"),
    "explain": ("coefficients.csv", "explain.html"),
    "reproduce": (),
    "gate": ("gate.xml", "gate.md", "gate.json"),
    "compare": ("comparison.csv", "comparison.json", "comparison.html", "runs.csv"),
    "moments": ("moments.npz",),
    "sample": (),
    "export": (),
    "demo": (),
}
FILE_KINDS = {"moments": (".npz",), "train": (".json",)}  # verbs whose out= may be a file of such a name


def before(verb: str, cfg: Any) -> None:
    """What the command line checks before a verb begins: its keys, and that its files can be written.

    Raises:
        UserError: names the key and what was expected.
    """

    given = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    refuse_merged(cfg)
    check(verb, cfg, [override.partition("=")[0].lstrip("+~") for override in given])
    check_places(verb, cfg)


def check(verb: str, cfg: Any, overridden: Iterable[str] = ()) -> None:
    """Checks all keys of a composed configuration; whole numbers written as 1e6 become integers.

    Args:
        overridden: the dotted keys that the user gave: what they lie within is checked whether it is used or not.

    Raises:
        UserError: names the key and what was expected.
    """
    _check_missing(cfg)
    check_values(cfg, {**MEASURING, **VERB_KEYS[verb]})
    for key in overridden:
        _check_within(cfg, key)


def check_values(cfg: Any, table: Mapping[str, Check]) -> None:
    """Checks those keys of the table that the configuration has."""
    for key, demand in table.items():
        if key not in cfg:
            continue
        value = cfg[key]
        if isinstance(value, float) and value.is_integer() and demand.accepts(int(value)):
            cfg[key] = value = int(value)
        if _is_empty(value) and not demand.accepts(_plain(value)):
            raise UserError(empty(key))
        demand.demand(key, _plain(value))


def check_places(verb: str, cfg: Any) -> None:
    """Tries whether what a verb writes can be written."""
    if verb in FILES:
        out = run_folder(cfg, verb)
        if out.suffix in FILE_KINDS.get(verb, ()):
            check_folder("out", out.parent, (out.name,))
        else:
            check_folder("out", out, FILES[verb])
    if verb in STORES and not cfg.get("plan"):
        check_store(cfg, steps=verb == "reproduce")


def check_store(cfg: Any, *, steps: bool = False) -> None:
    """Tries whether the row store can be written; one that holds rows already may be read-only, but not for steps."""

    store = store_folder(cfg["store"])
    try:
        if not steps and store.is_dir() and any(store.iterdir()):
            return
    except OSError:
        pass  # what is wrong with it is found out below
    try:
        check_folder("store", store / STEPS if steps else store)
    except UserError as error:
        raise UserError(f"{error}; store=DIR or GENAUDIT_STORE=DIR names another") from None


def _is_empty(value: Any) -> bool:
    """Whether a value, or one of a list, is a word without a letter."""
    entries = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    return any(isinstance(entry, str) and not entry.strip() for entry in entries)


def empty(key: str) -> str:
    """The message about a key without a value."""
    return f"{key}= is empty and needs a value (is a shell variable not set?); omit it for its default"


def _check_missing(cfg: Any) -> None:

    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise UserError(f"a value is missing: give {', '.join(f'{key}=...' for key in missing)}")


def _check_within(cfg: Any, key: str) -> None:
    """The innermost node with `_target_` around a key."""

    parts = key.split(".")
    for length in range(len(parts) - 1, 0, -1):
        node = OmegaConf.select(cfg, ".".join(parts[:length]), throw_on_missing=False)
        if OmegaConf.is_dict(node) and "_target_" in node:
            check_node(node)
            return


def _plain(value: Any) -> Any:
    """Lists as lists; nodes stay, since resolving all of one may ask for what is not there."""

    return OmegaConf.to_container(value, resolve=True) if isinstance(value, ListConfig) else value
