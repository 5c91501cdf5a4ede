"""The events of a training in words: what happened, why, and what was done about it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ganray.report.amounts import counted, number
from ganray.report.charts import Mark
from ganray.training.monitor import Kind
from ganray.training.reactions import Event

MOST_TOLD = 100
MOST_LABELLED = 60

REASONS: dict[Kind, str] = {
    "non_finite": "the {player}'s gradient was not finite",
    "spike": "the {player}'s gradient was {value}, its usual norm {expected}",
    "no_finite_step": "the {player} had no finite gradient many times in a row",
    "no_finite_data": "the {player} never had a finite gradient on these data",
    "gradients_grew": "the {player}'s gradients stayed at {value}, their usual norm is {expected}",
    "error_grew": "the error beside plain interpolation grew to {value}, beyond {expected}",
    "texture_lost": "fine detail fell to {value} of the references', below {expected}",
    "texture_grew": "fine detail grew to {value} times the references', beyond {expected}",
    "validation_fell": "validation fell to {value} dB, below {expected} dB",
    "discriminator_wins": "the discriminator's loss fell to {value} of that at chance, below "
    "{expected}",
}
TITLES = {
    "step_skipped": "Step skipped",
    "discriminator_weakened": "Discriminator weakened",
    "rolled_back": "Rolled back",
    "gave_up": "Given up",
    "resumed": "Went on",
    "extended": "Extended",
    "worker_lost": "Worker lost",
    "checkpoint_failed": "Checkpoint not stored",
    "fallback": "Checkpoint damaged",
    "skipped": "Image skipped",
    "stopped": "Stopped",
}
"""The events that are told; the others belong to every training."""
UNMARKED = ("skipped",)


@dataclass(frozen=True)
class Happening:
    """One event, or several alike in a row: `number` is its line in the table and its mark."""

    number: int
    kind: str
    first: int
    last: int
    reason: str
    reaction: str
    count: int = 1

    @property
    def title(self) -> str:
        return TITLES[self.kind] + (f", {self.count:,} times" if self.count > 1 else "")

    @property
    def steps(self) -> str:
        return f"{self.first:,}" + (f" to {self.last:,}" if self.last > self.first else "")


def happenings(events: Sequence[Event]) -> tuple[Happening, ...]:
    """What is worth telling, in order; events of one kind and cause in a row are one."""
    told: list[Happening] = []
    causes: list[tuple[Any, ...]] = []
    for event in events:
        if event["event"] not in TITLES:
            continue
        step, cause = int(event["step"]), _cause(event)
        if causes and causes[-1] == cause:
            told[-1] = replace(told[-1], last=step, count=told[-1].count + 1)
            continue
        reason, reaction = _reason(event), _reaction(event)
        causes.append(cause)
        told.append(Happening(len(told) + 1, event["event"], step, step, reason, reaction))
    return tuple(told)


def marks_of(told: Sequence[Happening]) -> tuple[Mark, ...]:
    """Marks with the numbers of the table's lines."""
    marked = [h for h in told if h.kind not in UNMARKED][:MOST_LABELLED]
    return tuple(Mark(h.first, f"{h.number}: {h.title}, {h.reason}", str(h.number)) for h in marked)


def _cause(event: Event) -> tuple[Any, ...]:
    """What makes events alike; skips are, whatever came between."""
    return event["event"], event.get("reason") if "player" in event else None, event.get("player")


def _reason(event: Event) -> str:
    match event["event"]:
        case "skipped":
            return f"{event['key']}: {event['reason']}"
        case "worker_lost" | "checkpoint_failed":
            return str(event["cause"])
        case "fallback":
            return f"not whole: {', '.join(event['damaged'])}"
        case "stopped":
            return "it was told to stop"
        case "extended":
            return f"{event['to_steps']:,} steps were asked for, before {event['from_steps']:,}"
        case "resumed":
            return "the training had been interrupted"
    numbers = {key: _number(event[key]) for key in ("value", "expected")}
    kind: Kind = event["reason"]
    return REASONS[kind].format(player=event["player"], **numbers)


def _reaction(event: Event) -> str:
    match event["event"]:
        case "step_skipped":
            return "the update was not made"
        case "discriminator_weakened" | "rolled_back":
            return "; ".join(_adjustments(event))
        case "gave_up":
            return "the training ended with the last good generator"
        case "resumed":
            return f"from {event['checkpoint']}, with {counted(event['workers'], 'worker')}"
        case "fallback":
            return f"went on from {event['checkpoint']}"
        case "worker_lost":
            return "the workers were started anew"
        case "checkpoint_failed":
            return "tried again"
        case "stopped":
            stored = event.get("checkpoint_stored")
            return "a last checkpoint was stored" if stored else "the last checkpoint stays"
        case "skipped":
            return "it was left out"
    return ""


def _adjustments(event: Event) -> Iterator[str]:
    """What the ladder changed; all factors are of what is configured."""
    if event["event"] == "rolled_back":
        yield "back to the last good state, with a new warm-up"
    for key, name in (
        ("rate", "learning rate"),
        ("weight", "adversarial weight"),
        ("gamma", "gradient penalty"),
        ("discriminator_rate", "discriminator's learning rate"),
    ):
        if key in event:
            yield f"{name} ×{number(event[key])}"
    if "loss" in event:
        yield f"from now on the stable recipe: {event['loss']} loss, R1 and R2"


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else number(value)
