"""Two processes on the loopback: what they compute together is what one computes alone."""

import os
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from torch import Tensor

from ganray.errors import LostPeerError
from ganray.training.config import AdversarialConfig
from ganray.training.distributed import (
    AgreedWish,
    average_gradients,
    average_values,
    share_bytes,
    sum_over_workers,
)
from ganray.training.loop import keep_gradients
from ganray.training.objective import ObjectiveConfig
from ganray.training.samples import Share
from ganray.training.state import TrainingState
from ganray.training.steps import (
    AverageGradients,
    Batch,
    discriminator_step,
    fidelity_step,
    generator_step,
)
from tests.unit.training.players import (
    make_batch,
    make_objective,
    make_state,
    make_tools,
    play_of,
)

NUM_WORKERS = 2
SHARED = (b"", b"state of rank 0", bytes(range(256)) * 50)
BATCH_SIZES = (2, 3)
GAMES = {
    "relativistic": AdversarialConfig(gamma=1.0, weight=0.5),
    "nonsaturating": AdversarialConfig(loss="nonsaturating", gamma=1.0, weight=0.5),
    "wasserstein": AdversarialConfig(loss="wasserstein", weight=0.5),
}
Outcome = dict[str, list[Tensor] | dict[str, float]]


def gradients(state: TrainingState, name: str) -> list[Tensor]:
    return [p.grad.clone() for p in getattr(state, name).parameters() if p.grad is not None]


def run_steps(batch: Batch, game: str, average: AverageGradients) -> dict[str, Outcome]:
    """Each step from fresh networks: the losses and gradients that it came to."""
    outcomes: dict[str, Outcome] = {}
    play = play_of(GAMES[game])
    for name, step in (
        ("fidelity", fidelity_step),
        ("discriminator", partial(discriminator_step, play=play)),
        ("generator", partial(generator_step, play=play)),
    ):
        state = make_state()
        objective = make_objective(ObjectiveConfig(texture=0.8))
        tools = make_tools(state, average_gradients=average, objective=objective)
        losses = step(state, [batch], tools=tools)
        moved = "discriminator" if name == "discriminator" else "generator"
        outcomes[name] = {"losses": losses, "gradients": gradients(state, moved)}
    return outcomes


def work(rank: int, folder: str) -> None:
    """One of the processes: every case with its share of the batch."""
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store",
        rank=rank,
        world_size=NUM_WORKERS,
        timeout=timedelta(seconds=100),
    )
    try:
        torch.save(run_cases(rank), f"{folder}/rank{rank}.pt")
    finally:
        dist.destroy_process_group()


def work_beside(index: int, folder: str) -> None:
    """The process beside this one; `index` counts from 0 whatever the rank."""
    torch.set_num_threads(1)
    work(index + 1, folder)


def same_seed_weights(rank: int, batch_size: int, num_workers: int = NUM_WORKERS) -> list[Tensor]:
    """The weights after a few updates of both networks."""
    share = Share(rank, num_workers, batch_size)
    average = partial(average_gradients, weight=share.weight)
    state = make_state()
    tools = make_tools(state, average_gradients=average if num_workers > 1 else keep_gradients)
    play = play_of(GAMES["relativistic"])
    for step in range(3):
        batch = make_batch(share.indices(step))
        discriminator_step(state, [batch], tools=tools, play=play)
        generator_step(state, [batch], tools=tools, play=play)
    return [p.detach() for net in (state.generator, state.discriminator) for p in net.parameters()]


def run_cases(rank: int) -> dict:
    cpu = torch.device("cpu")
    # Each worker wishes at a call of its own: 1 at the third, 0 never.
    wishes = iter([False, False, rank == 1, rank == 1, rank == 1])
    wish = AgreedWish(lambda: next(wishes), cpu)
    rows = torch.zeros(3, dtype=torch.float64)
    rows[rank::2] = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)[rank::2]
    sum_over_workers(rows)
    results = {
        "bytes": [list(share_bytes(data if rank == 0 else b"", cpu)) for data in SHARED],
        "wishes": [wish() for _ in range(5)],
        "rows": rows,
        "replicas": [same_seed_weights(rank, 4) for _ in range(2)],
    }
    for batch_size in BATCH_SIZES:
        share = Share(rank, NUM_WORKERS, batch_size)
        batch = make_batch(share.indices(0))
        for game in GAMES:
            average = partial(average_gradients, weight=share.weight)
            outcomes = run_steps(batch, game, average)
            for outcome in outcomes.values():
                outcome["losses"] = average_values(outcome["losses"], weight=share.weight)
            results[batch_size, game] = outcomes
    return results


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    folder = tmp_path_factory.mktemp("distributed")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("GLOO_SOCKET_IFNAME", "lo")
        beside = multiprocessing.spawn(work_beside, args=(str(folder),), nprocs=1, join=False)
        work(0, str(folder))
        while not beside.join():
            pass
    return [torch.load(Path(folder) / f"rank{rank}.pt") for rank in range(NUM_WORKERS)]


@pytest.mark.parametrize("game", GAMES)
@pytest.mark.parametrize("batch_size", BATCH_SIZES)
@pytest.mark.parametrize("step", ["fidelity", "discriminator", "generator"])
def test_two_workers_come_to_the_gradients_and_losses_of_one(
    results: list[dict], step: str, batch_size: int, game: str
) -> None:
    alone = run_steps(make_batch(range(batch_size)), game, keep_gradients)[step]
    for together in (result[batch_size, game][step] for result in results):
        assert together["losses"] == pytest.approx(
            {name: float(value) for name, value in alone["losses"].items()}, abs=1e-6, rel=1e-5
        )
        pairs = list(zip(together["gradients"], alone["gradients"], strict=True))
        scale = max(1.0, *(float(gradient.abs().max()) for gradient in alone["gradients"]))
        assert max(float((one - other).abs().max()) for one, other in pairs) < 1e-6 * scale


@pytest.mark.parametrize("batch_size", BATCH_SIZES)
def test_all_workers_hold_the_same_bits(results: list[dict], batch_size: int) -> None:
    for game in GAMES:
        first, second = (result[batch_size, game] for result in results)
        for step in first:
            assert first[step]["losses"] == second[step]["losses"]
            pairs = zip(first[step]["gradients"], second[step]["gradients"], strict=True)
            assert all(torch.equal(one, other) for one, other in pairs)


def test_the_same_seed_gives_the_same_weights_bit_for_bit(results: list[dict]) -> None:
    first, *others = [run for result in results for run in result["replicas"]]
    for other in others:
        assert all(torch.equal(one, two) for one, two in zip(first, other, strict=True))
    once, again = (same_seed_weights(0, 4, num_workers=1) for _ in range(2))
    assert all(torch.equal(one, two) for one, two in zip(once, again, strict=True))
    for one, two in zip(first, once, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-4)


def test_every_worker_gets_the_bytes_of_rank_0(results: list[dict]) -> None:
    for result in results:
        assert result["bytes"] == [list(data) for data in SHARED]


def test_a_wish_of_one_worker_is_known_to_all_at_the_same_later_step(results: list[dict]) -> None:
    for result in results:
        assert result["wishes"] == [False, False, False, True, True]


def test_rows_that_workers_fill_by_turns_add_up_exactly(results: list[dict]) -> None:
    for result in results:
        assert result["rows"].tolist() == [0.1, 0.2, 0.3]


def leave(rank: int, folder: str) -> None:
    """Rank 1 of a pair that is gone before the sum."""
    torch.set_num_threads(1)
    join(1, folder)
    os._exit(0)


def join(rank: int, folder: str) -> None:
    method = f"file://{folder}/store"
    limit = timedelta(seconds=100)
    dist.init_process_group("gloo", init_method=method, rank=rank, world_size=2, timeout=limit)


def test_a_peer_that_is_gone_is_named_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    beside = multiprocessing.spawn(leave, args=(str(tmp_path),), nprocs=1, join=False)
    try:
        join(0, str(tmp_path))
        with pytest.raises(LostPeerError):
            sum_over_workers(torch.ones(1))
    finally:
        dist.destroy_process_group()
        beside.join()
