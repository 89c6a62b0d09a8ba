"""Rows of images that come a few at a time: the network is loaded once, the store is read once.

`Store.measure` is for whole sets. Here somebody decides after each row whether another is needed; rows that the store
has are read, the others are measured at the batch's own size and written into it.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np

from genaudit.data import DamagedImage, ImageSet
from genaudit.measures.measure import Measure, fingerprint, tensors_of
from genaudit.stats.process_state import exact_float32, neutral
from genaudit.store.measuring import Engine, prepared_batches, to_device
from genaudit.store.store import Store, StoredRows

if TYPE_CHECKING:
    from genaudit.measures.measure import Meter

REMEMBERED = 4096  # rows measured here that are found again without reading the store again


class RowStream:
    """Measures images as they come; a context manager, since it writes its last shard on leaving.

    `computed` and `reused` count the rows so far; `fingerprint` is that of the measure.
    """

    def __init__(self, store: Store, measure: Measure, engine: Engine) -> None:
        self.measure, self.engine = measure, engine
        self.fingerprint = fingerprint(measure, engine.precision)
        self.computed = self.reused = 0
        self._stored: StoredRows = store.stored(measure, engine)
        self._meter: Meter | None = None
        self._recent: OrderedDict[bytes, np.ndarray] = OrderedDict()
        self._cleanup = contextlib.ExitStack()

    def __enter__(self) -> RowStream:
        self._writer = self._cleanup.enter_context(self._stored.writer())
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self._cleanup.close()

    def flush(self) -> None:
        """Writes what was measured so far as a shard."""
        self._writer.flush()

    def rows(self, images: ImageSet) -> tuple[np.ndarray, list[tuple[int, DamagedImage]]]:
        """Rows (N', D) float32 of the images that can be decoded, in order, and the others (index, why)."""
        keys = [digest.tobytes() for digest in images.digests]
        known = {key: self._recent[key] for key in keys if key in self._recent}
        known |= self._stored.find([key for key in keys if key not in known])
        missing = [place for place, key in enumerate(keys) if key not in known and keys.index(key) == place]
        damaged = self._measure(images, missing, known) if missing else []
        bad = {keys[place]: error for place, error in damaged}
        every = [(place, bad[key]) for place, key in enumerate(keys) if key in bad]
        found = [known[key] for key in keys if key in known]
        self.computed += len(missing) - len(damaged)
        self.reused += len(found) - (len(missing) - len(damaged))
        return np.stack(found) if found else np.empty((0, 0), np.float32), every

    def _measure(
        self, images: ImageSet, missing: list[int], known: dict[bytes, np.ndarray]
    ) -> list[tuple[int, DamagedImage]]:
        with neutral(), exact_float32(self.engine.device):
            if self._meter is None:
                self._meter = self.measure.open(self.engine.device, self.engine.precision)
            workers = min(self.engine.decode_workers, len(missing)) if len(missing) > 1 else 0
            ((indices, pixels, damaged),) = prepared_batches(
                images, missing, self.measure.prepare, batch_size=len(missing), workers=workers
            )
            if indices:
                digests = images.digests[indices]
                keys = [digest.tobytes() for digest in digests]
                given = self._meter(to_device(pixels, self.engine.device), keys)
                measured, *beside = (tensor.cpu().numpy() for tensor in tensors_of(self.measure, given))
                rows = measured.astype(np.float32)
                self._writer.add(digests, rows, *beside)
                for key, row in zip(keys, rows, strict=True):
                    known[key] = self._recent[key] = row
                while len(self._recent) > REMEMBERED:
                    self._recent.popitem(last=False)
        return damaged
