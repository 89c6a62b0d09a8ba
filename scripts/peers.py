"""What genaudit's metrics are compared with on equal features: the same rows given to a peer and to genaudit.

Peers come as their packages distribute them; nothing of them is patched. `peers_whole.py` holds the comparisons of
folders of images. Used by `parity.py` and the tests. N images, D features, C classes.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import numpy as np

FLOAT64 = 1e-6
EQUAL = "float64 statistics of equal features"


@dataclass(frozen=True)
class Rows:
    """Feature rows of every role and class logits, float64; nonnegative and skewed, as after a ReLU."""

    generated: np.ndarray
    reference: np.ndarray
    train: np.ndarray
    logits: np.ndarray

    @classmethod
    def draw(cls, count: int, dimensions: int, seed: int = 0) -> Rows:
        rng = np.random.default_rng(seed)
        mix = rng.normal(size=(dimensions, dimensions)) / np.sqrt(dimensions)

        def rows(shift: float) -> np.ndarray:
            # float32 values in float64: peers that cast down see the same numbers
            latent = np.maximum(rng.normal(size=(count, dimensions)) @ mix + shift, 0) + 0.05
            return latent.astype(np.float32).astype(np.float64)

        return cls(rows(0.3), rows(0.5), rows(0.5), rng.normal(size=(count, 10)) * 2)


@dataclass(frozen=True)
class Comparison:
    """One number by a peer and by genaudit.

    `theirs` and `ours` map Rows (or Pictures, where `network`) to numbers by name. `allowed` is the largest relative
    difference, `why` its reason. `knows` says what else is to be known.
    """

    metric: str
    peer: str
    package: str
    theirs: Callable[[Any], dict[str, float]]
    ours: Callable[[Any], dict[str, float]]
    allowed: float = FLOAT64
    why: str = EQUAL
    network: bool = False
    knows: str = ""

    @property
    def version(self) -> str:
        return metadata.version(self.package)


# ------------------------------------------------------------------ equal features


def quiet(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
    """Peers print to standard output."""
    with contextlib.redirect_stdout(io.StringIO()):
        return function(*arguments, **keywords)


def _given() -> Any:
    """The network of torchmetrics' classes that hands its input on."""
    import torch

    class Given(torch.nn.Module):
        num_features = 1

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            return rows

    return Given()


def _torchmetrics(kind: str, rows: Rows, **keywords: Any) -> Any:
    """An image metric of torchmetrics fed with rows in place of images."""
    import torch
    import torchmetrics.image as image

    network = _given()
    network.num_features = rows.generated.shape[1]
    metric = getattr(image, kind)(feature=network, **keywords)
    metric.set_dtype(torch.float64)
    metric.update(torch.from_numpy(rows.reference), real=True)
    metric.update(torch.from_numpy(rows.generated), real=False)
    return quiet(metric.compute)


def _fd(rows: Rows) -> dict[str, float]:
    from genaudit.metrics.frechet import frechet_distance

    return {"fd": frechet_distance(rows.generated, rows.reference)}


def _fd_pytorch_fid(rows: Rows) -> dict[str, float]:
    from pytorch_fid.fid_score import calculate_frechet_distance

    moments = [(part.mean(0), np.cov(part, rowvar=False)) for part in (rows.generated, rows.reference)]
    return {"fd": float(quiet(calculate_frechet_distance, *moments[0], *moments[1]))}


def _fd_clean_fid(rows: Rows) -> dict[str, float]:
    from cleanfid.fid import fid_from_feats

    return {"fd": float(quiet(fid_from_feats, rows.generated, rows.reference))}


def _fd_torch_fidelity(rows: Rows) -> dict[str, float]:
    import torch
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    statistics = [fid_features_to_statistics(torch.from_numpy(part)) for part in (rows.generated, rows.reference)]
    return {"fd": fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]}


def _fd_torchmetrics(rows: Rows) -> dict[str, float]:
    return {"fd": float(_torchmetrics("FrechetInceptionDistance", rows))}


def _kd(rows: Rows) -> dict[str, float]:
    from genaudit.metrics.kernel import kernel_distance

    return {"kd": kernel_distance(rows.generated, rows.reference)}


def _kd_torch_fidelity(rows: Rows) -> dict[str, float]:
    import torch
    from torch_fidelity.metric_kid import kid_features_to_metric

    found = kid_features_to_metric(
        torch.from_numpy(rows.generated),
        torch.from_numpy(rows.reference),
        kid_subsets=1,
        kid_subset_size=len(rows.generated),
        verbose=False,
    )
    return {"kd": found["kernel_inception_distance_mean"]}


def _kd_clean_fid(rows: Rows) -> dict[str, float]:
    from cleanfid.fid import kernel_distance

    size = len(rows.generated)
    return {"kd": kernel_distance(rows.generated, rows.reference, num_subsets=1, max_subset_size=size)}


def _kd_torchmetrics(rows: Rows) -> dict[str, float]:
    size = len(rows.generated)
    mean, _ = _torchmetrics("KernelInceptionDistance", rows, subsets=1, subset_size=size)
    return {"kd": float(mean)}


def _prdc(rows: Rows) -> dict[str, float]:
    from genaudit.metrics.prdc import prdc

    return vars(prdc(rows.reference, rows.generated, k=5))


def _prdc_prdc(rows: Rows) -> dict[str, float]:
    from prdc import compute_prdc

    return {name: float(each) for name, each in quiet(compute_prdc, rows.reference, rows.generated, 5).items()}


def _precision_recall(rows: Rows) -> dict[str, float]:
    from genaudit.metrics.prdc import prdc

    found = prdc(rows.reference, rows.generated, k=3)
    return {"precision": found.precision, "recall": found.recall}


def _precision_recall_torch_fidelity(rows: Rows) -> dict[str, float]:
    import torch
    from torch_fidelity.metric_prc import prc_features_to_metric

    found = prc_features_to_metric(
        torch.from_numpy(rows.generated), torch.from_numpy(rows.reference), prc_neighborhood=3, verbose=False
    )
    return {"precision": found["precision"], "recall": found["recall"]}


def _vendi(rows: Rows) -> dict[str, float]:
    from genaudit.metrics.vendi import vendi_score

    return {"vendi": vendi_score(rows.generated), "vendi_q2": vendi_score(rows.generated, q=2)}


def _vendi_vendi_score(rows: Rows) -> dict[str, float]:
    from vendi_score import vendi

    score = vendi.score_dual
    return {"vendi": float(score(rows.generated)), "vendi_q2": float(score(rows.generated, q=2))}


def _inception_score(rows: Rows) -> dict[str, float]:
    from genaudit.metrics.inception_score import SHUFFLE_SEED, inception_score

    return {
        "is": inception_score(rows.logits),
        "is_of_10_splits": inception_score(rows.logits, splits=10, shuffle_seed=SHUFFLE_SEED),
    }


def _inception_score_torch_fidelity(rows: Rows) -> dict[str, float]:
    import torch
    from torch_fidelity.metric_isc import isc_features_to_metric

    logits = torch.from_numpy(rows.logits)
    found = {"is": isc_features_to_metric(logits, splits=1), "is_of_10_splits": isc_features_to_metric(logits)}
    return {name: each["inception_score_mean"] for name, each in found.items()}


def _inception_score_of_one_split(rows: Rows) -> dict[str, float]:
    from genaudit.metrics.inception_score import inception_score

    return {"is": inception_score(rows.logits)}


def _inception_score_torchmetrics(rows: Rows) -> dict[str, float]:
    import torch
    from torchmetrics.image import InceptionScore

    metric = InceptionScore(feature=_given(), splits=1)
    metric.update(torch.from_numpy(rows.logits))
    return {"is": float(metric.compute()[0])}


def _mifid(rows: Rows) -> dict[str, float]:
    from genaudit.metrics.mifid import mifid

    return {"mifid": mifid(rows.train, rows.generated, threshold=1.0)}


def _mifid_torchmetrics(rows: Rows) -> dict[str, float]:
    """torchmetrics takes the mean over what it calls real: it is given the roles the other way round."""
    import torch

    swapped = Rows(generated=rows.train, reference=rows.generated, train=rows.train, logits=rows.logits)
    kind = "MemorizationInformedFrechetInceptionDistance"
    return {"mifid": float(torch.as_tensor(_torchmetrics(kind, swapped, cosine_distance_eps=1.0)))}


LATENT = 6


def _path_generator() -> Any:
    """A small network of latents (n, 6) to images (n, 1, 4, 4) in [0, 1]."""
    import torch

    torch.manual_seed(0)
    layers = [torch.nn.Linear(LATENT, 32), torch.nn.Tanh(), torch.nn.Linear(32, 16), torch.nn.Sigmoid()]
    return torch.nn.Sequential(*layers, torch.nn.Unflatten(1, (1, 4, 4)))


def _path_digests(rows: Rows) -> list[bytes]:
    return [np.random.default_rng(place).bytes(16) for place in range(len(rows.generated))]


def _path_length(rows: Rows) -> dict[str, float]:
    import torch

    from genaudit.backbones.generator import Generator, LoadedNetwork
    from genaudit.measures.path_length import PathLength
    from genaudit.metrics.path_length import judge

    class Given(Generator):
        def load(self, device: str = "cpu") -> LoadedNetwork:
            return LoadedNetwork(_path_generator(), "0" * 64, "drawn here")

    measure = PathLength(Given(name="given", latent=LATENT), distance="l2", interpolation="lerp", sampling="end")
    digests = _path_digests(rows)
    lengths = measure.open("cpu", "float64")(torch.zeros(len(digests), 3, 1, 1, dtype=torch.uint8), digests)
    return {"ppl": judge(generated=lengths.numpy(), discard=0.0).ppl}


def _path_length_torchmetrics(rows: Rows) -> dict[str, float]:
    import torch
    from torchmetrics.functional.image import perceptual_path_length

    draws = [torch.Generator().manual_seed(int.from_bytes(d[:8], "little") % 2**63) for d in _path_digests(rows)]
    ends = torch.stack([torch.randn(2, LATENT, generator=draw, dtype=torch.float64) for draw in draws])

    class Sampled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers, self.left = _path_generator().double(), [ends[:, 1], ends[:, 0]]

        def sample(self, num_samples: int) -> torch.Tensor:
            return self.left.pop()[:num_samples]

        def forward(self, z: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = 255 * self.layers(z)
            return found

    class SquaredError(torch.nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return ((a - b) / 2).square().flatten(1).mean(1)  # from [-1, 1] back to [0, 1]

    mean, _, _ = perceptual_path_length(
        Sampled(), len(ends), sim_net=SquaredError(), lower_discard=None, upper_discard=None
    )
    return {"ppl": float(mean)}


def _glow_step(rows: Rows) -> tuple[Any, Any]:
    """normflows' 1x1 convolution of Glow in LU form, and images (8, 6, 4, 4)."""
    import normflows
    import torch

    torch.manual_seed(0)
    layer = normflows.flows.Invertible1x1Conv(6, use_lu=True).double()
    with torch.no_grad():
        layer.log_S.add_(0.1 * torch.randn(6, dtype=torch.float64))
    images = torch.from_numpy(rows.generated[:8, :6])[:, :, None, None].expand(8, 6, 4, 4).contiguous()
    return layer, images


def _glow_step_normflows(rows: Rows) -> dict[str, float]:
    import torch

    layer, images = _glow_step(rows)
    with torch.no_grad():
        out, log_det = layer.inverse(images)
    return {"log_det": float(log_det), "mean_square": float(out.square().mean())}


def _glow_step_own(rows: Rows) -> dict[str, float]:
    import torch

    from genaudit.likelihood.flow_layers import InvertibleLinear

    layer, images = _glow_step(rows)
    own = InvertibleLinear(6).double()
    with torch.no_grad():
        for name, theirs in (("permutation", layer.P), ("sign", layer.sign_S)):
            getattr(own, name).copy_(theirs)
        for name, theirs in (("log_s", layer.log_S), ("lower", layer.L), ("upper", layer.U)):
            getattr(own, name).copy_(theirs)
        out, log_det = own(images)
    return {"log_det": float(log_det), "mean_square": float(out.square().mean())}


COMPARISONS = (
    Comparison("FD", "pytorch-fid", "pytorch-fid", _fd_pytorch_fid, _fd),
    Comparison("FD", "clean-fid", "clean-fid", _fd_clean_fid, _fd),
    Comparison("FD", "torch-fidelity", "torch-fidelity", _fd_torch_fidelity, _fd),
    Comparison("FD", "torchmetrics", "torchmetrics", _fd_torchmetrics, _fd),
    Comparison("KD", "torch-fidelity", "torch-fidelity", _kd_torch_fidelity, _kd, knows="one subset of all images"),
    Comparison("KD", "clean-fid", "clean-fid", _kd_clean_fid, _kd, knows="one subset of all images"),
    Comparison("KD", "torchmetrics", "torchmetrics", _kd_torchmetrics, _kd, knows="one subset of all images"),
    Comparison("PRDC", "prdc", "prdc", _prdc_prdc, _prdc, knows="k = 5"),
    Comparison(
        "precision, recall",
        "torch-fidelity",
        "torch-fidelity",
        _precision_recall_torch_fidelity,
        _precision_recall,
        knows="k = 3",
    ),
    Comparison("Vendi", "vendi-score", "vendi-score", _vendi_vendi_score, _vendi),
    Comparison(
        "Inception Score", "torch-fidelity", "torch-fidelity", _inception_score_torch_fidelity, _inception_score
    ),
    Comparison(
        "Inception Score", "torchmetrics", "torchmetrics", _inception_score_torchmetrics, _inception_score_of_one_split
    ),
    Comparison("MiFID", "torchmetrics", "torchmetrics", _mifid_torchmetrics, _mifid, knows="roles swapped, see below"),
    Comparison(
        "path length",
        "torchmetrics",
        "torchmetrics",
        _path_length_torchmetrics,
        _path_length,
        knows="squared error as distance",
    ),
    Comparison("Glow's 1x1 convolution", "normflows", "normflows", _glow_step_normflows, _glow_step_own),
)


def relative_difference(theirs: float, ours: float) -> float:
    """|theirs - ours| over the larger of the two; 0 where both are 0."""
    scale = max(abs(theirs), abs(ours))
    return abs(theirs - ours) / scale if scale else 0.0
