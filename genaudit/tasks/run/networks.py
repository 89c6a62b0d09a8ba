"""The networks of a run: one or several for all metrics, or a metric's own; each metric is judged on each of its own.

With one network `cfg.feature_model` is its node. With several it holds a node per network by name, and every metric
whose configuration depends on the network is judged once for each: the entry of `fd` on `dinov2_l14` is
`fd@dinov2_l14`. A metric's own `feature_model` stands for it in that metric alone.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from genaudit.errors import UserError

KEY = "feature_model"


def networks_of(node: Any, key: str = KEY) -> dict[str, Any]:
    """The networks of a `feature_model` node by name; one network has the empty name.

    A plain key beside several networks (of a configuration file) is set in each network that has it.

    Raises:
        UserError: the node holds no network.
    """
    from omegaconf import DictConfig

    if isinstance(node, DictConfig) and "_target_" in node:
        return {"": node}
    children = {} if not isinstance(node, DictConfig) else {str(name): node._get_node(name) for name in node}
    networks = {
        name: child for name, child in children.items() if isinstance(child, DictConfig) and "_target_" in child
    }
    if not networks:
        raise UserError(f"{key}: a network is needed, {key}=NAME; `genaudit list feature_models` shows them")
    shared = {name: node[name] for name in children if name not in networks}
    return {name: _with(network, shared) for name, network in networks.items()}


def entries_of(cfg: Any) -> Iterator[tuple[str, str, Any]]:
    """Each entry of the report, its metric's name and the metric's node, in which `${feature_model}` is its network.

    A metric that no network changes (of a density model, say) has one entry of its own name.
    """
    general = _views(cfg, cfg.get(KEY), KEY)
    for name in cfg.metric:
        if cfg.get("preset") and "measure" not in cfg.metric[name]:
            continue  # a preset's settings of a metric that was not asked for
        if cfg.metric[name].get("of"):
            yield str(name), str(name), cfg.metric[name]  # made of another metric's entries
            continue
        own = cfg.metric[name].get(KEY)
        views = general if own is None else _views(cfg, own, f"metric.{name}.{KEY}")
        nodes = {network: view.metric[name] for network, view in views.items()}
        if len(nodes) > 1 and _all_equal(nodes.values()):
            yield str(name), str(name), next(iter(nodes.values()))
            continue
        for network, node in nodes.items():
            yield f"{name}@{network}" if network else str(name), str(name), node


def refuse_merged(cfg: Any) -> None:
    """A list of networks in a YAML file's defaults: Hydra has merged it into one node, which is none of them.

    Raises:
        UserError: says how the file names several.
    """
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    if not HydraConfig.initialized() or "_target_" not in (cfg.get(KEY) or ()):
        return
    hydra = HydraConfig.get()
    if KEY in hydra.runtime.choices:
        return  # one option
    loader = GlobalHydra.instance().config_loader()
    listed = loader.compute_defaults_list(hydra.job.config_name, list(hydra.overrides.task), RunMode.RUN)
    names = [each.config_path.partition("/")[2] for each in listed.defaults if each.package == KEY and each.config_path]
    if len(names) > 1:
        raise UserError(
            f"{KEY}: a YAML file's defaults list [{', '.join(names)}], which Hydra merges into one; there, write "
            f"`- {KEY}@{KEY}.{names[0]}: {names[0]}` and so on for each, and last `- override {KEY}: []`"
        )


def _views(cfg: Any, node: Any, key: str) -> dict[str, Any]:
    """The configuration as each network sees it: itself where there is no other."""
    if node is None or (key == KEY and "_target_" in node):
        return {"": cfg}
    views = {}
    for name, network in networks_of(node, key).items():
        views[name] = copy.deepcopy(cfg)
        views[name]._set_flag("struct", False)
        views[name][KEY] = network
    return views


def _with(network: Any, shared: dict[str, Any]) -> Any:
    known = {key: value for key, value in shared.items() if key in network}
    if not known:
        return network
    from omegaconf import open_dict

    changed = copy.deepcopy(network)
    with open_dict(changed):
        changed.update(known)
    return changed


def _all_equal(nodes: Any) -> bool:
    from omegaconf import OmegaConf

    first, *others = [OmegaConf.to_container(node, resolve=True) for node in nodes]
    return all(other == first for other in others)
