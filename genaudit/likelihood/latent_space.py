"""What annealed importance sampling and inversion share: a decoder, images on its scale, noise that belongs to images.

N images, C chains, L latent dimensions, n = N·C rows (an image's chains adjoin).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import torch

    Decoder: TypeAlias = Callable[[torch.Tensor], torch.Tensor]
    Randomness: TypeAlias = torch.Generator | Sequence[torch.Generator] | None

NOISE_BLOCK = 16  # draws made at once


def as_images(decoder: Decoder, x: Any) -> torch.Tensor:
    """`x` as a tensor (N, ...) of the decoder's type on its own device, checked.

    Raises:
        ValueError: not floating, no images, not finite, or a decoder whose training mode mixes or perturbs rows.
    """
    import torch

    x = torch.as_tensor(x).detach()
    if not x.is_floating_point() or x.dim() < 2 or x.shape[0] == 0:
        raise ValueError(f"images must be floating numbers (N, ...) with N >= 1, not {x.dtype} {tuple(x.shape)}")
    if not x.isfinite().all():
        raise ValueError("images hold values that are not finite (NaN or infinity)")
    if isinstance(decoder, torch.nn.Module):
        mixing = (torch.nn.modules.batchnorm._BatchNorm, torch.nn.modules.dropout._DropoutNd)
        if any(isinstance(module, mixing) and module.training for module in decoder.modules()):
            raise ValueError("the decoder's batch normalisation or dropout is in training mode; call decoder.eval()")
        x = x.to(next((p.dtype for p in decoder.parameters() if p.is_floating_point()), x.dtype))
    if x.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"decoder and images must be float32 or float64, not {x.dtype}")
    return x


@dataclass(frozen=True)
class Draws:
    """Noise for n = images·chains rows, drawn in blocks so that one generator per image stays affordable."""

    generator: Randomness
    images: int
    chains: int
    width: int
    like: torch.Tensor

    def __post_init__(self) -> None:
        if isinstance(self.generator, Sequence) and len(self.generator) != self.images:
            raise ValueError(f"{self.images} images need as many generators, not {len(self.generator)}")

    def _draw(self, kind: str, count: int, width: int) -> torch.Tensor:
        import torch

        sample = getattr(torch, kind)

        def draw(images: int, generator: torch.Generator | None) -> torch.Tensor:
            device = self.like.device if generator is None else generator.device
            drawn: torch.Tensor = sample(
                count, images, self.chains, width, generator=generator, device=device, dtype=self.like.dtype
            )
            return drawn.to(self.like.device, non_blocking=True)

        if isinstance(self.generator, Sequence):
            block = torch.cat([draw(1, generator) for generator in self.generator], dim=1)
        else:
            block = draw(self.images, self.generator)
        return block.view(count, self.images * self.chains, width)

    def normal(self, count: int) -> Iterator[torch.Tensor]:
        """`count` standard normal tensors (n, width)."""
        for start in range(0, count, NOISE_BLOCK):
            yield from self._draw("randn", min(NOISE_BLOCK, count - start), self.width)

    def momenta(self, count: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """`count` pairs of momenta (n, width) and logarithms of uniform draws (n,)."""
        for start in range(0, count, NOISE_BLOCK):
            size = min(NOISE_BLOCK, count - start)
            momentum = self._draw("randn", size, self.width)
            yield from zip(momentum, self._draw("rand", size, 1)[..., 0].log(), strict=True)
