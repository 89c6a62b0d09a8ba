"""What is known of a set of images: how they were stored, and what the pixels of a sample of them say.

Headers are known of every image, pixels of the `SAMPLE` whose content digests are smallest: a random sample, since
digests are, that depends neither on order nor on names. N images, S of them sampled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from genaudit.data.audit.pixels import COLUMNS, pixel_facts
from genaudit.data.encoding import LOSSLESS, Encoding, tally
from genaudit.data.image_set import ImageSet

SAMPLE = 1000  # images whose pixels are looked at: shares are known to 3 percentage points
COLOURLESS = 4.0  # grey levels between the channels, on average
SIZES = 20  # that reports name, the most frequent first
TRACES = 4.5  # the JPEG score of traces: normal variables exceed it once in 5,000 times, even the largest of 60


@dataclass(frozen=True)
class SetFacts:
    """How a set's images were stored, and what the pixels of a sample say.

    Attributes:
        count: N.
        encodings: images by how they were stored.
        sizes: images by (height, width) as seen.
        sampled: (S,) how each sampled image was stored.
        pixels: (S, 10) float32, the numbers of `pixels.COLUMNS` of the sampled images.
    """

    count: int
    encodings: Mapping[Encoding, int]
    sizes: Mapping[tuple[int, int], int]
    sampled: tuple[Encoding, ...] = ()
    pixels: np.ndarray = field(default_factory=lambda: np.empty((0, len(COLUMNS)), np.float32))

    @property
    def formats(self) -> dict[str, int]:
        """Images by format, "array" for those that were never files."""
        return tally((encoding.format, n) for encoding, n in self.encodings.items())

    @property
    def qualities(self) -> dict[str, int]:
        """JPEGs by quality: "75", or "about 80" where their tables are not the standard's."""
        return tally(
            (f"{'' if encoding.exact else 'about '}{encoding.quality}", n)
            for encoding, n in self.encodings.items()
            if encoding.quality
        )

    @property
    def modes(self) -> dict[str, int]:
        """Images by Pillow's mode."""
        return tally((encoding.mode, n) for encoding, n in self.encodings.items())

    @property
    def depths(self) -> dict[str, int]:
        """Images by the levels of their samples: "8 bits", "16 bits", "palette", ..."""
        return tally((encoding.depth, n) for encoding, n in self.encodings.items())

    @property
    def compressions(self) -> dict[str, int]:
        """Images by compression: "lossless", "JPEG", ..."""
        return tally((encoding.compression, n) for encoding, n in self.encodings.items())

    @property
    def alpha(self) -> int:
        """Images with an alpha channel."""
        return sum(n for encoding, n in self.encodings.items() if encoding.alpha)

    @property
    def turned(self) -> int:
        """Images whose orientation tag is applied."""
        return sum(n for encoding, n in self.encodings.items() if encoding.turned)

    @cached_property
    def grey(self) -> float | None:
        """The share of sampled images whose channels are equal; None without a sample."""
        return float(self.column("grey").mean()) if len(self.pixels) else None

    @cached_property
    def lossless(self) -> np.ndarray:
        """Which sampled images are stored without loss, (S,) booleans."""
        return np.array([encoding.compression == LOSSLESS for encoding in self.sampled], bool)

    @cached_property
    def traces(self) -> np.ndarray:
        """Which of the sampled images that are stored without loss carry traces of JPEG, booleans."""
        return self.column("jpeg_score")[self.lossless] >= TRACES

    @cached_property
    def colourless(self) -> np.ndarray:
        """Which sampled images have no colour that one would see, (S,) booleans: a model of grey images may miss grey
        by a level or two."""
        return self.column("chroma") <= COLOURLESS

    def column(self, name: str) -> np.ndarray:
        """One number of every sampled image, (S,)."""
        return self.pixels[:, COLUMNS.index(name)]


def sample_of(images: ImageSet) -> ImageSet:
    """The images whose pixels are looked at, each content once."""
    keys = np.ascontiguousarray(images.digests).view(">u8")[:, 0]
    _, first = np.unique(images.digests, axis=0, return_index=True) if len(keys) <= 4 * SAMPLE else _smallest(keys)
    order = first[np.argsort(keys[first], kind="stable")]
    return images.subset(np.sort(order[:SAMPLE]))


def _smallest(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct keys, among them the smallest, and the first place of each: no sort of a million digests."""
    places = np.sort(np.argpartition(keys, 4 * SAMPLE)[: 4 * SAMPLE])
    distinct, first = np.unique(keys[places], return_index=True)
    if len(distinct) < SAMPLE:  # so many copies
        return np.unique(keys, return_index=True)
    return distinct, places[first]


def facts_of(images: ImageSet, rows: Mapping[bytes, np.ndarray] | None = None) -> SetFacts:
    """The facts of a set.

    Args:
        rows: digest => `pixel_facts` of the sampled images; those that are absent are not counted as sampled.
    """
    packed, counts = np.unique(images.sizes.astype(np.int64) @ [1 << 32, 1], return_counts=True)
    shapes = [divmod(int(each), 1 << 32) for each in packed]
    sizes = dict(sorted(zip(shapes, counts.tolist(), strict=True), key=lambda item: (-item[1], item[0])))
    sample = sample_of(images) if rows else images.subset([])
    found = [i for i, digest in enumerate(sample.digests) if rows and digest.tobytes() in rows]
    if not found or rows is None:
        return SetFacts(len(images), images.encodings, sizes)
    return SetFacts(
        len(images),
        images.encodings,
        sizes,
        tuple(sample.encoding(i) for i in found),
        np.stack([rows[sample.digests[i].tobytes()] for i in found]),
    )


class Watch:
    """Takes the facts of wanted images' pixels while somebody else reads them; safe in threads.

    `rows` holds them by digest.
    """

    def __init__(self, wanted: Iterable[bytes]) -> None:
        self.wanted = set(wanted)
        self.rows: dict[bytes, np.ndarray] = {}

    def __call__(self, digest: bytes, pixels: np.ndarray) -> None:
        if digest in self.wanted and digest not in self.rows:
            self.rows[digest] = pixel_facts(pixels)


def largest_sizes(facts: SetFacts, most: int = SIZES) -> tuple[dict[str, int], int, int]:
    """The most frequent sizes as "WIDTHxHEIGHT" => images, and how many further sizes and images there are."""
    named: Counter[str] = Counter()
    for (height, width), n in list(facts.sizes.items())[:most]:
        named[f"{width}x{height}"] = n
    return dict(named), max(0, len(facts.sizes) - most), facts.count - named.total()


def described(facts: SetFacts) -> dict[str, Any]:
    """A role's facts as report.json holds them, beside what it says of the role anyway."""
    sizes, more, images = largest_sizes(facts)
    ratios = sorted({width / height for height, width in facts.sizes})
    document: dict[str, Any] = {
        "formats": facts.formats,
        "sizes": sizes,
        "modes": facts.modes,
        "bit_depth": facts.depths,
        "alpha": facts.alpha,
        "oriented": facts.turned,
        "sampled": len(facts.pixels),
    }
    if more:
        document["other_sizes"] = {"sizes": more, "images": images}
    if ratios:
        document["aspect"] = {"lowest": ratios[0], "highest": ratios[-1]}
    if facts.qualities:
        document["jpeg_quality"] = facts.qualities
    if facts.grey is not None:
        document["grey"] = facts.grey
    if len(facts.traces):
        document["jpeg_traces"] = float(facts.traces.mean())
    return document
