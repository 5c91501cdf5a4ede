"""What may change between two runs of one training."""

import json
from typing import Any

import pytest

from ganray.config import build_config, to_yaml
from ganray.errors import ConfigError
from ganray.pipelines.train_config import TrainConfig
from ganray.pipelines.train_output import EVENTS_KEY, GENERATOR_KEY
from ganray.pipelines.train_resume import FREE, compare_configs, finished_step
from tests.unit.memory_store import MemoryStore


def config(**values: Any) -> TrainConfig:
    return build_config(
        TrainConfig, {"archive": "photos", "output": "out", "validation": "held-out"} | values
    )


def compare(before: TrainConfig, now: TrainConfig) -> dict | None:
    return compare_configs(to_yaml(before).encode(), now, 40)


def stages(fidelity: int, warmup: int, adversarial: int, **rest: Any) -> dict:
    return {
        "fidelity": {"steps": fidelity},
        "warmup": {"steps": warmup},
        "adversarial": {"steps": adversarial, **rest},
    }


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"workers": {"min": 2, "max": 4}},
        {"log_every": 3, "validate_every": 5, "checkpoint_every": 7},
        {"precision": "bfloat16", "compile": "never", "validation": "elsewhere", "resume": True},
    ],
)
def test_how_a_training_is_run_may_change(changes: dict) -> None:
    assert compare(config(), config(**changes)) is None


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"archive": "others"}, "archive: 'photos' → 'others'"),
        ({"batch_size": 4}, "batch_size: 8 → 4"),
        ({"patch_pixels": 32}, "patch_pixels: 64 → 32"),
        ({"seed": 1}, "seed: 0 → 1"),
        ({"degradation": "bicubic"}, "degradation"),
        ({"adversarial": {"gamma": 0.5}}, "adversarial.gamma"),
        ({"ema_decay": 0.5}, "ema_decay"),
        ({"stages": {"fidelity": {"steps": 7}}}, "stages.fidelity.steps: 100 → 7"),
        ({"stages": {"adversarial": {"learning_rate": 1}}}, "stages.adversarial.learning_rate"),
        ({"generator": {"options": {"num_features": 8}}}, "generator"),
    ],
)
def test_what_is_learnt_from_what_may_not(changes: dict, key: str) -> None:
    with pytest.raises(ConfigError) as refused:
        compare(config(), config(**changes))
    assert key in str(refused.value)
    assert "resume=false" in str(refused.value)


@pytest.mark.parametrize(
    ("before", "now", "total"),
    [
        (stages(10, 5, 20), stages(10, 5, 25), 40),
        (stages(10, 0, 0), stages(12, 0, 0), 12),
        (stages(10, 0, 0), stages(10, 5, 20, learning_rate=0.1), 35),
    ],
)
def test_more_steps_at_the_end_are_an_extension(before: dict, now: dict, total: int) -> None:
    event = compare(config(stages=before), config(stages=now))
    assert event is not None
    assert (event["event"], event["step"], event["to_steps"]) == ("extended", 40, total)


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (stages(10, 5, 20), stages(10, 5, 19)),
        (stages(10, 5, 20), stages(10, 6, 20)),
        (stages(10, 0, 0), stages(9, 5, 20)),
        (stages(10, 5, 20), stages(10, 5, 25, learning_rate=0.1)),
    ],
)
def test_any_other_change_of_the_stages_is_not(before: dict, now: dict) -> None:
    with pytest.raises(ConfigError, match="stages"):
        compare(config(stages=before), config(stages=now))


def test_settings_of_another_version_are_refused() -> None:
    with pytest.raises(ConfigError, match="this version"):
        compare_configs(b"generatr: 3\n", config(), 40)


def test_validation_that_is_taken_from_the_archive_may_not_change() -> None:
    taken = config(validation="auto")
    for changes in ({"num_validation_images": 7}, {"validation": "elsewhere"}):
        with pytest.raises(ConfigError, match="validation"):
            compare(taken, config(**({"validation": "auto"} | changes)))
    apart = config(validation="elsewhere")
    assert compare(apart, config(validation="", num_validation_images=7)) is None


def test_every_free_key_is_one() -> None:
    assert set(FREE) <= set(TrainConfig.model_fields)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (["started", "finished"], 40),
        (["started", "finished", "promoted"], 40),
        (["started", "finished", "refused", "refused"], 40),
        (["started", "finished", "refused", "resumed"], None),
        (["started"], None),
        (["promoted"], None),
    ],
)
def test_what_became_of_a_generator_does_not_undo_the_end_of_its_training(
    told: list[str], expected: int | None
) -> None:
    lines = [json.dumps({"event": event, "step": 40}) for event in told]
    store = MemoryStore({GENERATOR_KEY: b"weights", EVENTS_KEY: "\n".join(lines).encode()})
    assert finished_step(store, or_else=7) == expected
