"""What `fuzz_inputs.py` feeds to genaudit: for each kind of input good ones, how to spoil them, who reads them.

A target is made once in a process with a folder of its own; `run(rng, folder)` spoils one input into `folder`, reads it
as a verb would, and raises what the reader raises.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import random
import tarfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import fuzz_mutations as mutations
import numpy as np
from PIL import Image

Run = Callable[[random.Random, Path], None]
FORMATS = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "bmp": "BMP", "tif": "TIFF", "gif": "GIF", "ppm": "PPM",
           "jp2": "JPEG2000", "avif": "AVIF"}  # fmt: skip
MODES = {"png": ("RGB", "L", "P", "RGBA", "I;16"), "jpg": ("RGB", "L", "CMYK"), "tif": ("RGB", "L", "F", "CMYK")}
MAX_PIXELS = 4_000_000  # one image of the fuzzer takes megabytes and not gigabytes


class Canary:
    """Unpickled, it leaves a mark."""

    def __reduce__(self) -> Any:
        return os.mkdir, (os.path.join(os.environ["FUZZ_CANARY"], "unpickled"),)


def images(rng: random.Random) -> dict[str, bytes]:
    """Small images of every format and of most modes, by name."""
    found = {}
    for suffix, kind in FORMATS.items():
        for mode in MODES.get(suffix, ("RGB",)):
            pixels = np.random.default_rng(rng.randrange(2**32)).integers(0, 256, (9, 11, 3), np.uint8)
            picture = Image.fromarray(pixels)
            if mode == "I;16":
                picture = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
            elif mode == "F":
                picture = Image.fromarray(pixels[..., 0].astype(np.float32) / 255)
            elif mode != "RGB":
                picture = picture.convert(mode)
            stream = io.BytesIO()
            try:
                picture.save(stream, kind, **({"compression": "tiff_lzw"} if suffix == "tif" and mode == "L" else {}))
            except (OSError, KeyError):  # a Pillow without the codec
                continue
            found[f"{mode.replace(';', '')}.{suffix}"] = stream.getvalue()
    return found


def inspected(source: Any) -> None:
    from genaudit.data import inspect
    from genaudit.tasks.check import _lines

    "\n".join(_lines(inspect(source, max_pixels=MAX_PIXELS, workers=2)))


def image(home: Path) -> Run:
    seeds = images(random.Random(0))

    def run(rng: random.Random, folder: Path) -> None:
        for place in range(rng.choice((1, 3))):
            name, other = rng.choice(list(seeds)), rng.choice(list(seeds))
            suffix = rng.choice((name, other)).rpartition(".")[2]
            data = mutations.of_bytes(seeds[name], seeds[other], rng)
            (folder / f"{place}.{suffix}").write_bytes(data)
        inspected(folder)

    return run


def archive(home: Path) -> Run:
    seeds = images(random.Random(1))

    def packed(kind: str, rng: random.Random) -> bytes:
        stream = io.BytesIO()
        chosen = rng.sample(list(seeds), 4)
        if kind == "zip":
            with zipfile.ZipFile(stream, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as target:
                for name in chosen:
                    target.writestr(rng.choice(("", "../", "/", "a/b/", "\x1b[2J")) + name, seeds[name])
            return stream.getvalue()
        style = rng.choice((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT))
        with tarfile.open(fileobj=stream, mode="w", format=style) as tar:
            for name in chosen:
                member = tarfile.TarInfo(rng.choice(("", "../", "a/", "long" * 30 + "/")) + name)
                member.size = len(seeds[name])
                member.type = rng.choice((tarfile.REGTYPE,) * 4 + (tarfile.SYMTYPE, tarfile.FIFOTYPE, tarfile.LNKTYPE))
                member.linkname = "/etc/passwd"
                if member.type != tarfile.REGTYPE:
                    member.size = 0
                tar.addfile(member, io.BytesIO(seeds[name]) if member.size else None)
        return stream.getvalue()

    def run(rng: random.Random, folder: Path) -> None:
        kind = rng.choice(("zip", "tar", "tar.gz"))
        path = folder / f"x.{kind}"
        data = mutations.of_bytes(packed(kind[:3], rng), packed("tar", rng), rng)
        if kind == "tar.gz":
            data = gzip.compress(data, 1, mtime=0)
            data = mutations.of_bytes(data, data, rng) if rng.random() < 0.5 else data
        path.write_bytes(data)
        inspected(path)

    return run


def array(home: Path) -> Run:
    import h5py
    import torch
    from safetensors.numpy import save

    pixels = np.random.default_rng(0).integers(0, 256, (5, 6, 7, 3), np.uint8)
    chw = torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy())

    def file(name: str, write: Callable[[Path], object]) -> bytes:
        write(home / name)
        return (home / name).read_bytes()

    def hdf5(path: Path) -> None:
        with h5py.File(path, "w") as target:
            target.create_dataset("images", data=pixels, chunks=(2, 6, 7, 3), compression="gzip")

    def outside(path: Path) -> None:
        with h5py.File(path, "w") as target:
            target.create_dataset("images", (1, 4, 4, 3), "u1", external=[("/etc/passwd", 0, 48)])

    moments = {"mu": np.zeros(4), "sigma": np.eye(4), "n": 10, "genaudit": "1.0", "fingerprint": "ab"}
    seeds = {
        "a.npy": file("a.npy", lambda path: np.save(path, pixels)),
        "o.npy": file("o.npy", lambda path: np.save(path, np.array([Canary()], object), allow_pickle=True)),
        "a.npz": file("a.npz", lambda path: np.savez(path, arr_0=pixels)),
        "c.npz": file("c.npz", lambda path: np.savez_compressed(path, images=pixels)),
        "f.npz": file("f.npz", lambda path: np.savez(path, features=np.random.default_rng(1).normal(size=(6, 5)))),
        "m.npz": file("m.npz", lambda path: np.savez(path, **moments)),  # type: ignore[arg-type]
        "a.pt": file("a.pt", lambda path: torch.save(chw, path)),
        "d.pt": file("d.pt", lambda path: torch.save({"images": chw.float() / 255, "labels": [1, 2]}, path)),
        "l.pt": file("l.pt", lambda path: torch.save(chw, path, _use_new_zipfile_serialization=False)),
        "p.pt": file("p.pt", lambda path: torch.save({"images": Canary()}, path)),
        "r.pt": pickle.dumps(Canary(), protocol=2),
        "a.safetensors": save({"images": chw.numpy()}),
        "a.h5": file("a.h5", hdf5),
        "e.h5": file("e.h5", outside),
    }

    def run(rng: random.Random, folder: Path) -> None:
        name, other = rng.choice(list(seeds)), rng.choice(list(seeds))
        data = seeds[name] if rng.random() < 0.05 else mutations.of_bytes(seeds[name], seeds[other], rng)
        (folder / name).write_bytes(data)
        inspected(folder / name)

    return run


def listing(home: Path) -> Run:
    seeds = images(random.Random(2))
    lines = (
        "RGB.png",
        "L.png",
        "\x1b[31m.png",
        "a\0b.png",
        "/dev/zero",
        "/proc/self/mem",
        "pipe.png",
        "..",
        "",
        "~",
        "x",
    )

    def run(rng: random.Random, folder: Path) -> None:
        for name in ("RGB.png", "L.png"):
            (folder / name).write_bytes(seeds[name])
        os.mkfifo(folder / "pipe.png")
        suffix = rng.choice(("txt", "csv", "tsv", "jsonl"))
        text = rng.choice(("", "path,label\n", '"', "\ufeff")) + "\n".join(rng.choices(lines, k=5))
        data = text.encode()
        (folder / f"list.{suffix}").write_bytes(data if rng.random() < 0.5 else mutations.of_bytes(data, data, rng))
        inspected(folder / f"list.{suffix}")

    return run


def data(home: Path) -> Run:
    """The files of published sets under `data=`, and labels of a training."""
    from scipy.io import savemat

    from genaudit.tasks.training.likelihood_images import _read_labels
    from genaudit_papers import datasets

    rng = np.random.default_rng(3)
    pixels, labels = rng.integers(0, 256, (4, 28, 28), np.uint8), rng.integers(0, 9, 4).astype(np.uint8)
    svhn, cifar = rng.integers(0, 256, (32, 32, 3, 4), np.uint8), rng.integers(0, 256, (4, 3072), np.uint8)
    seeds: dict[str, bytes] = {}
    for names in datasets.FILES.values():
        for name, array in zip(names, (pixels, labels), strict=True):
            sides = b"".join(side.to_bytes(4, "big") for side in array.shape)
            content = bytes([0, 0, 8, array.ndim]) + sides + array.tobytes()
            seeds[f"MNIST/raw/{name}.gz"] = gzip.compress(content, mtime=0)
            seeds[f"FashionMNIST/raw/{name}"] = content
    for split in datasets.SPLITS:
        stream = io.BytesIO()
        savemat(stream, {"X": svhn, "y": labels[:, None]}, do_compression=split == "train")
        seeds[f"{split}_32x32.mat"] = stream.getvalue()
        seeds[f"{datasets.CIFAR100}/{split}"] = pickle.dumps({b"data": cifar, b"fine_labels": labels.tolist()}, 2)
    stream = io.BytesIO()
    np.save(stream, labels)
    texts = {"labels.npy": stream.getvalue(), "labels.txt": b"1\n2\n0\n", "labels.txt.gz": gzip.compress(b"1\n2\n0\n")}
    readers = (datasets.full_mnist, datasets.fashion_mnist, datasets.svhn, datasets.cifar100)

    def run(rng: random.Random, folder: Path) -> None:
        for name, content in seeds.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(mutations.of_bytes(content, content, rng))
        name = rng.choice(list(texts))
        (folder / name).write_bytes(mutations.of_bytes(texts[name], texts["labels.npy"], rng))
        readings: list[Callable[[], object]] = [partial(_read_labels, folder / name)]
        readings += [partial(each, split, folder) for split in datasets.SPLITS for each in readers]
        refused = [_refused(reading) for reading in readings]
        if all(refused):
            raise refused[0]

    return run


def _refused(read: Callable[[], object]) -> Exception | None:
    from genaudit.errors import UserError

    try:
        read()
    except UserError as error:
        return error
    return None


def shard(home: Path) -> Run:
    from genaudit.store.index import StoreIndex, as_keys
    from genaudit.store.shards import write_shard

    rng = np.random.default_rng(0)
    digests, rows = rng.integers(0, 256, (7, 16), np.uint8), rng.normal(size=(7, 3)).astype(np.float32)
    seed = write_shard(home / "shards", digests, rows, "store").read_bytes()

    def run(rng: random.Random, folder: Path) -> None:
        good = write_shard(folder / "store", digests, rows, "store")  # the folder's name is the measure's
        spoilt = good.with_name("0" * 20 + "-spoilt.shard")
        spoilt.write_bytes(mutations.of_bytes(seed, seed, rng))
        index = StoreIndex.read(folder / "store")
        wanted = as_keys(digests)
        index.verify(wanted)
        found = np.asarray(index.rows(wanted, None)[:])
        if not np.array_equal(found, rows):
            raise AssertionError("rows of a spoilt shard came back")

    return run


def model(home: Path) -> Run:
    from genaudit.likelihood import saved as densities
    from genaudit.likelihood.glow import Glow
    from genaudit.likelihood.wide_resnet import WideResNet
    from genaudit.measures.likelihood import Likelihood
    from genaudit.measures.piad import PIAD
    from genaudit.piad import saved as piads
    from genaudit.piad.as_generator import PIADGenerator
    from genaudit.piad.networks import Architecture, build

    knobs: dict[str, Any] = {"channels": 1, "size": 8, "scales": 2, "steps": 1, "hidden": 4}
    densities.save(Glow(**knobs), home / "glow", {"_target_": "genaudit.likelihood.glow.Glow", **knobs}, seed=1)
    wide: dict[str, Any] = {"channels": 1, "size": 8, "depth": 10, "width": 1}
    target = "genaudit.likelihood.wide_resnet.WideResNet"
    densities.save(WideResNet(**wide), home / "classifier", {"_target_": target, **wide}, kind=densities.CLASSIFIER)
    a = Architecture(latent=4, generator=(6, 4), encoder=(4, 6), critic=(4, 6), latent_critic=8)
    pixels = {"size": 8, "channels": 1, "interpolation": "bilinear", "fit": "squash", "crop": None}
    piads.save(piads.Model(build(a, 1, seed=0), a, None, "mse", pixels), home / "piad", None)

    def density(folder: Path) -> None:
        Likelihood(str(folder)).describe("float32")
        densities.load(folder)

    def anomaly(folder: Path) -> None:
        PIADGenerator(folder=str(folder)).load()
        PIAD(str(folder)).describe("float32")
        piads.load(folder)

    readers = {
        "glow": density,
        "classifier": lambda folder: densities.load(folder, kind=densities.CLASSIFIER),
        "piad": anomaly,
    }

    def run(rng: random.Random, folder: Path) -> None:
        kind = rng.choice(list(readers))
        weights, text = ((home / kind / name).read_bytes() for name in ("model.safetensors", "model.json"))
        document = json.loads(text)
        if rng.random() < 0.3:
            weights = mutations.of_bytes(weights, weights, rng)
            (folder / "model.safetensors").write_bytes(weights)
            if kind == "piad":  # past the checksum
                document["weights_sha256"] = piads.sha256_of_file(folder / "model.safetensors")
        else:
            if kind == "piad" and rng.random() < 0.5:
                node: Any = {"_target_": "genaudit.piad.perceptual.layer_of", "layer": "layer1", "statistics": None}
                node["feature_model"] = {"_target_": "genaudit.backbones.timm_model.TimmModel", "name": "test_resnet",
                                         "pretrained": False, "offline": True}  # fmt: skip
                document["perceptual"] = {"name": "x", "weights_sha256": "0" * 64, "statistics": None, "node": node}
                document["reconstruction"] = "relative_perceptual_l1"
            document = mutations.of_document(document, rng)
        (folder / "model.safetensors").write_bytes(weights)
        _write(folder / "model.json", document, rng)
        readers[kind](folder)

    return run


def report(home: Path) -> Run:
    from genaudit.reports.comparison import compare
    from genaudit.reports.styled import make_console

    values = {"fd": {"value": 12.5, "lower": 11.0, "upper": 13.0, "better": "lower"}}
    metric = {"values": values, "p_value": 0.5, "n": {"generated": 10, "reference": 10}, "measure": "x",
              "details": {"a": 1}, "citation": "c"}  # fmt: skip
    role = {"source": "a", "count": 10, "digest": "0" * 32, "skipped": [{"name": "n", "reason": "r"}], "converted": {}}
    used = {"fingerprint": "f", "weights_sha256": "0" * 64, "computed": 1, "reused": 9, "seconds": 1.0}
    document: dict[str, Any] = {
        **{"schema": "genaudit/report/1", "genaudit": "1.0", "created": "2026-01-01T00:00:00", "command": "genaudit"},
        **{"config": {"seed": 0, "feature_model": {"_target_": "fuzz_canary.run"}}, "environment": {"torch": "2"}},
        **{"seed": 0, "images": {"generated": role, "reference": role}, "measures": {"x": used}},
        **{"metrics": {"fd": metric}, "skipped_metrics": {"irs": "needs train"}},
        "warnings": [{"code": "c", "metric": "fd", "message": "m"}],
    }

    def run(rng: random.Random, folder: Path) -> None:
        for place, name in enumerate(("a", "b\x1b[31m")):
            (folder / name).mkdir()
            path = folder / name / "report.json"
            if place or rng.random() < 0.2:
                path.write_text(json.dumps(document))
            else:
                _write(path, mutations.of_document(document, rng), rng)
        comparison = compare([str(folder / "a"), str(folder / "b\x1b[31m")])
        stream = io.StringIO()
        make_console(stream).print(comparison.console(plain=True))
        if "\x1b" in stream.getvalue() or "\u202e" in stream.getvalue():
            raise AssertionError("the console was given control characters")
        comparison.write(folder / "out")

    return run


def checkpoint(home: Path) -> Run:
    import torch

    from genaudit.training import fit

    class Trainer:
        iterations, iteration = 2, 0

        def __init__(self) -> None:
            self.weight = torch.zeros(3)

        def step(self) -> None:
            self.iteration += 1

        def finite(self, look: Any = None) -> bool:
            return bool(torch.isfinite(self.weight).all())

        def state_dict(self) -> dict[str, Any]:
            return {"iteration": self.iteration, "weight": self.weight}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            self.iteration = int(state["iteration"])
            self.weight.copy_(state["weight"])

    def train(folder: Path) -> None:
        fit(Trainer(), folder, record=lambda _: {"loss": 1.0}, log=["loss"], every=1, settings={"seed": 1})

    train(home / "run")
    torch.save({"trainer": Canary(), "settings": {}, "seconds": 0}, home / "canary.pt")
    seeds = [(home / "run" / "checkpoint.pt").read_bytes(), (home / "canary.pt").read_bytes()]
    log = (home / "run" / "log.csv").read_bytes()

    def run(rng: random.Random, folder: Path) -> None:
        (folder / "checkpoint.pt").write_bytes(mutations.of_bytes(rng.choice(seeds), seeds[0], rng))
        (folder / "log.csv").write_bytes(mutations.of_bytes(log, log, rng) if rng.random() < 0.3 else log)
        train(folder)

    return run


def config(home: Path) -> Run:
    """Command lines and YAML with odd values: the exit code is the user's (2) or that of a result, never a defect's."""
    from genaudit.cli import main

    (home / "images").mkdir()
    for name, data in images(random.Random(3)).items():
        if name in ("RGB.png", "RGB.jpg", "RGB.bmp", "RGB.webp"):
            (home / "images" / name).write_bytes(data)
    keys = (
        *("seed", "device", "precision", "batch_size", "workers", "limit", "on_error", "max_skipped", "max_pixels"),
        *("offline", "progress", "confidence", "reference", "train", "metric", "feature_model", "density_model"),
        *("general_model", "piad_model", "generator", "trust", "metric.kd.fn._target_", "feature_model.size"),
    )
    odd = (
        *("", "null", "-1", "0", "1e308", ".nan", ".inf", "true", "[]", "{}", "[1,2]", "{a: 1}", "???", "x", "../x"),
        *("'", "1.5", "99999999999999999999", "\x1b[31m", "${seed}", "${nothing}", "[fd]", "fd", "auto", "~", "[[]]"),
    )
    verbs = ("evaluate", "check", "compare", "reject", "sample", "train", "explain", "moments")
    own = b"mine:\n  measure: ${feature_model}\n  fn: {_target_: genaudit.metrics.kernel.judge, _partial_: true}\n"

    def run(rng: random.Random, folder: Path) -> None:
        from genaudit.errors import UserError

        samples = str(home / "images")
        store, out = f"store={folder / 'store'}", f"out={folder / 'out'}"
        base = [
            "evaluate",
            samples,
            f"reference={samples}",
            "feature_model=pixels",
            "feature_model.size=2",
            "metric=[kd]",
        ]
        words = [*base, store, out, "workers=0", "progress=false"]
        if rng.random() < 0.2:
            verb = rng.choice(verbs)
            # the twenty trials of explain, of ten steps each, take a minute on their own
            words = [verb, samples, out, *(["trials=1", "attack_steps=1"] if verb == "explain" else [])]
        for key in rng.sample(keys, rng.choice((1, 1, 2))):
            words.append(f"{key}={rng.choice(odd)}")
        if rng.random() < 0.1:
            (folder / "own" / "metric").mkdir(parents=True)
            (folder / "own" / "metric" / "mine.yaml").write_bytes(mutations.of_bytes(own, own, rng))
            words += ["--config-dir", str(folder / "own"), "metric=[mine]"]
        code = main(words)
        if code == 2:
            raise UserError("exit 2")
        if code not in (0, 3, 4):
            trace = next(iter(folder.rglob("traceback.txt")), None)
            raise AssertionError(f"exit {code} of {words}\n{trace.read_text() if trace else ''}")

    return run


TARGETS: dict[str, Callable[[Path], Run]] = {
    **{
        "image": image,
        "archive": archive,
        "array": array,
        "list": listing,
        "data": data,
        "shard": shard,
        "model": model,
    },
    **{"report": report, "checkpoint": checkpoint, "config": config},
}


def _write(path: Path, document: Any, rng: random.Random) -> None:
    text = json.dumps(document)
    if rng.random() < 0.15:
        text = mutations.of_text(text, rng)
    data = text.encode("utf-8", "surrogatepass")
    path.write_bytes(mutations.of_bytes(data, data, rng) if rng.random() < 0.1 else data)
