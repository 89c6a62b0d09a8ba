"""Makes genaudit's demo sets again: `python scripts/make_demo_data.py --fashion-mnist DIR --out genaudit/demo`.

DIR holds Fashion-MNIST's t10k-images-idx3-ubyte.gz and t10k-labels-idx1-ubyte.gz (Debian's package
dataset-fashion-mnist puts them in /usr/share/datasets/fashion-mnist). It writes a zip of PNGs for each set of
`genaudit.demo.SETS`, the VAE decoder's weights, and README.md, in about five minutes of one CPU core.

The 10,000 test images are shuffled by the seed and cut up: `train` first, then `reference`, then `held_out`; all but
the last two are the training pool. The shipped zips are what one machine's arithmetic gave: another CPU or version of
torch gives samples that differ in detail.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import platform
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from demo_generators import (
    fit_memory,
    fit_vae,
    sample_collapsed,
    sample_gaussian,
    sample_memorised,
    sample_vae,
)
from PIL import Image

from genaudit.demo import SETS
from genaudit.demo.decoder import save

SCRIPT_VERSION = 2
LIMIT = 500_000  # bytes that one zip may have
FILES = {
    "t10k-images-idx3-ubyte.gz": "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
    "t10k-labels-idx1-ubyte.gz": "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
}
CLASSES = ("tshirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
VAE: dict[str, Any] = {"epochs": 40, "variance": 0.05, "latent_dim": 10, "hidden": 64, "width": 24}
MEMORY: dict[str, Any] = {"epochs": 600, "latent_dim": 64, "hidden": 1024}
MODES, JITTER, BANDWIDTH = 40, 0.15, 0.03


def read_fashion_mnist(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Test images (10000, 28, 28) uint8 and labels (10000,) uint8; refuses files of other contents."""
    arrays = []
    for (name, expected), header in zip(FILES.items(), (16, 8), strict=True):
        packed = (folder / name).read_bytes()
        if hashlib.sha256(packed).hexdigest() != expected:
            raise SystemExit(f"{folder / name} is not the known file (SHA-256 {expected})")
        arrays.append(np.frombuffer(gzip.decompress(packed), dtype=np.uint8, offset=header))
    return arrays[0].reshape(-1, 28, 28), arrays[1]


def write_zip(file: Path, images: np.ndarray, names: list[str]) -> None:
    """Stores images (N, 28, 28) uint8 as optimised PNGs, with a fixed date so that equal images give equal bytes."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for image, name in zip(images, names, strict=True):
            buffer = io.BytesIO()
            Image.fromarray(image).save(buffer, "PNG", optimize=True)
            archive.writestr(zipfile.ZipInfo(f"{name}.png", (2017, 8, 25, 0, 0, 0)), buffer.getvalue())
    if file.stat().st_size > LIMIT:
        raise SystemExit(f"{file} has {file.stat().st_size} bytes, more than {LIMIT}")


def to_uint8(images: torch.Tensor) -> np.ndarray:
    """(N, 1, 28, 28) float in [0, 1] -> (N, 28, 28) uint8, rounded."""
    array: np.ndarray = (images[:, 0] * 255).round().byte().numpy()
    return array


README = """# The demo's images

28 x 28 grey PNGs, 500 KB a zip at most. `genaudit demo` takes `train` and `reference` for what they are and audits each
of the other sets.

Made by

    python scripts/make_demo_data.py --fashion-mnist DIR --out genaudit/demo --seed {seed}

version {version} of the script, torch {torch} on {machine}, one thread. `DIR` holds Fashion-MNIST's test files;
the images' SHA-256 is `{images_sha}`.
The same script writes this page. Another CPU or version of torch gives samples that differ in detail.

| set | role | images | bytes | SHA-256 |
|---|---|---|---|---|
{table}

{about}

## How

- **Split.** The 10,000 test images of Fashion-MNIST, shuffled by NumPy's `default_rng({seed})`: the first {n_train} are
  `train`, the next {n_reference} `reference`, the next {n_held_out} `held_out`. A real image's file name is its index
  in the test file and its class. All test images but `reference` and `held_out` are the training pool, {n_pool} images,
  `train` among them. No image occurs twice in the test file.
- **VAE** (`vae`, `vae_collapsed`, `vae_decoder.safetensors`): learned from the whole pool: `train` and {n_rest} more.
  {vae}. {vae_seconds:.0f} s of CPU. Mean squared
  reconstruction error of the pool, which is the decoder's `sigma2`: {sigma2:.5f}.
  The samples are decoder means: no observation noise is added.
- **Collapse** (`vae_collapsed`): latents `sqrt(1 - j^2) c + j e` with c one of {modes} draws from the prior, e standard
  normal, j = {jitter}. Nothing is copied from real images; the decoder is the same.
- **Autoencoder** (`memorised`): fully connected, learned from `train` alone, to a mean squared error of {error:.5f}.
  {memory}. {memory_seconds:.0f} s of CPU.
  Samples: the code of a training image drawn with replacement, plus Gaussian noise of {bandwidth} standard deviations
  in each code dimension, decoded. Which image a sample came from is not stored: finding it is the audit's work.
- **Gaussian** (`gaussian`): the pool's pixel mean and full covariance, clipped to [0, 1]; nothing is trained.
- Rounded to 8 bits, saved as optimised PNGs.

## Licence

Fashion-MNIST is Copyright 2017 Zalando SE, under the MIT licence: `LICENSE-fashion-mnist`. It covers the real images
here and whatever of them the samples carry.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fashion-mnist", type=Path, required=True, metavar="DIR")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)

    images, labels = read_fashion_mnist(options.fashion_mnist)
    order = np.random.default_rng(options.seed).permutation(len(images))
    start = 0
    for name in ("train", "reference", "held_out"):
        rows = order[start : start + SETS[name].count]
        start += SETS[name].count
        write_zip(options.out / f"{name}.zip", images[rows], [f"{row:04d}-{CLASSES[labels[row]]}" for row in rows])
    n_train = SETS["train"].count
    pool = torch.from_numpy(images[np.concatenate([order[:n_train], order[start:]])]).float()[:, None] / 255

    began = time.process_time()
    decoder = fit_vae(pool, seed=options.seed, **VAE)
    vae_seconds = time.process_time() - began
    save(decoder, options.out / "vae_decoder.safetensors")
    began = time.process_time()
    memory, error = fit_memory(pool[:n_train], seed=options.seed, **MEMORY)
    memory_seconds = time.process_time() - began

    def generator(stream: int) -> torch.Generator:
        return torch.Generator().manual_seed(1000 * options.seed + stream)

    samples = {
        "vae": sample_vae(decoder, SETS["vae"].count, generator(1)),
        "vae_collapsed": sample_collapsed(
            decoder, SETS["vae_collapsed"].count, generator(2), modes=MODES, jitter=JITTER
        ),
        "memorised": sample_memorised(
            memory, pool[:n_train], SETS["memorised"].count, generator(3), bandwidth=BANDWIDTH
        ),
        "gaussian": sample_gaussian(pool, SETS["gaussian"].count, generator(4)),
    }
    for name, sampled in samples.items():
        write_zip(options.out / f"{name}.zip", to_uint8(sampled), [f"{row:04d}" for row in range(len(sampled))])

    table, about = [], []
    for name, demo_set in SETS.items():
        packed = (options.out / f"{name}.zip").read_bytes()
        digest = hashlib.sha256(packed).hexdigest()
        table.append(f"| `{name}` | {demo_set.role} | {demo_set.count} | {len(packed)} | `{digest[:16]}` |")
        about.append(f"- `{name}`: {demo_set.about} {demo_set.expect}")
    page = README.format(
        seed=options.seed,
        version=SCRIPT_VERSION,
        torch=torch.__version__,
        machine=f"{platform.system()} {platform.machine()}",
        images_sha=FILES["t10k-images-idx3-ubyte.gz"],
        table="\n".join(table),
        about="\n".join(about),
        n_train=n_train,
        n_reference=SETS["reference"].count,
        n_held_out=SETS["held_out"].count,
        n_pool=len(pool),
        n_rest=len(pool) - n_train,
        vae=", ".join(f"{key} {value}" for key, value in VAE.items()).capitalize(),
        vae_seconds=vae_seconds,
        sigma2=decoder.sigma2,
        modes=MODES,
        jitter=JITTER,
        error=error,
        memory=", ".join(f"{key} {value}" for key, value in MEMORY.items()).capitalize(),
        memory_seconds=memory_seconds,
        bandwidth=BANDWIDTH,
    )
    (options.out / "README.md").write_text(page)


if __name__ == "__main__":
    main()
