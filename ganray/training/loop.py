"""The training loop: stages, learning rates, watch and reactions, log, validation, checkpoint.

Plain torch without Ray: whoever calls it provides the batches and the hooks.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ganray.errors import TrainingError
from ganray.training.augment import Augmentation, adapt, augment, draw_transforms
from ganray.training.compilation import compiled
from ganray.training.config import LoopConfig
from ganray.training.monitor import Alarm, Monitor, Player
from ganray.training.objective import Objective
from ganray.training.pixel_losses import PIXEL
from ganray.training.reactions import Event, Ladder, Play
from ganray.training.schedule import cosine, place_of, stage_at
from ganray.training.state import TrainingState
from ganray.training.steps import (
    AverageGradients,
    Batch,
    Losses,
    Seed,
    Tools,
    discriminator_step,
    fidelity_step,
    generator_step,
)
from ganray.training.stopwatch import Stopwatch, Throughput

Metrics = dict[str, float | int | str]
PSNR = "validation_psnr_y"
# Of these seeds: what the discriminator sees of a sample has random numbers of its own.
AUGMENT = 0x617567


@dataclass(frozen=True)
class Hooks:
    """What the loop asks of its surroundings.

    `average_gradients` replaces each gradient by the mean over all workers; `average_values`
    does the same for losses; `validate` measures a generator; `log`, `checkpoint` and `event`
    keep what they are given; `stopping` is asked once after each step, by every worker alike.
    """

    average_gradients: AverageGradients
    average_values: Callable[[Losses], dict[str, float]]
    validate: Callable[[nn.Module], dict[str, float]]
    log: Callable[[Metrics], None]
    checkpoint: Callable[[TrainingState], None]
    event: Callable[[Event], None] = lambda event: None
    stopping: Callable[[], bool] = lambda: False


def train(
    state: TrainingState,
    batches: Iterator[Batch],
    config: LoopConfig,
    hooks: Hooks,
    objective: Objective,
) -> TrainingState:
    """Run from `state.step` to the end of the last stage; `batches` begin at that step.

    Ends earlier where `hooks.stopping` says so, or where no reaction helps any more, with the last
    good generator. Raises TrainingError when a loss is not finite and nothing watches; the last
    checkpoint is untouched.
    """
    run = _Run(state, config, hooks, objective)
    while not run.is_over:
        stage = run.enter_stage()
        losses = run.update(run.wait_for(batches), stage)
        state.step += 1
        values = run.watch(stage, losses)
        if run.is_over or state.step % config.log_every == 0:
            hooks.log(run.line(stage, values))
        if run.is_over or state.step % config.validate_every == 0:
            run.validate(stage)
        if run.is_over or state.step % config.checkpoint_every == 0:
            run.checkpoint()
        if hooks.stopping():
            break
    run.keep_memory()
    return state


class _Run:
    """A training under way: its tools, its monitor with the ladder, its clock."""

    def __init__(
        self, state: TrainingState, config: LoopConfig, hooks: Hooks, objective: Objective
    ) -> None:
        self.state, self.config, self.hooks = state, config, hooks
        device = next(state.generator.parameters()).device
        self.monitor = Monitor(config.stability)
        self.ladder = Ladder(config)
        self.augmentation = Augmentation()
        self.stage = ""
        self._restore(state.monitor)
        self.ladder.remember(state, is_first=True)
        self.throughput = Throughput(state.step)
        self.tools = Tools(
            generate=compiled(state.generator, config.compile, device),
            pixel_loss=PIXEL[config.objective.pixel_kind],
            objective=objective,
            autocast=_autocast(device, config.precision),
            average_gradients=hooks.average_gradients,
            agree=lambda norm: hooks.average_values({"norm": norm})["norm"],
            accepts=self.monitor.accepts if config.stability.enabled else _follow_any,
            augment=self._augment,
            watch=Stopwatch(device),
        )

    @property
    def is_over(self) -> bool:
        """Whether the last step is done, or the ladder at its end."""
        is_last = self.state.step >= self.config.stages.total_steps
        return is_last or self.ladder.adjustments.stopped

    def enter_stage(self) -> str:
        """Set both learning rates for the step to come; its stage."""
        stage, rate = stage_at(self.config.stages, self.state.step)
        adjusted = self.ladder.adjustments
        self.learning_rate = rate * adjusted.rate
        rates = self.learning_rate, self.learning_rate * adjusted.discriminator_rate
        optimizers = self.state.generator_optimizer, self.state.discriminator_optimizer
        for optimizer, value in zip(optimizers, rates, strict=True):
            optimizer.param_groups[0]["lr"] = value
        if stage != self.stage and self.stage:
            self.monitor.begin_anew()
        self.stage = stage
        return stage

    def wait_for(self, batches: Iterator[Batch]) -> list[Batch]:
        """The next batch, in the parts that it is computed in."""
        self.tools.watch.enter("data")
        return next(batches).parts(self.config.micro_batches)

    def update(self, parts: list[Batch], stage: str) -> Losses:
        """One step of `stage`."""
        if stage == "fidelity":
            losses = fidelity_step(self.state, parts, self.tools)
        else:
            losses = self._play(parts, stage)
        if stage != "warmup":
            # Random or foreign weights are soon forgotten: an average over the steps so far.
            step = self.state.step
            self.state.update_ema(min(self.config.ema_decay, (1 + step) / (10 + step)))
        self.tools.watch.enter("other")
        return losses

    def _play(self, parts: list[Batch], stage: str) -> Losses:
        play = self._play_now()
        losses: Losses = {}
        for turn in range(self.config.adversarial.discriminator_steps):
            losses = discriminator_step(self.state, parts, replace(play, turn=turn), self.tools)
        if stage == "adversarial" and not self.ladder.rest():
            losses |= generator_step(self.state, parts, play, self.tools)
        return losses

    def _play_now(self) -> Play:
        first, last = self.config.adversarial.gammas(self.config.batch_size)
        stage, progress = place_of(self.config.stages, self.state.step)
        return self.ladder.play(cosine(first, last, progress if stage == "adversarial" else 0.0))

    def watch(self, stage: str, losses: Losses) -> dict[str, float]:
        """Average the losses over all workers, and react to what they say."""
        values = self.hooks.average_values(losses)
        if not self.config.stability.enabled:
            _require_finite(values, self.state.step)
            return values
        for alarm in self.monitor.observe(stage, values):
            self._react(alarm)
        augmentation = self.config.adversarial.augmentation
        if augmentation.enabled and "sign" in values:
            batch_size = self.config.batch_size
            self.augmentation = adapt(self.augmentation, values["sign"], batch_size, augmentation)
        due = self.state.step % self.config.stability.snapshot_every == 0
        if due and self.monitor.is_calm:
            self.ladder.remember(self.state)
        return values

    def line(self, stage: str, values: Mapping[str, float]) -> Metrics:
        """The metrics of a step; what is not finite was an event already."""
        state = self.state
        line: Metrics = {"step": state.step, "stage": stage, "learning_rate": self.learning_rate}
        line |= {name: value for name, value in values.items() if math.isfinite(value)}
        steps_per_second = self.throughput.steps_per_second(state.step)
        line["patches_per_second"] = steps_per_second * self.config.batch_size
        return line | self.tools.watch.shares()

    def validate(self, stage: str) -> None:
        """Measure the averaged generator, and go back if it is far worse than before."""
        measured = self.hooks.validate(self.state.generator_ema)
        if not measured:
            return
        known = {name: value for name, value in measured.items() if math.isfinite(value)}
        self.hooks.log({"step": self.state.step, **known})
        if self.config.stability.enabled and PSNR in measured:
            for alarm in self.monitor.observe_validation(stage, measured[PSNR]):
                self._react(alarm)

    def checkpoint(self) -> None:
        """Have the state kept, if it is sound: a weight can overflow where no loss did."""
        sums = _sums_of_weights(self.state)
        if not self.config.stability.enabled:
            _require_finite(sums, self.state.step)
        if all(math.isfinite(value) for value in sums.values()):
            self.keep_memory()
            self.hooks.checkpoint(self.state)

    def keep_memory(self) -> None:
        """Put into the state what monitor and ladder remember."""
        self.state.monitor = {
            "monitor": self.monitor.state(),
            "ladder": self.ladder.state(),
            "augmentation": asdict(self.augmentation),
            "stage": self.stage,
        }

    def _react(self, alarm: Alarm) -> None:
        event = self.ladder.react(alarm, self.state)
        if event["event"] in ("rolled_back", "gave_up"):
            self.monitor.begin_anew()
        self.hooks.event({"step": self.state.step, **event})

    def _restore(self, saved: Mapping[str, Any]) -> None:
        if not saved:
            return
        self.stage = saved["stage"]
        self.monitor.restore(saved["monitor"])
        self.ladder.restore(saved["ladder"])
        self.augmentation = Augmentation(**saved["augmentation"])

    def _augment(self, images: Tensor, seeds: Sequence[Seed]) -> Tensor:
        """What the discriminator sees of these samples; alike for references and restorations."""
        if not self.augmentation.probability:
            return images
        own = [(AUGMENT, *seed) for seed in seeds]
        return augment(images, draw_transforms(self.augmentation.probability, own, images.device))


def keep_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """One process alone: its gradients are the mean."""


def _autocast(device: torch.device, precision: str) -> torch.autocast:
    half = precision == "bfloat16" or (precision == "auto" and device.type == "cuda")
    return torch.autocast(device.type, torch.bfloat16, enabled=half)


def _follow_any(player: Player, norm: float) -> bool:
    """Without a monitor every gradient is followed; a loss that is not finite ends the training."""
    return True


def _require_finite(values: Mapping[str, float], step: int) -> None:
    wrong = [f"{name}={value}" for name, value in values.items() if not math.isfinite(value)]
    if wrong:
        raise TrainingError(
            f"the training diverged at step {step}: {', '.join(wrong)}. Its last checkpoint is "
            "sound; lower the learning rate or the adversarial weight and run it again"
        )


def _sums_of_weights(state: TrainingState) -> dict[str, float]:
    """Finite only if every weight is: a gradient can overflow where the loss did not."""
    networks = ("generator", "generator_ema", "discriminator")
    return {
        f"{name}_weights": sum(
            float(tensor.abs().sum())
            for tensor in getattr(state, name).state_dict().values()
            if tensor.is_floating_point()
        )
        for name in networks
    }
