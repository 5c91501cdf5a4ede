import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ganray.errors import TrainingError
from ganray.models.compact import CompactConfig, CompactGenerator
from ganray.models.unet_discriminator import UNetConfig, UNetDiscriminator
from ganray.training.config import (
    AdversarialStageConfig,
    LoopConfig,
    StageConfig,
    StagesConfig,
    WarmupConfig,
)
from ganray.training.loop import Hooks, Metrics, keep_gradients, stage_at, train
from ganray.training.state import TrainingState, encode_state, new_state, restore_state
from ganray.training.steps import Batch


def make_config(fidelity: int = 2, warmup: int = 2, adversarial: int = 2, **changes) -> LoopConfig:
    stages = StagesConfig(
        fidelity=StageConfig(steps=fidelity),
        warmup=WarmupConfig(steps=warmup),
        adversarial=AdversarialStageConfig(steps=adversarial),
    )
    return LoopConfig(stages=stages, batch_size=2, ema_decay=0.5, **changes)


def make_state(seed: int = 0) -> TrainingState:
    torch.manual_seed(seed)
    generator = CompactGenerator(CompactConfig(num_features=4, num_convs=1, scale=2))
    return new_state(generator, UNetDiscriminator(UNetConfig(num_features=4)))


def batches_from(step: int) -> Iterator[Batch]:
    while True:
        rng = torch.Generator().manual_seed(step)
        yield Batch(
            degraded=torch.rand(2, 3, 8, 8, generator=rng),
            reference=torch.rand(2, 3, 16, 16, generator=rng),
        )
        step += 1


@dataclass
class Recorder:
    """Keeps what a training asks of its surroundings."""

    logged: list[Metrics] = field(default_factory=list)
    saved: dict[int, bytes] = field(default_factory=dict)
    validated: list[nn.Module] = field(default_factory=list)

    @property
    def hooks(self) -> Hooks:
        return Hooks(
            average_gradients=keep_gradients,
            average_values=lambda losses: {name: float(v) for name, v in losses.items()},
            validate=self.validate,
            log=self.logged.append,
            checkpoint=self.save,
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
    train(state, batches_from(0), make_config(*stages), Recorder().hooks)
    assert state.step == 2
    assert changed(before, state) == moved


def test_both_optimizers_have_the_learning_rate_of_the_step() -> None:
    state, recorder, config = make_state(), Recorder(), make_config(log_every=1)
    seen = []

    def average(losses: dict[str, Tensor]) -> dict[str, float]:
        optimizers = (state.generator_optimizer, state.discriminator_optimizer)
        seen.append([optimizer.param_groups[0]["lr"] for optimizer in optimizers])
        return {name: float(value) for name, value in losses.items()}

    train(state, batches_from(0), config, replace(recorder.hooks, average_values=average))
    rates = [stage_at(config.stages, step)[1] for step in range(6)]
    assert seen[:6] == [[rate, rate] for rate in rates]
    assert [line["learning_rate"] for line in recorder.logged if "stage" in line] == rates


@pytest.mark.parametrize("interrupted_at", [1, 3, 5])
def test_an_interrupted_training_goes_on_bit_by_bit(interrupted_at: int) -> None:
    config = make_config(checkpoint_every=1)
    recorder = Recorder()
    whole = train(make_state(), batches_from(0), config, recorder.hooks)
    resumed = make_state(seed=1)
    restore_state(resumed, recorder.saved[interrupted_at], "memory")
    assert resumed.step == interrupted_at
    train(resumed, batches_from(interrupted_at), config, Recorder().hooks)
    assert changed(tensors(whole), resumed) == set()
    for name in ("generator_optimizer", "discriminator_optimizer"):
        one, other = (getattr(state, name).state_dict() for state in (whole, resumed))
        torch.testing.assert_close(one, other, atol=0, rtol=0)


def test_a_finished_training_does_nothing_more() -> None:
    state, config = make_state(), make_config()
    state.step = config.stages.total_steps
    recorder = Recorder()
    before = tensors(state)
    train(state, iter([]), config, recorder.hooks)
    assert changed(before, state) == set() and recorder == Recorder()


def test_logs_validations_and_checkpoints_come_when_asked_for_and_at_the_end() -> None:
    state, recorder = make_state(), Recorder()
    config = make_config(3, 2, 2, log_every=2, validate_every=3, checkpoint_every=4)
    train(state, batches_from(0), config, recorder.hooks)
    assert [line["step"] for line in recorder.logged if "stage" in line] == [2, 4, 6, 7]
    assert [line["step"] for line in recorder.logged if "validation_psnr_y" in line] == [3, 6, 7]
    assert sorted(recorder.saved) == [4, 7]
    assert all(generator is state.generator_ema for generator in recorder.validated)


def test_a_line_of_metrics_names_the_losses_of_its_stage() -> None:
    recorder = Recorder()
    train(make_state(), batches_from(0), make_config(1, 1, 1, log_every=1), recorder.hooks)
    common = {"step", "stage", "learning_rate", "patches_per_second", "waiting"}
    judge = {"discriminator", "r1", "r2", "gap"}
    lines = [line for line in recorder.logged if "stage" in line]
    assert [set(line) - common for line in lines] == [
        {"pixel"},
        judge,
        judge | {"pixel", "adversarial"},
    ]
    for line in lines:
        assert common <= set(line) and float(line["patches_per_second"]) > 0
        assert 0 <= float(line["waiting"]) <= 1


@pytest.mark.parametrize("stages", [(3, 0, 0), (0, 3, 0), (0, 0, 3)])
@pytest.mark.parametrize("log_every", [1, 100])
def test_a_loss_that_is_not_finite_stops_the_training_before_a_checkpoint(
    stages: tuple[int, int, int], log_every: int
) -> None:
    def broken() -> Iterator[Batch]:
        good = batches_from(0)
        yield next(good)
        bad = next(good)
        yield Batch(bad.degraded, bad.reference * math.nan)
        yield next(good)

    recorder = Recorder()
    config = make_config(*stages, log_every=log_every, checkpoint_every=1)
    with pytest.raises(TrainingError, match=r"diverged at step 2: .*=nan.*lower the learning rate"):
        train(make_state(), broken(), config, recorder.hooks)
    assert sorted(recorder.saved) == [1]


@pytest.mark.parametrize(
    ("stages", "name"), [((3, 0, 0), "generator"), ((0, 3, 0), "discriminator")]
)
def test_a_gradient_that_is_not_finite_never_reaches_a_checkpoint(
    stages: tuple[int, int, int], name: str
) -> None:
    recorder = Recorder()
    config = make_config(*stages, checkpoint_every=1)

    def explode(parameters) -> None:  # type: ignore[no-untyped-def]
        next(iter(parameters)).grad.fill_(math.nan)

    hooks = replace(recorder.hooks, average_gradients=explode)
    with pytest.raises(TrainingError, match=f"diverged at step 1: {name}_weights=nan"):
        train(make_state(), batches_from(0), config, hooks)
    assert recorder.saved == {}
