"""Training step of genaudit's Glow beside the flow libraries on PyPI that can express the same network.

    python scripts/bench_likelihood.py                     the small greyscale model of glow_laptop, one thread
    python scripts/bench_likelihood.py --hidden 512 --channels 3 --steps 2 --batch 8

One step is a forward pass, a backward pass and nothing else, on the same batch. The libraries take turns, so that a
busy machine slows all of them; the ratio of the medians is what to read. Time is the process's own on a CPU, the
wall clock's on CUDA. Memory is what the graph keeps for the backward pass (every storage once, parameters not
counted; on CUDA the peak of allocated memory). normflows and nflows are imported here only and are left out, with a
sentence, where they are missing. zuko has no image flows: no squeeze, no multi-scale
split, no convolutional coupling. The networks agree but for details of a few parameters: genaudit's last convolution
of a coupling has a learned scale, nflows adds 1e-3 to the coupling's scale and has no actnorm inside its networks and
no learned prior.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

# Before torch is imported, or it has made its threads already.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import Tensor, nn

LogProb = Callable[[Tensor], Tensor]


def genaudit_glow(args: argparse.Namespace, *, coupling: str = "sigmoid") -> tuple[nn.Module, LogProb]:
    from genaudit.likelihood.glow import Glow

    scale: Any = coupling
    model = Glow(args.channels, args.size, steps=args.steps, hidden=args.hidden, coupling=scale)
    return model, model.log_prob


def normflows_glow(args: argparse.Namespace) -> tuple[nn.Module, LogProb]:
    import normflows as nf

    levels = 3
    bases, merges, flows = [], [], []
    for i in range(levels):
        channels = args.channels * 2 ** (levels + 1 - i)
        side = args.size // 2 ** (levels - i)
        blocks = [
            nf.flows.GlowBlock(channels, args.hidden, scale_map="sigmoid", net_actnorm=True) for _ in range(args.steps)
        ]
        flows.append([*blocks, nf.flows.Squeeze()])
        if i > 0:
            merges.append(nf.flows.Merge())
        bases.append(nf.distributions.DiagGaussian((channels if i == 0 else channels // 2, side, side)))
    model = nf.MultiscaleFlow(bases, flows, merges, class_cond=False)
    return model, lambda x: model.log_prob(x, None)


def nflows_glow(args: argparse.Namespace) -> tuple[nn.Module, LogProb]:
    from nflows import distributions, flows, transforms

    class Net(nn.Sequential):
        def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
            y: Tensor = super().forward(x)
            return y

    def network(channels_in: int, channels_out: int) -> nn.Module:
        h = args.hidden
        last = nn.Conv2d(h, channels_out, 3, padding=1)
        nn.init.zeros_(last.weight)
        return Net(nn.Conv2d(channels_in, h, 3, padding=1), nn.ReLU(True), nn.Conv2d(h, h, 1), nn.ReLU(True), last)

    channels, side = args.channels, args.size
    whole = transforms.MultiscaleCompositeTransform(num_transforms=3)
    for _ in range(3):
        channels, side = 4 * channels, side // 2
        parts: list[nn.Module] = [transforms.SqueezeTransform()]
        for _ in range(args.steps):
            mask = torch.cat([-torch.ones(channels // 2), torch.ones(channels - channels // 2)])
            parts += [
                transforms.ActNorm(channels),
                transforms.OneByOneConvolution(channels),
                transforms.AffineCouplingTransform(mask, network),
            ]
        rest = whole.add_transform(transforms.CompositeTransform(parts), (channels, side, side))
        if rest is not None:
            channels = rest[0]
    size = args.channels * args.size**2
    model = flows.Flow(whole, distributions.StandardNormal([size]))
    return model, model.log_prob


def kept_bytes(model: nn.Module, log_prob: LogProb, x: Tensor) -> int:
    """Memory of a training step: on CUDA its peak, elsewhere what the graph keeps."""
    if x.is_cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        (-log_prob(x).mean()).backward()
        return torch.cuda.max_memory_allocated() - before
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = -log_prob(x).mean()
    loss.backward()
    return sum(storages.values())


def seconds(model: nn.Module, log_prob: LogProb, x: Tensor) -> float:
    model.zero_grad(set_to_none=True)
    clock = time.perf_counter if x.is_cuda else time.process_time
    start = clock()
    (-log_prob(x).mean()).backward()
    if x.is_cuda:
        torch.cuda.synchronize()
    return clock() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in [("channels", 1), ("size", 32), ("steps", 4), ("hidden", 32), ("batch", 64), ("repeats", 15)]:
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.manual_seed(0)
    x = (torch.rand(args.batch, args.channels, args.size, args.size) - 0.5).to(args.device)

    makers = {
        "genaudit": genaudit_glow,
        "genaudit, tanh": lambda a: genaudit_glow(a, coupling="tanh"),
        "normflows": normflows_glow,
        "nflows": nflows_glow,
    }
    candidates: dict[str, tuple[nn.Module, LogProb]] = {}
    for name, make in makers.items():
        try:
            model, log_prob = make(args)
        except ImportError:
            print(f"{name}: not installed (pip install {name}), left out")
            continue
        model.to(args.device)
        if name.startswith("genaudit"):
            model.initialise(x)  # type: ignore[operator]
        for _ in range(3):  # the others initialise their actnorms in the first pass
            seconds(model, log_prob, x)
        candidates[name] = (model, log_prob)

    times: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(args.repeats):
        for name, (model, log_prob) in candidates.items():
            times[name].append(seconds(model, log_prob, x))
    memory = {name: kept_bytes(model, log_prob, x) for name, (model, log_prob) in candidates.items()}

    base = statistics.median(times["genaudit"])
    print(
        f"{args.batch} images of {args.channels}x{args.size}x{args.size}, {args.steps} steps a scale, "
        f"hidden {args.hidden}, {args.device}, {torch.get_num_threads()} thread(s), torch {torch.__version__}"
    )
    print(f"{'':16}{'step, ms':>10}{'ratio':>8}{'memory, MB':>12}{'ratio':>8}{'parameters':>12}")
    for name, (model, _) in candidates.items():
        step = statistics.median(times[name])
        count = sum(p.numel() for p in model.parameters())
        kept = memory[name]
        share = kept / memory["genaudit"]
        print(f"{name:16}{step * 1e3:10.1f}{step / base:8.2f}{kept / 1e6:12.1f}{share:8.2f}{count:12,}")


if __name__ == "__main__":
    main()
