"""The measure that ships against the pure functions and closed forms, for every one of its settings."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from genaudit.errors import UserError
from genaudit.measures.anomaly import START_RADIUS, Anomaly, angle, complexity, random_directions, vulnerability

SIDE = 4
PIXELS = 3 * SIDE**2


class FlatModel:
    """A feature model of images of 4 x 4 pixels whose network is a module on flat pixels."""

    name = "flat"
    recipe = SimpleNamespace(size=SIDE)
    weights = SimpleNamespace(sha256="0" * 64)

    def __init__(self, body: torch.nn.Module) -> None:
        self.body = torch.nn.Sequential(torch.nn.Flatten(), body)

    def describe(self) -> dict[str, Any]:
        return {"name": self.name}

    def network(self, device: str, dtype: torch.dtype) -> torch.nn.Module:
        return self.body.to(dtype)


class Circle(torch.nn.Module):
    """Features (cos, sin) of a weighted sum of the pixels: along a path the angle grows evenly."""

    rates = torch.linspace(3, 7, PIXELS, dtype=torch.float64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        turned = x @ self.rates
        return torch.stack([turned.cos(), turned.sin()], dim=1)


def _linear() -> torch.nn.Module:
    body = torch.nn.Linear(PIXELS, 1, dtype=torch.float64)
    torch.nn.init.uniform_(body.weight, 0.5, 1.5, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        body.weight[0, ::3] *= -1
    return body


def _curved() -> torch.nn.Module:
    generator = torch.Generator().manual_seed(1)
    layers = [torch.nn.Linear(PIXELS, 8), torch.nn.Tanh(), torch.nn.Linear(8, 5)]
    for layer in (layers[0], layers[2]):
        torch.nn.init.normal_(layer.weight, std=0.5, generator=generator)  # type: ignore[arg-type]
        torch.nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return torch.nn.Sequential(*layers)


def _grey(count: int) -> torch.Tensor:
    """Images from 110 to 145 of 255: a change of 0.4 leaves them within [0, 1]."""
    return torch.randint(110, 146, (count, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(2)).to(torch.uint8)


def _digests(count: int) -> list[bytes]:
    return [bytes([i + 1] * 16) for i in range(count)]


def _generator(digest: bytes, seed: int) -> torch.Generator:
    """The generator of an image: from the run's seed and the four words of its digest."""
    words = np.frombuffer(digest, dtype="<u4").tolist()
    state = np.random.SeedSequence([seed, *words]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state) // 2)


def _rows(body: torch.nn.Module, images: torch.Tensor, **settings: Any) -> torch.Tensor:
    measure = Anomaly(FlatModel(body), precision="float64", **settings)  # type: ignore[arg-type]
    return measure.open("cpu", "float32")(images, _digests(len(images))).double()


@pytest.mark.parametrize("radius", [None, 0.03, 0.4])
@pytest.mark.parametrize(("alpha", "steps"), [(0.01, 10), (0.01, 9), (0.02, 10), (0.005, 10), (0.1, 1), (0.05, 2)])
def test_vulnerability_of_a_linear_network_is_the_reach_times_the_sum_of_its_weights(
    alpha: float, steps: int, radius: float | None
) -> None:
    body = _linear()
    settings = {"alpha": alpha, "attack_steps": steps} | ({} if radius is None else {"radius": radius})
    moved = _rows(body, _grey(3), path_steps=2, **settings)[:, 1]
    reach = alpha * steps if radius is None else min(alpha * steps, radius)
    expected = reach * float(body.weight.detach().abs().sum())
    # the start moves a pixel by at most 1e-6 (and rows are float32)
    torch.testing.assert_close(moved, torch.full_like(moved, expected), rtol=1e-6 / reach + 1e-6, atol=0)


def test_the_default_attack_reaches_a_tenth_and_the_default_path_takes_ten_steps_of_a_hundredth() -> None:
    body = _linear()
    rows = _rows(body, _grey(1))
    assert float(rows[0, 1]) == pytest.approx(0.1 * float(body.weight.detach().abs().sum()), rel=1e-4)
    long, short = (_rows(Circle(), _grey(2), **each) for each in ({}, {"eps": 0.01, "path_steps": 10}))
    assert torch.equal(long[:, :3], short[:, :3])


def test_a_wide_start_is_drawn_from_the_images_generator_and_bounded_with_the_change() -> None:
    body, images, reach = _linear(), _grey(3), 0.05
    moved = _rows(body, images, alpha=0.01, attack_steps=5, start=0.02)[:, 1]
    weights = body.weight[0].detach()
    for image, digest, found in zip(images, _digests(3), moved, strict=True):
        generator = _generator(digest, 0)
        random_directions(image[None].double(), "gaussian", generator)  # the path's direction is drawn first
        noise = 0.02 * (2 * torch.rand(image[None].shape, generator=generator) - 1).double().flatten()
        # each sign step goes outward along w or, as the start may have decided, all the other way
        ahead = torch.sign(weights) * torch.sign(weights @ noise)
        change = (noise + reach * ahead).clamp(-reach, reach)
        assert float(found) == pytest.approx(abs(float(weights @ change)), rel=1e-6)


def test_complexity_on_a_circle_is_the_angle_of_a_step_and_twice_that_two_steps_apart() -> None:
    images, eps = _grey(4), 0.02
    for kind in ("gaussian", "uniform"):
        rows = _rows(Circle(), images, eps=eps, path_steps=5, direction=kind)
        for image, digest, row in zip(images, _digests(4), rows, strict=True):
            drawn = random_directions(image[None].double(), kind, _generator(digest, 0))
            turn = eps * abs(float(drawn.flatten() @ Circle.rates))
            assert 0 < turn < math.pi / 2
            assert row[[0, 2]].tolist() == pytest.approx([turn, 2 * turn], rel=1e-6)


SETTINGS: list[dict[str, Any]] = [
    {},
    {"eps": 0.05},
    {"path_steps": 4},
    {"direction": "uniform"},
    {"directions": 3},
    {"alpha": 0.02},
    {"attack_steps": 3},
    {"radius": 0.015},
    {"starts": 2},
    {"seed": 7},
    {"eps": 0.02, "path_steps": 6, "directions": 2, "alpha": 0.03, "attack_steps": 4, "radius": 0.1, "starts": 3},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_rows_are_the_pure_functions_of_each_image_alone(settings: dict[str, Any]) -> None:
    keys: dict[str, Any] = {"eps": 0.01, "path_steps": 10, "direction": "gaussian", "directions": 1, "starts": 1}
    keys |= {"alpha": 0.01, "attack_steps": 10, "radius": None, "seed": 0, **settings}
    body, images = _curved().double(), _grey(3)
    network = torch.nn.Sequential(torch.nn.Flatten(), body)
    rows = _rows(body, images, **settings)
    for pixels, digest, row in zip(images, _digests(3), rows, strict=True):
        image, generator = pixels[None].double() / 255, _generator(digest, keys["seed"])
        paths, apart = [], []
        for _ in range(keys["directions"]):
            u = random_directions(image, keys["direction"], generator)
            paths.append(complexity(network, image, eps=keys["eps"], steps=keys["path_steps"], direction=u))
            with torch.no_grad():
                walked = [network((image + keys["eps"] * k * u).clamp(0, 1)) for k in range(keys["path_steps"] + 1)]
            d = torch.cat(walked).diff(dim=0)
            apart.append(angle(d[:-2], d[2:]).mean())
        attack = {"alpha": keys["alpha"], "steps": keys["attack_steps"], "radius": keys["radius"]}
        moved = [vulnerability(network, image, **attack, generator=generator) for _ in range(keys["starts"])]
        c, v = (np.array([float(each) for each in drawn]) for drawn in (paths, moved))
        errors = [each.std(ddof=1) / math.sqrt(len(each)) if len(each) > 1 else math.nan for each in (c, v)]
        expected = [c.mean(), v.mean(), float(torch.stack(apart).mean()), *errors]
        # float32 rows; a spread of values that agree in five digits keeps two
        assert row[:3].tolist() == pytest.approx(expected[:3], rel=1e-6)
        assert row[3:].tolist() == pytest.approx(expected[3:], rel=1e-4, abs=1e-7, nan_ok=True)


def test_settings_stand_in_the_description_as_they_are_used() -> None:
    measure = Anomaly(FlatModel(_linear()), alpha=0.02, attack_steps=3, seed=4)  # type: ignore[arg-type]
    told = measure.describe("float32")
    assert {key: told[key] for key in ("alpha", "attack_steps", "eps", "path_steps", "start", "seed", "radius")} == {
        "alpha": 0.02, "attack_steps": 3, "eps": 0.01, "path_steps": 10, "start": START_RADIUS, "seed": 4,
        "radius": None,
    }  # fmt: skip
    assert (measure.name, measure.weights_sha256) == ("anomaly flat", "0" * 64)
    assert measure.batch_size("cuda") == 64
    assert measure.batch_size("cpu") == measure.batch_unit("cpu") == 64  # images this small: the most that there are
    assert measure.batch_unit("cuda") == 1


@pytest.mark.parametrize("key", ["path_steps", "attack_steps", "directions", "starts", "eps", "alpha", "start"])
def test_the_least_settings_are_taken_and_smaller_ones_refused(key: str) -> None:
    least = {"path_steps": 2, "attack_steps": 1, "directions": 1, "starts": 1}.get(key, 1e-6)
    assert Anomaly(FlatModel(_linear()), **{key: least}).settings[key] == least  # type: ignore[arg-type]
    below = least - 1 if isinstance(least, int) else 0.0
    with pytest.raises(UserError, match=f"anomaly.{key}="):
        Anomaly(FlatModel(_linear()), **{key: below})  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{"direction": "upwards"}, {"precision": "float16"}])
def test_unknown_words_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        Anomaly(FlatModel(_linear()), **wrong)  # type: ignore[arg-type]
