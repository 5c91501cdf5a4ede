"""One worker of a training: its networks, its share of the samples, its part in the output.

Runs inside Ray Train, or alone in the calling process. Rank 0 writes; all compute.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from ganray.config import digest
from ganray.errors import GanrayError
from ganray.models.catalog import build_discriminator, on_device
from ganray.models.checkpoint import (
    Provenance,
    build_generator,
    encode_checkpoint,
    load_checkpoint,
)
from ganray.models.spectral import normalise_spectrally
from ganray.models.transfer import transfer
from ganray.pipelines.train_checkpoints import FoundCheckpoint, find_checkpoint
from ganray.pipelines.train_config import TrainPlan
from ganray.pipelines.train_data import local_batches, streamed_batches, watch_failures
from ganray.pipelines.train_output import TrainOutput
from ganray.pipelines.train_pictures import Sampler
from ganray.pipelines.train_signals import Link
from ganray.pipelines.train_validation import (
    Measuring,
    Note,
    compare_with_bicubic,
    measure_baseline,
    measure_validation,
)
from ganray.storage import RetryPolicy, open_store
from ganray.training.batches import make_batch
from ganray.training.distributed import (
    AgreedWish,
    average_gradients,
    average_values,
    share_bytes,
)
from ganray.training.loop import Hooks, Metrics, keep_gradients, train
from ganray.training.objective import Objective
from ganray.training.reactions import Event, gave_up
from ganray.training.samples import Arrays, Share
from ganray.training.state import TrainingState, new_state, restore_state, take_snapshot
from ganray.training.steps import Batch

_log = logging.getLogger(__name__)

READING = RetryPolicy(seconds=600.0)
WRITING = RetryPolicy(seconds=20.0)
"""Short, because what fails is tried again in the background."""


@dataclass(frozen=True)
class WorkerPlace:
    """Where a worker stands: its share of the batches, its device, its link to the driver."""

    share: Share
    device: torch.device
    link: Link

    @property
    def is_alone(self) -> bool:
        return self.share.num_workers == 1


def run_worker(plan: TrainPlan, place: WorkerPlace, notes: tuple[Event, ...] = ()) -> None:
    """Train from the last checkpoint to the end, or until the driver wishes to stop.

    Rank 0 stores what comes of it, and `notes` among its events.
    """
    torch.set_num_threads(plan.config.workers.num_threads)
    state, origin = start_state(plan, place.device)
    found = resume(state, plan.config.output, place)
    output = sampler = None
    if place.share.rank == 0:
        output = begin_output(plan, place, state.step, found)
        sampler = Sampler(plan, state, place.device, output.keep_picture)
        if origin and not state.step:
            output.add_event({"event": "transferred", "step": 0, "weights": origin["transfer"]})
        skipped = (_skipped(item.key, item.reason) for item in plan.data.skipped)
        for event in (*notes, *skipped):
            output.add_event({"step": state.step, **event})
    tell = output.add_event if output else place.link.report

    def note(key: str, reason: str) -> None:
        tell({"step": state.step, **_skipped(key, reason)})

    arrays = watch_failures(_arrays(plan, place.share, range(state.step, plan.total_steps)), note)
    batches: Iterator[Batch] = (make_batch(a, plan.samples, place.device) for a in arrays)
    objective = Objective(
        plan.config.objective,
        bands=plan.samples.bands,
        device=place.device,
        seed=plan.config.seed,
    )
    measuring = Measuring(place.share, place.device, told_once(note))
    hooks = make_hooks(plan, place, output, measuring)
    if output and sampler:
        if not state.step and (baseline := _measure_baseline(plan, measuring)):
            output.log({"step": 0, **baseline})
        sampler.take_due()
        batches = sampler.seeing(batches)
        hooks = replace(hooks, validate=sampler.showing(hooks.validate))
    train(state, batches, plan.config, hooks, objective)
    is_over = state.step == plan.total_steps or gave_up(state.monitor)
    if output and not is_over:
        output.stop(take_snapshot(state))
    elif output:
        if comparison := _compare(plan, state, measuring):
            output.add_event({"event": "compared", "step": state.step, **comparison})
        if sampler:
            sampler.take()
        output.finish(state.step, encode_generator(plan, state, origin))


def told_once(note: Note) -> Note:
    """`note` for the first time that it is given a key."""
    told: set[str] = set()

    def note_once(key: str, reason: str) -> None:
        if key not in told:
            told.add(key)
            note(key, reason)

    return note_once


def _compare(
    plan: TrainPlan, state: TrainingState, measuring: Measuring
) -> dict[str, float | None]:
    """The comparison with bicubic; empty if it fails, since all that is lost is a warning."""
    try:
        return compare_with_bicubic(plan, state.generator_ema, measuring.device, measuring.note)
    except (GanrayError, RuntimeError) as error:
        # PyTorch's errors are RuntimeErrors, that of a full device too.
        _log.warning("event=not_compared step=%d cause=%r", state.step, str(error))
        return {}


def _measure_baseline(plan: TrainPlan, measuring: Measuring) -> dict[str, float]:
    """What bicubic reaches; empty if that fails, since all that is lost is a line of the report."""
    try:
        return measure_baseline(plan, measuring.note)
    except (GanrayError, RuntimeError) as error:
        _log.warning("event=no_baseline cause=%r", str(error))
        return {}


def _arrays(plan: TrainPlan, share: Share, steps: range) -> Iterator[Arrays]:
    if plan.config.workers.max == 0:
        return local_batches(plan.samples, share, steps)
    return streamed_batches(plan.samples, share, steps, num_readers=plan.config.readers)


def _skipped(key: str, reason: str) -> Event:
    return {"event": "skipped", "key": key, "reason": reason}


def start_state(plan: TrainPlan, device: torch.device) -> tuple[TrainingState, dict[str, str]]:
    """Networks at step 0, and where their weights come from.

    The same on every worker, by the seed or the starting checkpoint.
    """
    config = plan.config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        generator, _ = build_generator(plan.architecture, plan.network)
        options = {"bands": plan.samples.bands} | config.discriminator.options
        discriminator = build_discriminator(config.discriminator.architecture, options)
        if config.adversarial.spectral_norm:
            normalise_spectrally(discriminator)
    origin: dict[str, str] = {}
    if config.init_from:
        start = load_checkpoint(config.init_from)
        found = transfer(start, generator)
        origin = {
            "digest": start.digest,
            "trained_on": start.trained_on,
            "transfer": str(found),
        }
    on_device(discriminator, device)
    return new_state(on_device(generator, device), discriminator), origin


def resume(state: TrainingState, output: str, place: WorkerPlace) -> FoundCheckpoint | None:
    """Bring `state` to the newest whole checkpoint at `output`, which rank 0 reads for all."""
    found = None
    if place.share.rank == 0:
        found = find_checkpoint(open_store(output, retry=READING))
    data = found.data if found else b""
    if not place.is_alone:
        data = share_bytes(data, place.device)
    if data:
        restore_state(state, data, f"{output}/{found.key}" if found else "rank 0's checkpoint")
    return found


def begin_output(
    plan: TrainPlan, place: WorkerPlace, step: int, found: FoundCheckpoint | None
) -> TrainOutput:
    """The output, its first events told."""
    store = open_store(plan.config.output, retry=WRITING)
    output = TrainOutput(store, place.link.report, place.link.may_write)
    output.begin(step)
    first: Event = {"event": "started", "step": step, "workers": place.share.num_workers}
    if found is not None:
        first |= {"event": "resumed", "checkpoint": found.key}
    output.add_event(first)
    if found is not None and found.damaged:
        details = {"damaged": list(found.damaged), "checkpoint": found.key}
        output.add_event({"event": "fallback", "step": step, **details})
    return output


def make_hooks(
    plan: TrainPlan, place: WorkerPlace, output: TrainOutput | None, measuring: Measuring
) -> Hooks:
    """What the loop asks of its surroundings; only rank 0 has an output."""

    def log(metrics: Metrics) -> None:
        if output:
            output.log(metrics)

    def checkpoint(state: TrainingState) -> None:
        if output:
            output.save(take_snapshot(state))

    def event(what: Event) -> None:
        if output:
            output.add_event(what)

    def validate(generator: nn.Module) -> dict[str, float]:
        return measure_validation(plan, generator, measuring)

    weight = place.share.weight
    return Hooks(
        average_gradients=keep_gradients
        if place.is_alone
        else partial(average_gradients, weight=weight),
        average_values=_as_floats if place.is_alone else partial(average_values, weight=weight),
        validate=validate,
        log=log,
        checkpoint=checkpoint,
        event=event,
        stopping=place.link.stops if place.is_alone else AgreedWish(place.link.stops, place.device),
    )


def encode_generator(plan: TrainPlan, state: TrainingState, origin: dict[str, str]) -> bytes:
    """The trained generator, the averaged one, as a checkpoint with its provenance."""
    _, network = build_generator(plan.architecture, plan.network)
    config, recipe = plan.config, plan.samples.recipe
    training = {
        "config_digest": digest(config),
        "steps": state.step,
        "degradation": recipe.model_dump(mode="json") if recipe else "pairs",
        "init_from": origin,
        "config": told_config(config.model_dump(mode="json")),
    }
    trained_on = f"{plan.data.num_images} images of {told_place(plan.data.origin)}"
    provenance = Provenance(trained_on=trained_on, training=training)
    return encode_checkpoint(state.generator_ema, plan.architecture, network, provenance)


def told_config(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration as a published file may tell it: of local paths the last part alone.

    What becomes of the generator afterwards is no part of its making.
    """
    config = {key: value for key, value in config.items() if key not in ("registry", "gate")}
    keys = ("archive", "degraded", "validation", "validation_degraded", "output")
    places = {key: told_place(config[key]) for key in keys}
    places["init_from"] = told_place(config["init_from"])
    objective = config["objective"]
    weights = told_place(objective["perceptual_weights"])
    return config | places | {"objective": objective | {"perceptual_weights": weights}}


def told_place(uri: str) -> str:
    """An s3:// URI as it is, of a local path the last part: it says nothing of the machine."""
    return uri if uri.startswith("s3://") else uri.rstrip("/").rpartition("/")[2]


def _as_floats(losses: dict[str, torch.Tensor]) -> dict[str, float]:
    return {name: float(value) for name, value in losses.items()}
