"""`genaudit moments`: mean and covariance of images' features in one file, to compare other images with.

The file is what pytorch-fid, clean-fid and ADM's evaluator read and write: `mu` (D,) and `sigma` (D, D), float64, the
covariance unbiased. Beside them stands where they come from: `n` images, `feature_model`, `weights_sha256`,
`preparation` of the images (resize and normalisation, JSON), `precision`, `fingerprint` of the measure (all of these),
`digest` of the set, `genaudit`'s version. With spatial=true
`mu_s` and `sigma_s`, ADM's names, hold the moments of spatial features, and `fingerprint_s` their measure.
D features.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from genaudit import __version__
from genaudit.atomic import atomic_write
from genaudit.data import FeatureSet, Moments
from genaudit.errors import DONE, UserError, one_line, visible
from genaudit.measures.measure import features_fingerprint
from genaudit.measures.spatial import SpatialFeatures
from genaudit.metrics.frechet import moments
from genaudit.output import told
from genaudit.store import Store
from genaudit.tasks.run.environment import Ranks
from genaudit.tasks.run.folder import expanded, run_folder, saving
from genaudit.tasks.run.instantiate import Instances
from genaudit.tasks.run.measuring import GIVEN, measure_roles, weights_warnings
from genaudit.tasks.run.moments import preparation_of
from genaudit.tasks.run.progress import Progress
from genaudit.tasks.run.roles import open_role, source_of
from genaudit.tasks.run.settings import EngineChoice, Settings

ROLE = "reference"


def main(cfg: Any) -> int:
    """The verb: measures, writes the file, says what it holds."""
    with Ranks.join() as ranks:
        path = _out(cfg)
        contents, cautions = compute(cfg, source_of(cfg[ROLE]), ranks)
        if ranks.judges:
            with saving("out", path):
                write(path, contents)
            print(
                visible(
                    f"{path}: mu and sigma of {int(contents['n']):,} images, {len(contents['mu']):,} features of "
                    f"{contents['feature_model']}"
                )
            )
            for caution in cautions:
                print(f"  {one_line(caution)}")
    return DONE


def compute(cfg: Any, source: Any, ranks: Ranks | None = None) -> tuple[dict[str, np.ndarray], list[str]]:
    """The arrays of the file by name, and what must be said of them. Rows are read in blocks, never all at once.

    Raises:
        UserError: no images, or a file that holds moments already.
    """
    if source is None:
        raise UserError("moments needs images: genaudit moments real/ out=real.npz")
    settings = _settings(cfg)
    images = open_role(ROLE, source, settings)
    if isinstance(images, Moments):
        raise UserError(f"{images.source} holds mean and covariance already; images or features are needed")
    about = {"genaudit": __version__, "feature_model": GIVEN, "weights_sha256": "", "fingerprint": ""}
    measures: dict[str, Any] = {}
    if not isinstance(images, FeatureSet):
        measure = Instances().measure(cfg.feature_model)
        measures = {measure.name: measure}
        about["feature_model"] = measure.feature_model.name
        about["weights_sha256"] = measure.weights_sha256
        about["fingerprint"] = features_fingerprint(measure, settings.engine.precision)
        about |= {"preparation": preparation_of(measure.feature_model), "precision": settings.engine.precision}
        if cfg.spatial:
            spatial = SpatialFeatures(measure.feature_model)
            measures[spatial.name] = spatial
            about["fingerprint_s"] = features_fingerprint(spatial, settings.engine.precision)
    elif cfg.spatial:
        raise UserError(f"spatial=true needs images; {images.source} holds features")
    ranks, store = ranks or Ranks(), Store(settings.store)
    needed, progress = {name: {ROLE} for name in measures}, Progress(settings.progress)
    engines = EngineChoice(settings, store, told.note if ranks.judges else None, ranks.count)
    engines.assign(measures.values())
    measured = engines.measured(
        lambda: measure_roles({ROLE: images}, measures, needed, store, settings.engine, ranks, progress)
    )
    used: Any = measured.roles[ROLE]
    contents = {name: np.array(text) for name, text in {"digest": used.digest, **about}.items()}
    cautions = [warning.message for warning in [*weights_warnings(measures, {}), *measured.warnings]]
    for by_role, suffix in zip(measured.rows.values(), ("", "_s"), strict=False):
        fitted = moments(by_role[ROLE], ROLE)
        contents |= {f"mu{suffix}": fitted.mu, f"sigma{suffix}": fitted.sigma, "n": np.array(fitted.n)}
        if len(used) <= len(fitted.mu):
            cautions.append(
                f"{len(used)} images for {len(fitted.mu)} {'spatial ' if suffix else ''}features: the covariance is "
                "singular and a Fréchet distance to it is far above what more images would give."
            )
    return contents, cautions


def _settings(cfg: Any) -> Settings:
    """`limit` is about the one set of images that there is, whatever its role is called."""
    settings = Settings.of(cfg)
    given = {settings.limits[role] for role in ("generated", ROLE) if role in settings.limits}
    if len(given) > 1:
        raise UserError(f"limit={cfg.limit} and limit_reference={cfg.limit_reference} are about the same images")
    return replace(settings, limits={ROLE: given.pop()} if given else {})


def write(path: Path, contents: dict[str, np.ndarray]) -> None:
    """Writes the file, complete or not at all."""
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **contents)  # type: ignore[arg-type]


def _out(cfg: Any) -> Path:
    if not cfg.get("out"):
        return run_folder(cfg, "moments") / "moments.npz"
    path = expanded("out", str(cfg.out))
    if path.suffix.lower() != ".npz":
        raise UserError(f"out={cfg.out}: a file name that ends in .npz is needed")
    return path
