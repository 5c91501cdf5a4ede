import hashlib
import io
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ganray.errors import CheckpointError, DamagedError
from ganray.training.state import (
    MAGIC,
    TrainingState,
    encode_snapshot,
    encode_state,
    new_state,
    restore_state,
    take_snapshot,
)

PARTS = (
    *("generator", "discriminator", "generator_ema"),
    *("generator_optimizer", "discriminator_optimizer"),
)


def make_state(seed: int, width: int = 2) -> TrainingState:
    torch.manual_seed(seed)
    state = new_state(nn.Linear(width, 3), nn.Linear(3, 1))
    for network, optimizer in (
        (state.generator, state.generator_optimizer),
        (state.discriminator, state.discriminator_optimizer),
    ):
        for parameter in network.parameters():
            parameter.grad = torch.randn_like(parameter)
        optimizer.step()
    state.update_ema(0.5)
    state.step = seed
    state.monitor = {"losses": [0.5, seed], "stage": "warmup"}
    return state


def tensors_of(state: TrainingState) -> list[torch.Tensor]:
    flat: list[torch.Tensor] = []
    for name in PARTS:
        content = getattr(state, name).state_dict()
        for entry in content.get("state", {0: content}).values():
            flat += entry.values()
    return flat


def same(one: TrainingState, other: TrainingState) -> bool:
    pairs = zip(tensors_of(one), tensors_of(other), strict=True)
    return all(torch.equal(a, b) for a, b in pairs) and (one.step, one.monitor) == (
        other.step,
        other.monitor,
    )


def test_a_new_state_begins_at_step_zero_with_the_average_at_the_generator() -> None:
    state = new_state(nn.Linear(2, 2), nn.Linear(2, 1))
    assert state.step == 0
    for average, weight in zip(
        state.generator_ema.parameters(), state.generator.parameters(), strict=True
    ):
        assert torch.equal(average, weight) and average is not weight
        assert not average.requires_grad and weight.requires_grad


@settings(max_examples=15, deadline=None)
@given(st.floats(0, 0.999))
def test_the_average_is_its_formula(decay: float) -> None:
    state = make_state(1)
    before = [average.clone() for average in state.generator_ema.parameters()]
    weights = [weight.clone() for weight in state.generator.parameters()]
    state.update_ema(decay)
    for average, old, weight in zip(state.generator_ema.parameters(), before, weights, strict=True):
        torch.testing.assert_close(average, decay * old + (1 - decay) * weight)
    for weight, old in zip(state.generator.parameters(), weights, strict=True):
        assert torch.equal(weight, old)


def test_a_snapshot_is_not_changed_by_later_steps() -> None:
    state, fresh = make_state(5), make_state(6)
    before = encode_state(state)
    snapshot = take_snapshot(state)
    for name in ("generator", "discriminator", "generator_ema"):
        for parameter in getattr(state, name).parameters():
            parameter.data.add_(1)
    for optimizer in (state.generator_optimizer, state.discriminator_optimizer):
        optimizer.step()
    state.monitor["losses"].append(9)
    restore_state(fresh, before, "memory")
    restored = make_state(7)
    restore_state(restored, encode_snapshot(snapshot), "memory")
    assert same(fresh, restored)
    assert not same(fresh, state)


def test_a_round_trip_keeps_every_tensor_and_the_step() -> None:
    state, fresh = make_state(5), make_state(6)
    assert not same(state, fresh)
    restore_state(fresh, encode_state(state), "memory")
    assert same(state, fresh)
    # Optimizers go on with the restored networks, not with copies of them.
    assert fresh.generator_optimizer.param_groups[0]["params"][0] is next(
        iter(fresh.generator.parameters())
    )


def seal(payload: bytes) -> bytes:
    return MAGIC + hashlib.sha256(payload).digest() + payload


def encode_anything(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return seal(buffer.getvalue())


class Trap:
    """Ends the test when it is unpickled."""

    def __reduce__(self) -> tuple:
        return (pytest.fail, ("the pickle was opened",))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no training state",
        seal(b""),
        seal(pickle.dumps({"step": 3})),
        seal(pickle.dumps(Trap())),
        encode_anything(Trap()),
        encode_anything({"step": 3}),
        encode_anything([1, 2]),
        encode_anything({"step": 3} | dict.fromkeys(PARTS, 7)),
        encode_state(make_state(1, width=4)),
    ],
    ids=[
        "empty",
        "text",
        "no payload",
        "pickle",
        "trap",
        "saved trap",
        "parts",
        "list",
        "numbers",
        "network",
    ],
)
def test_what_is_no_state_of_this_training_is_refused(data: bytes) -> None:
    with pytest.raises(
        CheckpointError, match=r"(?s)run/step\.pt is no training state .*resume=false"
    ):
        restore_state(make_state(0), data, "run/step.pt")


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 0.999))
def test_a_truncated_state_is_damaged(fraction: float) -> None:
    data = encode_state(make_state(0))
    with pytest.raises(DamagedError):
        restore_state(make_state(0), data[: int(len(data) * fraction)], "file")


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 0.999), st.integers(1, 255))
def test_one_wrong_byte_anywhere_is_noticed(position: float, change: int) -> None:
    data = bytearray(encode_state(make_state(0)))
    data[int(len(data) * position)] ^= change
    with pytest.raises(DamagedError):
        restore_state(make_state(0), bytes(data), "file")


def test_the_state_of_another_network_is_whole_but_refused() -> None:
    with pytest.raises(CheckpointError) as refused:
        restore_state(make_state(0), encode_state(make_state(1, width=4)), "file")
    assert not isinstance(refused.value, DamagedError)
