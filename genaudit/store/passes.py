"""The measuring loop: one pass over images for all measures that lack rows of them; each image is decoded once.

Measures that prepare an image alike share what was prepared, and measures of one network share its forward pass.
Nothing that was measured is lost when it is interrupted. B images of a batch, S side in pixels, D numbers a row.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genaudit.data import DamagedImage, ImageSet
from genaudit.measures.measure import Measure, attachments_of, tensors_of
from genaudit.stats.memory import Fitting
from genaudit.stats.process_state import exact_float32, neutral
from genaudit.store.measuring import (
    Advance,
    Engine,
    ShardWriter,
    padded,
    prepared_images,
    repeated,
    running,
    stacked,
    to_device,
)

if TYPE_CHECKING:
    import torch

    from genaudit.measures.measure import Given

    Timed = tuple[Sequence[torch.Tensor], float]  # rows, and the attachments behind them, of one measure after another

GROUP = 16  # images at least that go from one network to the next together: a network's weights stay in the cache


@dataclass(frozen=True)
class Lacking:
    """A measure, the folder of its rows, and the images (n,) that lack a row, by index."""

    measure: Measure
    folder: Path
    images: np.ndarray


@dataclass
class Filled:
    """What came of it: damaged images (index => reason), and per measure the new rows and its share of the time."""

    damaged: dict[int, str]
    computed: list[int]
    seconds: list[float]


@dataclass
class _Pass:
    """One forward pass: the measures (by place) that it gives rows of, and prepared images that wait for a batch."""

    places: list[int]
    measures: list[Measure]
    preparation: Hashable
    batch_size: int
    meter: Callable[..., Sequence[Given]] | None = None
    busy: float = 0.0
    waiting: list[tuple[int, np.ndarray]] = field(default_factory=list)
    fitting: Fitting = field(default_factory=lambda: Fitting("a network"))

    def open(self, engine: Engine) -> None:
        """Loads the network."""
        first: Any = self.measures[0]
        self.fitting = Fitting(first.name, unit=_unit(first, engine))
        if len(self.measures) > 1:
            self.meter = first.open_together(self.measures, engine.device, engine.precision)
        else:
            meter = first.open(engine.device, engine.precision)
            self.meter = lambda batch, digests: (meter(batch, digests),)

    def tensors(self, batch: torch.Tensor, digests: list[bytes]) -> list[torch.Tensor]:
        assert self.meter is not None
        given = zip(self.measures, self.meter(batch, digests), strict=True)
        return [tensor for measure, each in given for tensor in tensors_of(measure, each)]

    def timed(self, batch: torch.Tensor, digests: list[bytes]) -> Timed:
        """Rows and attachments of each measure, and the seconds that they took."""
        import torch

        started = time.perf_counter()
        parts = self.fitting(self.tensors, batch, digests)
        rows = parts[0] if len(parts) == 1 else [torch.cat(each) for each in zip(*parts, strict=True)]
        return rows, time.perf_counter() - started


def fill(images: ImageSet, lacking: Sequence[Lacking], engine: Engine, advance: Advance) -> Filled:
    """Measures what is lacking into new shards, in one pass over the images.

    Args:
        images: the whole set. lacking: per measure, what to measure of it. engine: on what.
        advance: told of each image that all its measures have measured.
    """
    loop = _Loop(images, lacking, engine, advance)
    started = time.perf_counter()
    with neutral(), exact_float32(engine.device), contextlib.ExitStack() as stack:
        loop.writers = [
            stack.enter_context(ShardWriter(each.folder, [*attachments_of(each.measure)])) for each in lacking
        ]
        stack.enter_context(loop.kept_when_interrupted())
        loop.run = stack.enter_context(running(engine.device))
        loop.measure()
    return loop.filled(time.perf_counter() - started)


class _Loop:
    """The state of one pass over the images."""

    run: Any
    writers: list[ShardWriter]

    def __init__(self, images: ImageSet, lacking: Sequence[Lacking], engine: Engine, advance: Advance) -> None:
        self.images, self.lacking, self.engine, self.advance = images, lacking, engine, advance
        self.lacks = np.zeros((len(lacking), len(images)), bool)
        for place, each in enumerate(lacking):
            self.lacks[place, each.images] = True
        self.passes = _passes(lacking, engine)
        self.takes = np.array([self.lacks[each.places].any(0) for each in self.passes])
        self.remaining = self.takes.sum(0)  # passes that each image still has before it
        self.pending: deque[tuple[_Pass, list[int], Callable[[], Timed]]] = deque()
        self.damaged: dict[int, str] = {}

    def measure(self) -> None:
        """Runs every image through every pass that takes it."""
        prepare = {each.preparation: each.measures[0].prepare for each in self.passes}

        def prepared(index: int, image: np.ndarray) -> dict[Hashable, np.ndarray]:
            wanted = {each.preparation for each, takes in zip(self.passes, self.takes, strict=True) if takes[index]}
            return {each: prepare[each](image) for each in wanted}

        for each in self.passes:
            each.open(self.engine)
        sizes = [each.batch_size for each in self.passes]
        group = sizes[0] if len(sizes) == 1 else max(GROUP, *sizes)
        everything = np.flatnonzero(self.remaining).tolist()
        for loaded in prepared_images(
            self.images, everything, prepared, group=group, workers=self.engine.decode_workers
        ):
            bad = {index: found.reason for index, found in loaded if isinstance(found, DamagedImage)}
            self.damaged |= bad
            if bad and self.images.policy.on_error == "fail":
                break
            for place, each in enumerate(self.passes):
                each.waiting += [
                    (index, found[each.preparation])
                    for index, found in loaded
                    if not isinstance(found, DamagedImage) and self.takes[place, index]
                ]
                while len(each.waiting) >= each.batch_size:
                    self._start(each)
        else:
            for each in self.passes:
                if each.waiting:
                    self._start(each)
        self._collect(0)

    def _start(self, each: _Pass) -> None:
        """Starts a batch of the images that wait; those of earlier batches are collected as far as may be."""
        taken, each.waiting = each.waiting[: each.batch_size], each.waiting[each.batch_size :]
        indices = [index for index, _ in taken]
        batch = to_device(padded(stacked([pixels for _, pixels in taken]), each.batch_size), self.engine.device)
        digests = repeated(self.images.digests[indices], each.batch_size)
        self.pending.append((each, indices, self.run.start(each.timed, batch, digests)))
        self._collect(self.run.ahead)

    def _collect(self, leave: int) -> None:
        while len(self.pending) > leave:
            each, indices, result = self.pending.popleft()
            self._write(each, indices, result)
            self.remaining[indices] -= 1
            self.advance(int((self.remaining[indices] == 0).sum()))

    def _write(self, each: _Pass, indices: list[int], result: Callable[[], Timed]) -> None:
        """Hands each measure the rows that it lacks."""
        started = time.perf_counter()
        rows, seconds = result()
        arrays = iter([tensor.cpu().numpy()[: len(indices)] for tensor in rows])
        # a batch on a device has only been queued when its call returns
        each.busy += seconds if self.run.pool is not None else seconds + time.perf_counter() - started
        digests = self.images.digests[indices]
        for place in each.places:
            own = self.lacks[place, indices]
            new = [digests, *itertools.islice(arrays, 1 + len(self.writers[place].names))]
            self.writers[place].add(*(new if own.all() else [array[own] for array in new]))

    @contextlib.contextmanager
    def kept_when_interrupted(self) -> Iterator[None]:
        """Keeps the rows of batches that had begun when measuring was interrupted; `running` has waited for them."""
        try:
            yield
        except KeyboardInterrupt:
            for each, indices, result in self.pending:
                with contextlib.suppress(Exception):  # it had not begun, or failed by itself
                    self._write(each, indices, result)
            raise

    def filled(self, seconds: float) -> Filled:
        """The time goes to the measures by how long their passes ran, evenly among those of one pass."""
        total = sum(each.busy for each in self.passes)
        shares = [0.0] * len(self.lacking)
        for each in self.passes:
            part = each.busy / total if total else 1 / len(self.passes)
            for place in each.places:
                shares[place] = seconds * part / len(each.places)
        bad = list(self.damaged)
        computed = [int(lacks.sum()) - int(lacks[bad].sum()) for lacks in self.lacks]
        return Filled(self.damaged, computed, shares)


def _passes(lacking: Sequence[Lacking], engine: Engine) -> list[_Pass]:
    """The forward passes that give all rows: measures that say they run one network go together."""
    passes: dict[Hashable, _Pass] = {}
    for place, each in enumerate(lacking):
        measure: Any = each.measure
        network = getattr(measure, "shared_network", None)
        key: Hashable = ("alone", place) if network is None else network
        preparation = getattr(measure, "preparation", None)
        size = _batch_size(measure, engine)
        # what differs in batch or preparation would not be the same rows
        key = (key, size, preparation)
        if key in passes:
            passes[key].places.append(place)
            passes[key].measures.append(measure)
        else:
            own: Hashable = ("own", place) if preparation is None else preparation
            passes[key] = _Pass([place], [measure], own, size)
    return list(passes.values())


def _batch_size(measure: Any, engine: Engine) -> int:
    size: int = engine.batch_size or measure.batch_size(engine.device)
    unit = _unit(measure, engine)
    return -(-size // unit) * unit


def _unit(measure: Any, engine: Engine) -> int:
    unit: int = measure.batch_unit(engine.device) if hasattr(measure, "batch_unit") else 1
    return unit
