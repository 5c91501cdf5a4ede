"""The gate at the end of a training: promotes the trained generator, or says why not.

A refused candidate is no failed training: the generator stands at the output all the same.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from glob import escape
from typing import Any

from ganray.config import digest
from ganray.pipelines.gate import GateConfig
from ganray.pipelines.promote import GATE_KEY, PromoteResult, run_promotion
from ganray.pipelines.promote_config import PromoteConfig
from ganray.pipelines.train_config import TrainPlan
from ganray.pipelines.train_output import EVENTS_KEY, GENERATOR_KEY, Report
from ganray.pipelines.train_resume import GATE_EVENTS, read_if_there
from ganray.pipelines.workers import WorkersConfig
from ganray.storage import Store, join_uri
from ganray.training.reactions import Event

GATE_FOLDER = "gate"
"""Below a training's output: what the promotion measured and decided."""
DECISION_KEY = f"{GATE_FOLDER}/{GATE_KEY}"


def pass_gate(plan: TrainPlan, store: Store, step: int, report: Report) -> None:
    """Promote the generator at the output unless that was decided before; an event tells of it.

    Raises GanrayError where nothing could be decided: the same command tries again.
    """
    if not awaits_gate(plan, store):
        return
    result = run_promotion(promotion(plan), lambda progress: None)
    event = _event(result, plan) | {"step": step}
    _append(store, event)
    report(event)


def awaits_gate(plan: TrainPlan, store: Store) -> bool:
    """Whether a promotion is asked for that is not decided: the newest event tells of another.

    A training that went on has newer events; other rules or images are another promotion.
    """
    if not plan.config.gate.name:
        return False
    lines = (read_if_there(store, EVENTS_KEY) or b"").decode().splitlines()
    last: Mapping[str, Any] = json.loads(lines[-1]) if lines else {}
    return last.get("event") not in GATE_EVENTS or last.get("asked") != _asked(plan)


def _asked(plan: TrainPlan) -> str:
    """What a promotion is asked for: all but by how many workers."""
    return digest(promotion(plan).model_copy(update={"workers": WorkersConfig()}))


def promotion(plan: TrainPlan) -> PromoteConfig:
    """The promote job of a finished training."""
    config = plan.config
    gate = config.gate
    validation = plan.data.validation
    named = {"archive": gate.archive}
    if gate.degraded:
        named = {"degraded": gate.degraded, "reference": gate.archive}
    held_out = {"archive": validation.archive, "include": tuple(map(escape, validation.keys))}
    shared = ("degradation", "geo", "film", "dicom", "seed", "workers", "registry")
    return PromoteConfig(
        candidate=join_uri(config.output, GENERATOR_KEY),
        name=gate.name,
        gate=GateConfig(**{name: getattr(gate, name) for name in GateConfig.model_fields}),
        weights=gate.weights,
        output=join_uri(config.output, GATE_FOLDER),
        **{name: getattr(config, name) for name in shared},
        **(named if gate.archive else held_out),
    )


def _event(result: PromoteResult, plan: TrainPlan) -> Event:
    """What became of the candidate, and by which rules it was refused."""
    place = {"name": plan.config.gate.name, "registry": plan.config.registry}
    if result.is_refused:
        told = {"event": "refused", "incumbent": result.incumbent, "reasons": result.reasons}
    else:
        told = {"event": "promoted", "version": result.version}
    return {**told, **place, "digest": result.digest, "asked": _asked(plan)}


def _append(store: Store, event: Event) -> None:
    """Add an event to those of a training that has ended."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    line = json.dumps({**event, "time": now}) + "\n"
    store.write(EVENTS_KEY, (read_if_there(store, EVENTS_KEY) or b"") + line.encode())
