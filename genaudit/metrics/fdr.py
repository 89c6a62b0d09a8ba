"""FDr: the mean over several networks of a Fréchet distance divided by that of real images (Yang et al. 2026).

    FDr = mean over networks of FD(generated, reference) / FD(real, reference)

A Fréchet distance has the unit of its network's features, so that distances of two networks cannot be averaged; their
ratios to what real images reach can. 1 is as real images, and a network in which the samples fall short shows whatever
the others say. The denominators are published ones, where there are some, or the real floors of this run's own
distances (`genaudit.verdict.real_floor`): then numerator and denominator rest on equally many images.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from genaudit.metrics.result import Caution, RealFloor, Unavailable, value
from genaudit.stats.bounds import Positive


@dataclass(frozen=True)
class Distance:
    """A network's Fréchet distance of `n` generated images, and the real floor of it where that is known."""

    fd: float
    n: int
    floor: RealFloor | None = None


@dataclass(frozen=True, kw_only=True)
class FDrResult:
    """Mean ratio of Fréchet distances to those of real images, 0 or more, lower is better, 1 as real images.

    `ratios`, `distances` and `denominators` are by network, and `denominator_of` says for each where the denominator is
    from: published, or this run's train, reference or reference_halves.
    """

    explanation: ClassVar[str] = (
        "Mean over networks of FD over that of real images: 1 is as real images; one network in which the samples fall "
        "short shows, whatever the others say; blind to memorisation."
    )
    citation: ClassVar[str] = (
        "Yang, Geng, Ju, Tian, Wang. Representation Fréchet loss for visual generation. arXiv 2604.28190, 2026."
    )
    fdr: float = value("lower", label="mean over networks of FD over real images' FD")
    ratios: dict[str, float]
    distances: dict[str, float]
    denominators: dict[str, float]
    denominator_of: dict[str, str]
    interval: str = "none: no interval of these values has been simulated"
    cautions: tuple[Caution, ...] = ()


def judge(
    *,
    generated: Mapping[str, Distance],
    reference: Mapping[str, int | None],
    published: Mapping[str, Positive] | None = None,
) -> FDrResult:
    """FDr from the Fréchet distances of a run.

    Args:
        generated: the distance of each network, by its name.
        reference: the number of reference images behind each, None where it is not known.
        published: denominators by network, above 0; the networks that it does not name take their real floor.

    Raises:
        Unavailable: a network has no denominator. ValueError: a published denominator that is not above 0.

    >>> judge(generated={"a": Distance(3.0, 100), "b": Distance(8.0, 100)}, reference={"a": 100, "b": 100},
    ...       published={"a": 1.5, "b": 2.0}).fdr
    3.0
    """
    published = published or {}
    numbers = {name: isinstance(each, (int, float)) and math.isfinite(each) for name, each in published.items()}
    wrong = [name for name, each in published.items() if not (numbers[name] and each > 0)]
    if wrong:
        raise ValueError(f"published: the denominator of {wrong[0]} must be above 0, got {published[wrong[0]]}")
    ratios, denominators, sources = {}, {}, {}
    for name, distance in generated.items():
        floor = distance.floor
        if name in published:
            ratios[name], denominators[name] = distance.fd / published[name], float(published[name])
            sources[name] = "published"
        elif floor is not None and floor.value > 0:
            ours = distance.fd if floor.generated is None else floor.generated  # at the floor's number of images
            ratios[name], denominators[name], sources[name] = ours / floor.value, floor.value, floor.source
        else:
            raise Unavailable(
                f"{name} has no denominator: none is published for it here, and no real images are left to play "
                "generated ones (train=, or a reference of images, gives the real floor)"
            )
    return FDrResult(
        fdr=math.fsum(ratios.values()) / len(ratios),
        ratios=ratios,
        distances={name: distance.fd for name, distance in generated.items()},
        denominators=denominators,
        denominator_of=sources,
        cautions=_cautions(generated, reference, sources),
    )


def _cautions(
    generated: Mapping[str, Distance], reference: Mapping[str, int | None], sources: Mapping[str, str]
) -> tuple[Caution, ...]:
    theirs = [name for name, source in sources.items() if source == "published"]
    own = [name for name in sources if name not in theirs]
    if not theirs:
        return ()
    first = theirs[0]
    against = "a reference of unknown size" if not reference[first] else f"{reference[first]:,} reference images"
    message = (
        f"The denominators of {', '.join(theirs)} are published ones: they hold for the images, the numbers of images "
        f"and the features that they were computed with. Here {generated[first].n:,} generated images stand against "
        f"{against}; real validation images in their place would show it, with a value of 1."
    )
    if own:
        message += f" {', '.join(own)} took this run's real floor."
    return (Caution("published-denominators", message),)
