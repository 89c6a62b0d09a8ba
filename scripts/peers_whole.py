"""The same folders of images through the same network: whole calls of peers beside `genaudit.evaluate`.

Inception's weights are random, drawn once into a file of the name that pytorch-fid would download; torch-fidelity,
torchmetrics and genaudit read that file, clean-fid a TorchScript file of the same network. Nothing of the peers is
patched. Used by `parity.py`, `bench_peers.py` and the tests.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from peers import Comparison, quiet

NETWORK = 1e-4
THROUGH = "float32 network: batch normalisation folded, other kernels and orders of summation"
# KD is what is left of three means of kernels that nearly cancel. torch-fidelity and clean-fid form kernels and means
# in float32, genaudit in float64, so that a part of the means is allowed beside that of the network, however small the
# distance: 4 roundings of 2^-24 (at most 1.4 were seen in 36 pairs of sets of 12 to 200 rows of 2,048 features).
FLOAT32_KERNELS = 4 * 2.0**-24
CANCELS = f"{THROUGH}; and 4 roundings in float32 of the kernels' means, which nearly cancel in KD"


@dataclass(frozen=True)
class Pictures:
    """Folders of images, and random Inception weights where each peer looks for its own."""

    folder: Path

    @property
    def generated(self) -> str:
        return str(self.folder / "generated")

    @property
    def reference(self) -> str:
        return str(self.folder / "reference")

    @property
    def splits(self) -> int:
        """Of the Inception Score: the ten of the tools and of their presets, where there are two images for each."""
        return 10 if len(os.listdir(self.generated)) >= 20 else 1

    @property
    def weights(self) -> Path:
        return self.folder / "hub" / "checkpoints" / "pt_inception-2015-12-05-6726825d.pth"


def prepare(folder: Path, count: int, size: int = 299, seed: int = 0) -> Pictures:
    """Writes two folders of images and the weights, where they are not there yet.

    Args:
        count: images a folder. size: their side in pixels.
    """
    from PIL import Image

    pictures = Pictures(folder)
    for name, offset in (("generated", 1), ("reference", 2)):
        where = folder / name
        where.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng([seed, offset])
        for index in range(count):
            cells = 4 + 3 * offset
            coarse = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
            path = where / f"{index:05}.png"
            image = coarse.resize((size, size), Image.Resampling.BICUBIC)
            if not path.exists():
                image.save(path)
    if not pictures.weights.exists():
        random_inception(pictures.weights)
    return pictures


def random_inception(path: Path, seed: int = 0) -> None:
    """Draws weights of FID's Inception: He's normal law for convolutions, and batch statistics that are not trivial.

    Without trained statistics activations would vanish or explode over its fifty layers; He's law keeps their scale.
    """
    import torch
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Shapes(FeatureExtractorInceptionV3):
        def load_state_dict(self, *_: Any, **__: Any) -> None:  # type: ignore[override]
            """The package builds its network only around a file of weights."""

    path.parent.mkdir(parents=True, exist_ok=True)
    blank = path.with_suffix(".blank")
    torch.save({}, blank)
    network = Shapes("inception-v3-compat", ["2048"], feature_extractor_weights_path=str(blank))
    blank.unlink()
    generator = torch.Generator().manual_seed(seed)
    state = network.state_dict()
    for name, tensor in state.items():
        if name.endswith("conv.weight"):
            tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5, generator=generator)
        elif name.endswith("bn.running_var"):
            tensor.uniform_(0.8, 1.2, generator=generator)
        elif name.endswith(("bn.running_mean", "bn.bias")):
            tensor.normal_(0, 0.05, generator=generator)
        elif name == "fc.weight":
            tensor.normal_(0, 0.02, generator=generator)
    temporary = path.with_suffix(f".{os.getpid()}")
    torch.save(state, temporary)
    temporary.replace(path)


def random_vgg16(path: Path) -> Path:
    """A file of VGG-16's weights as torchvision draws them (He's law), and its path."""
    import torch
    import torchvision

    if not path.exists():
        torch.manual_seed(0)
        torch.save(torchvision.models.vgg16(weights=None).state_dict(), path)
    return path


def vgg16_keys(weights: Path, prefix: str = "feature_model") -> dict[str, Any]:
    """Keys of the network and resize that torch-fidelity takes for `feature_extractor="vgg16"`."""
    return {f"{prefix}.checkpoint": str(weights), f"{prefix}.preprocessing": "torch-fidelity"}


PRESETS = {"pytorch-fid": "pytorch_fid", "torch-fidelity": "torch_fidelity", "clean-fid": "clean_fid"}


MEANS = "kernel means"  # of genaudit's side, for what KD's difference is allowed to be; compared with nothing
NAMES = ("inception_score", "fd", "kd", "precision", "recall")


def genaudit_keys(pictures: Pictures, preprocessing: str) -> dict[str, Any]:
    """Keys of `genaudit.evaluate` for the same weights, by the tool's preset or with its preprocessing."""
    if preprocessing in PRESETS:
        return {"preset": PRESETS[preprocessing], "feature_model.checkpoint": str(pictures.weights)}
    return {
        "feature_model": "fid_inception",
        "feature_model.checkpoint": str(pictures.weights),
        "feature_model.preprocessing": preprocessing,
    }


def _evaluate(preprocessing: str, metrics: list[str], engine: str = "torch") -> Callable[[Pictures], dict[str, float]]:
    def run(pictures: Pictures) -> dict[str, float]:
        import tempfile

        import genaudit

        with tempfile.TemporaryDirectory() as store:
            keys = genaudit_keys(pictures, preprocessing) | {"store": store, "device": "cpu", "progress": False}
            keys |= {"engine": engine}
            keys |= {"metric.prdc.fn.k": 3} if "prdc" in metrics else {}
            keys |= {"metric.is.fn.splits": pictures.splits} if "is" in metrics else {}
            report = genaudit.evaluate(pictures.generated, pictures.reference, metrics=metrics, **keys)
            values = {name: each.value for entry in report.metrics.values() for name, each in entry.values.items()}
            found = {name: values[name] for name in NAMES if name in values}
            if "kd" in found:
                found[MEANS] = kernel_means(pictures, preprocessing, Path(store), engine)
        return found

    return run


TORCH_FIDELITY = {
    "inception_score": "inception_score_mean",
    "fd": "frechet_inception_distance",
    "kd": "kernel_inception_distance_mean",
    "precision": "precision",
    "recall": "recall",
}


def _torch_fidelity(pictures: Pictures, network: str, weights: Path, **more: Any) -> dict[str, float]:
    """FD, precision and recall by torch-fidelity, and what `more` asks for, by genaudit's names."""
    import torch_fidelity

    found = torch_fidelity.calculate_metrics(
        input1=pictures.generated,
        input2=pictures.reference,
        cuda=False,
        fid=True,
        prc=True,
        prc_neighborhood=3,
        feature_extractor=network,
        feature_extractor_weights_path=str(weights),
        cache=False,
        batch_size=32,
        verbose=False,
        **more,
    )
    return {name: float(found[key]) for name, key in TORCH_FIDELITY.items() if key in found}


def _whole_torch_fidelity(pictures: Pictures) -> dict[str, float]:
    subsets = {"kid_subsets": 1, "kid_subset_size": len(os.listdir(pictures.generated))}
    scores = {"isc": True, "isc_splits": pictures.splits, "kid": True, **subsets}
    return _torch_fidelity(pictures, "inception-v3-compat", pictures.weights, **scores)


def _own_vgg16(pictures: Pictures) -> dict[str, float]:
    import tempfile

    import genaudit

    keys = vgg16_keys(random_vgg16(pictures.folder / "vgg16.pth")) | {"metric.prdc.fn.k": 3, "device": "cpu"}
    with tempfile.TemporaryDirectory() as store:
        keys |= {"feature_model": "vgg16", "engine": "torch", "store": store, "progress": False}
        report = genaudit.evaluate(pictures.generated, pictures.reference, metrics=["fd", "prdc"], **keys)
    values = {name: each.value for entry in report.metrics.values() for name, each in entry.values.items()}
    return {name: values[name] for name in ("fd", "precision", "recall")}


def _whole_torch_fidelity_vgg16(pictures: Pictures) -> dict[str, float]:
    return _torch_fidelity(pictures, "vgg16", random_vgg16(pictures.folder / "vgg16.pth"))


def _whole_pytorch_fid(pictures: Pictures) -> dict[str, float]:
    import torch
    from pytorch_fid.fid_score import calculate_fid_given_paths

    # the hub's folder holds a file of the name that the package would download
    torch.hub.set_dir(str(pictures.folder / "hub"))
    paths = [pictures.generated, pictures.reference]
    return {"fd": float(quiet(calculate_fid_given_paths, paths, 32, "cpu", 2048, num_workers=0))}


def clean_fid_network(pictures: Pictures) -> Any:
    """clean-fid's wrapper around a TorchScript file of the same network and weights."""
    import torch
    from cleanfid.inception_torchscript import InceptionV3W

    path = pictures.folder / "inception-2015-12-05.pt"
    if not path.exists():
        from genaudit.backbones.fid_inception import FidInception

        class Scripted(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layers = FidInception(checkpoint=str(pictures.weights)).build()

            def forward(self, images: torch.Tensor) -> torch.Tensor:
                features: torch.Tensor = self.layers((images - 128) / 128)
                return features

        torch.jit.trace(Scripted().eval(), torch.zeros(1, 3, 299, 299)).save(str(path))
    return InceptionV3W(str(pictures.folder), download=False)


def _whole_clean_fid(pictures: Pictures) -> dict[str, float]:
    import torch
    from cleanfid.fid import fid_from_feats, get_folder_features, kernel_distance

    network = clean_fid_network(pictures)
    keys = {"model": network, "num_workers": 0, "batch_size": 32, "device": torch.device("cpu"), "verbose": False}
    rows = [get_folder_features(folder, mode="clean", **keys) for folder in (pictures.generated, pictures.reference)]
    fd, kd = quiet(fid_from_feats, *rows), kernel_distance(*rows, num_subsets=1, max_subset_size=len(rows[0]))
    return {"fd": float(fd), "kd": float(kd)}


def _whole_torchmetrics(pictures: Pictures) -> dict[str, float]:
    import torch
    from PIL import Image
    from torchmetrics.image import FrechetInceptionDistance

    metric = FrechetInceptionDistance(2048, feature_extractor_weights_path=str(pictures.weights))
    for folder, real in ((pictures.generated, False), (pictures.reference, True)):
        files = sorted(Path(folder).iterdir())
        for start in range(0, len(files), 32):
            images = np.stack([np.asarray(Image.open(path)) for path in files[start : start + 32]])
            metric.update(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), real=real)
    return {"fd": float(metric.compute())}


# ------------------------------------------------------------------ the network alone, for the tests


def _files(pictures: Pictures) -> list[Path]:
    return sorted(Path(pictures.generated).iterdir())


def batch_of(pictures: Pictures) -> Any:
    """All generated images as one tensor (N, 3, H, W) uint8."""
    import torch
    from PIL import Image

    return torch.from_numpy(np.stack([np.asarray(Image.open(path)) for path in _files(pictures)]).transpose(0, 3, 1, 2))


def _features_torch_fidelity(pictures: Pictures) -> np.ndarray:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    weights = str(pictures.weights)
    network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=weights)
    rows: np.ndarray = network(batch_of(pictures).contiguous())[0].numpy()
    return rows


def _features_pytorch_fid(pictures: Pictures) -> np.ndarray:
    import torch
    from pytorch_fid.fid_score import get_activations
    from pytorch_fid.inception import InceptionV3

    torch.hub.set_dir(str(pictures.folder / "hub"))
    network = InceptionV3([InceptionV3.BLOCK_INDEX_BY_DIM[2048]])
    rows: np.ndarray = quiet(get_activations, _files(pictures), network, batch_size=8, num_workers=0)
    return rows


def _features_clean_fid(pictures: Pictures) -> np.ndarray:
    import torch
    from cleanfid.fid import get_folder_features

    network = clean_fid_network(pictures)
    keys = {"num_workers": 0, "batch_size": 8, "device": torch.device("cpu"), "verbose": False}
    rows: np.ndarray = get_folder_features(pictures.generated, model=network, mode="clean", **keys)
    return rows


def kernel_means(pictures: Pictures, preprocessing: str, store: Path, engine: str) -> float:
    """The sum of the means of kernels that KD adds and subtracts, of rows that the store holds."""
    folders = (pictures.generated, pictures.reference)
    x, y = (own_features(pictures, preprocessing, store, folder, engine) for folder in folders)
    means = [((a.astype(np.float64) @ b.T / a.shape[1] + 1) ** 3).mean() for a, b in ((x, x), (y, y), (x, y))]
    return float(means[0] + means[1] + 2 * means[2])


def own_features(
    pictures: Pictures, preprocessing: str, store: Path, folder: str = "", engine: str = "torch"
) -> np.ndarray:
    """genaudit's rows (N, 2048) of the generated images, or of another folder's."""
    from genaudit.backbones.fid_inception import FidInception
    from genaudit.data import ImageSet, open_images
    from genaudit.measures.embedding import Embedding
    from genaudit.store import Engine, Store

    images = open_images(folder or pictures.generated)
    assert isinstance(images, ImageSet)
    model = FidInception(preprocessing=preprocessing, checkpoint=str(pictures.weights))
    measure = Embedding(model)
    measure.engine = engine
    return np.asarray(Store(store).measure(images, measure, Engine()).rows)


def _features_torchmetrics(pictures: Pictures) -> np.ndarray:
    import torch
    from torchmetrics.image.fid import NoTrainInceptionV3

    weights = str(pictures.weights)
    network = NoTrainInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=weights)
    with torch.no_grad():
        rows: np.ndarray = network(batch_of(pictures).contiguous()).numpy()
    return rows


FEATURES = {
    "torch-fidelity": _features_torch_fidelity,
    "pytorch-fid": _features_pytorch_fid,
    "clean-fid": _features_clean_fid,
    "torchmetrics": _features_torchmetrics,
}
WHOLE = (
    Comparison(
        "IS, FID, KID, PR of folders",
        "torch-fidelity",
        "torch-fidelity",
        _whole_torch_fidelity,
        _evaluate("torch-fidelity", ["is", "fd", "kd", "prdc"]),
        NETWORK,
        THROUGH,
        network=True,
    ),
    Comparison(
        "FD, PR of folders through VGG-16",
        "torch-fidelity",
        "torch-fidelity",
        _whole_torch_fidelity_vgg16,
        _own_vgg16,
        NETWORK,
        THROUGH,
        network=True,
    ),
    Comparison(
        "FID of folders",
        "pytorch-fid",
        "pytorch-fid",
        _whole_pytorch_fid,
        _evaluate("pytorch-fid", ["fd"]),
        NETWORK,
        THROUGH,
        network=True,
    ),
    Comparison(
        "FID, KID of folders",
        "clean-fid",
        "clean-fid",
        _whole_clean_fid,
        _evaluate("clean-fid", ["fd", "kd"]),
        NETWORK,
        THROUGH,
        network=True,
    ),
    Comparison(
        "FID of batches",
        "torchmetrics",
        "torchmetrics",
        _whole_torchmetrics,
        _evaluate("torchmetrics", ["fd"]),
        NETWORK,
        THROUGH,
        network=True,
    ),
)
if importlib.util.find_spec("openvino"):
    WHOLE += (
        Comparison(
            "the same, engine=openvino",
            "torch-fidelity",
            "torch-fidelity",
            _whole_torch_fidelity,
            _evaluate("torch-fidelity", ["is", "fd", "kd", "prdc"], "openvino"),
            NETWORK,
            THROUGH,
            network=True,
        ),
    )
