"""One checkpoint before its gate: samples are measured, retrieve training images, and are counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from genaudit.errors import UserError
from genaudit.metrics.gate import Gate, Mode
from genaudit.stats.arrays import out_of_range
from genaudit.tasks.gate.retrieval import RealRetrievals
from genaudit.tasks.gate.samples import Samples
from genaudit.tasks.gate.yardstick import Yardstick
from genaudit.tasks.run.progress import Progress


@dataclass
class Judge:
    """A checkpoint's gate on its way to a decision.

    `copies` counts the samples that are training images, by their features.
    """

    yardstick: Yardstick
    gate: Gate
    retrieval: RealRetrievals
    copies: int = 0

    @classmethod
    def of(cls, yardstick: Yardstick, mode: Mode, samples: int | None) -> Judge:
        """For a checkpoint of which there are `samples` samples (None: nobody knows)."""
        return cls(yardstick, *yardstick.gates.gate(mode, samples))

    def retrieve(self, rows: Any) -> None:
        """Feeds the gate with the training images that rows (B, D) retrieve."""
        if fault := out_of_range(rows):
            measured = self.yardstick.measure is not None and self.yardstick.settings.engine.precision != "float32"
            raise UserError(f"generated {fault}{'; precision=float32 may mend it' if measured else ''}")
        places, copies = self.retrieval.nearest(rows)
        before = self.gate.n_sampled
        self.gate.update(places)
        self.copies += int(copies[: self.gate.n_sampled - before].sum())

    def draw(self, samples: Samples, *, whole: bool) -> bool:
        """Feeds the gate until it has decided (`whole`: until its horizon); whether the samples ended before.

        Where it may stop, no more samples are measured at a time than a decision takes at the least.
        """
        gate, settings = self.gate, self.yardstick.settings
        with Progress(settings.progress).bar("samples", gate.room or 0) as advance:
            while True:
                batch = self.yardstick.batch
                count = min(batch, gate.room or 0) if whole else gate.lookahead(batch)
                if count == 0:
                    return False
                rows = samples.take(count)
                if len(rows) == 0:
                    return True
                self.retrieve(rows)
                advance(len(rows))
