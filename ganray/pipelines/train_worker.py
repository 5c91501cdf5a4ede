"""One worker of a training: its networks, its share of the samples, its part in the output.

Runs inside Ray Train, or alone in the calling process. Rank 0 writes; all compute.
"""

from collections.abc import Callable, Iterator
from functools import partial
from statistics import fmean

import torch
from torch import nn

from ganray.config import digest, to_yaml
from ganray.models.catalog import DISCRIMINATORS, on_device
from ganray.models.checkpoint import (
    Provenance,
    build_generator,
    decode_checkpoint,
    encode_checkpoint,
    load_checkpoint,
)
from ganray.models.discriminator import Discriminator
from ganray.models.spectral import normalise_spectrally
from ganray.pipelines.pairs import measure_restorer
from ganray.pipelines.train_config import TrainPlan
from ganray.pipelines.train_data import local_batches, streamed_batches, watch_failures
from ganray.pipelines.train_output import TrainOutput, list_checkpoints
from ganray.pipelines.train_validation import validation_pairs
from ganray.restoration import Restorer
from ganray.storage import open_store
from ganray.training.batches import make_batch
from ganray.training.distributed import average_gradients, average_values
from ganray.training.loop import Hooks, Metrics, keep_gradients, train
from ganray.training.objective import Objective
from ganray.training.reactions import Event
from ganray.training.samples import Arrays, Share
from ganray.training.state import TrainingState, new_state, restore_state

VALIDATION_METRICS = ("psnr_y", "ssim_y")


def run_worker(
    plan: TrainPlan, share: Share, device: torch.device, report: Callable[[Metrics], None]
) -> None:
    """Train from the last checkpoint to the end; rank 0 stores what comes of it."""
    torch.set_num_threads(plan.config.workers.num_threads)
    state = start_state(plan, device)
    resumed = load_last_checkpoint(state, plan.config.output)
    output = TrainOutput(plan.config.output) if share.rank == 0 else None
    if output:
        output.begin(state.step, to_yaml(plan.config))
        report({"step": state.step, "resumed": resumed})
        for item in plan.data.skipped:
            output.add_event("skipped", state.step, reason=f"{item.key}: {item.reason}")

    def note(failure: str) -> None:
        report({"step": state.step, "skipped": failure})
        if output:
            output.add_event("skipped", state.step, reason=failure)

    arrays = _arrays(plan, share, range(state.step, plan.total_steps))
    batches = (make_batch(a, plan.samples, device) for a in watch_failures(arrays, note))
    objective = Objective(
        plan.config.objective, bands=plan.samples.bands, device=device, seed=plan.config.seed
    )
    train(state, batches, plan.config, _hooks(plan, share, output, report), objective)
    if output:
        output.finish(state.step, encode_generator(plan, state.generator_ema))


def _arrays(plan: TrainPlan, share: Share, steps: range) -> Iterator[Arrays]:
    if plan.config.workers.max == 0:
        return local_batches(plan.samples, share, steps)
    return streamed_batches(plan.samples, share, steps, num_readers=plan.config.readers)


def start_state(plan: TrainPlan, device: torch.device) -> TrainingState:
    """Networks at step 0: the same on every worker, by the seed or the starting checkpoint."""
    config = plan.config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        generator, _ = build_generator(plan.architecture, plan.network)
        choice = DISCRIMINATORS[config.discriminator.architecture]
        options = {"bands": plan.samples.bands} | config.discriminator.options
        discriminator = choice.build(choice.config.model_validate(options))
    assert isinstance(discriminator, Discriminator)
    if config.adversarial.spectral_norm:
        normalise_spectrally(discriminator)
    if config.init_from:
        start = load_checkpoint(config.init_from)
        generator.load_state_dict(start.generator.state_dict())
    on_device(discriminator, device)
    return new_state(on_device(generator, device), discriminator)


def load_last_checkpoint(state: TrainingState, output: str) -> str:
    """Bring `state` to the newest checkpoint at `output`; its key, or empty without one."""
    checkpoints = list_checkpoints(output)
    if not checkpoints:
        return ""
    key = checkpoints[-1].key
    restore_state(state, open_store(output).read(key), f"{output}/{key}")
    return key


def encode_generator(plan: TrainPlan, generator: nn.Module) -> bytes:
    """The trained generator as a checkpoint with its provenance."""
    _, network = build_generator(plan.architecture, plan.network)
    config, recipe = plan.config, plan.samples.recipe
    training = {
        "config_digest": digest(config),
        "steps": config.stages.total_steps,
        "degradation": recipe.model_dump(mode="json") if recipe else "pairs",
        "config": config.model_dump(mode="json"),
    }
    provenance = Provenance(trained_on=plan.trained_on, training=training)
    return encode_checkpoint(generator, plan.architecture, network, provenance)


def _hooks(
    plan: TrainPlan, share: Share, output: TrainOutput | None, report: Callable[[Metrics], None]
) -> Hooks:
    def log(metrics: Metrics) -> None:
        if output:
            output.log(metrics)
            report(metrics)

    def event(step: int, found: Event) -> None:
        if output:
            output.add_event(step=step, **found)
            report({"step": step, **found})

    def checkpoint(state: TrainingState) -> None:
        if output:
            output.save(state)

    def validate(generator: nn.Module) -> dict[str, float]:
        return measure_validation(plan, generator) if output else {}

    alone = share.num_workers == 1
    return Hooks(
        average_gradients=keep_gradients
        if alone
        else partial(average_gradients, weight=share.weight),
        average_values=partial(average_values, weight=share.weight) if not alone else _as_floats,
        validate=validate,
        log=log,
        event=event,
        checkpoint=checkpoint,
        stopping=lambda: False,
    )


def measure_validation(plan: TrainPlan, generator: nn.Module) -> dict[str, float]:
    """Means of the validation metrics, through the same Restorer that restores archives."""
    if not plan.data.validation.keys:
        return {}
    checkpoint = decode_checkpoint(encode_generator(plan, generator), "the generator in training")
    restorer = Restorer(checkpoint)
    values: dict[str, list[float]] = {name: [] for name in VALIDATION_METRICS}
    for pair in validation_pairs(plan):
        for name, value in measure_restorer(restorer, pair, VALIDATION_METRICS).items():
            if value is not None:
                values[name].append(value)
    return {f"validation_{name}": fmean(known) for name, known in values.items() if known}


def _as_floats(losses: dict[str, torch.Tensor]) -> dict[str, float]:
    return {name: float(value) for name, value in losses.items()}
