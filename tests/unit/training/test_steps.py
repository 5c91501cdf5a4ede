import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ganray.training.adversarial_losses import ADVERSARIAL
from ganray.training.config import AdversarialConfig
from ganray.training.objective import Judged, ObjectiveConfig
from ganray.training.pixel_losses import charbonnier
from ganray.training.regularisers import wasserstein_penalty
from ganray.training.steps import (
    MIX,
    Batch,
    discriminator_step,
    fidelity_step,
    generator_step,
)
from tests.unit.training.players import (
    copies,
    gradients,
    make_batch,
    make_objective,
    make_state,
    make_tools,
    play_of,
    unchanged,
)

GAMES = [
    AdversarialConfig(),
    AdversarialConfig(loss="nonsaturating", gamma=3.0, weight=0.5),
    AdversarialConfig(r1=False, gamma=5.0),
    AdversarialConfig(r2=False, gamma=5.0),
    AdversarialConfig(r1=False, r2=False),
    AdversarialConfig(loss="hinge", gamma=0.0),
    AdversarialConfig(loss="least_squares", gamma=1.0),
    AdversarialConfig(loss="wasserstein"),
]


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
    losses = fidelity_step(state, [batch], make_tools(state))
    assert losses["pixel"] == pytest.approx(float(loss.detach()))
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
    mix = torch.tensor([np.random.default_rng((MIX, 0, *seed)).random() for seed in batch.seeds])
    between = wasserstein_penalty(expected, batch.reference, fakes, mix)
    zero_centred = play_of(game).gamma / 2 * (game.r1 * r1 + game.r2 * r2)
    (loss + zero_centred + game.gradient_penalty * between).backward()
    before = copies(state.generator)
    losses = discriminator_step(state, [batch], play_of(game), make_tools(state))
    torch.testing.assert_close(
        gradients(state.discriminator), gradients(expected), atol=1e-6, rtol=1e-4
    )
    assert float(losses["discriminator"]) == pytest.approx(float(loss.detach()), rel=1e-5)
    assert float(losses["r1"]) == pytest.approx(game.r1 * float(r1.detach()), rel=1e-4)
    assert float(losses["r2"]) == pytest.approx(game.r2 * float(r2.detach()), rel=1e-4)
    assert unchanged(state.generator, before)
    assert gradients(state.generator) == [None] * len(before)
    assert not any(value.requires_grad for value in losses.values())


@pytest.mark.parametrize("game", GAMES)
def test_the_generator_step_is_its_formula(game: AdversarialConfig) -> None:
    state, batch = make_state(), make_batch()
    objective = make_objective(ObjectiveConfig(texture=0.8))
    expected, judge = copy.deepcopy(state.generator), copy.deepcopy(state.discriminator)
    restored = expected(batch.degraded)
    real, fake = judge.features(batch.reference), judge.features(restored)
    average = state.generator_ema(batch.degraded)
    verdict = objective.judge(
        Judged(restored, batch.reference, [f.detach() for f in real], fake, average)
    )
    adversarial = ADVERSARIAL[game.loss].generator(real[-1], fake[-1])
    play = play_of(game)
    assert set(verdict.terms) == {"pixel", "ms_ssim", "feature_matching", "ldl"}
    (verdict.total + play.weight * adversarial).backward()
    losses = generator_step(state, [batch], play, make_tools(state, objective=objective))
    torch.testing.assert_close(
        gradients(state.generator), gradients(expected), atol=1e-7, rtol=1e-4
    )
    assert float(losses["adversarial"]) == pytest.approx(float(adversarial.detach()), rel=1e-5)
    for name, value in verdict.terms.items():
        assert float(losses[name]) == pytest.approx(float(value), rel=1e-5)


def test_the_discriminator_rests_while_the_generator_learns() -> None:
    state, batch = make_state(), make_batch()
    before, weights = copies(state.discriminator), copies(state.generator)
    play, tools = play_of(AdversarialConfig()), make_tools(state)
    generator_step(state, [batch], play, tools)
    assert unchanged(state.discriminator, before)
    assert gradients(state.discriminator) == [None] * len(before)
    assert not unchanged(state.generator, weights)
    # It is awake again for its own next step.
    discriminator_step(state, [batch], play, tools)
    assert not unchanged(state.discriminator, before)


def test_a_step_forgets_the_gradients_of_the_one_before() -> None:
    batch = make_batch()
    fresh, stale = make_state(), make_state()
    fidelity_step(fresh, [batch], make_tools(fresh))
    for parameter in [*stale.generator.parameters(), *stale.discriminator.parameters()]:
        parameter.grad = torch.ones_like(parameter)
    fidelity_step(stale, [batch], make_tools(stale))
    torch.testing.assert_close(gradients(stale.generator), gradients(fresh.generator))


@pytest.mark.parametrize("kind", ["fidelity", "generator", "discriminator"])
def test_each_optimizer_sees_the_averaged_gradients(kind: str) -> None:
    state = make_state()
    before = [copies(state.generator), copies(state.discriminator)]
    averaged: list[nn.Parameter] = []

    def silence(parameters) -> None:  # type: ignore[no-untyped-def]
        averaged.extend(parameters)
        for parameter in averaged:
            parameter.grad.zero_()  # type: ignore[union-attr]

    run(kind, state, [make_batch()], average_gradients=silence)
    network = state.discriminator if kind == "discriminator" else state.generator
    assert [id(p) for p in averaged] == [id(p) for p in network.parameters()]
    assert unchanged(state.generator, before[0]) and unchanged(state.discriminator, before[1])


def run(kind: str, state, parts: list[Batch], game=GAMES[0], **changes):  # type: ignore[no-untyped-def]
    tools = make_tools(state, **changes)
    if kind == "fidelity":
        return fidelity_step(state, parts, tools)
    step = generator_step if kind == "generator" else discriminator_step
    return step(state, parts, play_of(game), tools)


@pytest.mark.parametrize("kind", ["fidelity", "generator", "discriminator"])
def test_a_gradient_that_is_not_accepted_is_not_followed(kind: str) -> None:
    state = make_state()
    asked = []
    before = [copies(state.generator), copies(state.discriminator)]
    losses = run(kind, state, [make_batch()], accepts=lambda *found: asked.append(found))
    assert unchanged(state.generator, before[0]) and unchanged(state.discriminator, before[1])
    player = "discriminator" if kind == "discriminator" else "generator"
    assert asked == [(player, pytest.approx(float(losses[f"{player}_gradient"])))]
    assert asked[0][1] > 0


@pytest.mark.parametrize("game", [GAMES[0], GAMES[7]])
@pytest.mark.parametrize("kind", ["fidelity", "generator", "discriminator"])
@pytest.mark.parametrize("number", [2, 3, 5])
def test_a_batch_in_parts_has_the_gradients_of_the_whole(
    kind: str, number: int, game: AdversarialConfig
) -> None:
    game = game.model_copy(update={"gamma": 1.0, "weight": 0.5})
    whole, parted = make_state(), make_state()
    batch = make_batch(range(5))
    losses = run(kind, whole, [batch], game)
    parts = batch.parts(number)
    assert sum(len(part.reference) for part in parts) == 5 and len(parts) > 1
    in_parts = run(kind, parted, parts, game)
    for network in ("generator", "discriminator"):
        torch.testing.assert_close(
            gradients(getattr(parted, network)),
            gradients(getattr(whole, network)),
            atol=1e-6,
            rtol=1e-4,
        )
    for name in ("pixel", "discriminator", "adversarial"):
        if name in losses:
            assert float(in_parts[name]) == pytest.approx(float(losses[name]), rel=1e-4)


def test_the_monitors_numbers_mean_what_they_say() -> None:
    state, batch = make_state(), make_batch()
    plain = nn.functional.interpolate(batch.degraded, scale_factor=2, mode="bilinear")

    def losses_of(restored: Tensor) -> dict[str, float]:
        generate = lambda shown: restored.clone().requires_grad_()  # noqa: E731
        found = run("generator", state, [batch], generate=generate)
        return {name: float(value) for name, value in found.items()}

    perfect = losses_of(batch.reference)
    assert perfect["relative_error"] == 0 and perfect["texture"] == pytest.approx(1, abs=0.02)
    interpolated = losses_of(plain)
    assert interpolated["relative_error"] == pytest.approx(1, abs=0.02)
    assert interpolated["texture"] < 0.5
    state.discriminator.apply(silence_weights)
    judged = run("discriminator", state, [batch])
    assert float(judged["strength"]) == pytest.approx(1) and float(judged["sign"]) == 0


def silence_weights(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.zeros_(module.weight)


def test_looking_ahead_changes_what_the_generator_learns_and_not_the_discriminator() -> None:
    batch, found = make_batch(), []
    for steps in (0, 3):
        state = make_state()
        state.discriminator_optimizer.param_groups[0]["lr"] = 1e-2
        before = copies(state.discriminator)
        game = AdversarialConfig(weight=1.0, unrolled_steps=steps)
        losses = generator_step(state, [batch], play_of(game), make_tools(state))
        assert unchanged(state.discriminator, before)
        assert all(p.requires_grad for p in state.discriminator.parameters())
        found.append((float(losses["adversarial"]), float(losses["generator_gradient"])))
    (at_once, gradient), (ahead, other) = found
    # The discriminator that would be is better at its game.
    assert ahead > at_once
    assert math.isfinite(other) and other != pytest.approx(gradient, rel=1e-3)


def test_a_mask_is_shown_as_a_further_channel() -> None:
    batch = make_batch()
    masked = replace(batch, mask=torch.ones(2, 1, 8, 8))
    assert masked.shown.shape == (2, 4, 8, 8) and batch.shown is batch.degraded
    assert [part.shown.shape for part in masked.parts(2)] == [(1, 4, 8, 8)] * 2


def test_steps_in_half_precision_stay_close_to_those_in_full() -> None:
    batch, losses = make_batch(), []
    for autocast in (torch.autocast("cpu", enabled=False), torch.autocast("cpu", torch.bfloat16)):
        state = make_state()
        losses.append(
            run("discriminator", state, [batch], autocast=autocast)
            | run("generator", state, [batch], autocast=autocast)
        )
        assert all(p.dtype == torch.float32 for p in state.generator.parameters())
    full, half = losses
    assert all(
        float(half[name]) == pytest.approx(float(full[name]), rel=0.1, abs=0.05) for name in full
    )
