import copy

import pytest
import torch
from torch import Tensor, nn

from ganray.models.compact import CompactConfig, CompactGenerator
from ganray.models.unet_discriminator import UNetConfig, UNetDiscriminator
from ganray.training.adversarial_losses import ADVERSARIAL
from ganray.training.config import AdversarialConfig
from ganray.training.loop import keep_gradients
from ganray.training.pixel_losses import charbonnier
from ganray.training.state import TrainingState, new_state
from ganray.training.steps import Batch, discriminator_step, fidelity_step, generator_step

FULL = torch.autocast("cpu", enabled=False)
GAMES = [
    AdversarialConfig(),
    AdversarialConfig(loss="nonsaturating", gamma=3.0, weight=0.5),
    AdversarialConfig(r1=False, gamma=5.0),
    AdversarialConfig(r2=False, gamma=5.0),
    AdversarialConfig(r1=False, r2=False),
]


def make_state() -> TrainingState:
    torch.manual_seed(0)
    generator = CompactGenerator(CompactConfig(num_features=4, num_convs=1, scale=2))
    return new_state(generator, UNetDiscriminator(UNetConfig(num_features=4)))


def make_batch(size: int = 2) -> Batch:
    rng = torch.Generator().manual_seed(0)
    return Batch(
        degraded=torch.rand(size, 3, 8, 8, generator=rng),
        reference=torch.rand(size, 3, 16, 16, generator=rng),
    )


def copies(network: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in network.parameters()]


def unchanged(network: nn.Module, before: list[Tensor]) -> bool:
    return all(torch.equal(p, b) for p, b in zip(network.parameters(), before, strict=True))


def gradients(network: nn.Module) -> list[Tensor | None]:
    return [parameter.grad for parameter in network.parameters()]


def penalty(discriminator: nn.Module, images: Tensor) -> Tensor:
    """Mean over samples of the squared norm of the gradient of a patch's mean, times its size."""
    norms = []
    for image in images.detach():
        leaf = image[None].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(discriminator(leaf).mean(), leaf, create_graph=True)
        norms.append(gradient.square().sum() * leaf.shape[2] * leaf.shape[3])
    return torch.stack(norms).mean()


def test_the_fidelity_step_updates_the_generator_alone_by_the_pixel_loss() -> None:
    state, batch = make_state(), make_batch()
    expected = copy.deepcopy(state.generator)
    loss = charbonnier(expected(batch.degraded), batch.reference)
    loss.backward()
    weights, judge = copies(state.generator), copies(state.discriminator)
    losses = fidelity_step(state, batch, keep_gradients, FULL)
    assert losses == {"pixel": pytest.approx(float(loss.detach()))}
    torch.testing.assert_close(gradients(state.generator), gradients(expected))
    assert not unchanged(state.generator, weights)
    assert unchanged(state.discriminator, judge)
    assert gradients(state.discriminator) == [None] * len(judge)


@pytest.mark.parametrize("game", GAMES)
def test_the_discriminator_step_is_its_formula_and_leaves_the_generator_alone(
    game: AdversarialConfig,
) -> None:
    state, batch = make_state(), make_batch()
    expected = copy.deepcopy(state.discriminator)
    fakes = state.generator(batch.degraded).detach()
    loss = ADVERSARIAL[game.loss].discriminator(expected(batch.reference), expected(fakes))
    r1, r2 = penalty(expected, batch.reference), penalty(expected, fakes)
    (loss + game.gamma / 2 * (game.r1 * r1 + game.r2 * r2)).backward()
    before = copies(state.generator)
    losses = discriminator_step(state, batch, keep_gradients, FULL, game=game)
    torch.testing.assert_close(
        gradients(state.discriminator), gradients(expected), atol=1e-6, rtol=1e-4
    )
    assert float(losses["discriminator"]) == pytest.approx(float(loss.detach()), rel=1e-5)
    assert float(losses["r1"]) == pytest.approx(game.r1 * float(r1.detach()), rel=1e-4)
    assert float(losses["r2"]) == pytest.approx(game.r2 * float(r2.detach()), rel=1e-4)
    assert unchanged(state.generator, before)
    assert gradients(state.generator) == [None] * len(before)
    assert not any(value.requires_grad for value in losses.values())


@pytest.mark.parametrize("game", GAMES[:2])
def test_the_generator_step_is_its_formula(game: AdversarialConfig) -> None:
    state, batch = make_state(), make_batch()
    expected, judge = copy.deepcopy(state.generator), copy.deepcopy(state.discriminator)
    restored = expected(batch.degraded)
    adversarial = ADVERSARIAL[game.loss].generator(judge(batch.reference), judge(restored))
    (charbonnier(restored, batch.reference) + game.weight * adversarial).backward()
    losses = generator_step(state, batch, keep_gradients, FULL, game=game)
    torch.testing.assert_close(
        gradients(state.generator), gradients(expected), atol=1e-7, rtol=1e-4
    )
    assert float(losses["adversarial"]) == pytest.approx(float(adversarial.detach()), rel=1e-5)


def test_the_discriminator_rests_while_the_generator_learns() -> None:
    state, batch = make_state(), make_batch()
    before, weights = copies(state.discriminator), copies(state.generator)
    generator_step(state, batch, keep_gradients, FULL, game=AdversarialConfig())
    assert unchanged(state.discriminator, before)
    assert gradients(state.discriminator) == [None] * len(before)
    assert not unchanged(state.generator, weights)
    # It is awake again for its own next step.
    discriminator_step(state, batch, keep_gradients, FULL, game=AdversarialConfig())
    assert not unchanged(state.discriminator, before)


def test_a_step_forgets_the_gradients_of_the_one_before() -> None:
    batch = make_batch()
    fresh = make_state()
    fidelity_step(fresh, batch, keep_gradients, FULL)
    stale = make_state()
    for parameter in [*stale.generator.parameters(), *stale.discriminator.parameters()]:
        parameter.grad = torch.ones_like(parameter)
    fidelity_step(stale, batch, keep_gradients, FULL)
    torch.testing.assert_close(gradients(stale.generator), gradients(fresh.generator))


@pytest.mark.parametrize("step", ["fidelity", "generator", "discriminator"])
def test_each_optimizer_sees_the_averaged_gradients(step: str) -> None:
    state, batch = make_state(), make_batch()
    before = [copies(state.generator), copies(state.discriminator)]
    averaged: list[nn.Parameter] = []

    def silence(parameters) -> None:  # type: ignore[no-untyped-def]
        averaged.extend(parameters)
        for parameter in averaged:
            parameter.grad.zero_()  # type: ignore[union-attr]

    if step == "fidelity":
        fidelity_step(state, batch, silence, FULL)
    elif step == "generator":
        generator_step(state, batch, silence, FULL, game=AdversarialConfig())
    else:
        discriminator_step(state, batch, silence, FULL, game=AdversarialConfig())
    network = state.discriminator if step == "discriminator" else state.generator
    assert [id(p) for p in averaged] == [id(p) for p in network.parameters()]
    assert unchanged(state.generator, before[0]) and unchanged(state.discriminator, before[1])


def test_steps_in_half_precision_stay_close_to_those_in_full() -> None:
    batch, game = make_batch(), AdversarialConfig()
    losses = []
    for autocast in (FULL, torch.autocast("cpu", torch.bfloat16)):
        state = make_state()
        losses.append(
            discriminator_step(state, batch, keep_gradients, autocast, game=game)
            | generator_step(state, batch, keep_gradients, autocast, game=game)
        )
        assert all(p.dtype == torch.float32 for p in state.generator.parameters())
    full, half = losses
    assert all(
        float(half[name]) == pytest.approx(float(full[name]), rel=0.1, abs=0.02) for name in full
    )
