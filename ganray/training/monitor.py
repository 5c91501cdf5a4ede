"""The monitor of a training: what it sees in every step's numbers, and when it raises an alarm.

Every signal is an average over all workers, so that they agree. What follows an alarm is decided
in `reactions.py`; nothing is changed here but the monitor's own memory.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from ganray.config import Section

FAST, SLOW = 0.2, 0.02
"""Weights of a new value in the short and in the long running mean of the pixel error."""
LEVEL_RATE = 0.05
SPIKE_DEVIATIONS = 6.0
CALM_STEPS = 20
"""Steps after which running statistics mean something."""

HOPELESS = 10
"""Times the patience after which data that give no finite gradient end the training."""

Player = Literal["generator", "discriminator"]
Kind = Literal[
    "non_finite",
    "spike",
    "no_finite_step",
    "no_finite_data",
    "gradients_grew",
    "error_grew",
    "texture_lost",
    "texture_grew",
    "validation_fell",
    "discriminator_wins",
]


class StabilityConfig(Section):
    """What the monitor takes for trouble, and how often it may start again."""

    enabled: bool = True
    """Watch the training and react; otherwise a value that is not finite ends it."""
    spike: Annotated[float, Field(gt=1)] = 50.0
    """A gradient of so many times its usual norm is not followed."""
    patience: Annotated[int, Field(ge=1)] = 10
    """Steps in a row, or updates for gradients, that a signal lasts before it is believed."""
    max_error_growth: Annotated[float, Field(gt=1)] = 1.6
    """Pixel error, as a multiple of the best so far, from which training is rolled back."""
    max_psnr_drop: Annotated[float, Field(gt=0)] = 4.0
    """Decibels of validation below the fidelity stage from which training is rolled back."""
    max_texture_change: Annotated[float, Field(gt=1)] = 4.0
    """Factor by which fine detail may grow or shrink beside that of the references."""
    strong_discriminator: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Share of its loss at chance from which the discriminator has won."""
    snapshot_every: Annotated[int, Field(ge=1)] = 50
    """Steps between two states that are kept in memory to go back to."""
    max_rollbacks: Annotated[int, Field(ge=0)] = 5
    """Rollbacks after which the training stops with the last good generator."""


@dataclass(frozen=True)
class Alarm:
    """One thing that the monitor saw, in numbers that an event can hold."""

    kind: Kind
    player: Player
    value: float
    expected: float


@dataclass
class Level:
    """Running mean and variance of the logarithm of a positive number."""

    mean: float = 0.0
    variance: float = 0.0
    count: int = 0

    def add(self, value: float) -> None:
        self.count += 1
        weight = max(1 / self.count, LEVEL_RATE)
        offset = _log(value) - self.mean
        self.mean += weight * offset
        self.variance = (1 - weight) * (self.variance + weight * offset**2)

    def is_spike(self, value: float, ratio: float) -> bool:
        """Whether `value` is both many times the usual and many deviations beyond it."""
        offset = _log(value) - self.mean
        far = offset > SPIKE_DEVIATIONS * math.sqrt(self.variance)
        return self.count >= CALM_STEPS and far and offset > math.log(ratio)


@dataclass
class Memory:
    """All that the monitor remembers: plain numbers, part of every checkpoint."""

    levels: dict[str, Level] = field(default_factory=dict)
    streaks: dict[str, int] = field(default_factory=dict)
    num_errors: int = 0
    fast_error: float = 0.0
    slow_error: float = 0.0
    best_error: float = math.inf
    texture: float = 0.0
    first_texture: float = 0.0
    num_textures: int = 0
    strength: float = 1.0
    best_psnr: float = -math.inf


class Monitor:
    """Watches gradients before each update, losses after it, and validations."""

    def __init__(self, config: StabilityConfig) -> None:
        self.config = config
        self.memory = Memory()
        self._alarms: list[Alarm] = []

    def accepts(self, player: Player, norm: float) -> bool:
        """Whether an update along a gradient of this norm may be made."""
        level = self.memory.levels.setdefault(player, Level())
        if not math.isfinite(norm):
            usual = math.exp(level.mean)
            self._raise("non_finite", player, norm, usual)
            if level.count:
                self._persists(f"{player}_non_finite", "no_finite_step", player, (norm, usual))
            else:
                # These weights never had a finite gradient: other weights would not either.
                self._persists(f"{player}_never", "no_finite_data", player, (norm, usual), HOPELESS)
            return False
        self.memory.streaks[f"{player}_non_finite"] = self.memory.streaks[f"{player}_never"] = 0
        if level.is_spike(norm, self.config.spike):
            usual = math.exp(level.mean)
            self._raise("spike", player, norm, usual)
            self._persists(f"{player}_spike", "gradients_grew", player, (norm, usual))
            return False
        self.memory.streaks[f"{player}_spike"] = 0
        level.add(norm)
        return True

    def observe(self, stage: str, values: Mapping[str, float]) -> list[Alarm]:
        """What the losses of a step, and its gradients, give alarm about."""
        if math.isfinite(error := values.get("relative_error", math.nan)):
            self._watch_error(error)
        if stage == "adversarial":
            self._watch_texture(values.get("texture", math.nan))
        if stage != "fidelity":
            self._watch_strength(values.get("strength", math.nan))
        return self._take_alarms()

    def observe_validation(self, stage: str, psnr: float) -> list[Alarm]:
        """Whether a validation fell too far below the best of the stages before."""
        memory = self.memory
        lowest = memory.best_psnr - self.config.max_psnr_drop
        if psnr < lowest or not math.isfinite(psnr):
            self._raise("validation_fell", "generator", psnr, lowest)
        elif stage != "adversarial" or memory.best_psnr == -math.inf:
            memory.best_psnr = max(memory.best_psnr, psnr)
        return self._take_alarms()

    @property
    def is_calm(self) -> bool:
        """Whether nothing that might become an alarm is under way."""
        return not any(self.memory.streaks.values())

    def begin_anew(self) -> None:
        """Forget what belongs to the weights that were given up, and to the stage before."""
        memory = self.memory
        memory.levels, memory.streaks = {}, {}
        memory.num_errors, memory.num_textures, memory.strength = 0, 0, 1.0

    def _watch_error(self, error: float) -> None:
        memory = self.memory
        memory.num_errors += 1
        for name, weight in (("fast_error", FAST), ("slow_error", SLOW)):
            weight = max(weight, 1 / memory.num_errors)
            setattr(memory, name, (1 - weight) * getattr(memory, name) + weight * error)
        if memory.num_errors >= CALM_STEPS:
            memory.best_error = min(memory.best_error, memory.slow_error)
        limit = self.config.max_error_growth * memory.best_error
        grew = memory.num_errors > 1 / FAST and memory.fast_error > limit
        self._watch("error_grew", grew, "generator", (memory.fast_error, limit))

    def _watch_texture(self, texture: float) -> None:
        memory = self.memory
        if not math.isfinite(texture):
            return
        memory.num_textures += 1
        weight = max(FAST, 1 / memory.num_textures)
        memory.texture = (1 - weight) * memory.texture + weight * texture
        if memory.first_texture == 0 and memory.num_textures == CALM_STEPS:
            memory.first_texture = memory.texture
        if memory.first_texture == 0 or memory.num_textures < CALM_STEPS:
            return
        change = self.config.max_texture_change
        lowest = min(memory.first_texture, 1.0) / change
        highest = max(memory.first_texture, 1.0) * change
        low, high = memory.texture < lowest, memory.texture > highest
        self._watch("texture_lost", low, "generator", (memory.texture, lowest))
        self._watch("texture_grew", high, "generator", (memory.texture, highest))

    def _watch_strength(self, strength: float) -> None:
        memory = self.memory
        if not math.isfinite(strength):
            return
        memory.strength = (1 - FAST) * memory.strength + FAST * strength
        won = memory.strength < self.config.strong_discriminator
        limit = self.config.strong_discriminator
        self._watch("discriminator_wins", won, "discriminator", (memory.strength, limit))

    def _watch(
        self, kind: Kind, present: bool, player: Player, numbers: tuple[float, float]
    ) -> None:
        if present:
            self._persists(kind, kind, player, numbers)
        else:
            self.memory.streaks[kind] = 0

    def _persists(
        self,
        streak: str,
        kind: Kind,
        player: Player,
        numbers: tuple[float, float],
        patience: int = 1,
    ) -> None:
        """Count one more step of a signal, and give alarm when it has lasted so many times."""
        streaks = self.memory.streaks
        streaks[streak] = streaks.get(streak, 0) + 1
        if streaks[streak] >= patience * self.config.patience:
            streaks[streak] = 0
            self._raise(kind, player, *numbers)

    def _raise(self, kind: Kind, player: Player, value: float, expected: float) -> None:
        self._alarms.append(Alarm(kind, player, value, expected))
        if kind in ("gradients_grew", "discriminator_wins"):
            # The reaction changes the penalty, and with it what is usual.
            self.memory.levels.pop(player, None)

    def _take_alarms(self) -> list[Alarm]:
        alarms, self._alarms = self._alarms, []
        return alarms

    def state(self) -> dict[str, Any]:
        return asdict(self.memory)

    def restore(self, saved: Mapping[str, Any]) -> None:
        levels = {name: Level(**level) for name, level in saved["levels"].items()}
        self.memory = Memory(**{**saved, "levels": levels})


def _log(value: float) -> float:
    return math.log(max(value, 1e-30))
