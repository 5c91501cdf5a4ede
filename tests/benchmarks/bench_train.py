"""Ratios of the training job: the job over its bare loop, workers, DDP, memory, where time goes.

    python tests/benchmarks/bench_train.py                  all of it, some minutes on a CPU
    python tests/benchmarks/bench_train.py --quick          fewer steps
    python tests/benchmarks/bench_train.py job reduce       only these

    job      patches per second of one Ray worker over the same steps in a bare loop of torch, whose
             batch lies ready (goal 0.95); two workers over one; shares of the time, as the job
             prints them
    reduce   gradients of a pair of processes by DistributedDataParallel over one flat all-reduce
    memory   megabytes of weights, gradients and optimizer of each network
    device   on CUDA: bfloat16 and compiled over float32; FLOP/s over those of a large product

Two workers can only be faster than one where there are cores for both and for what feeds them.
"""

import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from itertools import repeat
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from measuring import Figure, run_chosen, spread
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.flop_counter import FlopCounterMode

from ganray.config import load_config
from ganray.models.checkpoint import build_generator
from ganray.pipelines.train import run_training
from ganray.pipelines.train_config import TrainConfig, TrainPlan, plan_training
from ganray.pipelines.train_data import local_batches
from ganray.pipelines.train_worker import start_state
from ganray.training.batches import make_batch
from ganray.training.distributed import average_gradients
from ganray.training.loop import Hooks, keep_gradients, train
from ganray.training.objective import Objective
from ganray.training.samples import Share

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
LOG_EVERY = 5
SKIPPED_LINES = 2
"""The first lines hold what happens once: the first batches, compilation."""
Lines = list[Mapping[str, Any]]


def make_plan(folder: Path, name: str, num_steps: int, *words: str) -> TrainPlan:
    """An adversarial training without fidelity stage, validation or checkpoints on the way."""
    gpus = "1" if DEVICE.type == "cuda" else "0"
    settings = {
        "validation": "",
        "output": str(folder / name),
        "stages.fidelity.steps": "0",
        "stages.warmup.steps": "0",
        "stages.adversarial.steps": str(num_steps),
        "checkpoint_every": "100000",
        "log_every": str(LOG_EVERY),
        "workers.gpus": gpus,
    } | dict(word.split("=", 1) for word in words)
    return plan_training(load_config(TrainConfig, [f"{k}={v}" for k, v in settings.items()]))


def bare_rates(plan: TrainPlan) -> list[float]:
    """Patches per second of the loop over one batch that lies on the device."""
    torch.set_num_threads(plan.config.workers.num_threads)
    config = plan.config.model_copy(
        update={"stability": plan.config.stability.model_copy(update={"enabled": False})}
    )
    state, _ = start_state(plan, DEVICE)
    share = Share(0, 1, config.batch_size)
    batch = make_batch(next(local_batches(plan.samples, share, range(1))), plan.samples, DEVICE)
    lines: Lines = []
    hooks = Hooks(
        average_gradients=keep_gradients,
        average_values=lambda losses: {name: float(value) for name, value in losses.items()},
        validate=lambda generator: {},
        log=lines.append,
        checkpoint=lambda state: None,
    )
    objective = Objective(
        config.objective, bands=plan.samples.bands, device=DEVICE, seed=config.seed
    )
    train(state, repeat(batch), config, hooks, objective)
    return rates(lines)


def job_lines(plan: TrainPlan) -> Lines:
    """What a training reports."""
    lines: Lines = []
    run_training(plan, lines.append)
    return [line for line in lines if "patches_per_second" in line]


def rates(lines: Lines) -> list[float]:
    return [float(line["patches_per_second"]) for line in lines[SKIPPED_LINES:]]


def job(folder: Path, *, quick: bool) -> list[Figure]:
    """The job on one worker and on two, and the bare loop."""
    num_steps = 30 if quick else 80
    bare = bare_rates(make_plan(folder, "bare", num_steps))
    sizes = (1,) if torch.cuda.device_count() == 1 else (1, 2)
    lines = {
        number: job_lines(
            make_plan(
                folder, f"{number}", num_steps, f"workers.min={number}", f"workers.max={number}"
            )
        )
        for number in sizes
    }
    alone = median(rates(lines[1]))
    figures = [
        Figure("bare loop", spread(bare, 1), "patches/s"),
        Figure("1 worker", spread(rates(lines[1]), 1), "patches/s"),
        Figure("1 worker / bare loop", f"{alone / median(bare):.2f}", "goal 0.95"),
    ]
    if 2 in lines:
        pair = median(rates(lines[2]))
        figures.append(Figure("2 workers / 1 worker", f"{pair / alone:.2f}"))
    for number, found in lines.items():
        shares = {name for line in found for name in line if name.startswith("time_")}
        for name in sorted(shares):
            values = [float(line.get(name, 0)) for line in found[SKIPPED_LINES:]]
            what = f"{number} worker{'s' * (number > 1)}: {name.removeprefix('time_')}"
            figures.append(Figure(what, f"{median(values):.3f}", "of the time"))
    return figures


def reduce(folder: Path, *, quick: bool) -> list[Figure]:
    """One flat all-reduce against DDP's buckets, on a generator of either size."""
    figures = []
    for name, options in (("compact", {}), ("rrdb", {"num_blocks": 2})):
        path = folder / name
        path.mkdir()
        arguments = (str(path), name, options, 5 if quick else 15)
        multiprocessing.spawn(_reduce_in_pair, args=arguments, nprocs=2)
        seconds = torch.load(path / "seconds.pt")
        ratio = [ddp / flat for ddp, flat in zip(seconds["ddp"], seconds["flat"], strict=True)]
        figures.append(Figure(f"DDP / flat, {name}", spread(ratio), "seconds of a step"))
    return figures


def _reduce_in_pair(
    rank: int, folder: str, name: str, options: dict[str, Any], num_rounds: int
) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store",
        rank=rank,
        world_size=2,
        timeout=timedelta(minutes=5),
    )
    network, _ = build_generator(name, options)
    wrapped = DistributedDataParallel(network)
    average = partial(average_gradients, weight=0.5)
    images = torch.rand(2, 3, 32, 32)
    seconds: dict[str, list[float]] = {"flat": [], "ddp": []}
    for number in range(num_rounds + 1):
        for kind in seconds:
            network.zero_grad()
            dist.barrier()
            begin = time.perf_counter()
            called = wrapped if kind == "ddp" else network
            called(images).mean().backward()
            if kind == "flat":
                average(network.parameters())
            if number:
                seconds[kind].append(time.perf_counter() - begin)
    if rank == 0:
        torch.save(seconds, f"{folder}/seconds.pt")
    dist.destroy_process_group()


def memory(folder: Path, *, quick: bool) -> list[Figure]:
    """What each network holds, without activations; on CUDA the peak of a step beside."""
    plan = make_plan(folder, "memory", 2 * LOG_EVERY)
    state, _ = start_state(plan, DEVICE)
    figures = [
        Figure(name, f"{4 * _megabytes(network):.2f}", "MB: weights, gradients, two of Adam's")
        for name, network in (
            ("generator", state.generator),
            ("discriminator", state.discriminator),
        )
    ]
    figures.append(Figure("generator_ema", f"{_megabytes(state.generator_ema):.2f}", "MB"))
    if DEVICE.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        bare_rates(plan)
        peak = torch.cuda.max_memory_allocated() / 1e6
        figures.append(Figure("peak of a step", f"{peak:.0f}", "MB of the device"))
    return figures


def _megabytes(network: nn.Module) -> float:
    return sum(p.numel() * p.element_size() for p in network.parameters()) / 1e6


def device(folder: Path, *, quick: bool) -> list[Figure]:
    """Half precision and compilation, and how much of the device they use."""
    if DEVICE.type != "cuda":
        return [Figure("no CUDA device", "-")]
    num_steps = 40 if quick else 120
    large = "batch_size=64", "patch_pixels=128"
    fast = bare_rates(
        make_plan(folder, "fast", num_steps, *large, "precision=bfloat16", "compile=always")
    )
    plain = make_plan(folder, "plain", num_steps, *large, "precision=float32", "compile=never")
    slow = bare_rates(plain)
    reached = median(fast) * _flops_per_patch(plain)
    peak = _peak_flops()
    return [
        Figure("bfloat16, compiled / float32", f"{median(fast) / median(slow):.2f}"),
        Figure("generator's FLOP/s / peak", f"{reached / peak:.3f}", f"of {peak / 1e12:.0f} T"),
    ]


def _flops_per_patch(plan: TrainPlan) -> float:
    """Of the generator's forward and backward pass, which is less than those of a whole step."""
    state, _ = start_state(plan, DEVICE)
    side = plan.config.patch_pixels // plan.samples.scale
    with FlopCounterMode(display=False) as counter:
        state.generator(
            torch.rand(1, plan.samples.bands, side, side, device=DEVICE)
        ).sum().backward()
    return float(counter.get_total_flops())


def _peak_flops(side: int = 8192, num_rounds: int = 20) -> float:
    matrix = torch.rand(side, side, device=DEVICE, dtype=torch.bfloat16)
    matrix @ matrix
    torch.cuda.synchronize()
    begin = time.perf_counter()
    for _ in range(num_rounds):
        matrix @ matrix
    torch.cuda.synchronize()
    return num_rounds * 2 * side**3 / (time.perf_counter() - begin)


BENCHMARKS: dict[str, Callable[..., list[Figure]]] = {
    "job": job,
    "reduce": reduce,
    "memory": memory,
    "device": device,
}


if __name__ == "__main__":
    run_chosen(__doc__, BENCHMARKS)
