"""The training loop: stages, learning rates, average, log, validation, checkpoint.

Plain torch without Ray: whoever calls it provides the batches and four hooks.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from ganray.errors import TrainingError
from ganray.training.config import LoopConfig, StageConfig, StagesConfig
from ganray.training.state import TrainingState
from ganray.training.steps import (
    AverageGradients,
    Batch,
    Losses,
    discriminator_step,
    fidelity_step,
    generator_step,
)

Metrics = dict[str, float | int | str]
Event = dict[str, Any]
"""What happened: `event` is its name, `step` when; details beside them."""


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
    state: TrainingState, batches: Iterator[Batch], config: LoopConfig, hooks: Hooks
) -> TrainingState:
    """Run from `state.step` to the end of the last stage; `batches` begin at that step.

    Raises TrainingError when a loss is no longer finite; the last checkpoint is untouched.
    """
    stages = config.stages
    clock = _Clock(state.step)
    while state.step < stages.total_steps:
        stage, learning_rate = stage_at(stages, state.step)
        for optimizer in (state.generator_optimizer, state.discriminator_optimizer):
            optimizer.param_groups[0]["lr"] = learning_rate
        batch = clock.wait_for(batches)
        losses = _update(state, batch, stage, config, hooks)
        state.step += 1
        last = state.step == stages.total_steps
        if last or state.step % config.log_every == 0:
            values = hooks.average_values(losses)
            _require_finite(values, state.step)
            rates = clock.rates(state.step, config.batch_size)
            line: Metrics = {"step": state.step, "stage": stage, "learning_rate": learning_rate}
            hooks.log({**line, **values, **rates})
        if last or state.step % config.validate_every == 0:
            measured = hooks.validate(state.generator_ema)
            if measured:
                hooks.log({"step": state.step, **measured})
        if last or state.step % config.checkpoint_every == 0:
            _require_finite(hooks.average_values(losses), state.step)
            _require_finite(_sums_of_weights(state), state.step)
            hooks.checkpoint(state)
        if hooks.stopping():
            break
    return state


def stage_at(stages: StagesConfig, step: int) -> tuple[str, float]:
    """The stage that `step` (from 0) belongs to, and its learning rate on a cosine."""
    begin = 0
    for name in ("fidelity", "warmup", "adversarial"):
        stage: StageConfig = getattr(stages, name)
        if step < begin + stage.steps:
            progress = (step - begin) / max(1, stage.steps - 1)
            span = stage.learning_rate - stage.final_learning_rate
            return name, stage.final_learning_rate + span * (1 + math.cos(math.pi * progress)) / 2
        begin += stage.steps
    raise ValueError(f"step {step} is beyond the last of {begin}")


def _update(
    state: TrainingState, batch: Batch, stage: str, config: LoopConfig, hooks: Hooks
) -> Losses:
    autocast = _autocast(batch.reference.device, config.precision)
    average = hooks.average_gradients
    if stage == "fidelity":
        losses = fidelity_step(state, batch, average, autocast)
    else:
        play = partial(discriminator_step, game=config.adversarial)
        losses = play(state, batch, average, autocast)
    if stage == "adversarial":
        losses |= generator_step(state, batch, average, autocast, game=config.adversarial)
    if stage != "warmup":
        state.update_ema(config.ema_decay)
    return losses


def _autocast(device: torch.device, precision: str) -> torch.autocast:
    half = precision == "bfloat16" or (precision == "auto" and device.type == "cuda")
    return torch.autocast(device.type, torch.bfloat16, enabled=half)


def _require_finite(values: dict[str, float], step: int) -> None:
    wrong = [f"{name}={value}" for name, value in values.items() if not math.isfinite(value)]
    if wrong:
        raise TrainingError(
            f"the training diverged at step {step}: {', '.join(wrong)}. Its last checkpoint is "
            "sound; lower the learning rate or the adversarial weight and run it again"
        )


def _sums_of_weights(state: TrainingState) -> dict[str, float]:
    """Finite only if every weight is: a gradient can overflow where the loss did not."""
    networks = {"generator": state.generator_ema, "discriminator": state.discriminator}
    return {
        f"{name}_weights": sum(float(p.detach().abs().sum()) for p in network.parameters())
        for name, network in networks.items()
    }


def keep_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """One process alone: its gradients are the mean."""


class _Clock:
    """Patches per second, and the share of the time that went into waiting for data."""

    def __init__(self, step: int) -> None:
        self.start = time.perf_counter()
        self.waited = 0.0
        self.step = step

    def wait_for(self, batches: Iterator[Batch]) -> Batch:
        begin = time.perf_counter()
        batch = next(batches)
        self.waited += time.perf_counter() - begin
        return batch

    def rates(self, step: int, batch_size: int) -> dict[str, float]:
        """Rates since the last call; `batch_size` is the global one."""
        now = time.perf_counter()
        seconds = now - self.start
        rates = {
            "patches_per_second": (step - self.step) * batch_size / seconds,
            "waiting": self.waited / seconds,
        }
        self.start, self.waited, self.step = now, 0.0, step
        return rates
