"""What a run will measure, said before it starts: images without rows by measure and role, and the work they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from genaudit.data import ImageSet
from genaudit.measures.measure import Measure
from genaudit.store import Engine, Store
from genaudit.tasks.run.roles import Role


@dataclass(frozen=True)
class Part:
    """A measure of a role's images: `lacking` of `count` have no row yet; `passes` of a network an image."""

    measure: str
    role: str
    lacking: int
    count: int
    passes: float


@dataclass(frozen=True)
class WorkPlan:
    """All parts of a run, in the order of the roles."""

    parts: tuple[Part, ...]

    @classmethod
    def of(
        cls,
        roles: Mapping[str, Role],
        measures: Mapping[str, Measure],
        needed: Mapping[str, set[str]],
        store: Store,
        engine: Engine,
    ) -> WorkPlan:
        """The plan of what `measure_roles` does with the same arguments."""
        return cls(
            tuple(
                Part(name, role, store.lacking(images, measure, engine), len(images), passes_of(measure))
                for role, images in roles.items()
                if isinstance(images, ImageSet)
                for name, measure in measures.items()
                if role in needed[name]
            )
        )

    def of_roles(self) -> dict[str, float]:
        """Passes of a network over an image, by role: a role's images are measured by all measures at once."""
        by_role: dict[str, float] = {}
        for part in self.parts:
            by_role[part.role] = by_role.get(part.role, 0.0) + part.lacking * part.passes
        return by_role

    def lines(self) -> list[str]:
        """A line for each measure that some images lack; none where all rows are in the store."""
        lines = []
        for measure in dict.fromkeys(part.measure for part in self.parts):
            parts = [part for part in self.parts if part.measure == measure]
            if not any(part.lacking for part in parts):
                continue
            passes = parts[0].passes
            work = "" if passes == 1 else f", about {passes:,.0f} passes of the network an image"
            listed = ", ".join(
                f"{part.count:,} {part.role}"
                + (f" ({stored:,} in the store)" if (stored := part.count - part.lacking) else "")
                for part in parts
            )
            lines.append(f"measures {measure} of {listed} images{work}")
        return lines


def passes_of(measure: Measure) -> float:
    """How much longer a measure takes than one pass of its network; a measure says so by `passes`."""
    return float(getattr(measure, "passes", 1.0))
