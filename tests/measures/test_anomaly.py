"""Complexity and vulnerability: closed forms, float64, and independence of company."""

from __future__ import annotations

import math
from importlib import metadata

import numpy as np
import pytest
import timm
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from hypothesis import given, settings
from hypothesis import strategies as st

from genaudit.backbones.embedded import EfficientNetLite0, EfficientNetLite1
from genaudit.backbones.timm_model import TimmModel
from genaudit.config_files import config_folder
from genaudit.errors import UserError
from genaudit.measures.anomaly import Anomaly, angle, complexity, random_directions, vulnerability
from genaudit.measures.complexity import path_angles
from genaudit.measures.measure import fingerprint
from genaudit.measures.vulnerability import first_gradient
from genaudit.metrics.anomaly_score import judge
from genaudit_papers.hwang2024.as_correlations import LAPTOP_SETTINGS


def _images(count: int = 3, size: int = 8, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    # away from 0 and 1, so that nothing is clipped
    return torch.rand((count, 3, size, size), generator=torch.Generator().manual_seed(1), dtype=dtype) * 0.5 + 0.25


def _linear(size: int = 8, features: int = 5) -> torch.Tensor:
    return torch.randn((features, 3 * size * size), generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def test_complexity_of_a_linear_network_is_zero() -> None:
    weights = _linear()
    c = complexity(lambda x: x.flatten(1) @ weights.T, _images(), generator=torch.Generator().manual_seed(0))
    # differences carry rounding of 2^-53·|f|/|d|, here below 1e-12
    assert float(c.max()) < 1e-10


def test_complexity_of_a_circle_is_its_turning_angle() -> None:
    images = _images()
    direction = random_directions(images, "gaussian", torch.Generator().manual_seed(0))
    start = (images * direction).sum((1, 2, 3))
    rate = 30.0

    def circle(x: torch.Tensor) -> torch.Tensor:
        # the path's own coordinate t turns into an angle rate·t: chords of equal steps turn by rate·eps each
        t = (x * direction).sum((1, 2, 3)) - start
        return torch.stack([torch.cos(rate * t), torch.sin(rate * t)], dim=1)

    c = complexity(circle, images, eps=0.01, steps=10, direction=direction)
    torch.testing.assert_close(c, torch.full_like(c, rate * 0.01), rtol=1e-9, atol=0)


@given(st.floats(0, math.pi), st.integers(0, 100))
@settings(deadline=None)
def test_angle_is_exact_even_near_zero_and_pi(theta: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = np.linalg.qr(rng.normal(size=(6, 2)))[0].T
    first = torch.tensor(a * rng.uniform(0.1, 10)).unsqueeze(0)
    second = torch.tensor((math.cos(theta) * a + math.sin(theta) * b) * rng.uniform(0.1, 10)).unsqueeze(0)
    # unit vectors are rounded to 2^-53 in each of six coordinates: a few 1e-16 in the angle
    assert float(angle(first, second)) == pytest.approx(theta, abs=2e-15)


def test_constant_features_have_no_complexity() -> None:
    c = complexity(lambda x: torch.ones((len(x), 4), dtype=x.dtype), _images())
    assert bool(torch.isnan(c).all())


def test_pure_rounding_noise_has_the_angle_of_noise_and_a_smaller_lag_2_angle() -> None:
    features = torch.randn((20, 11, 4000), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    lag1, lag2 = path_angles(features), path_angles(features, lag=2)
    # differences of independent noise correlate at -1/2 at lag 1 and 0 at lag 2; with D = 4,000 an angle has a
    # standard deviation of about 1/sqrt(4000) = 0.016, its mean over 20 images and 9 angles below 0.003
    assert float(lag1.mean()) == pytest.approx(2 * math.pi / 3, abs=0.01)
    assert float(lag2.mean()) == pytest.approx(math.pi / 2, abs=0.01)


def test_vulnerability_of_a_linear_scalar_network_is_the_sum_of_its_weights() -> None:
    # f(x) = w·x: every sign step adds alpha·|w|_1 up to the sign chosen at the start, which never changes
    weights = _linear(features=1)
    v = vulnerability(lambda x: x.flatten(1) @ weights.T, _images(), alpha=0.01, steps=10)
    # the start of at most 1e-6 a pixel moves f by at most 1e-6·|w|_1, a relative 1e-5 of 0.1·|w|_1
    expected = 0.1 * float(weights.abs().sum())
    torch.testing.assert_close(v, torch.full_like(v, expected), rtol=2e-5, atol=0)


@pytest.mark.parametrize(("radius", "reached"), [(None, 0.1), (0.03, 0.03), (0.5, 0.1)])
def test_the_radius_bounds_the_change_of_every_pixel(radius: float | None, reached: float) -> None:
    weights = _linear(features=1)
    v = vulnerability(lambda x: x.flatten(1) @ weights.T, _images(), radius=radius)
    torch.testing.assert_close(v, torch.full_like(v, reached * float(weights.abs().sum())), rtol=4e-5, atol=0)


def test_the_attack_stays_among_images() -> None:
    seen: list[torch.Tensor] = []

    def network(x: torch.Tensor) -> torch.Tensor:
        if not torch._C._functorch.is_functorch_wrapped_tensor(x):
            seen.append(x.detach())
        return x.flatten(1) @ _linear().T

    images = torch.rand((2, 3, 8, 8), dtype=torch.float64)
    vulnerability(network, images, alpha=0.2)
    complexity(network, images, eps=5.0)
    assert min(float(x.min()) for x in seen) >= 0
    assert max(float(x.max()) for x in seen) <= 1


def test_the_attack_ascends_beyond_random_noise() -> None:
    torch.manual_seed(0)
    network = timm.create_model("test_resnet", num_classes=0).eval().double()
    images = _images(4, 32)
    v = vulnerability(network, images)
    with torch.no_grad():
        signs = torch.randint(0, 2, images.shape, generator=torch.Generator().manual_seed(0)).double() * 2 - 1
        noise = (network(images + 0.1 * signs) - network(images)).norm(dim=1)
    assert bool((v > 2 * noise).all())


def test_float32_takes_float64s_first_step() -> None:
    # From a start of 1e-6 the feature difference is rounding noise in float32; the two products are not.
    torch.manual_seed(0)
    network = timm.create_model("test_resnet", num_classes=0).eval()
    images = _images(6, 32)
    change = (torch.rand(images.shape, generator=torch.Generator().manual_seed(0)).double() * 2 - 1) * 1e-6
    exact = first_gradient(network.double(), images, change).sign()
    ours = first_gradient(network.float(), images.float(), change.float()).sign()
    attacked = (images + change).float().requires_grad_(True)
    difference = network(attacked) - network(images.float()).detach()
    (naive,) = torch.autograd.grad(difference.square().sum(), attacked)
    # only gradients that are themselves zero to float32 rounding (1e-6 of the largest) may flip
    assert float((ours == exact).double().mean()) > 0.99
    assert float((naive.sign() == exact).double().mean()) < 0.97


def test_a_well_conditioned_attack_is_float64s_to_1e_4() -> None:
    """A smooth network whose gradients stay away from 0, so that no sign depends on rounding.

    Float32 rounds each feature to 6e-8 of its size, and the features move by about as much as their size: some 1e-6.
    """
    torch.manual_seed(0)
    lift = torch.rand(3 * 6 * 6, 8, dtype=torch.float64) + 0.5

    def network(x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.softplus(x.flatten(1) @ lift.to(x.dtype) / 54 - 1)

    images = torch.rand(8, 3, 6, 6, dtype=torch.float64) * 0.5 + 0.2
    exact = vulnerability(network, images, generator=torch.Generator().manual_seed(0))
    single = vulnerability(network, images.float(), generator=torch.Generator().manual_seed(0))
    assert exact.min() > 0.1
    torch.testing.assert_close(single.double(), exact, rtol=1e-4, atol=0)


def test_a_direction_that_is_given_is_used() -> None:
    torch.manual_seed(0)
    network = timm.create_model("test_resnet", num_classes=0).eval().double()
    images = _images(2, 32)
    direction = random_directions(images, "uniform", torch.Generator().manual_seed(4))
    drawn = complexity(network, images, direction="uniform", generator=torch.Generator().manual_seed(4))
    given_ = complexity(network, images, direction=direction)
    assert torch.equal(drawn, given_)
    assert float(direction.flatten(1).norm(dim=1).sub(1).abs().max()) < 1e-6


@pytest.mark.parametrize("arguments", [{"steps": 1}, {"direction": "upwards"}])
def test_wrong_arguments_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        complexity(lambda x: x, _images(), **arguments)  # type: ignore[arg-type]


def _measure(**settings: object) -> Anomaly:
    model = TimmModel("test_resnet", size=32, pretrained=False)
    return Anomaly(model, **settings)  # type: ignore[arg-type]


def _pixels(count: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_a_row_depends_on_its_image_and_seed_alone() -> None:
    pixels, digests, few = _pixels(6), [bytes([i] * 16) for i in range(6)], {"attack_steps": 3, "path_steps": 3}
    meter = _measure(**few).open("cpu", "float32")
    together = meter(pixels, digests)
    alone = torch.cat([meter(pixels[i : i + 1], digests[i : i + 1]) for i in range(6)])
    order = [4, 2, 0, 5, 1, 3]
    shuffled = meter(pixels[order], [digests[i] for i in order])
    # one image's path is one batch, so complexity is the same to the last bit; an attack step may flip the sign of a
    # gradient that is zero to rounding
    assert torch.equal(shuffled[:, 0], together[order, 0])
    assert torch.equal(alone[:, 0], together[:, 0])
    torch.testing.assert_close(shuffled[:, 1], together[order, 1], rtol=1e-3, atol=0)
    torch.testing.assert_close(alone[:, 1], together[:, 1], rtol=1e-3, atol=0)
    other_seed = _measure(seed=1, **few).open("cpu", "float32")(pixels, digests)
    assert not torch.allclose(other_seed[:, 0], together[:, 0], rtol=1e-3)


def _alone(
    model: TimmModel, pixels: torch.Tensor, digest: bytes, *, alpha: float, steps: int, path: int
) -> list[float]:
    """Complexity and vulnerability of one image (3, S, S) by the formulas, every gradient by plain autograd."""
    network, x = model.network("cpu", torch.float64), pixels[None].double() / 255
    words = np.frombuffer(digest, dtype="<u4").tolist()
    state = int(np.random.SeedSequence([0, *words]).generate_state(1, np.uint64)[0])
    generator = torch.Generator().manual_seed(state >> 1)
    c = complexity(network, x, steps=path, generator=generator)
    attacked = (x + 1e-6 * (2 * torch.rand(x.shape, generator=generator) - 1).double()).clamp(0, 1)
    features = network(x).detach()
    for _ in range(steps):
        attacked.requires_grad_(True)
        (gradient,) = torch.autograd.grad((network(attacked) - features).square().sum(), attacked)
        change = (attacked.detach() + alpha * gradient.sign() - x).clamp(-alpha * steps, alpha * steps)
        attacked = (x + change).clamp(0, 1)
    with torch.no_grad():
        return [float(c), float((network(attacked) - features).norm())]


def test_rows_of_a_network_are_the_formulas_values() -> None:
    """Of one with batch norms, which the measure folds into the convolutions."""
    pixels, digests = _pixels(2), [b"a" * 16, b"b" * 16]
    measure = _measure(attack_steps=3, path_steps=4)
    rows = measure.open("cpu", "float64")(pixels, digests)
    for image, digest, row in zip(pixels, digests, rows.tolist(), strict=True):
        expected = _alone(measure.feature_model, image, digest, alpha=0.01, steps=3, path=4)  # type: ignore[arg-type]
        assert row[0] == pytest.approx(expected[0], rel=1e-6)
        assert row[1] == pytest.approx(expected[1], rel=1e-3)  # the sign of a gradient that is zero to rounding
        assert row[0] < row[2] < 2 * row[0] + 1e-6  # a smooth path: twice the angle at most, where it turns steadily
    assert bool(torch.isnan(rows[:, 3:]).all())  # one draw has no standard error


def test_half_precision_never_reaches_the_angles() -> None:
    measure = _measure()
    assert measure.describe("bfloat16") == measure.describe("float32")
    pixels, digests = _pixels(2), [b"a" * 16, b"b" * 16]
    assert torch.equal(
        measure.open("cpu", "bfloat16")(pixels, digests)[:, :3], measure.open("cpu", "float32")(pixels, digests)[:, :3]
    )


def test_vision_transformers_take_the_same_path() -> None:
    # fused attention has no forward-mode derivative; the first attack step must not fail on it
    model, digest = TimmModel("test_vit", size=160, pretrained=False), b"a" * 16
    image = torch.randint(0, 256, (3, 160, 160), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    (row,) = Anomaly(model, attack_steps=2, path_steps=3).open("cpu", "float64")(image[None], [digest]).tolist()
    assert row[:2] == pytest.approx(_alone(model, image, digest, alpha=0.01, steps=2, path=3), rel=1e-3)


class _Half(torch.nn.Module):
    """A network whose every feature is rounded to half precision, whatever type it is asked for."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.network(images)
        # the gradient passes, so that the attack works
        return features + (features.half().to(features.dtype) - features).detach()


class _HalfModel(TimmModel):
    def network(self, device: str | torch.device = "cpu", dtype: torch.dtype | None = None) -> torch.nn.Module:
        return _Half(super().network(device, dtype))


def _cautions(model: TimmModel, **settings: object) -> list[str]:
    rows = Anomaly(model, **settings).open("cpu", "float32")(_pixels(12), [bytes([i] * 16) for i in range(12)])  # type: ignore[arg-type]
    result = judge(generated=rows[:6].numpy(), reference=rows[6:].numpy(), permutations=9, bootstraps=2)
    assert (result.noise_share_generated > 0.9) == bool(result.cautions)
    return [caution.code for caution in result.cautions]


def test_half_precision_is_found_out_by_its_angles_and_float64_is_not() -> None:
    # 2,000-fold coarser than the feature differences of a step of 0.01
    half = _HalfModel("test_resnet", size=32, pretrained=False)
    assert _cautions(half, precision="float32")[:1] == ["complexity-is-noise"]
    assert _cautions(half, precision="auto")[:1] == ["complexity-is-noise"]  # float64 cannot mend such a network
    assert _cautions(TimmModel("test_resnet", size=32, pretrained=False), precision="float64") == []


def test_doubtful_angles_are_measured_again_in_float64() -> None:
    # steps of 1e-5 move the features by a few float32 roundings; a smooth network (SiLU), for one of ReLUs is linear on
    # so short a path, and its angle 0
    model = TimmModel("test_efficientnet", size=32, pretrained=False)
    pixels, digests = _pixels(6), [bytes([i] * 16) for i in range(6)]
    rows = {
        precision: Anomaly(model, eps=1e-5, precision=precision).open("cpu", "float32")(pixels, digests)
        for precision in ("float32", "auto", "float64")
    }
    exact = rows["float64"]
    assert bool((exact[:, 2] > exact[:, 0]).all())
    assert bool((rows["float32"][:, 0] > 2 * exact[:, 0]).all())  # rounding
    # "auto" starts from the image rounded to float32, and so are its folded weights: 1e-7 each, in some thousand sums
    torch.testing.assert_close(rows["auto"][:, 0], exact[:, 0], rtol=1e-3, atol=0)
    assert _measure().describe("float64")["precision"] == _measure(precision="float64").describe("float32")["precision"]


def test_complexity_does_not_depend_on_the_batch_size_at_all() -> None:
    pixels, digests = _pixels(7), [bytes([i] * 16) for i in range(7)]
    meter = _measure(attack_steps=1).open("cpu", "float32")
    whole = meter(pixels, digests)
    for size in (1, 3):
        parts = [meter(pixels[i : i + size], digests[i : i + size]) for i in range(0, 7, size)]
        assert torch.equal(torch.cat(parts)[:, [0, 2]], whole[:, [0, 2]])


@pytest.mark.parametrize("preset", ["paper", "released", "robust"])
def test_every_preset_makes_the_measure_and_says_what_it_averages(preset: str) -> None:
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        node = compose("evaluate", [f"anomaly={preset}"]).anomaly
    settings = {key: value for key, value in node.items() if key not in ("_target_", "feature_model", "seed")}
    paper = {"eps": 0.01, "path_steps": 10, "directions": 1, "direction": "gaussian", "alpha": 0.01, "attack_steps": 10}
    paper |= {"radius": None, "starts": 1, "start": 1e-6, "seed": 0, "precision": "auto"}
    changed = {
        "paper": {},
        "released": {"alpha": pytest.approx(2 / 255), "radius": pytest.approx(8 / 255)},
        "robust": {"directions": 4, "alpha": 0.0025, "radius": 0.01, "start": 0.01, "starts": 2},
    }
    measure = _measure(**settings)
    assert measure.settings == paper | changed[preset]
    # Table B.1 of the paper, and the released code's parser: what a changed setting would change is tested elsewhere
    (row,) = measure.open("cpu", "float32")(_pixels(1), [b"a" * 16]).tolist()
    assert np.isfinite(row).tolist() == [True, True, True, *2 * [preset == "robust"]]


def test_by_default_the_embedded_network_is_looked_at_where_it_orders_images_best() -> None:
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        nodes = {words: compose("evaluate", list(words)).anomaly for words in [(), ("anomaly=paper",)]}
    default, paper = (instantiate(node) for node in nodes.values())
    stage = EfficientNetLite0("efficientnet_lite0 stage 2", size=64, stage=2)
    assert default.feature_model.describe() == stage.describe()
    assert default.name == "anomaly efficientnet_lite0 stage 2"
    assert default.settings["directions"] == 4  # the preset robust
    differing = {key: value for key, value in default.settings.items() if value != paper.settings[key]}
    assert differing == {key: value for key, value in LAPTOP_SETTINGS.items() if key != "layer"}  # the papers' tables
    assert paper.feature_model.describe() == EfficientNetLite0(size=224).describe()
    assert fingerprint(default, "float32") == fingerprint(Anomaly(stage, **default.settings), "float32")
    image = np.random.default_rng(0).integers(0, 256, (90, 90, 3), np.uint8)
    prepared = default.prepare(image)
    assert prepared.shape == (64, 64, 3)
    x = torch.from_numpy(prepared).permute(2, 0, 1)[None].float() / 255
    features, expected = (model.network("cpu")(x) for model in (default.feature_model, stage))
    assert features.shape == (1, 24)
    assert torch.equal(features, expected)


def test_other_networks_and_a_stage_that_was_chosen_are_looked_at_as_they_are() -> None:
    for model in (
        TimmModel("test_resnet", size=32, pretrained=False),
        EfficientNetLite0(size=112, stage=5),
        EfficientNetLite1(),
    ):
        assert Anomaly(model, layer="auto").feature_model is model
    with pytest.raises(UserError, match=r"anomaly\.layer=first: auto or last"):
        Anomaly(EfficientNetLite0(), layer="first")  # type: ignore[arg-type]


def test_vulnerability_does_not_depend_on_the_batch_or_its_order() -> None:
    """Bit for bit on a CPU: signs of gradients near zero would carry any difference to whole percents."""
    model = TimmModel("test_resnet", size=160, pretrained=False)
    measure = Anomaly(model, path_steps=2, attack_steps=3)
    group = measure.batch_size("cpu")
    assert measure.batch_unit("cpu") == group
    pixels = torch.randint(0, 256, (6, 3, 160, 160), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    digests = [bytes([i]) * 16 for i in range(6)]
    meter = measure.open("cpu", "float32")
    together = meter(pixels, digests)
    one_by_one = torch.cat([meter(pixels[i : i + 1], digests[i : i + 1]) for i in (5, 0, 3)])
    assert torch.equal(one_by_one[:, 1], together[[5, 0, 3], 1])
    turned = meter(pixels.flip(0), digests[::-1])
    assert torch.equal(turned.flip(0)[:, 1], together[:, 1])


def test_the_fingerprint_tells_releases_of_pytorch_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    measure = Anomaly(TimmModel("test_resnet", size=32, pretrained=False))
    now = fingerprint(measure, "float32")
    known = metadata.version
    assert known("torch").split(".")[:2] == torch.__version__.split(".")[:2]
    for version, same in ((torch.__version__ + ".1", True), ("1.99.0", False)):
        monkeypatch.setattr(metadata, "version", lambda name, v=version: v if name == "torch" else known(name))
        assert (fingerprint(measure, "float32") == now) == same
