"""The images that play the roles: generated, reference, train, and anomalies (out-of-distribution images).

They are opened here, and described here for reports.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from omegaconf import DictConfig, ListConfig, OmegaConf

from genaudit.data import FeatureSet, ImageSet, Moments, Skipped, open_images
from genaudit.data.audit.facts import SetFacts, described, facts_of
from genaudit.data.digest import duplicates, set_digest, shared
from genaudit.errors import UserError
from genaudit.metrics.result import ROLES
from genaudit.reports.report import RoleImages
from genaudit.tasks.run.instantiate import instantiate
from genaudit.tasks.run.progress import Progress
from genaudit.tasks.run.settings import LIMIT_KEYS, Settings
from genaudit.tasks.run.sources import ROLE as REFERENCE
from genaudit.tasks.run.sources import local, meant, named

Role = ImageSet | FeatureSet | Moments


def open_roles(sources: Mapping[str, Any], settings: Settings) -> dict[str, Role]:
    """Opens what plays each role and checks that the roles go together.

    Args:
        sources: role => path, list of paths, array, dataset source, ...; None where a role is not played.

    Raises:
        UserError: nothing generated, a source that cannot be read, or features beside images.
    """
    if sources.get("generated") is None:
        raise UserError("generated images are missing: `genaudit VERB SAMPLES ...` or generated=SAMPLES names them")
    check_n_samples(sources, settings)
    roles = {name: open_role(name, sources[name], settings) for name in ROLES if sources.get(name) is not None}
    if isinstance(roles["generated"], Moments):
        raise UserError("generated: a file with mu and sigma holds no images; only reference may be such a file")
    for name in ("train", "anomalies"):
        if isinstance(roles.get(name), Moments):
            raise UserError(f"{name}: a file with mu and sigma holds no images; only reference may be such a file")
    kinds = {name: "features" if isinstance(role, FeatureSet) else "images" for name, role in roles.items()
             if not isinstance(role, Moments)}  # fmt: skip
    if len(set(kinds.values())) > 1:
        listed = ", ".join(f"{name} holds {kind}" for name, kind in kinds.items())
        raise UserError(f"{listed}: either all roles hold images, or all hold features (.npz with `features`)")
    widths = {name: role.features.shape[1] for name, role in roles.items() if isinstance(role, FeatureSet)}
    if len(set(widths.values())) > 1:
        listed = ", ".join(f"{name} {width}" for name, width in widths.items())
        raise UserError(f"features with different numbers of columns: {listed}; they must come from one feature model")
    return roles


def check_there(sources: Mapping[str, Any], settings: Settings) -> None:
    """Raises the `UserError` of opening a path that is not there; nothing is read of those that are.

    Patterns, names of references and files elsewhere are not looked for.
    """
    for role in sorted(sources, key=(REFERENCE,).count, reverse=True):  # a registered one that is wrong is said first
        source = sources[role]
        if isinstance(source, (str, os.PathLike)) and not set(os.fspath(source)) & set("*?[{:"):
            there = os.path.exists(os.path.expanduser(source)) or source == "-"
            if not there and not (role == REFERENCE and named(source)):
                open_role(role, source, settings)


def check_n_samples(sources: Mapping[str, Any], settings: Settings) -> None:
    """Raises UserError where `n_samples` is given and nothing is there to draw from."""
    if settings.n_samples is not None and not any(map(is_sampler, sources.values())):
        raise UserError(
            f"n_samples={settings.n_samples} says how many images a callable draws, and no role is a callable; "
            f"limit={settings.n_samples} takes so many of the generated images"
        )


def is_sampler(source: Any) -> bool:
    """Whether `source` is a callable from which images are drawn."""
    return callable(source) and not hasattr(source, "__getitem__") and not isinstance(source, type)


def source_of(node: Any) -> Any:
    """A role's configuration as a source: a path or list as it is, a dataset config instantiated, None where empty."""

    if isinstance(node, ListConfig):
        return OmegaConf.to_container(node, resolve=True)
    if not isinstance(node, DictConfig):
        return node
    if not node:
        return None
    if "_target_" not in node:
        raise UserError(f"a dataset is a path or a config with _target_, not {OmegaConf.to_container(node)}")

    return instantiate(node)


def open_role(role: str, source: Any, settings: Settings) -> Role:
    """Opens what plays one role, as the settings say; what lies elsewhere is fetched first."""
    here = local(role, source, offline=settings.offline, progress=settings.progress)
    with Progress(settings.progress).scan(f"read {role}") as scanned:
        try:
            opened: Role = open_images(
                here.source if here.label is None else here,
                role=role,
                limit=settings.limits.get(role),
                n_samples=settings.n_samples if is_sampler(source) else None,
                on_error=settings.on_error,  # type: ignore[arg-type]
                max_skipped=settings.max_skipped,
                max_pixels=settings.max_pixels,
                workers=settings.engine.decode_workers,
                seed=settings.seed,
                progress=scanned,
            )
        except UserError as error:
            hint = meant(source) if role == REFERENCE and "does not exist" in str(error) else ""
            if not hint:
                raise
            raise UserError(f"{error}{hint}") from None
    opened = here.finish(opened)
    if isinstance(opened, Moments) and role in settings.limits:
        key = LIMIT_KEYS[role]
        raise UserError(f"{key}={settings.limits[role]}: {opened.source} holds mean and covariance of all its images")
    return opened


def role_images(role: Role, facts: SetFacts | None = None, train: Role | None = None) -> RoleImages:
    """A role as a report shows it; `facts` are those of the audit, where there was one.

    With `train`, how many of its images are exact copies of training images.
    """
    if isinstance(role, Moments):
        return RoleImages(role.source, role.n or 0, role.digest)
    images = counted_images(role.source, role.digests, available=role.available)
    if isinstance(train, (ImageSet, FeatureSet)) and train is not role:
        images.in_train = shared(role.digests, train.digests)
    if isinstance(role, ImageSet):
        images.skipped, images.converted, images.ignored = reasons(role.skipped), role.converted, role.ignored
        images.audit = described(facts or facts_of(role))
    return images


def counted_images(source: str, digests: np.ndarray, **more: Any) -> RoleImages:
    """Images by their digests (N, 16): how many they are, the set's digest and its copies; `more` as in RoleImages."""
    return RoleImages(source, len(digests), set_digest(digests), duplicates=duplicates(digests), **more)


def reasons(skipped: Iterable[Skipped]) -> list[tuple[str, str]]:
    """Names of images that were left out, with the reason of each."""
    return [(image.name, image.reason) for image in skipped]


@dataclass(frozen=True)
class PictureReader:
    """Reads single images and keeps no file open between them, however long the report lives."""

    images: ImageSet
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def folder(self) -> str | None:
        """Where the images' names are files, which explore.html shows at their own size."""
        return self.images.folder

    def __call__(self, index: int) -> np.ndarray:
        with self._lock:
            try:
                return self.images.read(index)
            finally:
                self.images.close()

    @contextmanager
    def held(self) -> Iterator[Callable[[int], np.ndarray]]:
        """Gives a reader for any number of threads, whose files stay open until the end."""
        with self._lock:
            try:
                yield self.images.read
            finally:
                self.images.close()


def picture_of(images: ImageSet) -> Callable[[int], np.ndarray]:
    """The images of a role, for reports."""
    return PictureReader(images)
