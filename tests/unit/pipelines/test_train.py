"""When a training is finished, by what stands at its output."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ganray.config import load_config, to_yaml
from ganray.errors import ConfigError
from ganray.pipelines import train as module
from ganray.pipelines.train import TrainResult, run_training
from ganray.pipelines.train_config import TrainConfig, TrainPlan, plan_training
from ganray.pipelines.train_output import TrainOutput
from ganray.storage import open_store

LAST = "checkpoints/step-00000004.pt"


def make_plan(folder: Path, steps: int = 4) -> TrainPlan:
    stages = {name: {"steps": 0} for name in ("warmup", "adversarial")}
    config = TrainConfig.model_validate(
        {
            "output": str(folder),
            "stages": {"fidelity": {"steps": steps}, **stages},
            "workers": {"max": 0},
        }
    )
    plan: Any = SimpleNamespace(config=config, total_steps=steps)
    return plan


def leave(folder: Path, steps: int, end: int) -> None:
    """What a training of so many steps leaves that came to its end at step `end`."""
    store = open_store(str(folder))
    store.write("config.yaml", to_yaml(make_plan(folder, steps).config).encode())
    store.write(LAST, b"state")
    output = TrainOutput(store, lambda line: None)
    output.add_event({"event": "started", "step": 0, "workers": 1})
    output.finish(end, b"weights")


def die(plan: Any, place: Any, notes: Any) -> None:
    raise KeyboardInterrupt


def work(begin: int, end: int) -> Callable[[Any, Any, Any], None]:
    """A worker that trains nothing and tells of its steps."""

    def run(plan: Any, place: Any, notes: Any) -> None:
        place.link.report({"event": "resumed", "step": begin})
        place.link.report({"event": "finished", "step": end})

    return run


def train(plan: TrainPlan, worker: Any, monkeypatch: pytest.MonkeyPatch) -> TrainResult:
    monkeypatch.setattr(module, "run_worker", worker)
    return run_training(plan, lambda line: None)


def test_a_finished_training_has_nothing_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(tmp_path, steps=4, end=4)
    result = train(make_plan(tmp_path), die, monkeypatch)
    assert result.already_finished and result.gave_up_at is None
    (tmp_path / LAST).unlink()
    assert train(make_plan(tmp_path), die, monkeypatch).already_finished
    with pytest.raises(ConfigError, match="no checkpoint to go on from"):
        train(make_plan(tmp_path, steps=6), die, monkeypatch)
    assert (tmp_path / "generator.safetensors").exists()


def test_an_extension_that_was_interrupted_is_not_finished_by_the_old_generator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(tmp_path, steps=4, end=4)
    with pytest.raises(KeyboardInterrupt):
        train(make_plan(tmp_path, steps=6), die, monkeypatch)
    assert not (tmp_path / "generator.safetensors").exists()
    # Its last checkpoint stands, and the generator was never stored.
    (tmp_path / LAST).rename(tmp_path / "checkpoints/step-00000006.pt")
    again = train(make_plan(tmp_path, steps=6), work(6, 6), monkeypatch)
    assert not again.already_finished and again.steps_done == 0


def test_a_generator_beside_events_that_tell_of_no_end_is_an_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(tmp_path, steps=4, end=4)
    with (tmp_path / "events.jsonl").open("a") as events:
        events.write('{"event": "resumed", "step": 4}\n')
    assert not train(make_plan(tmp_path), work(4, 4), monkeypatch).already_finished


@pytest.mark.parametrize("steps", [4, 6])
def test_a_training_that_gave_up_is_finished_and_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    leave(tmp_path, steps=4, end=3)
    result = train(make_plan(tmp_path, steps), die, monkeypatch)
    assert result.already_finished and result.gave_up_at == 3


def test_the_steps_that_were_done_are_told_and_not_those_that_were_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(str(tmp_path))
    store.write("config.yaml", to_yaml(make_plan(tmp_path, 9).config).encode())
    store.write(LAST, b"damaged, so that the worker falls back to the one before")
    result = train(make_plan(tmp_path, 9), work(2, 7), monkeypatch)
    assert (result.steps_done, result.already_finished) == (5, False)


def test_a_training_at_its_gate_is_no_longer_shown_as_one_that_makes_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    leave_meters = module.TrainMeters.__exit__

    def left(meters: Any, *error: object) -> None:
        order.append("meters left")
        leave_meters(meters, *error)

    monkeypatch.setattr(module.TrainMeters, "__exit__", left)
    monkeypatch.setattr(module, "pass_gate", lambda *_: order.append("gate"))
    train(make_plan(tmp_path), work(0, 4), monkeypatch)
    assert order == ["meters left", "gate"]


def test_a_gate_that_too_few_images_would_judge_is_refused_before_the_training(
    tmp_path: Path,
) -> None:
    words = f"registry={tmp_path}/registry", f"output={tmp_path}/out", "gate.name=photos"
    plan_training(load_config(TrainConfig, words))
    with pytest.raises(ConfigError, match=r"validation are 3, fewer than gate\.min_images=4"):
        plan_training(load_config(TrainConfig, [*words, "num_validation_images=3"]))
