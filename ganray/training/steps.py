"""One optimizer update of each kind. Pure torch: one process or many, Ray or not.

A worker's share of a batch may be computed in parts, whose gradients add up to the whole's: each
mean, penalties among them, counts by its part's share.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganray.training.adversarial_losses import ADVERSARIAL
from ganray.training.monitor import Player
from ganray.training.objective import Judged, Objective
from ganray.training.reactions import Play
from ganray.training.regularisers import wasserstein_penalty, zero_centred_penalty
from ganray.training.state import TrainingState
from ganray.training.stopwatch import Stopwatch
from ganray.training.unrolling import look_ahead

AverageGradients = Callable[[Iterable[nn.Parameter]], None]
Losses = dict[str, Tensor]
Seed = tuple[int, int]

ONE_STEP = 1 / 255
# Of these seeds: the penalty has random numbers of its own.
MIX = 0x6D6978


@dataclass(frozen=True)
class Batch:
    """Training pairs: degraded (B,C,h,w) and reference (B,C,scale·h,scale·w), in 0-1.

    `mask` (B,1,h,w) marks lost pixels with 1, for a generator that takes it as a further channel.
    `seeds` are (seed, number) of each sample.
    """

    degraded: Tensor
    reference: Tensor
    mask: Tensor | None = None
    seeds: tuple[Seed, ...] = ()

    @property
    def shown(self) -> Tensor:
        """What the generator gets."""
        return self.degraded if self.mask is None else torch.cat([self.degraded, self.mask], 1)

    def parts(self, number: int) -> list["Batch"]:
        """The batch in at most `number` parts, as even as they come."""
        size = -(-len(self.reference) // number)
        cuts = [slice(begin, begin + size) for begin in range(0, len(self.reference), size)]
        return [
            Batch(
                degraded=self.degraded[cut],
                reference=self.reference[cut],
                mask=None if self.mask is None else self.mask[cut],
                seeds=self.seeds[cut],
            )
            for cut in cuts
        ]


@dataclass(frozen=True)
class Tools:
    """What a step works with beside state and batch.

    `generate` is the generator, compiled or not; `agree` makes one number of the norms that workers
    found, to the last bit; `accepts` is asked before each update whether a gradient of this norm
    may be followed; `augment` changes what the discriminator sees.
    """

    generate: Callable[[Tensor], Tensor]
    pixel_loss: Callable[[Tensor, Tensor], Tensor]
    objective: Objective
    autocast: torch.autocast
    average_gradients: AverageGradients
    agree: Callable[[Tensor], float]
    accepts: Callable[[Player, float], bool]
    augment: Callable[[Tensor, Sequence[Seed]], Tensor]
    watch: Stopwatch


def fidelity_step(state: TrainingState, parts: Sequence[Batch], tools: Tools) -> Losses:
    """Update the generator by the pixel loss alone."""
    state.generator_optimizer.zero_grad()
    tools.watch.enter("generator")
    losses: Losses = {}
    for batch, share in _shares(parts):
        with tools.autocast:
            restored = tools.generate(batch.shown)
        pixel = tools.pixel_loss(restored.float(), batch.reference)
        (share * pixel).backward()
        _add(losses, share, {"pixel": pixel, **_relative_error(restored, batch)})
    return losses | _update(state.generator, state.generator_optimizer, "generator", tools)


def discriminator_step(
    state: TrainingState, parts: Sequence[Batch], play: Play, tools: Tools
) -> Losses:
    """Update the discriminator: adversarial loss + γ/2·(R1 + R2) + λ·gradient penalty."""
    state.discriminator_optimizer.zero_grad()
    losses: Losses = {}
    for batch, share in _shares(parts):
        tools.watch.enter("generator")
        with torch.no_grad(), tools.autocast:
            fakes = tools.generate(batch.shown).float()
        tools.watch.enter("discriminator")
        seen = tools.augment(batch.reference, batch.seeds)
        fakes = tools.augment(fakes, batch.seeds)
        real, r1 = _judge(state.discriminator, seen, play.r1, tools)
        fake, r2 = _judge(state.discriminator, fakes, play.r2, tools)
        loss = ADVERSARIAL[play.loss].discriminator(real, fake)
        penalty = play.gamma / 2 * (r1 + r2)
        found = {"discriminator": loss, "r1": r1, "r2": r2, "gap": real.mean() - fake.mean()}
        if play.gradient_penalty:
            found["gradient_penalty"] = _between(
                state.discriminator, (seen, fakes), batch, play.turn
            )
            penalty = penalty + play.gradient_penalty * found["gradient_penalty"]
        (share * (loss + penalty)).backward()
        _add(losses, share, found | _strength(play.loss, real, fake))
    return losses | _update(
        state.discriminator, state.discriminator_optimizer, "discriminator", tools
    )


def generator_step(
    state: TrainingState, parts: Sequence[Batch], play: Play, tools: Tools
) -> Losses:
    """Update the generator: its objective + weight·adversarial loss; the discriminator rests."""
    state.generator_optimizer.zero_grad()
    state.discriminator.requires_grad_(False)
    tools.watch.enter("generator")
    losses: Losses = {}
    for batch, share in _shares(parts):
        with tools.autocast:
            restored = tools.generate(batch.shown)
            references = tools.augment(batch.reference, batch.seeds)
            fakes = tools.augment(restored, batch.seeds)
            real, fake = _opinions(state, references, fakes, play)
        adversarial = ADVERSARIAL[play.loss].generator(real[-1].float(), fake[-1].float())
        average = _average(state, batch, tools)
        verdict = tools.objective.judge(Judged(restored, batch.reference, real, fake, average))
        (share * (verdict.total + play.weight * adversarial)).backward()
        found = {**verdict.terms, "adversarial": adversarial, **_relative_error(restored, batch)}
        _add(losses, share, found | _texture(restored, batch.reference))
    state.discriminator.requires_grad_(True)
    return losses | _update(state.generator, state.generator_optimizer, "generator", tools)


def _judge(
    discriminator: nn.Module, images: Tensor, penalised: bool, tools: Tools
) -> tuple[Tensor, Tensor]:
    """Logits, and their penalty or zero; the time of the penalty's own parts is set apart."""
    if not penalised:
        with tools.autocast:
            logits: Tensor = discriminator(images)
        return logits.float(), logits.new_zeros((), dtype=torch.float32)
    logits, penalty = zero_centred_penalty(discriminator, images)
    # Backward comes first upon the penalty, whose part ends where the logits' begins.
    penalty.register_hook(lambda _: tools.watch.enter("penalty"))
    logits.register_hook(lambda _: tools.watch.enter("discriminator"))
    return logits, penalty


def _between(
    discriminator: nn.Module, images: tuple[Tensor, Tensor], batch: Batch, turn: int
) -> Tensor:
    """WGAN-GP's penalty on (references, fakes); where between the two follows from the sample's
    number and the turn."""
    references, fakes = images
    mix = np.array([np.random.default_rng((MIX, turn, *seed)).random() for seed in batch.seeds])
    return wasserstein_penalty(
        discriminator, references, fakes, torch.from_numpy(mix).to(references)
    )


def _opinions(
    state: TrainingState, references: Tensor, fakes: Tensor, play: Play
) -> tuple[list[Tensor], list[Tensor]]:
    """What the discriminator, or the one that it would become, makes of both."""
    if play.unrolled_steps:
        rate = state.discriminator_optimizer.param_groups[0]["lr"]
        ahead = look_ahead(state.discriminator, (references, fakes), play, rate)
        return ahead(references), ahead(fakes)
    with torch.no_grad():
        real = state.discriminator.features(references)
    return real, state.discriminator.features(fakes)


def _average(state: TrainingState, batch: Batch, tools: Tools) -> Tensor | None:
    """The averaged generator's restoration, where the objective compares with it."""
    if not tools.objective.needs_ema:
        return None
    with torch.no_grad(), tools.autocast:
        restored: Tensor = state.generator_ema(batch.shown)
    return restored.float()


def _update(
    network: nn.Module, optimizer: torch.optim.Optimizer, player: Player, tools: Tools
) -> Losses:
    """Average the gradients over all workers, and follow them if they are accepted."""
    tools.watch.enter("communication")
    tools.average_gradients(network.parameters())
    tools.watch.enter(player)
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    if tools.accepts(player, tools.agree(norm)):
        optimizer.step()
    return {f"{player}_gradient": norm}


def _shares(parts: Sequence[Batch]) -> Iterator[tuple[Batch, float]]:
    total = sum(len(batch.reference) for batch in parts)
    for batch in parts:
        yield batch, len(batch.reference) / total


def _add(losses: Losses, share: float, found: Losses) -> None:
    for name, value in found.items():
        losses[name] = losses.get(name, torch.zeros_like(value)) + share * value.detach()


def _strength(loss: str, real: Tensor, fake: Tensor) -> Losses:
    """How far the discriminator is from chance: its loss as a share of the loss at logits 0, and
    E sign D(x), in the paired game, whose logits have no zero, E sign(D(x) − D(y))."""
    at_chance = float(ADVERSARIAL[loss].discriminator(torch.zeros(1), torch.zeros(1)))
    lead = real - fake if loss == "relativistic" else real
    values = {"sign": lead.detach().sign().mean()}
    if at_chance:
        values["strength"] = ADVERSARIAL[loss].discriminator(real, fake).detach() / at_chance
    return values


def _relative_error(restored: Tensor, batch: Batch) -> Losses:
    """Mean of each sample's error, as a share of that of its degraded image, interpolated."""
    with torch.no_grad():
        size = batch.reference.shape[2:]
        plain = F.interpolate(batch.degraded, size=size, mode="bilinear")
        error_B, plain_B = (
            (image.float() - batch.reference).abs().mean((1, 2, 3)) for image in (restored, plain)
        )
        return {"relative_error": (error_B / (plain_B + ONE_STEP)).mean()}


def _texture(restored: Tensor, reference: Tensor) -> Losses:
    """Mean of each sample's fine detail, as a share of that of its reference."""
    with torch.no_grad():
        found_B, wanted_B = (_fine_detail(image.float()) for image in (restored, reference))
        return {"texture": (found_B / (wanted_B + ONE_STEP)).mean()}


def _fine_detail(images_BCHW: Tensor) -> Tensor:
    """The mean absolute discrete Laplacian (B,)."""
    inner = images_BCHW[..., 1:-1, 1:-1]
    sides = images_BCHW[..., 2:, 1:-1] + images_BCHW[..., :-2, 1:-1]
    sides = sides + images_BCHW[..., 1:-1, 2:] + images_BCHW[..., 1:-1, :-2]
    return (4 * inner - sides).abs().mean((1, 2, 3))
