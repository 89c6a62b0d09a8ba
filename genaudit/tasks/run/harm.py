"""By how much a difference between the roles moves FD and recall: some real images are recoded as the other side is.

The images of one role (the reference, or the generated ones where only they can be brought to the other's state) are
measured as they are, and once more after each step that makes them like the other role. The FD of the same images
before and after is the step's alone: it would be 0 without, and what a small sample adds to a Fréchet distance is in
both. Next to it stands the FD of two halves of them as they are, which is that addition. Recall is that of a half.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from genaudit.data import ImageSet, open_images
from genaudit.data.audit.compare import usual_sides
from genaudit.data.audit.enlarged import enlarged
from genaudit.data.audit.facts import SetFacts, sample_of
from genaudit.errors import UserError
from genaudit.store import Store
from genaudit.tasks.run.instantiate import Instances
from genaudit.tasks.run.progress import Progress
from genaudit.tasks.run.roles import open_role
from genaudit.tasks.run.settings import Settings

IMAGES = 400  # at most, in both halves together
FEWEST = 40

Step = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Harm:
    """What one step does: FD of the same images before and after it, and recall of a half before and after."""

    step: str
    distance: float
    recall: tuple[float, float]


def estimate_harm(cfg: Any, roles: Mapping[str, tuple[Any, SetFacts | None]]) -> list[str]:
    """Sentences for people; `roles` holds each role's source and its facts.

    Raises:
        UserError: roles without images, or too few.
    """
    facts = {role: known for role, (_, known) in roles.items() if known is not None and known.count}
    if not {"generated", "reference"} <= set(facts):
        raise UserError("harm=true needs images as generated and as reference; feature rows and moments are none")
    for role, other in (("reference", "generated"), ("generated", "reference")):
        steps = steps_towards(facts[role], facts[other])
        if steps:
            break
    else:
        return ["harm: neither side can be recoded as the other is, or nothing differs that recoding would change"]
    settings = Settings.of(cfg)
    opened = open_role(role, roles[role][0], settings)
    assert isinstance(opened, ImageSet)
    images = sample_of(opened)
    images = images.subset(np.arange(min(len(images), IMAGES)))
    if len(images) < FEWEST:
        raise UserError(f"harm=true needs {FEWEST} images or more, and {role} has {len(images)}")
    measure = Instances().measure(cfg.feature_model)
    found, halves = harm_of(images, steps, measure, settings)
    lines = [
        f"harm: {len(images)} {role} images are recoded as the {other} images are, and measured with {measure.name} "
        f"before and after; two halves of them as they are have the FD {halves:.4g}"
    ]
    for harm in found:
        before, after = harm.recall
        lines.append(f"  {harm.step}: FD 0 becomes {harm.distance:.4g}, recall {before:.2f} becomes {after:.2f}")
    return lines


def steps_towards(facts: SetFacts, other: SetFacts) -> dict[str, Step]:
    """What makes an image of one set like those of the other, by what it is called, in the order of application."""
    steps: dict[str, Step] = {}
    (height, width), (to_height, to_width) = usual_sides(facts), usual_sides(other)
    if to_height * to_width < height * width / 1.1:
        steps[f"resized to {to_width}x{to_height}"] = lambda image: _resized(image, to_width, to_height)
    elif (
        (to_height, to_width) == (height, width)
        and (found := enlarged({"one": facts, "other": other})) is not None
        and found.finding.message.startswith("other")
    ):
        steps["reduced to half its size and enlarged again"] = _halved
    if other.colourless.mean() > 0.5 > facts.colourless.mean():
        steps["made grey"] = _grey
    quality = _jpeg_of(other)
    if quality and not _jpeg_of(facts):
        steps[f"saved as JPEG at quality {quality}"] = lambda image: _recoded(image, quality)
    return steps


def harm_of(images: ImageSet, steps: Mapping[str, Step], measure: Any, settings: Settings) -> tuple[list[Harm], float]:
    """What each step alone does, and all of them where there are several; and the FD between the halves."""
    from genaudit.metrics.frechet import frechet_distance
    from genaudit.metrics.prdc import prdc

    store, progress = Store(settings.store), Progress(settings.progress)
    pictures = [images.read(index) for index in range(len(images))]

    def rows(changed: list[np.ndarray], name: str) -> np.ndarray:
        made = open_images(changed, role=name)
        assert isinstance(made, ImageSet)
        measured = store.measure(made, measure, settings.engine, advance=lambda n: progress.bar(f"harm, {name}", n))
        return np.asarray(measured.rows, np.float64)

    first, second = np.array_split(np.random.default_rng(settings.seed).permutation(len(images)), 2)
    plain = rows(pictures, "as they are")

    def recall(features: np.ndarray) -> float:
        return float(prdc(reference=plain[first], generated=features[second]).recall)

    every = dict(steps)
    if len(steps) > 1:
        every["all of these"] = lambda image: _all(steps, image)
    found = []
    for name, step in every.items():
        changed = rows([step(image) for image in pictures], name)
        found.append(Harm(name, float(frechet_distance(plain, changed)), (recall(plain), recall(changed))))
    return found, float(frechet_distance(plain[first], plain[second]))


def _all(steps: Mapping[str, Step], image: np.ndarray) -> np.ndarray:
    for step in steps.values():
        image = step(image)
    return image


def _jpeg_of(facts: SetFacts) -> int:
    """The usual JPEG quality of a set of which more than half is, or was, JPEG; else 0."""
    qualities = [(encoding.quality, n) for encoding, n in facts.encodings.items() if encoding.quality]
    if 2 * sum(n for _, n in qualities) > facts.count:
        return int(np.median(np.repeat([quality for quality, _ in qualities], [n for _, n in qualities])))
    if len(facts.traces) and facts.traces.mean() > 0.5:
        return int(np.median(facts.column("jpeg_quality")[facts.lossless][facts.traces]))
    return 0


def _resized(image: np.ndarray, width: int, height: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


def _halved(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    return _resized(_resized(image, max(1, width // 2), max(1, height // 2)), width, height)


def _grey(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image).convert("L").convert("RGB"))


def _recoded(image: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file).convert("RGB"))
