"""What a run's files with explore.html cost, against measuring; and sorting 50,000 rows in a browser.

    python scripts/bench_explore.py                       # 2,000 JPEGs of 256 pixels; 50,000 rows sorted
    python scripts/bench_explore.py --images 50000        # all of it, as a user with 50,000 samples meets it
    python scripts/bench_explore.py --images 0            # only the sorting

Both sides read the same files and use all cores. Every image has a nearest training image of its own, the most that
the page can have to draw. Both grow with the number of images, so that a ratio of 2,000 is that of 50,000; the page's
thumbnails are those of 50,000 images whatever --images says.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from browser import Browser, find

from genaudit.metrics.result import Retrieval, per_image
from genaudit.reports import explore
from genaudit.reports.report import MetricEntry, Report

MOST_RATIO, MOST_SECONDS = 0.2, 2.0
ROWS = 50_000


@dataclass(frozen=True)
class Columns:
    complexity: np.ndarray | None = per_image()
    vulnerability: np.ndarray | None = per_image()
    as_i: np.ndarray | None = per_image()
    realism: np.ndarray | None = per_image()
    rarity: np.ndarray | None = per_image()
    piad: np.ndarray | None = per_image()
    retrieval: Retrieval | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2_000)
    parser.add_argument("--side", type=int, default=256)
    arguments = parser.parse_args()
    if arguments.images:
        bench_writing(arguments.images, arguments.side)
    bench_sorting()


def bench_writing(count: int, side: int) -> None:
    from genaudit.backbones.embedded import EfficientNetLite0
    from genaudit.data import open_images
    from genaudit.measures.embedding import Embedding
    from genaudit.store import Engine, Store
    from genaudit.tasks.run.roles import picture_of

    explore.EMBEDDED = 0
    explore.SIDES = ((explore.MOST, explore.SIDES[-1][1]),)
    with tempfile.TemporaryDirectory() as folder:
        roles = {}
        for seed, role in enumerate(("generated", "train")):
            write_images(Path(folder) / role, count, side, seed)
            roles[role] = open_images(Path(folder) / role)
        started = time.perf_counter()
        Store(Path(folder) / "store").measure(roles["generated"], Embedding(EfficientNetLite0()), Engine())
        measuring = time.perf_counter() - started
        report = make_report(roles["generated"].names, roles["train"].names)
        report.pictures = {role: picture_of(images) for role, images in roles.items()}
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.perf_counter()
        files = report.save(Path(folder) / "run", explore=True)
        writing = time.perf_counter() - started
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        page = files[explore.PAGE].stat().st_size
        size = sum(each.stat().st_size for each in (Path(folder) / "run" / explore.FOLDER).iterdir())
    print(f"{count:,} JPEGs of {side} pixels, each with a nearest training image of its own")
    print(f"  measuring with EfficientNet-Lite0   {measuring:8.1f} s")
    print(f"  all of the run's files              {writing:8.1f} s")
    print(f"  ratio                               {writing / measuring:8.3f}   (at most {MOST_RATIO})")
    print(f"  peak memory above measuring's       {grown:8.0f} MB")
    scale = ROWS / count / 1e6
    print(f"  on disk, for 50,000 images          {size * scale:8.0f} MB, page {page * scale:.1f} MB")


def bench_sorting() -> None:
    if find() is None:
        print("sorting: there is no Chromium on this machine")
        return
    names = [f"samples/class_{i % 1000:03d}/{i * 7919 % ROWS:06d}.png" for i in range(ROWS)]
    report = make_report(names, [f"train/{i:06d}.png" for i in range(ROWS)])
    report.pictures = {}
    explore.EMBEDDED = ROWS
    page = explore.Explorer(report)
    page.pictures(None)
    with tempfile.TemporaryDirectory() as folder, Browser() as browser:
        file = Path(folder) / "explore.html"
        file.write_text(page.html())
        started = time.perf_counter()
        tab = browser.open(file)
        print(f"{ROWS:,} rows, {len(report.images)} columns, page of {file.stat().st_size / 1e6:.1f} MB")
        print(f"  opened after                        {time.perf_counter() - started:8.2f} s")
        for name in report.images:
            milliseconds = tab.js(
                "(() => { const select = document.getElementById('sort'); "
                f"select.value = {name!r}; const before = performance.now();"
                "select.dispatchEvent(new Event('change')); document.body.offsetHeight;"
                "return performance.now() - before; })()"
            )
            print(f"  sorted by {name:<26}{milliseconds / 1000:8.2f} s   (at most {MOST_SECONDS})")


def make_report(names: list[str], train: list[str]) -> Report:
    """A run with a dozen columns."""
    generator = np.random.default_rng(0)
    count = len(names)
    retrieval = Retrieval("train", generator.permutation(len(train))[:count], generator.gamma(5, 1, count))
    columns = Columns(*generator.gamma(3, 1, (6, count)), retrieval)
    report = Report(
        "", "", {}, {}, 0, {}, {}, {"all": MetricEntry("all", columns, {}, "")},
        images={"name": names, "digest": generator.integers(0, 256, (count, 16), dtype=np.uint8)},
        names={"generated": names, "train": train},
    )  # fmt: skip
    return report


def write_images(folder: Path, count: int, side: int, seed: int) -> None:
    """Smooth fields with noise: JPEGs of about the size of photographs'."""
    from PIL import Image

    folder.mkdir()
    generator = np.random.default_rng(seed)
    noise = generator.integers(0, 24, (side, side, 3))
    for index in range(count):
        small = Image.fromarray(generator.integers(0, 232, (8, 8, 3), dtype=np.uint8))
        pixels = np.asarray(small.resize((side, side), Image.Resampling.BICUBIC)).astype(int)
        Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8)).save(folder / f"{index:06d}.jpg", quality=90)


if __name__ == "__main__":
    main()
