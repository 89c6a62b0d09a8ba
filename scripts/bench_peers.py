"""FID of two folders by whole commands: genaudit, torch-fidelity, pytorch-fid, with the same random Inception weights.

    python scripts/bench_peers.py                              # 2,000 images a folder, cold and warm
    python scripts/bench_peers.py --images 200 --rounds 1 --threads 1
    python scripts/bench_peers.py --only genaudit              # cold and warm without the peers
    python scripts/bench_peers.py network                      # the network alone: images and processor seconds
    python scripts/bench_peers.py two --images 500             # Inception and VGG-16: one run, two of torch-fidelity

Every command is a process of its own, timed from its start to its end; memory is its peak resident set. Cold has no
stored rows; warm repeats the command. Ratios are taken within a round, one command after the other, so that a machine
whose speed drifts does not decide. torch-fidelity keeps features only with `--input1-cache-name`; its warm run uses it.
pytorch-fid keeps nothing and is run once a round.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peers_whole

BATCH = 32


@dataclass(frozen=True)
class Run:
    """A finished command: seconds by the clock, seconds of processor time, peak resident MiB, what it printed."""

    seconds: float
    processor: float
    mebibytes: float
    said: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", default="commands", choices=["commands", "network", "two"])
    parser.add_argument("--images", type=int, default=2000, help="images a folder")
    parser.add_argument("--size", type=int, default=128, help="their side in pixels")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--engine", default="auto", choices=["auto", "torch", "openvino"], help="of genaudit")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", choices=sorted(COMMANDS), help="one program")
    parser.add_argument("--folder", default="", help="where images and weights are kept; default: a temporary folder")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"], os.environ["GENAUDIT_ENGINE"] = str(arguments.threads), arguments.engine
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(arguments.folder or temporary)
        pictures = peers_whole.prepare(folder, arguments.images, arguments.size)
        if arguments.what == "network":
            bench_network(pictures, arguments.threads, arguments.rounds)
        elif arguments.what == "two":
            bench_two_networks(pictures, Path(temporary), arguments)
        else:
            bench_commands(pictures, Path(temporary), arguments)


# ------------------------------------------------------------------ whole commands


def bench_commands(pictures: peers_whole.Pictures, scratch: Path, arguments: argparse.Namespace) -> None:
    machine = f"{arguments.threads} threads, batch {BATCH}, load {os.getloadavg()[0]:.1f}"
    print(f"{arguments.images} images of {arguments.size} pixels a folder, {machine}")
    names = [arguments.only] if arguments.only else list(COMMANDS)
    runs: dict[tuple[str, str], list[Run]] = {}
    for each in range(arguments.rounds):
        for name in names:
            kept = scratch / f"{name}-{each}"
            for state in ("cold",) if name == "pytorch-fid" else ("cold", "warm"):
                run = timed(COMMANDS[name](pictures, kept), pictures)
                runs.setdefault((name, state), []).append(run)
                print(
                    f"  {name:<15} {state}: {run.seconds:8.1f} s, processor {run.processor:8.1f} s, "
                    f"peak {run.mebibytes:6.0f} MiB   {run.said}",
                    flush=True,
                )
            shutil.rmtree(kept, ignore_errors=True)
    for (name, state), theirs in runs.items():
        if name != "genaudit" and ("genaudit", state) in runs:
            own = runs["genaudit", state]
            ratio(f"{name} / genaudit, {state}, seconds", theirs, own, lambda run: run.seconds)
            ratio(f"{name} / genaudit, {state}, memory", theirs, own, lambda run: run.mebibytes)
        if state == "warm":
            ratio(f"{name} cold / warm, seconds", runs[name, "cold"], theirs, lambda run: run.seconds)


def bench_two_networks(pictures: peers_whole.Pictures, scratch: Path, arguments: argparse.Namespace) -> None:
    """FD of Inception and of VGG-16's second hidden layer, cold: one command of genaudit, two of torch-fidelity."""
    print(f"{arguments.images} images of {arguments.size} pixels a folder, {arguments.threads} threads, two networks")
    weights = peers_whole.random_vgg16(pictures.folder / "vgg16.pth")
    own: list[Run] = []
    theirs: list[Run] = []
    for each in range(arguments.rounds):
        kept = scratch / str(each)
        own.append(timed(genaudit_of_two(pictures, weights, kept), pictures))
        both = [
            timed(torch_fidelity(pictures, kept / network, network, str(path)), pictures)
            for network, path in (("inception-v3-compat", pictures.weights), ("vgg16", weights))
        ]
        memory = max(run.mebibytes for run in both)
        theirs.append(Run(sum(run.seconds for run in both), sum(run.processor for run in both), memory, ""))
        said = "; ".join(run.said for run in both)
        print(f"  genaudit, both        {own[-1].seconds:8.1f} s, {own[-1].mebibytes:6.0f} MiB   {own[-1].said}")
        print(f"  torch-fidelity, twice {theirs[-1].seconds:8.1f} s, {memory:6.0f} MiB   {said}", flush=True)
        shutil.rmtree(kept, ignore_errors=True)
    ratio("genaudit / torch-fidelity twice, seconds", own, theirs, lambda run: run.seconds)
    ratio("genaudit / torch-fidelity, memory", own, theirs, lambda run: run.mebibytes)


def genaudit_of_two(pictures: peers_whole.Pictures, vgg16: Path, kept: Path) -> list[str]:
    keys = {"feature_model": "[fid_inception,vgg16]", "feature_model.fid_inception.checkpoint": pictures.weights}
    keys |= {"feature_model.fid_inception.preprocessing": "torch-fidelity", "metric": "[fd]", "device": "cpu"}
    keys |= peers_whole.vgg16_keys(vgg16, "feature_model.vgg16")
    return _evaluate(pictures, keys, kept)


def genaudit(pictures: peers_whole.Pictures, kept: Path) -> list[str]:
    return _evaluate(pictures, peers_whole.genaudit_keys(pictures, "torch-fidelity") | {"metric": "[fd]"}, kept)


def _evaluate(pictures: peers_whole.Pictures, keys: dict[str, Any], kept: Path) -> list[str]:
    keys |= {"device": "cpu", "store": kept / "store", "out": kept / "out", "progress": "false"}
    given = [pictures.generated, f"reference={pictures.reference}"]
    return [sys.executable, "-m", "genaudit", "evaluate", *given, *(f"{key}={value}" for key, value in keys.items())]


def torch_fidelity(
    pictures: peers_whole.Pictures, kept: Path, network: str = "inception-v3-compat", weights: str = ""
) -> list[str]:
    command = [sys.executable, "-m", "torch_fidelity.fidelity", "--cpu", "--fid", "--silent", "-b", str(BATCH)]
    command += ["--input1", pictures.generated, "--input2", pictures.reference, "--cache-root", str(kept)]
    command += ["--input1-cache-name", "generated", "--input2-cache-name", "reference"]
    command += ["--feature-extractor", network, "--feature-extractor-weights-path", weights or str(pictures.weights)]
    return command


def pytorch_fid(pictures: peers_whole.Pictures, kept: Path) -> list[str]:
    keys = ["--device", "cpu", "--batch-size", str(BATCH)]
    return [sys.executable, "-m", "pytorch_fid", *keys, pictures.generated, pictures.reference]


COMMANDS = {"genaudit": genaudit, "torch-fidelity": torch_fidelity, "pytorch-fid": pytorch_fid}


def timed(command: list[str], pictures: peers_whole.Pictures) -> Run:
    """Runs a command to its end; its own processes count too."""
    # the hub's folder holds a file of the name that pytorch-fid would download
    environment = {**os.environ, "TORCH_HOME": str(pictures.folder)}
    with tempfile.TemporaryFile("w+") as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, text=True, env=environment, cwd=Path(__file__).parent
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        said = output.read()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}\n{said[-2000:]}")
    found = [line.strip() for line in said.splitlines() if line.strip().lower().startswith(("fd", "fid", "frechet"))]
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, " ".join(" ".join(found).split()))


def ratio(name: str, above: list[Run], below: list[Run], what: Callable[[Run], float]) -> None:
    ratios = [what(a) / what(b) for a, b in zip(above, below, strict=True)]
    print(f"  {name}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


# ------------------------------------------------------------------ the network alone


def bench_network(pictures: peers_whole.Pictures, threads: int, rounds: int) -> None:
    """Ready images through genaudit's measuring loop and through torch-fidelity's network, equal threads."""
    import torch
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    from genaudit.backbones.fid_inception import FidInception
    from genaudit.measures.embedding import Embedding
    from genaudit.store.measuring import running

    torch.set_num_threads(threads)
    count = 2 * BATCH
    pixels = torch.randint(0, 256, (count, 299, 299, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    weights = str(pictures.weights)
    own = Embedding(FidInception(preprocessing="torch-fidelity", checkpoint=weights)).open("cpu", "float32")
    engines = {"torch": own}
    if importlib.util.find_spec("openvino"):
        compiled = Embedding(FidInception(preprocessing="torch-fidelity", checkpoint=weights))
        compiled.engine = "openvino"
        engines["openvino"] = compiled.open("cpu", "float32")
    theirs = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=weights)

    floats = pixels.float()  # as genaudit prepares images for this network

    def run_own(engine: str) -> Callable[[int], None]:
        def run(batch: int) -> None:
            with running("cpu") as loop:
                digests = [b"0" * 16] * batch
                parts = [floats[i : i + batch] for i in range(0, count, batch)]
                for rows in [loop.start(engines[engine], part, digests) for part in parts]:
                    rows()

        return run

    def run_theirs(batch: int) -> None:
        with torch.inference_mode():
            for start in range(0, count, batch):
                theirs(pixels[start : start + batch].contiguous())

    contenders: dict[str, tuple[Any, int]] = {
        **{f"genaudit, {engine}, batch 4 a core": (run_own(engine), 4) for engine in engines},
        f"genaudit, torch, batch {BATCH} a core": (run_own("torch"), BATCH),
        "torch-fidelity, batch 4": (run_theirs, 4),
        f"torch-fidelity, batch {BATCH}": (run_theirs, BATCH),
    }
    print(f"Inception at 299 pixels, {count} images a round, {threads} threads")
    for each in range(rounds):
        for name, (run, batch) in contenders.items():
            started, processor = time.perf_counter(), time.process_time()
            run(batch)
            seconds, processor = time.perf_counter() - started, time.process_time() - processor
            print(
                f"  round {each}, {name:<36} {count / seconds:6.1f} images/s, "
                f"{1000 * processor / count:7.1f} ms of processor per image",
                flush=True,
            )


if __name__ == "__main__":
    main()
