"""How many sabotaged trainings heal themselves, and how many healthy ones raise a false alarm.

python tests/benchmarks/bench_stability.py [--seeds 4] [--jobs 2] [--output results.jsonl]

Small networks on patches of scikit-image's photographs, ×2, three stages. Every sabotaged run is
made twice: watched, and unwatched to show that the sabotage does harm. A run is rescued if it ends
by itself with finite weights and its averaged generator is at most `TOLERATED_DB` below the mean of
the healthy runs, on patches of photographs that no run is trained on. A false alarm is any
reaction in a healthy run.
"""

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import skimage.data
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganray.errors import TrainingError
from ganray.models.compact import CompactConfig, CompactGenerator
from ganray.models.spectral import normalise_spectrally
from ganray.models.unet_discriminator import UNetConfig, UNetDiscriminator
from ganray.pipelines.shard import plan_shards, run_sharding
from ganray.pipelines.shard_config import ShardConfig
from ganray.pipelines.train_config import TrainConfig, plan_training
from ganray.pipelines.train_data import local_batches
from ganray.pipelines.workers import WorkersConfig
from ganray.training.batches import make_batch
from ganray.training.config import LoopConfig
from ganray.training.loop import Hooks, keep_gradients, train
from ganray.training.objective import Objective
from ganray.training.reactions import Event
from ganray.training.samples import Share
from ganray.training.state import new_state
from ganray.training.steps import Batch

CPU = torch.device("cpu")
SIDE, SCALE, BATCH_SIZE, NUM_PATCHES, NUM_HELD_OUT = 24, 2, 8, 2048, 64
FIDELITY, WARMUP, ADVERSARIAL = 200, 30, 220
TOLERATED_DB = 0.5
TRAINED_ON = ("astronaut", "retina", "immunohistochemistry")
HELD_OUT = ("coffee", "chelsea", "rocket")

Poison = Callable[[int, Batch], Batch]


@dataclass(frozen=True)
class Case:
    """What is done to a run: other settings, another discriminator, poisoned batches, or shards of
    which one is corrupt."""

    name: str
    settings: dict[str, object]
    judge_features: int = 8
    poison: Poison = lambda step, batch: batch
    rate: float = 1.0
    has_corrupt_shard: bool = False


@dataclass(frozen=True)
class Outcome:
    """How a run ended: decibels on held-out patches, and what the ladder did."""

    case: str
    seed: int
    watched: bool
    psnr: float
    reactions: dict[str, int]
    error: str = ""


def poison_some(step: int, batch: Batch) -> Batch:
    """One in twenty, and thirty in a row."""
    return with_nan(batch) if step % 20 == 13 or 120 <= step < 150 else batch


def with_nan(batch: Batch) -> Batch:
    reference = batch.reference.clone()
    reference[0, 0, 0, 0] = math.nan
    return replace(batch, reference=reference)


SABOTAGE = (
    Case("learning rate x30", {}, rate=30.0),
    Case("batches poisoned with NaN", {}, poison=poison_some),
    Case(
        "discriminator far too strong",
        {"loss": "wasserstein", "gradient_penalty": 0.0, "discriminator_steps": 3, "weight": 0.5},
        judge_features=16,
    ),
    Case("gamma = 0", {"loss": "nonsaturating", "gamma": 0.0, "weight": 1.0}),
    Case("a corrupt shard", {}, has_corrupt_shard=True),
)
HEALTHY = (
    Case("relativistic", {}),
    Case("nonsaturating", {"loss": "nonsaturating"}),
    Case("hinge", {"loss": "hinge"}),
    Case("least squares", {"loss": "least_squares"}),
    Case("wasserstein", {"loss": "wasserstein"}),
)


def run(case: Case, seed: int, watched: bool) -> Outcome:
    """One training; a crash is an outcome too."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    config = LoopConfig.model_validate(
        {
            "stages": {
                "fidelity": stage(FIDELITY, 2e-3 * case.rate),
                "warmup": stage(WARMUP, 5e-4 * case.rate),
                "adversarial": stage(ADVERSARIAL, 5e-4 * case.rate),
            },
            "adversarial": case.settings,
            "stability": {"enabled": watched},
            "batch_size": BATCH_SIZE,
            "ema_decay": 0.99,
            "checkpoint_every": 10_000,
        }
    )
    generator = CompactGenerator(CompactConfig(num_features=8, num_convs=2, scale=SCALE))
    judge = UNetDiscriminator(UNetConfig(num_features=case.judge_features))
    if config.adversarial.spectral_norm:
        normalise_spectrally(judge)
    state = new_state(generator, judge)
    events: list[Event] = []
    hooks = Hooks(
        average_gradients=keep_gradients,
        average_values=lambda losses: {name: float(value) for name, value in losses.items()},
        validate=validate,
        log=lambda line: None,
        event=events.append,
        checkpoint=lambda state: None,
        stopping=lambda: False,
    )
    objective = Objective(config.objective, bands=3, device=CPU, seed=seed)
    error = ""
    try:
        with data_of(case, seed) as batches:
            train(state, batches, config, hooks, objective)
    except TrainingError as found:
        error = str(found)
    names = [f"{event['event']}: {event['reason']}" for event in events]
    reactions = {name: names.count(name) for name in dict.fromkeys(names)}
    psnr = validate(state.generator_ema)["validation_psnr_y"]
    return Outcome(case.name, seed, watched, psnr, reactions, error)


def stage(steps: int, rate: float) -> dict[str, float]:
    return {"steps": steps, "learning_rate": rate, "final_learning_rate": rate / 4}


@contextmanager
def data_of(case: Case, seed: int) -> Iterator[Iterator[Batch]]:
    """The batches of a run; shards are cut for it, and one is then overwritten in part."""
    if not case.has_corrupt_shard:
        yield prepared_batches(seed, case.poison)
        return
    with tempfile.TemporaryDirectory() as folder:
        alone = WorkersConfig(max=0)
        cut = ShardConfig(output=folder, shard_bytes=2**19, workers=alone, smallest_pixels=SIDE)
        result = run_sharding(plan_shards(cut), lambda done, number: None)
        path = Path(folder) / result.index.shards[len(result.index.shards) // 2].key
        damaged = bytearray(path.read_bytes())
        for position in range(len(damaged) // 8, len(damaged) // 2, 97):
            damaged[position] ^= 0x5A
        path.write_bytes(damaged)
        config = TrainConfig.model_validate(
            {
                "archive": folder,
                "output": f"{folder}-training",
                "degradation": "bicubic",
                "patch_pixels": SIDE,
                "batch_size": BATCH_SIZE,
                "workers": alone,
                "seed": seed,
            }
        )
        samples = plan_training(config).samples
        steps = range(FIDELITY + WARMUP + ADVERSARIAL)
        arrays = local_batches(samples, Share(0, 1, BATCH_SIZE), steps)
        yield (make_batch(each, samples, CPU) for each in arrays)


def prepared_batches(seed: int, poison: Poison) -> Iterator[Batch]:
    references, degraded = patches(TRAINED_ON, NUM_PATCHES)
    rng = np.random.default_rng(seed)
    step = 0
    while True:
        chosen = torch.from_numpy(rng.integers(NUM_PATCHES, size=BATCH_SIZE))
        indices = range(step * BATCH_SIZE, (step + 1) * BATCH_SIZE)
        seeds = tuple((seed, index) for index in indices)
        yield poison(step, Batch(degraded[chosen], references[chosen], seeds=seeds))
        step += 1


@cache
def patches(photographs: tuple[str, ...], number: int) -> tuple[Tensor, Tensor]:
    """References (number,3,24,24) and their bicubic halves, a little noisy."""
    rng = np.random.default_rng(0)
    images = [getattr(skimage.data, name)() for name in photographs]
    cut = []
    for index in range(number):
        image = images[index % len(images)]
        top, left = (rng.integers(length - SIDE + 1) for length in image.shape[:2])
        cut.append(image[top : top + SIDE, left : left + SIDE])
    references = torch.from_numpy(np.stack(cut)).permute(0, 3, 1, 2).float() / 255
    halves = F.interpolate(references, scale_factor=1 / SCALE, mode="bicubic", antialias=True)
    noise = torch.randn(halves.shape, generator=torch.Generator().manual_seed(0))
    return references, (halves + 0.01 * noise).clamp(0, 1)


def validate(generator: nn.Module) -> dict[str, float]:
    """PSNR over all bands of the held-out patches, under the name that the monitor reads."""
    references, degraded = patches(HELD_OUT, NUM_HELD_OUT)
    with torch.no_grad():
        error = (generator(degraded).clamp(0, 1) - references).square().mean()
    value = float(error)
    return {"validation_psnr_y": -10 * math.log10(value) if value > 0 else math.nan}


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args(arguments)
    jobs = [(number, options.seeds) for number in range(len(plan_of(options.seeds)))]
    with ProcessPoolExecutor(options.jobs) as pool:
        outcomes = list(pool.map(run_numbered, jobs))
    if options.output:
        lines = [json.dumps(outcome.__dict__) + "\n" for outcome in outcomes]
        options.output.write_text("".join(lines))
    report(outcomes)


def plan_of(num_seeds: int) -> list[tuple[Case, int, bool]]:
    seeds = range(num_seeds)
    healthy = [(case, seed, True) for case in HEALTHY for seed in seeds]
    sabotaged = [(case, seed, on) for case in SABOTAGE for on in (True, False) for seed in seeds]
    return healthy + sabotaged


def run_numbered(job: tuple[int, int]) -> Outcome:
    """A run of the plan by its number: cases hold functions, which do not travel."""
    number, num_seeds = job
    return run(*plan_of(num_seeds)[number])


def report(outcomes: list[Outcome]) -> None:
    healthy = {case.name for case in HEALTHY}
    usual = fmean(outcome.psnr for outcome in outcomes if outcome.case in healthy)
    print(f"{'case':<32}{'watched':>8}{'PSNR dB':>16}{'sound':>8}  reactions")
    for case in (*HEALTHY, *SABOTAGE):
        for watched in (True, False):
            found = [o for o in outcomes if o.case == case.name and o.watched == watched]
            if not found:
                continue
            sound = [o for o in found if is_sound(o, usual)]
            values = [o.psnr for o in found if math.isfinite(o.psnr)]
            shown = (
                f"{fmean(values):.2f} ± {stdev(values) / len(values) ** 0.5:.2f}"
                if len(values) > 1
                else "-"
            )
            reactions: dict[str, int] = {}
            for outcome in found:
                for name, count in outcome.reactions.items():
                    reactions[name] = reactions.get(name, 0) + count
            said = ", ".join(f"{count} x {name}" for name, count in reactions.items())
            mark = "yes" if watched else "no"
            print(f"{case.name:<32}{mark:>8}{shown:>16}{len(sound):>5}/{len(found)}  {said}")
    alarms = [o for o in outcomes if o.case in healthy and o.reactions]
    watched = [o for o in outcomes if o.case not in healthy and o.watched]
    rescued = [o for o in watched if is_sound(o, usual)]
    unwatched = [o for o in outcomes if o.case not in healthy and not o.watched]
    lost = [o for o in unwatched if not is_sound(o, usual)]
    num_healthy = sum(o.case in healthy for o in outcomes)
    print(f"rescued {len(rescued)} of {len(watched)}; false alarms {len(alarms)} of {num_healthy}")
    print(f"without the monitor {len(lost)} of {len(unwatched)} sabotaged runs are lost")


def is_sound(outcome: Outcome, usual: float) -> bool:
    return not outcome.error and outcome.psnr >= usual - TOLERATED_DB


if __name__ == "__main__":
    main(sys.argv[1:])
