"""Which output of a classifier, or label of a class-conditional generator, stands for which class of a set."""

from __future__ import annotations

import re
from collections.abc import Sequence

WORDNET = re.compile(r"n\d{8}")
IMAGENET = 1000


def outputs_of(names: Sequence[str], outputs: int) -> tuple[dict[str, int] | None, str]:
    """The place of each class among a classifier's outputs, and how it is known; None with the reason where it is not.

    WordNet's identifiers are ImageNet's; numbers 0 to C - 1 are places; C other names are in the order in which
    torchvision's `ImageFolder` numbers them. Any other number of classes belongs to another classifier.

    Args:
        names: of the classes of all roles. outputs: C.

    >>> outputs_of(["dog", "cat"], 2)
    ({'cat': 0, 'dog': 1}, 'classes in alphabetical order')
    """
    if outputs == IMAGENET and names and all(WORDNET.fullmatch(name) for name in names):
        from timm.data import ImageNetInfo

        known = {name: place for place, name in enumerate(ImageNetInfo().label_names())}
        strangers = [name for name in names if name not in known]
        if strangers:
            return None, f"{strangers[0]} is none of ImageNet's 1,000 classes"
        return {name: known[name] for name in names}, "classes by their WordNet identifiers"
    if len(names) != outputs:
        return None, f"the classifier has {outputs:,} outputs and the images {len(names):,} classes"
    if set(names) == {str(place) for place in range(outputs)}:
        return {name: int(name) for name in names}, "classes by their numbers"
    return {name: place for place, name in enumerate(sorted(names))}, "classes in alphabetical order"
