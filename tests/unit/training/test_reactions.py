import copy
import json

import pytest
import torch

from ganray.models.compact import CompactConfig, CompactGenerator
from ganray.models.unet_discriminator import UNetConfig, UNetDiscriminator
from ganray.training.config import AdversarialConfig, LoopConfig
from ganray.training.monitor import Alarm, StabilityConfig
from ganray.training.reactions import Ladder
from ganray.training.state import TrainingState, new_state

SPIKE = Alarm("spike", "generator", 100.0, 1.0)
GREW = Alarm("error_grew", "generator", 2.0, 1.0)
WON = Alarm("discriminator_wins", "discriminator", 0.01, 0.05)
CONFIG = LoopConfig(
    adversarial=AdversarialConfig(loss="hinge", weight=0.1),
    stability=StabilityConfig(max_rollbacks=3),
    batch_size=4,
)


@pytest.fixture
def state() -> TrainingState:
    torch.manual_seed(0)
    generator = CompactGenerator(CompactConfig(num_features=4, num_convs=0))
    return new_state(generator, UNetDiscriminator(UNetConfig(num_features=4)))


def wreck(state: TrainingState, value: float) -> None:
    with torch.no_grad():
        for network in (state.generator, state.generator_ema, state.discriminator):
            for weight in network.parameters():
                weight.fill_(value)


def values(state: TrainingState) -> set[float]:
    return {float(w) for p in state.generator.parameters() for w in p.detach().unique()}


def test_a_skipped_step_changes_nothing(state: TrainingState) -> None:
    ladder = Ladder(CONFIG)
    before = ladder.adjustments
    event = ladder.react(SPIKE, state)
    assert event["event"] == "step_skipped" and event["reason"] == "spike"
    assert ladder.adjustments == before


def test_a_discriminator_that_wins_learns_slower_under_a_stronger_penalty(
    state: TrainingState,
) -> None:
    ladder = Ladder(CONFIG.model_copy(update={"adversarial": AdversarialConfig(gamma=0.0)}))
    assert ladder.play(0.0).gamma == 0
    ladder.react(WON, state)
    first = ladder.play(0.0).gamma
    ladder.react(WON, state)
    assert first > 0 and ladder.play(0.0).gamma == 2 * first
    assert ladder.adjustments.discriminator_rate == 0.25


def test_a_rollback_returns_to_the_state_before_the_last_and_begins_from_the_average(
    state: TrainingState,
) -> None:
    ladder = Ladder(CONFIG)
    ladder.remember(state, is_first=True)
    for value in (1.0, 2.0):
        wreck(state, value)
        ladder.remember(state)
    with torch.no_grad():
        for weight in state.generator_ema.parameters():
            weight.fill_(7.0)
    event = ladder.react(GREW, state)
    assert event["event"] == "rolled_back"
    assert values(state) == {1.0}
    assert ladder.play(0.0).weight == pytest.approx(0.05)
    assert ladder.adjustments.rate < 1


def test_after_a_rollback_the_generator_rests_while_the_discriminator_warms_up(
    state: TrainingState,
) -> None:
    ladder = Ladder(CONFIG)
    ladder.remember(state, is_first=True)
    assert not ladder.rest()
    ladder.react(GREW, state)
    rests = [ladder.rest() for _ in range(100)]
    assert rests == sorted(rests, reverse=True) and 0 < sum(rests) < 100


def test_the_ladder_ends_at_the_stable_recipe_and_then_stops(state: TrainingState) -> None:
    ladder = Ladder(CONFIG)
    ladder.remember(state, is_first=True)
    losses, events = [], []
    for _ in range(4):
        wreck(state, 9.0)
        events.append(ladder.react(GREW, state)["event"])
        losses.append(ladder.play(1e-5).loss)
    assert losses == ["hinge", "hinge", "relativistic", "relativistic"]
    assert events == ["rolled_back"] * 3 + ["gave_up"]
    assert ladder.adjustments.stopped and values(state) != {9.0}


def test_a_ladder_goes_on_from_what_it_had_changed(state: TrainingState) -> None:
    one, other = Ladder(CONFIG), Ladder(CONFIG)
    one.remember(state, is_first=True)
    one.react(WON, state)
    one.react(GREW, state)
    other.restore(json.loads(json.dumps(one.state())))
    assert other.adjustments == one.adjustments
    assert other.play(1e-5) == one.play(1e-5)


def test_an_event_is_json_even_where_its_value_is_not_finite(state: TrainingState) -> None:
    event = Ladder(CONFIG).react(Alarm("non_finite", "generator", float("nan"), 1.0), state)
    assert json.loads(json.dumps(event, allow_nan=False))["value"] == "nan"


def test_one_stretch_without_finite_gradients_leaves_the_rates_as_they_are(
    state: TrainingState,
) -> None:
    ladder = Ladder(CONFIG)
    ladder.remember(state, is_first=True)
    broken = Alarm("no_finite_step", "generator", float("nan"), 1.0)
    assert ladder.react(broken, state)["event"] == "rolled_back"
    assert ladder.adjustments.rate == 1 and ladder.adjustments.weight == 1
    ladder.react(broken, state)
    assert ladder.adjustments.rate < 1 and ladder.adjustments.weight < 1


def test_a_second_rollback_finds_the_state_as_it_was_kept(state: TrainingState) -> None:
    ladder = Ladder(CONFIG)
    for network in (state.generator, state.discriminator):
        for weight in network.parameters():
            weight.grad = torch.ones_like(weight)
    state.generator_optimizer.step()
    ladder.remember(state, is_first=True)
    kept = copy.deepcopy(state.generator_optimizer.state_dict())
    for _ in range(2):
        ladder.react(GREW, state)
        torch.testing.assert_close(state.generator_optimizer.state_dict(), kept, rtol=0, atol=0)
        for weight in state.generator.parameters():
            weight.grad = torch.full_like(weight, 1e5)
        state.generator_optimizer.step()


def test_a_discriminator_without_zero_centred_penalties_is_slowed_instead(
    state: TrainingState,
) -> None:
    ladder = Ladder(CONFIG)
    grew = Alarm("gradients_grew", "discriminator", 100.0, 1.0)
    event = ladder.react(grew, state)
    assert event["discriminator_rate"] == ladder.adjustments.discriminator_rate == 0.5
