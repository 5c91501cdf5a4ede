"""Where a step lies: its stage, how much of it is over, and what falls along a cosine meanwhile."""

import math

from ganray.training.config import StageConfig, StagesConfig


def stage_at(stages: StagesConfig, step: int) -> tuple[str, float]:
    """The stage that `step` (from 0) belongs to, and its learning rate on a cosine."""
    name, progress = place_of(stages, step)
    stage: StageConfig = getattr(stages, name)
    return name, cosine(stage.learning_rate, stage.final_learning_rate, progress)


def place_of(stages: StagesConfig, step: int) -> tuple[str, float]:
    """The stage that `step` (from 0) belongs to, and how much of it lies behind, 0 to 1."""
    begin = 0
    for name in ("fidelity", "warmup", "adversarial"):
        length = getattr(stages, name).steps
        if step < begin + length:
            return name, (step - begin) / max(1, length - 1)
        begin += length
    raise ValueError(f"step {step} is beyond the last of {begin}")


def cosine(first: float, last: float, progress: float) -> float:
    """From `first` to `last` along half a cosine."""
    return last + (first - last) * (1 + math.cos(math.pi * progress)) / 2
