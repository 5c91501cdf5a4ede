"""Whether a training may go on: what it was told before against what it is told now.

And whether there is anything left of it to do.
"""

import json
from collections.abc import Mapping
from typing import Any

import yaml

from ganray.config import build_config
from ganray.errors import ConfigError, NotFoundError
from ganray.pipelines.data_config import AUTO
from ganray.pipelines.train_config import TrainConfig
from ganray.pipelines.train_output import EVENTS_KEY, GENERATOR_KEY
from ganray.storage import Store
from ganray.training.reactions import Event

FREE = (
    *("workers", "output", "resume", "validation", "validation_degraded"),
    *("num_validation_images", "readers", "max_failed"),
    *("log_every", "validate_every", "checkpoint_every", "precision"),
    *("stability", "compile", "micro_batches", "registry", "gate"),
)
"""Keys that do not decide what is learnt from which samples."""
GATE_EVENTS = ("promoted", "refused")
"""What is told of a training that has come to its end."""
SPLITTING = "validation", "num_validation_images"
"""They do where validation=auto takes its images from the archive."""


def finished_step(store: Store, *, or_else: int) -> int | None:
    """The step at which the training at an output came to its end; None if it did not.

    Its generator stands and its last event says so. `or_else` is the step where no event is left.
    """
    try:
        store.stat(GENERATOR_KEY)
    except NotFoundError:
        return None
    events = (read_if_there(store, EVENTS_KEY) or b"").decode().splitlines()
    if not events:
        return or_else
    told: list[Event] = [json.loads(line) for line in events]
    last = next((event for event in reversed(told) if event["event"] not in GATE_EVENTS), {})
    return int(last["step"]) if last.get("event") == "finished" else None


def read_if_there(store: Store, key: str) -> bytes | None:
    """An object's bytes; None if there is none of that key."""
    try:
        return store.read(key)
    except NotFoundError:
        return None


def compare_configs(stored: bytes, config: TrainConfig, step: int) -> Event | None:
    """Raise ConfigError where `config` would not go on with the training that `stored` began.

    More steps at the end of the schedule are an extension: the event that tells of it, or None.
    """
    before = _read(stored)
    old, new = before.model_dump(mode="json"), config.model_dump(mode="json")
    extended = _is_extension(old["stages"], new["stages"])
    if extended:
        del old["stages"], new["stages"]
    splits = AUTO in (before.validation, config.validation)
    for key in FREE:
        if not (splits and key in SPLITTING):
            del old[key], new[key]
    flat_old, flat_new = _flat(old), _flat(new)
    differing = sorted(
        key for key in flat_old.keys() | flat_new.keys() if flat_old.get(key) != flat_new.get(key)
    )
    if differing:
        told = "; ".join(f"{k}: {flat_old.get(k)!r} → {flat_new.get(k)!r}" for k in differing[:8])
        raise ConfigError(
            f"{config.output} holds a training of {step} steps with other settings: {told}"
            f"{' …' if len(differing) > 8 else ''}. Take the earlier ones, choose another output, "
            "or start anew with resume=false; only more steps of the last stage, and "
            f"{', '.join(FREE)} may change"
        )
    if not extended:
        return None
    numbers = before.stages.total_steps, config.stages.total_steps
    return {"event": "extended", "step": step, "from_steps": numbers[0], "to_steps": numbers[1]}


def _read(stored: bytes) -> TrainConfig:
    try:
        return build_config(TrainConfig, yaml.safe_load(stored.decode()))
    except (ConfigError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(
            f"the training at the output was begun with settings that this version does not "
            f"read: {error}. Choose another output, or start anew with resume=false"
        ) from error


def _is_extension(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether steps were added to the last stage that has any, or to stages after it."""
    names = list(old)
    last = max((i for i, name in enumerate(names) if old[name]["steps"]), default=-1)
    if last < 0 or any(old[name] != new[name] for name in names[:last]):
        return False
    before, after = old[names[last]], new[names[last]]
    grows = after["steps"] - before["steps"]
    added = grows + sum(new[name]["steps"] for name in names[last + 1 :])
    return grows >= 0 and added > 0 and {**after, "steps": 0} == {**before, "steps": 0}


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings and lists as dotted keys."""
    if isinstance(values, dict):
        items = [(str(key), value) for key, value in values.items()]
    elif isinstance(values, list) and any(isinstance(item, dict) for item in values):
        items = [(str(index), value) for index, value in enumerate(values)]
    else:
        return {prefix: values}
    found: dict[str, Any] = {}
    for key, value in items:
        found |= _flat(value, f"{prefix}.{key}" if prefix else key)
    return found
