import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ganray.errors import TrainingError
from ganray.training.config import (
    AdversarialStageConfig,
    LoopConfig,
    StageConfig,
    StagesConfig,
    WarmupConfig,
)
from ganray.training.loop import Hooks, Metrics, keep_gradients, train
from ganray.training.monitor import StabilityConfig
from ganray.training.reactions import Event, gave_up
from ganray.training.schedule import stage_at
from ganray.training.state import TrainingState, encode_state, restore_state
from ganray.training.steps import Batch
from tests.unit.training.players import make_batch, make_objective, make_state


def make_config(fidelity: int = 2, warmup: int = 2, adversarial: int = 2, **changes) -> LoopConfig:
    stages = StagesConfig(
        fidelity=StageConfig(steps=fidelity),
        warmup=WarmupConfig(steps=warmup),
        adversarial=AdversarialStageConfig(steps=adversarial),
    )
    return LoopConfig(stages=stages, batch_size=2, ema_decay=0.5, **changes)


def batches_from(step: int) -> Iterator[Batch]:
    while True:
        yield make_batch(range(2 * step, 2 * step + 2))
        step += 1


def run(state: TrainingState, batches: Iterator[Batch], config: LoopConfig, hooks: Hooks):  # type: ignore[no-untyped-def]
    return train(state, batches, config, hooks, make_objective(config.objective))


UNWATCHED = StabilityConfig(enabled=False)


@dataclass
class Recorder:
    """Keeps what a training asks of its surroundings."""

    logged: list[Metrics] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    saved: dict[int, bytes] = field(default_factory=dict)
    validated: list[nn.Module] = field(default_factory=list)

    @property
    def hooks(self) -> Hooks:
        return Hooks(
            average_gradients=keep_gradients,
            average_values=lambda losses: {name: float(v) for name, v in losses.items()},
            validate=self.validate,
            log=self.logged.append,
            event=self.events.append,
            checkpoint=self.save,
            stopping=lambda: False,
        )

    def validate(self, generator: nn.Module) -> dict[str, float]:
        self.validated.append(generator)
        return {"validation_psnr_y": 30.0}

    def save(self, state: TrainingState) -> None:
        self.saved[state.step] = encode_state(state)


def tensors(state: TrainingState) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": tensor.clone()
        for name in ("generator", "discriminator", "generator_ema")
        for key, tensor in getattr(state, name).state_dict().items()
    }


def changed(before: dict[str, Tensor], state: TrainingState) -> set[str]:
    after = tensors(state)
    return {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}


lengths = st.integers(0, 6)


@settings(max_examples=30, deadline=None)
@given(lengths, lengths, lengths)
def test_every_step_belongs_to_one_stage_in_order(
    fidelity: int, warmup: int, adversarial: int
) -> None:
    stages = make_config(fidelity, warmup, adversarial).stages
    names = [stage_at(stages, step)[0] for step in range(stages.total_steps)]
    assert names == (["fidelity"] * fidelity + ["warmup"] * warmup + ["adversarial"] * adversarial)
    with pytest.raises(ValueError, match="beyond the last"):
        stage_at(stages, stages.total_steps)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 50), st.floats(1e-5, 1e-2), st.floats(1e-5, 1e-2))
def test_a_learning_rate_goes_along_a_cosine_from_its_first_to_its_last_value(
    steps: int, first: float, last: float
) -> None:
    stage = StageConfig(steps=steps, learning_rate=first, final_learning_rate=last)
    stages = replace_fidelity(stage)
    rates = [stage_at(stages, step)[1] for step in range(steps)]
    assert rates[0] == pytest.approx(first) and rates[-1] == pytest.approx(last)
    middle = (first + last) / 2
    for step, rate in enumerate(rates):
        expected = middle + (first - last) / 2 * math.cos(math.pi * step / (steps - 1))
        assert rate == pytest.approx(expected)


def replace_fidelity(stage: StageConfig) -> StagesConfig:
    return make_config().stages.model_copy(update={"fidelity": stage})


def test_a_stage_of_one_step_has_its_first_learning_rate() -> None:
    stages = make_config(1, 1, 1).stages
    rates = [stage_at(stages, step) for step in range(3)]
    assert rates == [("fidelity", 2e-4), ("warmup", 2e-4), ("adversarial", 1e-4)]


@pytest.mark.parametrize(
    ("stages", "moved"),
    [
        ((2, 0, 0), {"generator", "generator_ema"}),
        ((0, 2, 0), {"discriminator"}),
        ((0, 0, 2), {"generator", "discriminator", "generator_ema"}),
    ],
)
def test_each_stage_moves_its_own_networks(stages: tuple[int, int, int], moved: set[str]) -> None:
    state = make_state()
    before = tensors(state)
    run(state, batches_from(0), make_config(*stages), Recorder().hooks)
    assert state.step == 2
    assert changed(before, state) == moved


def test_both_optimizers_have_the_learning_rate_of_the_step() -> None:
    state, recorder, config = make_state(), Recorder(), make_config(log_every=1)
    seen = []

    def average(losses: dict[str, Tensor]) -> dict[str, float]:
        optimizers = (state.generator_optimizer, state.discriminator_optimizer)
        if "norm" not in losses:
            seen.append([optimizer.param_groups[0]["lr"] for optimizer in optimizers])
        return {name: float(value) for name, value in losses.items()}

    run(state, batches_from(0), config, replace(recorder.hooks, average_values=average))
    rates = [stage_at(config.stages, step)[1] for step in range(6)]
    assert seen[:6] == [[rate, rate] for rate in rates]
    assert [line["learning_rate"] for line in recorder.logged if "stage" in line] == rates


@pytest.mark.parametrize("interrupted_at", [1, 2, 3, 4, 5])
def test_an_interrupted_training_goes_on_bit_by_bit(interrupted_at: int) -> None:
    config = make_config(checkpoint_every=1)
    recorder = Recorder()
    whole = run(make_state(), batches_from(0), config, recorder.hooks)
    resumed = make_state(seed=1)
    restore_state(resumed, recorder.saved[interrupted_at], "memory")
    assert resumed.step == interrupted_at
    run(resumed, batches_from(interrupted_at), config, Recorder().hooks)
    assert changed(tensors(whole), resumed) == set()
    assert resumed.monitor == whole.monitor
    for name in ("generator_optimizer", "discriminator_optimizer"):
        one, other = (getattr(state, name).state_dict() for state in (whole, resumed))
        torch.testing.assert_close(one, other, atol=0, rtol=0)


def test_a_finished_training_does_nothing_more() -> None:
    state, config = make_state(), make_config()
    state.step = config.stages.total_steps
    recorder = Recorder()
    before = tensors(state)
    run(state, iter([]), config, recorder.hooks)
    assert changed(before, state) == set() and recorder == Recorder()


def test_logs_validations_and_checkpoints_come_when_asked_for_and_at_the_end() -> None:
    state, recorder = make_state(), Recorder()
    config = make_config(3, 2, 2, log_every=2, validate_every=3, checkpoint_every=4)
    run(state, batches_from(0), config, recorder.hooks)
    assert [line["step"] for line in recorder.logged if "stage" in line] == [2, 4, 6, 7]
    assert [line["step"] for line in recorder.logged if "validation_psnr_y" in line] == [3, 6, 7]
    assert sorted(recorder.saved) == [4, 7]
    assert all(generator is state.generator_ema for generator in recorder.validated)


def test_a_line_of_metrics_names_the_losses_of_its_stage() -> None:
    recorder = Recorder()
    run(make_state(), batches_from(0), make_config(1, 1, 1, log_every=1), recorder.hooks)
    common = {"step", "stage", "learning_rate", "patches_per_second"}
    judge = {"discriminator", "r1", "r2", "gap", "sign", "strength", "discriminator_gradient"}
    maker = {"pixel", "relative_error", "generator_gradient"}
    terms = {"ms_ssim", "feature_matching", "adversarial", "texture"}
    lines = [line for line in recorder.logged if "stage" in line]
    named = [{name for name in line if not name.startswith("time_")} - common for line in lines]
    assert named == [maker, judge, judge | maker | terms]
    for line, parts in zip(lines, (3, 5, 5), strict=True):
        shares = [value for name, value in line.items() if name.startswith("time_")]
        assert len(shares) >= parts and sum(shares) == pytest.approx(1)
    for line in lines:
        assert common <= set(line) and float(line["patches_per_second"]) > 0


@pytest.mark.parametrize("stages", [(3, 0, 0), (0, 3, 0), (0, 0, 3)])
@pytest.mark.parametrize("log_every", [1, 100])
def test_a_loss_that_is_not_finite_stops_the_training_before_a_checkpoint(
    stages: tuple[int, int, int], log_every: int
) -> None:
    def broken() -> Iterator[Batch]:
        good = batches_from(0)
        yield next(good)
        bad = next(good)
        yield replace(bad, reference=bad.reference * math.nan)
        yield next(good)

    recorder = Recorder()
    config = make_config(*stages, log_every=log_every, checkpoint_every=1, stability=UNWATCHED)
    with pytest.raises(TrainingError, match=r"diverged at step 2: .*=nan.*lower the learning rate"):
        run(make_state(), broken(), config, recorder.hooks)
    assert sorted(recorder.saved) == [1]


@pytest.mark.parametrize(
    ("stages", "name"), [((3, 0, 0), "generator"), ((0, 3, 0), "discriminator")]
)
def test_a_gradient_that_is_not_finite_never_reaches_a_checkpoint(
    stages: tuple[int, int, int], name: str
) -> None:
    recorder = Recorder()
    config = make_config(*stages, checkpoint_every=1, stability=UNWATCHED)

    def explode(parameters) -> None:  # type: ignore[no-untyped-def]
        next(iter(parameters)).grad.fill_(math.nan)

    hooks = replace(recorder.hooks, average_gradients=explode)
    with pytest.raises(TrainingError, match=f"diverged at step 1: {name}_gradient=nan"):
        run(make_state(), batches_from(0), config, hooks)
    assert recorder.saved == {}


def poisoned(batches: Iterator[Batch], steps: set[int]) -> Iterator[Batch]:
    for step, batch in enumerate(batches):
        yield replace(batch, reference=batch.reference * math.nan) if step in steps else batch


@pytest.mark.parametrize("stages", [(8, 0, 0), (0, 8, 0), (0, 0, 8)])
def test_a_poisoned_batch_is_skipped_by_name_and_changes_no_weight(
    stages: tuple[int, int, int],
) -> None:
    state, recorder = make_state(), Recorder()
    config = make_config(*stages, log_every=1)
    run(state, poisoned(batches_from(0), {3}), config, recorder.hooks)
    assert {(event["step"], event["event"], event["reason"]) for event in recorder.events} == {
        (4, "step_skipped", "non_finite")
    }
    assert all(torch.isfinite(tensor).all() for tensor in tensors(state).values())
    assert all(
        math.isfinite(value)
        for line in recorder.logged
        for value in line.values()
        if isinstance(value, float)
    )


def test_batches_that_are_poisoned_without_end_stop_with_the_generator_of_before() -> None:
    state, recorder = make_state(), Recorder()
    stability = StabilityConfig(patience=2, snapshot_every=5, max_rollbacks=2)
    config = make_config(200, 0, 0, stability=stability)
    run(state, poisoned(batches_from(0), set(range(20, 200))), config, recorder.hooks)
    events = [event["event"] for event in recorder.events]
    assert events[-1] == "gave_up" and events.count("rolled_back") == 1
    assert state.step < 50
    assert all(torch.isfinite(tensor).all() for tensor in tensors(state).values())
    assert max(recorder.saved) == state.step


def test_a_training_that_is_asked_to_stop_ends_in_a_state_to_go_on_from() -> None:
    whole, stopped, resumed = make_state(), make_state(), make_state(seed=1)
    run(whole, batches_from(0), make_config(4, 2, 2), Recorder().hooks)
    hooks = replace(Recorder().hooks, stopping=lambda: stopped.step == 3)
    run(stopped, batches_from(0), make_config(4, 2, 2), hooks)
    assert stopped.step == 3
    restore_state(resumed, encode_state(stopped), "memory")
    run(resumed, batches_from(3), make_config(4, 2, 2), Recorder().hooks)
    assert changed(tensors(whole), resumed) == set()


def test_an_interrupted_training_remembers_what_the_ladder_had_changed() -> None:
    stability = StabilityConfig(patience=2, snapshot_every=5)
    config = make_config(60, 0, 0, stability=stability, checkpoint_every=30)
    bad = {20, 21, 22}
    whole, recorder = make_state(), Recorder()
    run(whole, poisoned(batches_from(0), bad), config, recorder.hooks)
    resumed = make_state(seed=1)
    restore_state(resumed, recorder.saved[30], "memory")
    run(resumed, batches_from(30), config, Recorder().hooks)
    assert changed(tensors(whole), resumed) == set()
    assert resumed.monitor["ladder"]["num_rollbacks"] == 1


def test_the_average_soon_forgets_random_weights() -> None:
    state = make_state()
    config = make_config(30, 0, 0).model_copy(update={"ema_decay": 0.999})
    run(state, batches_from(0), config, Recorder().hooks)
    first = make_state()
    pairs = zip(
        first.generator.parameters(),
        state.generator.parameters(),
        state.generator_ema.parameters(),
        strict=True,
    )
    for begin, end, average in pairs:
        if not torch.equal(begin, end):
            assert bool((average - end).norm() < 0.5 * (begin - end).norm())


def test_a_training_that_gives_up_at_a_validation_keeps_that_in_its_last_checkpoint() -> None:
    state, recorder = make_state(), Recorder()
    stability = StabilityConfig(max_rollbacks=0)
    psnr = iter([30.0, 20.0])
    hooks = replace(recorder.hooks, validate=lambda generator: {"validation_psnr_y": next(psnr)})
    config = make_config(1, 1, 30, validate_every=2, stability=stability)
    run(state, batches_from(0), config, hooks)
    assert state.step == 4 and sorted(recorder.saved) == [4]
    assert gave_up(state.monitor)
    resumed = make_state(seed=1)
    restore_state(resumed, recorder.saved[4], "memory")
    assert gave_up(resumed.monitor)
