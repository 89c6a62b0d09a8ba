"""`genaudit sample`: images of a generator as PNGs, to be evaluated like those of any other model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from genaudit.backbones.generator import Generator
from genaudit.errors import DONE, UserError
from genaudit.stats.bounds import positive_int
from genaudit.tasks.run.instantiate import instantiate
from genaudit.tasks.run.progress import Progress
from genaudit.tasks.run.settings import choose_device


def main(cfg: Any) -> int:
    """The verb: writes n images; the i-th is the same whatever n is."""
    import torch
    from PIL import Image

    count = positive_int("n", cfg.n, error=UserError)
    if cfg.generator is None:
        raise UserError("a generator is needed: generator=demo_vae, or another of docs/generators.md")
    generator = instantiate(cfg.generator)
    if not isinstance(generator, Generator):
        raise UserError("generator: its YAML must name a generator")
    out = Path(str(cfg.out)).expanduser() if cfg.out else Path("samples") / generator.name
    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()):
        raise UserError(
            f"out={out}: the folder is not empty; another one is needed, so that no other images are among these"
        )
    done = 0
    with Progress(bool(cfg.progress)).bar("sampling", count) as advance:
        for batch in generator.sample(count, seed=int(cfg.seed), device=choose_device(str(cfg.device))):
            pixels = (batch.clamp(0, 1) * 255).round().to("cpu", torch.uint8).permute(0, 2, 3, 1).numpy()
            for image in pixels:
                Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(out / f"{done:06}.png")
                done += 1
            advance(len(pixels))
    print(f"{done} images of {generator.name} written to {out}/")
    return DONE
