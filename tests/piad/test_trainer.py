"""Algorithm 1: the same gradients as its plain reading, determinism, and resuming bit for bit."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genaudit.errors import UserError
from genaudit.piad import losses
from genaudit.piad.networks import Architecture, PIADNetworks, build
from genaudit.piad.perceptual import Perceptual
from genaudit.piad.recipe import RECIPES, TrainingRecipe
from genaudit.piad.scoring import anomaly_score, dissimilarity, prepare, score_batches
from genaudit.piad.trainer import Trainer

SHORT = TrainingRecipe(20, n_weight=2, batch_size=8)


def weights(networks: PIADNetworks) -> list[torch.Tensor]:
    return [parameter.detach().clone() for network in networks for parameter in network.parameters()]


def equal(a: PIADNetworks, b: PIADNetworks) -> bool:
    return all(torch.equal(x, y) for x, y in zip(weights(a), weights(b), strict=True))


def test_a_step_has_the_gradients_of_algorithm_1(
    networks: PIADNetworks, perceptual: Perceptual, images: np.ndarray
) -> None:
    recipe = replace(SHORT, n_dis=1)
    before = copy.deepcopy(networks)
    trainer = Trainer(networks, images, perceptual, recipe)
    twin = Trainer(copy.deepcopy(networks), images, perceptual, recipe)  # to draw the same random numbers
    result = trainer.step()

    x, z = twin._draw()
    mix_x, mix_z = torch.rand(2, 8, generator=twin._random)
    with torch.no_grad():
        fake, code = before.generator(z), before.encoder(x)
    image = losses.critic_loss(before.image_critic, x, fake, mix=mix_x)
    latent = losses.critic_loss(before.latent_critic, z, code, mix=mix_z)
    (image + latent).backward()
    # float32 convolutions in two memory formats: some units in the last place of sums of some hundred terms
    close: dict[str, Any] = {"rtol": 1e-3, "atol": 1e-5}
    torch.testing.assert_close(result.critic_image, image.detach(), **close)
    torch.testing.assert_close(result.critic_latent, latent.detach(), **close)
    for name in ("image_critic", "latent_critic"):
        for ours, plain in zip(getattr(networks, name).parameters(), getattr(before, name).parameters(), strict=True):
            torch.testing.assert_close(ours.grad, plain.grad, **close)

    before.image_critic.load_state_dict(networks.image_critic.state_dict())
    before.latent_critic.load_state_dict(networks.latent_critic.state_dict())
    x, z = twin._draw()
    encoded = before.encoder(x)
    rec = losses.relative_perceptual_l1(
        perceptual(x), perceptual(before.generator(encoded)), perceptual.mean, perceptual.std
    ).mean()
    adversarial = {
        "generator": -before.image_critic(before.generator(z)).mean(),
        "encoder": -before.latent_critic(encoded).mean(),
    }
    assert float(result.reconstruction) == pytest.approx(rec.item(), rel=1e-4)
    for name, adv in adversarial.items():
        network = getattr(before, name)
        names, parameters = zip(*network.named_parameters(), strict=True)
        of_rec = torch.autograd.grad(rec, parameters, retain_graph=True)
        of_adv = torch.autograd.grad(adv, parameters, retain_graph=True)
        of_layers = [
            a.numpy().std() / r.numpy().std()
            for n, a, r in zip(names, of_adv, of_rec, strict=True)
            if n.endswith("weight")
        ]
        gamma = getattr(result, f"gamma_{name}")
        assert gamma == pytest.approx(float(np.mean(of_layers)), rel=1e-3)
        for parameter, a, r in zip(getattr(networks, name).parameters(), of_adv, of_rec, strict=True):
            torch.testing.assert_close(parameter.grad, a + gamma * r, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("policy", ["paper", "released"])
def test_training_resumes_bit_for_bit_from_a_file(
    networks: PIADNetworks, perceptual: Perceptual, images: np.ndarray, tmp_path: Path, policy: Any
) -> None:
    recipe = replace(SHORT, policy=policy, n_weight=3)
    whole = Trainer(copy.deepcopy(networks), images, perceptual, recipe)
    unbroken = [whole.step().numbers() for _ in range(9)]

    first = Trainer(copy.deepcopy(networks), images, perceptual, recipe)
    broken = [first.step().numbers() for _ in range(4)]
    torch.save(first.state_dict(), tmp_path / "state.pt")
    other = build(Architecture(4, (6, 4), (4, 6), (4, 6), 8), 1, seed=9)
    second = Trainer(other, images, perceptual, replace(recipe, iterations=50), seed=7)
    second.step()
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    broken += [second.step().numbers() for _ in range(5)]
    assert broken == unbroken
    assert equal(second.networks, whole.networks)
    assert second.iteration == 9


def test_a_checkpoint_of_an_older_version_resumes_and_one_of_another_rate_does_not(
    networks: PIADNetworks, perceptual: Perceptual, images: np.ndarray
) -> None:
    """Its keys were `lr` and `lr_critics`."""
    trainer = Trainer(networks, images, perceptual, SHORT)
    trainer.step()
    state = trainer.state_dict()
    for old, new in {"lr": "learning_rate", "lr_critics": "learning_rate_critics"}.items():
        state["settings"][old] = state["settings"].pop(new)
    again = Trainer(copy.deepcopy(networks), images, perceptual, SHORT)
    again.load_state_dict(state)
    assert again.iteration == 1
    state["settings"]["lr_critics"] = 1.0
    with pytest.raises(UserError, match=r"learning_rate_critics \(now 0.0005, then 1.0\)"):
        again.load_state_dict(state)


def test_a_state_is_a_snapshot(networks: PIADNetworks, perceptual: Perceptual, images: np.ndarray) -> None:
    trainer = Trainer(networks, images, perceptual, SHORT)
    trainer.step()
    state = trainer.state_dict()
    first = [trainer.step().numbers() for _ in range(3)]
    for _ in range(2):
        trainer.load_state_dict(state)
        assert [trainer.step().numbers() for _ in range(3)] == first


def test_one_seed_is_one_run_whatever_the_global_generator(
    networks: PIADNetworks, perceptual: Perceptual, images: np.ndarray
) -> None:
    runs = []
    for seed, disturbance in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(disturbance)
        np.random.seed(disturbance)  # noqa: NPY002
        trainer = Trainer(copy.deepcopy(networks), images, perceptual, SHORT, seed=seed)
        runs.append([trainer.step().numbers() for _ in range(6)])
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_arrays_tensors_floats_and_memory_maps_train_alike(
    networks: PIADNetworks, perceptual: Perceptual, images: np.ndarray, tmp_path: Path
) -> None:
    np.save(tmp_path / "images.npy", images)
    runs = []
    for given in (
        images,
        torch.from_numpy(images),
        torch.from_numpy(images).float() / 127.5 - 1,
        np.load(tmp_path / "images.npy", mmap_mode="r"),
    ):
        trainer = Trainer(copy.deepcopy(networks), given, perceptual, SHORT)
        runs.append([trainer.step().numbers() for _ in range(2)])
    assert all(run == runs[0] for run in runs)


def test_each_epoch_shows_every_image_once_in_a_new_order(networks: PIADNetworks, perceptual: Perceptual) -> None:
    images = np.broadcast_to(np.arange(24, dtype=np.uint8).reshape(24, 1, 1, 1), (24, 1, 8, 8)).copy()
    trainer = Trainer(networks, images, perceptual, SHORT)
    epochs = []
    for _ in range(2):
        seen = torch.cat([trainer._draw()[0][:, 0, 0, 0] for _ in range(3)])
        epochs.append(((seen + 1) * 127.5).round().int().tolist())
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(24))
    assert epochs[0] != epochs[1]


def test_fewer_images_than_a_batch_make_the_batch(
    networks: PIADNetworks, perceptual: Perceptual, images: np.ndarray
) -> None:
    of_two = (SHORT, replace(SHORT, batch_size=2))
    few, full = (Trainer(copy.deepcopy(networks), images[:2], perceptual, recipe) for recipe in of_two)
    assert few.step().numbers() == full.step().numbers()
    assert few._draw()[0].shape[0] == 2 < SHORT.batch_size


def test_policies_update_gamma_when_they_say(
    networks: PIADNetworks, perceptual: Perceptual, images: np.ndarray
) -> None:
    changes = {}
    policy: Any
    for policy in ("paper", "released", "fixed"):
        recipe = replace(SHORT, policy=policy, n_weight=3, gamma_encoder=0.5)
        trainer = Trainer(copy.deepcopy(networks), images, perceptual, recipe)
        gammas = [0.5] + [trainer.step().gamma_encoder for _ in range(7)]
        changes[policy] = [i for i in range(7) if gammas[i + 1] != gammas[i]]
    assert changes == {"paper": [0, 3, 6], "released": [2, 5], "fixed": []}


def test_a_critic_step_leaves_encoder_and_generator(
    networks: PIADNetworks, perceptual: Perceptual, images: np.ndarray
) -> None:
    trainer = Trainer(networks, images, perceptual, SHORT)
    before = copy.deepcopy(networks)
    trainer._step_critics()
    assert equal(networks._replace(image_critic=before.image_critic, latent_critic=before.latent_critic), before)
    critics = copy.deepcopy(networks)
    trainer._step_generator()
    assert equal(networks._replace(generator=critics.generator, encoder=critics.encoder), critics)


def test_losses_hold_no_graph(networks: PIADNetworks, perceptual: Perceptual, images: np.ndarray) -> None:
    result = Trainer(networks, images, perceptual, SHORT).step()
    assert not any(value.requires_grad for value in vars(result).values() if isinstance(value, torch.Tensor))


@pytest.mark.parametrize("reconstruction", ["relative_perceptual_l1", "perceptual_l1", "perceptual", "mse"])
def test_reconstruction_improves(
    networks: PIADNetworks, perceptual: Perceptual, images: np.ndarray, reconstruction: Any
) -> None:
    recipe = replace(SHORT, n_dis=1, learning_rate=3e-3, policy="fixed", gamma_generator=1e3, gamma_encoder=1e3)
    trainer = Trainer(networks, images[:8], perceptual, recipe, reconstruction=reconstruction)
    path = [float(trainer.step().reconstruction) for _ in range(25)]
    assert np.mean(path[-5:]) < 0.95 * path[0]


def test_divergence_stops_with_a_sentence(networks: PIADNetworks, perceptual: Perceptual, images: np.ndarray) -> None:
    trainer = Trainer(networks, images, perceptual, replace(SHORT, learning_rate_critics=1e12))
    with pytest.raises(UserError, match="diverged at iteration 0"):
        trainer.step()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda x: x[:1], "two images or more"),
        (lambda x: x[:0], "two images or more, and there is none"),
        (lambda x: x[:, :, :4], "shape"),
        (lambda x: x.repeat(3, 1), "shape"),
        (lambda x: x.astype(np.float32) * np.nan, "NaN"),
        (lambda x: x.astype(np.float32), r"in \[-1, 1\]"),
        (lambda x: x.astype(np.int32), "uint8"),
    ],
)
def test_bad_images_are_errors_before_the_first_step(
    networks: PIADNetworks, perceptual: Perceptual, images: np.ndarray, change: Any, match: str
) -> None:
    with pytest.raises(UserError, match=match):
        Trainer(networks, change(images), perceptual, SHORT)


def test_a_nan_deep_in_the_images_is_an_error(networks: PIADNetworks, perceptual: Perceptual) -> None:
    images = torch.zeros(40, 1, 8, 8)
    images[20] = torch.nan
    trainer = Trainer(networks, images, perceptual, SHORT)
    # an epoch is five batches of eight, and a step reads three of them
    with pytest.raises(UserError, match="NaN"):
        _ = [trainer.step() for _ in range(2)]


def test_a_checkpoint_of_other_settings_or_networks_is_an_error(
    networks: PIADNetworks, perceptual: Perceptual, images: np.ndarray
) -> None:
    state = Trainer(copy.deepcopy(networks), images, perceptual, SHORT).state_dict()
    with pytest.raises(UserError, match=r"n_dis \(now 3, then 2\)"):
        Trainer(networks, images, perceptual, replace(SHORT, n_dis=3)).load_state_dict(state)
    with pytest.raises(UserError, match="images"):
        Trainer(networks, images[:30], perceptual, SHORT).load_state_dict(state)
    wider = build(Architecture(4, (8, 4), (4, 6), (4, 6), 8), 1)
    with pytest.raises(UserError, match="another generator"):
        Trainer(wider, images, perceptual, SHORT).load_state_dict(state)
    with pytest.raises(UserError, match="not one of this kind of training"):
        Trainer(networks, images, perceptual, SHORT).load_state_dict({"epoch": 3})


def test_schedules_are_the_supplements() -> None:
    iterations = {"coil100": 20, "mnist": 50, "fashion_mnist": 50, "cifar10": 100, "lsun": 200, "celeba": 200}
    assert {name: recipe.iterations // 1000 for name, recipe in RECIPES.items()} == iterations
    assert {name for name, recipe in RECIPES.items() if recipe.n_dis == 3} == {"lsun", "celeba"}
    assert all(
        (s.batch_size, s.n_weight, s.learning_rate, s.learning_rate_critics) == (32, 100, 2e-4, 5e-4)
        for s in RECIPES.values()
    )
    with pytest.raises(ValueError, match="policy"):
        TrainingRecipe(1, policy="none")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="batch_size"):
        TrainingRecipe(1, batch_size=1)


def test_the_score_is_the_loss_between_image_and_reconstruction_in_any_batches(
    networks: PIADNetworks, perceptual: Perceptual, images: np.ndarray
) -> None:
    with torch.inference_mode():
        x = torch.from_numpy(images).float() / 127.5 - 1
        y = networks.generator(networks.encoder(x))
        expected = losses.relative_perceptual_l1(perceptual(x), perceptual(y), perceptual.mean, perceptual.std)
        pixels = (x - y).square().mean((1, 2, 3))
    for batch_size in (1, 7, 100):
        scores = anomaly_score(networks, images, perceptual, batch_size=batch_size)
        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores, expected, rtol=1e-4)
    scores = anomaly_score(networks, images, None, reconstruction="mse")
    np.testing.assert_allclose(scores, pixels, rtol=1e-4)
    assert anomaly_score(networks, images[:0], perceptual).shape == (0,)


def test_maps_sum_to_the_scores(networks: PIADNetworks, perceptual: Perceptual, images: np.ndarray) -> None:
    parts = list(score_batches(networks, images, perceptual, batch_size=15))
    assert [len(part.scores) for part in parts] == [15, 15, 10]
    for part in parts:
        assert part.reconstructions.shape == (len(part.scores), 1, 8, 8)
        assert part.maps is not None
        assert part.maps.shape == (len(part.scores), 4, 4)
        np.testing.assert_allclose(part.maps.sum((1, 2)), part.scores, rtol=1e-5)


def test_dissimilarity_asks_nothing_of_the_image(networks: PIADNetworks, perceptual: Perceptual) -> None:
    x, y = torch.zeros(2, 1, 8, 8, requires_grad=True), torch.ones(2, 1, 8, 8, requires_grad=True)
    dissimilarity(x, y, perceptual).sum().backward()
    assert x.grad is None
    assert y.grad is not None


def test_scoring_bad_images_or_an_unknown_loss_is_an_error(
    networks: PIADNetworks, perceptual: Perceptual, images: np.ndarray
) -> None:
    with pytest.raises(UserError, match="shape"):
        anomaly_score(networks, images[:, :, :4], perceptual)
    with pytest.raises(UserError, match="NaN"):
        prepare(np.full((1, 1, 8, 8), np.nan), networks)
    with pytest.raises(ValueError, match="mse"):
        anomaly_score(networks, images, perceptual, reconstruction="l2")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="needs a perceptual network"):
        anomaly_score(networks, images, None)


def test_samples_are_images_from_the_same_latents(
    networks: PIADNetworks, perceptual: Perceptual, images: np.ndarray
) -> None:
    trainer = Trainer(networks, images, perceptual, SHORT)
    first, again = trainer.samples(3), trainer.samples(3)
    assert first.shape == (3, 1, 8, 8)
    assert float(first.abs().max()) <= 1
    assert torch.equal(first, again)
