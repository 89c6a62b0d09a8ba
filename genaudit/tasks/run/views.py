"""Measures of a generated image with what belongs to it: its partner (`paired=true`) or its prompt.

Such a measure says so by `view`: "pairs" or "prompts". It is measured on a view of the generated images
(`genaudit.data.pairs`), in a pass of its own; its rows are the generated images' rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from genaudit.config_files import config_folder
from genaudit.data import ImageSet
from genaudit.data.columns import PROMPT
from genaudit.data.pairs import pairs, with_texts
from genaudit.errors import UserError
from genaudit.store import Engine, Store
from genaudit.tasks.run.environment import Ranks
from genaudit.tasks.run.measuring import Measurements, measure_roles
from genaudit.tasks.run.progress import Progress
from genaudit.tasks.run.roles import Role

PAIRED = {"pairs": False, "lpips": True}  # metrics that paired=true adds => whether they may be absent
NEEDS = {
    "pairs": "paired=true (each generated image with its partner in reference=)",
    "prompts": "a prompt of every image (a prompt column of a .csv, WebDataset's .txt, a Hugging Face column)",
}


def add_paired(cfg: Any) -> None:
    """Adds the metrics of pairs, for which paired=true asks; one that may be absent carries `optional`."""
    from omegaconf import OmegaConf, open_dict

    for name, optional in PAIRED.items():
        if name not in cfg.metric:
            node: Any = OmegaConf.load(config_folder() / "metric" / f"{name}.yaml")
            with open_dict(cfg.metric):
                cfg.metric[name] = node[name]
                cfg.metric[name].optional = optional


def view_of(measure: Any) -> str:
    """The view that a measure is measured on; "" for the images themselves."""
    return str(getattr(measure, "view", ""))


def check_views(cfg: Any, roles: Mapping[str, Role]) -> None:
    """Where paired=true, whether every image has its partner, before anything is measured.

    Raises:
        UserError: paired=true without images of both roles, or an image without its partner.
    """
    _pairs(cfg, roles)


def why_no_view(measure: Any, cfg: Any, roles: Mapping[str, Role]) -> str | None:
    """Why a measure cannot be taken of these roles; None where it can."""
    view = view_of(measure)
    if view == "pairs" and not cfg.get("paired"):
        return f"needs {NEEDS[view]}"
    if view == "prompts":
        generated = roles["generated"]
        prompts = generated.column(PROMPT) if isinstance(generated, ImageSet) else None
        if prompts is None or "" in prompts:
            lacking = f" ({prompts.count(''):,} images have none)" if prompts else ""
            return f"needs {NEEDS[view]}{lacking}"
    return None


def measure_views(
    cfg: Any,
    measurements: Measurements,
    measures: Mapping[str, Any],
    store: Store,
    engine: Engine,
    ranks: Ranks,
    progress: Progress,
) -> None:
    """Measures the views of the generated images, and of reference images with prompts; adds rows and uses."""
    for name, measure in measures.items():
        if view_of(measure) == "pairs":
            view, _ = _pairs(cfg, measurements.roles)
            _measure(name, measure, "generated", view, measurements, store, engine, ranks, progress)
        elif view_of(measure) == "prompts":
            for role in ("generated", "reference"):
                images = measurements.roles.get(role)
                prompts = images.column(PROMPT) if isinstance(images, ImageSet) else None
                if isinstance(images, ImageSet) and prompts is not None and "" not in prompts:
                    view = with_texts(images, prompts)
                    own = measure.with_prompts(prompts, view.digests)
                    _measure(name, own, role, view, measurements, store, engine, ranks, progress)


def partners_of(cfg: Any, roles: Mapping[str, Role]) -> np.ndarray | None:
    """Each generated image's partner, its place (N,) in the reference; None without paired=true."""
    return _pairs(cfg, roles)[1] if cfg.get("paired") else None


def _pairs(cfg: Any, roles: Mapping[str, Role]) -> tuple[ImageSet, np.ndarray]:
    generated, reference = roles.get("generated"), roles.get("reference")
    if not isinstance(generated, ImageSet) or not isinstance(reference, ImageSet):
        raise UserError("paired=true needs images as generated and as reference")
    given = cfg.get("paired")
    return pairs(generated, reference, given if given in ("name", "order") else "auto")


def _measure(
    name: str,
    measure: Any,
    role: str,
    view: ImageSet,
    measurements: Measurements,
    store: Store,
    engine: Engine,
    ranks: Ranks,
    progress: Progress,
) -> None:
    """One view by one measure, images of one size after those of another where a batch must have one."""
    groups = [np.arange(len(view))]
    if getattr(measure, "one_size", False):
        _, numbers = np.unique(view.sizes, axis=0, return_inverse=True)
        groups = [np.flatnonzero(numbers.reshape(-1) == number) for number in np.unique(numbers)]
    rows: np.ndarray | None = None
    for places in groups:
        done = measure_roles(
            {role: view.subset(places)}, {name: measure}, {name: {role}}, store, engine, ranks, progress
        )
        found = done.rows[name][role]
        if len(found) != len(places):
            raise UserError(f"{role}: images were damaged while {name} was measured; mend or remove them")
        rows = np.empty((len(view), found.shape[1]), np.float32) if rows is None else rows
        rows[places] = found
        if done.attachments and len(groups) > 1:
            raise UserError(f"{name}: its attachments need images of one size; {role} has {len(groups)} sizes")
        measurements.attachments.setdefault(name, {}).update(done.attachments.get(name, {}))
        measurements.warnings += done.warnings
        use = measurements.uses.setdefault(name, done.uses[name])
        if use is not done.uses[name]:
            use.computed, use.reused = use.computed + done.uses[name].computed, use.reused + done.uses[name].reused
            use.seconds += done.uses[name].seconds
    measurements.rows.setdefault(name, {})[role] = rows
