"""The row store: a content-addressed cache of measured rows.

The key of a row is the image's digest with the measure's fingerprint: not paths, names or times. A renamed, copied or
growing folder reuses every row that it can.

N images, D numbers a row.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from genaudit.atomic import atomic_write
from genaudit.data import ImageSet
from genaudit.data.image_set import set_digest
from genaudit.errors import UserError
from genaudit.measures.measure import Measure, attachments_of, description, fingerprint
from genaudit.store.index import StoreIndex, as_keys
from genaudit.store.measuring import Advance, Engine, ShardWriter
from genaudit.store.passes import Lacking, fill
from genaudit.store.rows import Rows
from genaudit.store.shards import DIGEST

SETS = "sets"  # the folder of the image sets that are remembered


@dataclass
class Measured:
    """What came of measuring a set: rows in its order, or the images that turned out to be damaged.

    `rows` is None where `damaged` (index => reason) is not empty: leave those images out and ask again.
    """

    rows: Rows | None
    fingerprint: str
    computed: int = 0
    reused: int = 0
    seconds: float = 0.0
    damaged: dict[int, str] = field(default_factory=dict)
    torn: list[str] = field(default_factory=list)


class Store:
    """Rows under a folder, one subfolder a fingerprint.

    Args:
        root: the folder; made when first written to.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser()

    def measure(
        self,
        images: ImageSet,
        measure: Measure,
        engine: Engine,
        *,
        share: tuple[int, int] = (0, 1),
        agree: Callable[[np.ndarray], np.ndarray] | None = None,
        advance: Callable[[int], contextlib.AbstractContextManager[Advance]] | None = None,
    ) -> Measured:
        """Rows of all images by one measure: `measure_all` of that measure alone."""
        (measured,) = self.measure_all(images, [measure], engine, share=share, agree=agree, advance=advance)
        return measured

    def measure_all(
        self,
        images: ImageSet,
        measures: Sequence[Measure],
        engine: Engine,
        *,
        share: tuple[int, int] = (0, 1),
        agree: Callable[[np.ndarray], np.ndarray] | None = None,
        advance: Callable[[int], contextlib.AbstractContextManager[Advance]] | None = None,
    ) -> list[Measured]:
        """Rows of all images by each measure (of different fingerprints), measured where the store lacks them.

        An image is read and decoded once, whatever it lacks. One that turns out to be damaged is so for all measures.

        Args:
            images: what to measure. measures: how. engine: on what.
            share: (rank, ranks); this process measures every ranks-th of the images that lack a row, from the rank-th
                on. With several ranks the rows are complete once all have come here: ask again after a barrier.
            agree: what this rank lacks, (measures, N) booleans => what all ranks share out: each must have the same,
                and the others may have filled in some by now.
            advance: called with the number of images that lack a row; gives a context manager around a function that
                is told how many were measured (a progress bar).
        """
        started = time.perf_counter()
        wanted = as_keys(images.digests)
        folders = [self._folder(measure, engine) for measure in measures]
        indices = [StoreIndex.read(folder) for folder in folders]
        lacks = np.zeros((len(measures), len(wanted)), bool)
        for index, lacking in zip(indices, lacks, strict=True):
            index.verify(wanted)
            lacking[index.missing(wanted)] = True
        if agree is not None:
            lacks = agree(lacks)
        mine = np.flatnonzero(lacks.any(0))[share[0] :: share[1]]
        results = [Measured(None, folder.name, torn=index.torn) for folder, index in zip(folders, indices, strict=True)]
        filling = 0.0
        if len(mine):
            parts = [mine[lacking[mine]] for lacking in lacks]
            places = [place for place, part in enumerate(parts) if len(part)]
            for place in places:
                self._describe(folders[place], measures[place], engine)
            began = time.perf_counter()
            with (advance or _silent)(len(mine)) as done:
                todo = [Lacking(measures[place], folders[place], parts[place]) for place in places]
                filled = fill(images, todo, engine, done)
            filling = time.perf_counter() - began
            for place, computed, seconds in zip(places, filled.computed, filled.seconds, strict=True):
                results[place].computed, results[place].seconds = computed, seconds
                indices[place] = StoreIndex.read(folders[place], known=indices[place])
            for result in results:
                result.damaged = filled.damaged
        for measure, index, result in zip(measures, indices, results, strict=True):
            result.reused = len(wanted) - result.computed - len(result.damaged)
            if not result.damaged and not len(index.missing(wanted)):
                result.rows = index.rows(wanted, measure.columns)
        rest = (time.perf_counter() - started - filling) / max(1, len(measures))
        for result in results:
            result.seconds += rest
        return results

    def _folder(self, measure: Measure, engine: Engine) -> Path:
        key = fingerprint(measure, engine.precision)
        return self.root / key[:2] / key

    def lacking(self, images: ImageSet, measure: Measure, engine: Engine) -> int:
        """How many images lack a row of a measure."""
        return len(StoreIndex.read(self._folder(measure, engine)).missing(as_keys(images.digests)))

    def stored(self, measure: Measure, engine: Engine) -> StoredRows:
        """What the store holds of a measure now, for rows that come one by one."""
        folder = self._folder(measure, engine)
        writer = ShardWriter(folder, [*attachments_of(measure)])
        return StoredRows(writer, StoreIndex.read(folder), lambda: self._describe(folder, measure, engine))

    def remember(self, digests: np.ndarray, digest: str) -> None:
        """Keeps the digests (N, 16) of a set's images in order under the set's own digest (hex), for `rows_of`.

        A store that cannot be written keeps none: the rows are there, and no result is lost for it.
        """
        if self.digests_of(digest) is not None:
            return
        path = self.root / SETS / f"{digest}.npy"
        with contextlib.suppress(OSError), atomic_write(path) as temporary, open(temporary, "wb") as file:
            np.save(file, np.ascontiguousarray(digests, np.uint8))

    def rows_of(self, digest: str, key: str) -> Rows | None:
        """The rows of a remembered set by its digest and a measure's fingerprint; None where some are not here."""
        if not (digest.isalnum() and key.isalnum()):
            return None
        digests, folder = self.digests_of(digest), self.root / key[:2] / key
        if digests is None:
            return None
        index, wanted = StoreIndex.read(folder), as_keys(digests)
        index.verify(wanted)
        return None if len(index.missing(wanted)) else index.rows(wanted, None)

    def digests_of(self, digest: str) -> np.ndarray | None:
        """The digests (N, 16) of a remembered set; None where it is not here or damaged."""
        try:
            digests: np.ndarray = np.load(self.root / SETS / f"{digest}.npy", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        whole = digests.ndim == 2 and digests.shape[1] == DIGEST and set_digest(digests) == digest
        return digests if whole else None

    def _describe(self, folder: Path, measure: Measure, engine: Engine) -> None:
        """Leaves beside the shards what they are rows of, for people who look into the folder.

        Raises:
            UserError: the folder cannot be written, before anything is measured for it.
        """
        _try_writing(self.root, folder)
        path = folder / "measure.json"
        if path.exists():
            return
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(description(measure, engine.precision), indent=1, sort_keys=True))


def _try_writing(root: Path, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(1 << 16))
            probe.flush()
    except OSError as error:
        raise UserError(
            f"store={root}: it cannot be written ({error.strerror}); store=DIR or GENAUDIT_STORE=DIR names another"
        ) from error


class StoredRows:
    """A measure's rows as they were in the store when it was read, and a writer of more."""

    def __init__(self, writer: ShardWriter, index: StoreIndex, describe: Callable[[], None]) -> None:
        self._writer, self._index, self._describe = writer, index, describe

    def find(self, digests: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        """The row (D,) of each digest (16 bytes) that the store holds."""
        if not digests:
            return {}
        wanted = as_keys(np.frombuffer(b"".join(digests), np.uint8).reshape(-1, DIGEST))
        self._index.verify(wanted)
        # a digest that occurs twice is missing once: compare by what it is
        lacking = {digests[place] for place in self._index.missing(wanted)}
        held = [place for place, digest in enumerate(digests) if digest not in lacking]
        if not held:
            return {}
        rows = self._index.rows(wanted[held], None)
        return {digests[place]: row for place, row in zip(held, rows[:], strict=True)}

    def writer(self) -> ShardWriter:
        """Takes rows by `add(digests, rows, *attachments)`; they are shards, at the latest, when it is left."""
        self._describe()
        return self._writer


@contextlib.contextmanager
def _silent(total: int) -> Iterator[Advance]:
    yield lambda done: None
