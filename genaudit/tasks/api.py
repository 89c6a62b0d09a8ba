"""`genaudit.evaluate(...)`: the main job from Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from genaudit.errors import UserError
from genaudit.hydra_words import from_python
from genaudit.reports.report import Report
from genaudit.tasks.run.from_python import (
    Given,
    as_override,
    compose,
    described,
    described_network,
    is_network,
    metrics_given,
    network_given,
)
from genaudit.tasks.run.guest import guest


def evaluate(
    generated: Any = None,
    reference: Any = None,
    train: Any = None,
    anomalies: Any = None,
    *,
    metrics: str | Callable[..., Any] | Sequence[str | Callable[..., Any]] | None = None,
    feature_model: Any = None,
    config_dir: str | None = None,
    **keys: Any,
) -> Report:
    """Measures and judges generated images; what `genaudit evaluate` does, without writing files.

    Args:
        generated, reference, train, anomalies: a path or list of paths, an address (https://, s3://, gs://, hf://), for
            `reference` a name of `genaudit list references`, a NumPy array (N, H, W, C) or a tensor
            (N, C, H, W), uint8 or float in [0, 1], a list of PIL images, arrays or tensors, a torch `Dataset` or
            `DataLoader`, feature rows (N, D) of floats, or a callable `f(n, generator) -> (n, C, H, W)` that samples a
            model (n in all is `n_samples`, 1,000 unless given).
        metrics: names as `genaudit list metrics` shows them, functions of rows (`def spread(*, generated, reference)`:
            arguments named after roles, each (N, D) of the feature model), or both in a list; the default is that of
            the command line. `metric` is the same. One that lacks a role is an error (`skip=True` continues without
            it); `.skipped_metrics` says why others are absent.
        feature_model: a name, or several: every metric of features is then judged on each,
            `report["fd@dinov2_l14"]`. Or a network: `genaudit.ModuleModel(network, size=, mean=, std=)`, or an
            `nn.Module` or callable (N, 3, S, S) => (N, D) with `**{"feature_model.size": 64, "feature_model.mean":
            [...], "feature_model.std": [...]}`.
        config_dir: a folder with your own YAML files, as `--config-dir`.
        **keys: the command line's keys: `seed=1`, `device="cuda"`, `limit=1000`; dotted ones in a dictionary:
            `**{"metric.irs.fn.alpha": 0.01}`.

    Returns:
        The report: `.metrics`, `.images` (per-image columns), `.save(folder)`, `.to_dict()`.

    Raises:
        genaudit.UserError: what the command line exits with code 2 for.
    """
    are_named = metrics is not None or keys.get("metric") is not None
    if metrics is not None and keys.get("metric") is not None:
        raise UserError("metrics= and metric= are the same: give one of them")
    names, functions = metrics_given(keys.pop("metric", None) if metrics is None else metrics)
    network = network_given(feature_model, keys) if is_network(feature_model) else None
    overrides = [f"metric=[{','.join(names)}]"] if are_named else []
    overrides += [from_python(key, value) for key, value in keys.items()]
    if network is not None:
        overrides += [from_python(key, value) for key, value in described_network(network).items()]
    elif feature_model is not None:
        listed = feature_model if isinstance(feature_model, str) else f"[{','.join(feature_model)}]"
        overrides.append(f"feature_model={listed}")
    given: dict[str, Any] = {
        "generated": generated, "reference": reference, "train": train, "anomalies": anomalies
    }  # fmt: skip
    for role, source in given.items():
        if source is not None:
            overrides.append(f"{role}={as_override(described(source))}")
    with guest():
        from genaudit.tasks import evaluate as task
        from genaudit.tasks.gate.checkpoints import find_sets
        from genaudit.tasks.run.roles import source_of
        from genaudit.tasks.run.settings import RULES
        from genaudit.tasks.run.sources import named

        cfg = compose("evaluate", overrides, config_dir)
        if any(cfg[key] for key in RULES):
            raise UserError(
                "require= gates a run of the command line; from Python: "
                "genaudit.integrations.testing.assert_metrics(..., require=['recall >= 0.6'])"
            )
        for role, source in given.items():
            given[role] = source_of(cfg[role]) if source is None else source
        given["reference"] = named(given["reference"], config_dir) or given["reference"]
        if len(matches := find_sets(given["generated"], pool=cfg.pool, shards=True)) > 1:
            raise UserError(
                f"generated: {generated} matches {len(matches)} sets, {matches[0]} first: evaluate each by itself, or "
                f"give pool=True to judge them as one"
            )
        objects = Given(functions, network)
        objects.into(cfg)
        report = task.evaluate(cfg, given, "genaudit.evaluate(...)", named=are_named, given=objects)
    assert report is not None
    return report
