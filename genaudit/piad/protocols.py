"""Who is normal, who is trained on and who is tested: the evaluation protocols of one-class papers, as indices.

Tuluptceva et al. 2019, "Perceptual Image Anomaly Detection", section 4.1; Pidhorskyi et al. 2018 (GPND) for `gpnd`.
What the papers leave open is decided here and said in each function. A seed decides which images are drawn; the paper
repeats `one_vs_all` with three initialisations, which leaves the split as it is.
N images, n of them chosen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from genaudit.errors import UserError

# section 4.1 and Table 3: normal images lack the attribute
CELEBA_ATTRIBUTES = ("Bald", "Mustache", "Bangs", "Eyeglasses", "Wearing_Hat")
CELEBA_PARTS = {"train": 0, "valid": 1, "test": 2}  # of list_eval_partition.txt


@dataclass(frozen=True)
class Split:
    """Indices (n,) int64 of the images of one experiment; no image is in two of them.

    Attributes:
        train: normal images to train on, in the data that the protocol trains on.
        normal, anomalies: images to test on, in the data that the protocol tests on; AUROC counts anomalies positive.
    """

    train: np.ndarray
    normal: np.ndarray
    anomalies: np.ndarray

    @property
    def test(self) -> np.ndarray:
        """Normal images, then anomalies."""
        return np.concatenate([self.normal, self.anomalies])


def one_vs_all(train_labels: Any, test_labels: Any, normal: Any) -> Split:
    """MNIST and CIFAR-10: the train split of one class against the whole test split.

    Args:
        train_labels, test_labels: (N,) classes, numbers or names, of the dataset's two splits.
        normal: the class to train on.

    Returns:
        `train` indexes the train split, `normal` and `anomalies` the test split.

    Raises:
        UserError: the class has no images in a split, or there is nothing else to test on.
    """
    test = _labels(test_labels)
    return Split(
        train=_of_class(train_labels, normal, "the train split"),
        normal=_of_class(test, normal, "the test split"),
        anomalies=_nonempty(np.flatnonzero(test != normal), f"the test split has no images but those of {normal!r}"),
    )


def another_class(train_labels: Any, test_labels: Any, normal: Any, anomaly: Any) -> Split:
    """LSUN: one class is normal (bedroom), another one the anomaly (conference room); other classes don't count.

    The paper doesn't say which images are tested: here those of the dataset's own held-out split, of both classes.
    Arguments, result and errors as in `one_vs_all`.
    """
    if normal == anomaly:
        raise UserError(f"the anomaly must be another class than the normal one, {normal!r}")
    return Split(
        train=_of_class(train_labels, normal, "the train split"),
        normal=_of_class(test_labels, normal, "the test split"),
        anomalies=_of_class(test_labels, anomaly, "the test split"),
    )


def gpnd(labels: Any, normal: Any, *, seed: int, train_share: float = 0.8, anomaly_share: float = 0.5) -> Split:
    """Fashion-MNIST and COIL-100: 80 % of a class to train, the other 20 % and as many random anomalies to test.

    Train and test split are merged before. GPND rotates five folds; here, as PIAD's paper has it, the 80 % are drawn
    at random, by the seed. Of Fashion-MNIST's 7,000 images per class that makes 5,600 to train and 1,400 + 1,400 to
    test.

    Args:
        labels: (N,) classes of all images.
        normal: the class to train on.
        seed: of the draws; both depend on the class, too.
        train_share: of the normal images, rounded to whole images.
        anomaly_share: of the test images, in (0, 1); GPND also has 0.1 to 0.4.

    Returns:
        Everything indexes the merged data.

    Raises:
        UserError: the class has no images, or too few to leave some to test, or there are too few others.
        ValueError: a share outside (0, 1).
    """
    if not 0 < train_share < 1 or not 0 < anomaly_share < 1:
        raise ValueError(f"train_share and anomaly_share must be in (0, 1), not {train_share} and {anomaly_share}")
    classes = _labels(labels)
    ours = _of_class(classes, normal, "the data")
    rng = np.random.default_rng([seed, int(np.searchsorted(np.unique(classes), normal))])
    ours = rng.permutation(ours)
    count = round(train_share * len(ours))
    train, rest = ours[:count], ours[count:]
    if not len(train) or not len(rest):
        raise UserError(
            f"class {normal!r} has {len(ours)} images, too few to train on {train_share:.0%} and test on more"
        )
    others = np.flatnonzero(classes != normal)
    wanted = max(1, round(len(rest) * anomaly_share / (1 - anomaly_share)))
    if wanted > len(others):
        raise UserError(f"{wanted} anomalies are needed beside class {normal!r}, and there are {len(others)}")
    anomalies = rng.choice(others, wanted, replace=False)
    return Split(np.sort(train), np.sort(rest), np.sort(anomalies))


def random_classes(labels: Any, count: int = 30, *, seed: int) -> np.ndarray:
    """COIL-100: the classes that take turns at being normal, `count` different ones at random, sorted.

    Raises:
        UserError: there are fewer classes.
    """
    classes = np.unique(_labels(labels))
    if count > len(classes):
        raise UserError(f"{count} normal classes are asked for, and the data have {len(classes)}")
    return np.sort(np.random.default_rng(seed).choice(classes, count, replace=False))


def by_attribute(attribute: Any, parts: Any, *, train_part: Any = 0, test_part: Any = 2) -> Split:
    """CelebA: images without an attribute are normal, images with it anomalies (`CELEBA_ATTRIBUTES`).

    The paper doesn't say how normal images are divided; here by the dataset's own partition, trained on part 0 and
    tested on part 2.

    Args:
        attribute: (N,) whether each image has it: booleans, 0 and 1, or the -1 and 1 of list_attr_celeba.txt.
        parts: (N,) the part of each image, as in list_eval_partition.txt.

    Returns:
        Everything indexes all N images.

    Raises:
        UserError: no images without the attribute to train or to test on, or none with it to test on.
        ValueError: other values than these, or other lengths.
    """
    has, part = _labels(attribute), _labels(parts)
    if has.shape != part.shape:
        raise ValueError(f"there are {len(has)} attributes and {len(part)} parts")
    if not np.isin(has, (-1, 0, 1)).all():
        raise ValueError("an attribute is -1 or 0 where it is absent, and 1 where it is present")
    has = has > 0
    return Split(
        train=_nonempty(np.flatnonzero(~has & (part == train_part)), "no image to train on lacks the attribute"),
        normal=_nonempty(np.flatnonzero(~has & (part == test_part)), "no image to test on lacks the attribute"),
        anomalies=_nonempty(np.flatnonzero(has & (part == test_part)), "no image to test on has the attribute"),
    )


def _labels(labels: Any) -> np.ndarray:
    array = np.asarray(labels)
    if array.ndim != 1:
        raise ValueError(f"labels must be (N,), not {array.shape}")
    return array.astype(np.int8) if array.dtype == bool else array


def _of_class(labels: Any, label: Any, where: str) -> np.ndarray:
    array = _labels(labels)
    classes = ", ".join(map(str, np.unique(array)[:20]))
    return _nonempty(
        np.flatnonzero(array == label), f"{where} has no images of class {label!r}; its classes: {classes}"
    )


def _nonempty(indices: np.ndarray, sentence: str) -> np.ndarray:
    if not len(indices):
        raise UserError(sentence)
    return indices
