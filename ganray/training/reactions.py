"""The ladder of reactions: what a training does about an alarm, mild steps before harsh ones.

skip the step → slow the discriminator down → stronger penalties → back to the last good state,
with a new discriminator warm-up and half the adversarial weight → the recipe that is known to be
stable (relativistic, R1, R2) → stop, and keep the last good generator. The ladder changes no data:
the step number, and so the samples, go on as if nothing had happened.
"""

import copy
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from ganray.training.config import GAMMA_PER_PATCH, LoopConfig
from ganray.training.monitor import Alarm
from ganray.training.objective import adversarial_weight
from ganray.training.state import TrainingState, learning_parts

Event = dict[str, Any]
"""What happened: `event` is its name, `step` when; details beside them."""

STABLE_LOSS = "relativistic"
ROLLBACKS_UNTIL_RECIPE = 2
RATE_AFTER_ROLLBACK = 0.25
REWARM_STEPS = 20


@dataclass(frozen=True)
class Adjustments:
    """What the ladder has changed so far; plain numbers, part of every checkpoint."""

    rate: float = 1.0
    discriminator_rate: float = 1.0
    gamma: float = 1.0
    least_gamma: float = 0.0
    weight: float = 1.0
    stable_recipe: bool = False
    rewarm_left: int = 0
    num_rollbacks: int = 0
    stopped: bool = False


@dataclass(frozen=True)
class Play:
    """The game at one step: as configured, and as the ladder has adjusted it."""

    loss: str
    weight: float
    gamma: float
    r1: bool
    r2: bool
    gradient_penalty: float
    unrolled_steps: int
    turn: int = 0
    """Of several discriminator steps on one batch."""


class Ladder:
    """Holds the adjustments and the states to go back to; reacts to alarms."""

    def __init__(self, config: LoopConfig) -> None:
        self.config = config
        self.adjustments = Adjustments()
        self._good: dict[str, Any] = {}
        self._candidate: dict[str, Any] = {}

    def play(self, gamma: float) -> Play:
        """The game with this γ by the schedule, adjusted."""
        game, adjusted = self.config.adversarial, self.adjustments
        weight = game.weight
        if weight is None:
            weight = adversarial_weight(self.config.objective.texture)
        gamma = max(gamma * adjusted.gamma, adjusted.least_gamma)
        play = Play(
            loss=game.loss,
            weight=weight * adjusted.weight,
            gamma=gamma,
            r1=game.r1,
            r2=game.r2,
            gradient_penalty=game.gradient_penalty,
            unrolled_steps=game.unrolled_steps,
        )
        if adjusted.stable_recipe:
            play = replace(play, loss=STABLE_LOSS, r1=True, r2=True, gradient_penalty=0.0)
        return play

    def remember(self, state: TrainingState, *, is_first: bool = False) -> None:
        """Keep a state to go back to; it counts as good when the next one is kept."""
        snapshot = {
            name: copy.deepcopy(part.state_dict()) for name, part in learning_parts(state).items()
        }
        self._good = snapshot if is_first else self._candidate
        self._candidate = snapshot

    def react(self, alarm: Alarm, state: TrainingState) -> Event:
        """Do what the alarm calls for, and say what was done."""
        match alarm.kind:
            case "non_finite" | "spike":
                return self._event("step_skipped", alarm)
            case "discriminator_wins":
                return self._weaken_discriminator(alarm)
            case "no_finite_data":
                self._load(state)
                self._adjust(stopped=True)
                return self._event("gave_up", alarm)
            case "gradients_grew" if alarm.player == "discriminator":
                return self._raise_penalty(alarm)
            case _:
                return self._go_back(alarm, state)

    def rest(self) -> bool:
        """Whether the generator rests in this step, since the discriminator warms up anew."""
        left = self.adjustments.rewarm_left
        self._adjust(rewarm_left=max(0, left - 1))
        return left > 0

    def _weaken_discriminator(self, alarm: Alarm) -> Event:
        self._adjust(discriminator_rate=self.adjustments.discriminator_rate / 2)
        event = self._raise_penalty(alarm)
        return event | {"discriminator_rate": self.adjustments.discriminator_rate}

    def _raise_penalty(self, alarm: Alarm) -> Event:
        """γ×2, and at least what the recipe has: twice nothing is nothing.

        Where γ is not used, the discriminator learns at half its rate instead.
        """
        play = self.play(0.0)
        if not (play.r1 or play.r2):
            rate = self.adjustments.discriminator_rate / 2
            self._adjust(discriminator_rate=rate)
            return self._event("discriminator_weakened", alarm, discriminator_rate=rate)
        recipe = GAMMA_PER_PATCH / self.config.batch_size
        gamma = 2 * self.adjustments.gamma
        least = max(recipe, 2 * self.adjustments.least_gamma)
        self._adjust(gamma=gamma, least_gamma=least)
        return self._event("discriminator_weakened", alarm, gamma=gamma, least_gamma=least)

    def _go_back(self, alarm: Alarm, state: TrainingState) -> Event:
        adjusted = self.adjustments
        self._load(state)
        number = adjusted.num_rollbacks + 1
        if number > self.config.stability.max_rollbacks:
            self._adjust(stopped=True)
            return self._event("gave_up", alarm, rollbacks=adjusted.num_rollbacks)
        is_recipe = number > ROLLBACKS_UNTIL_RECIPE
        # A stretch of bad data breaks one state; rates are to blame only if the next breaks too.
        is_accident = alarm.kind == "no_finite_step" and number == 1
        self._adjust(
            num_rollbacks=number,
            rate=adjusted.rate * (1.0 if is_accident else RATE_AFTER_ROLLBACK),
            weight=adjusted.weight / (1.0 if is_accident else 2.0),
            rewarm_left=REWARM_STEPS,
            stable_recipe=is_recipe,
        )
        changed = {"rate": self.adjustments.rate, "weight": self.adjustments.weight}
        recipe = {"loss": STABLE_LOSS, "r1": True, "r2": True} if is_recipe else {}
        return self._event("rolled_back", alarm, **changed, **recipe)

    def _load(self, state: TrainingState) -> None:
        """The last good networks; the generator begins from its average."""
        for name, part in learning_parts(state).items():
            # An optimizer would go on in the very tensors that it is given.
            part.load_state_dict(copy.deepcopy(self._good[name]))
        state.generator.load_state_dict(state.generator_ema.state_dict())
        self._candidate = self._good

    def _adjust(self, **changes: Any) -> None:
        self.adjustments = replace(self.adjustments, **changes)

    def _event(self, event: str, alarm: Alarm, **details: Any) -> Event:
        found = {"reason": alarm.kind, "player": alarm.player}
        numbers = {"value": _as_json(alarm.value), "expected": _as_json(alarm.expected)}
        return {"event": event, **found, **numbers, **details}

    def state(self) -> dict[str, Any]:
        return asdict(self.adjustments)

    def restore(self, saved: Mapping[str, Any]) -> None:
        self.adjustments = Adjustments(**saved)


def gave_up(memory: Mapping[str, Any]) -> bool:
    """Whether the ladder of a training state's `monitor` had come to its end."""
    return bool(memory) and bool(memory["ladder"]["stopped"])


def _as_json(value: float) -> float | str:
    """JSON has no word for what is not finite."""
    return value if math.isfinite(value) else str(value)
