"""The training job: archive → patches → the loop on N workers → a generator that restore takes.

Ray Data makes the patches and Ray Train holds the workers; the loop knows neither. Every
worker derives its part of each batch from (seed, step, rank), so that a resumed run and a
run with another number of workers learn from the same samples.
"""

import contextlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import torch

from ganray.claim import claimed
from ganray.config import to_yaml
from ganray.errors import ConfigError, NotFoundError, RunFailedError
from ganray.pipelines.metrics_run import TrainMeters
from ganray.pipelines.run_log import log_run
from ganray.pipelines.stop import GracefulStop
from ganray.pipelines.train_checkpoints import checkpoint_step, list_checkpoints
from ganray.pipelines.train_config import TrainConfig, TrainPlan
from ganray.pipelines.train_gate import GATE_FOLDER, awaits_gate, pass_gate
from ganray.pipelines.train_on_ray import train_on_ray
from ganray.pipelines.train_output import (
    CONFIG_KEY,
    EVENTS_KEY,
    GENERATOR_KEY,
    METRICS_KEY,
    Report,
)
from ganray.pipelines.train_pictures import PREFIX as PICTURES
from ganray.pipelines.train_report import REPORT_KEY, TrainReporter
from ganray.pipelines.train_resume import compare_configs, finished_step, read_if_there
from ganray.pipelines.train_signals import Link, Wishes
from ganray.pipelines.train_worker import WorkerPlace, run_worker
from ganray.storage import Store, join_uri, open_store
from ganray.training.reactions import Event
from ganray.training.samples import Share


@dataclass(frozen=True)
class TrainResult:
    """Where the generator stands, and whether this run did anything."""

    generator: str
    steps_done: int
    already_finished: bool
    gave_up_at: int | None = None
    """The step at which an earlier run had ended the training as past help."""
    report: str = ""
    """Where the report stands; empty if it could not be written."""


@dataclass(frozen=True)
class _Start:
    """The step that a run goes on from, and what its first events have to tell."""

    step: int
    notes: tuple[Event, ...] = ()


@dataclass
class Course:
    """What was heard of a training while it runs."""

    report: Report
    stored_step: int
    reporter: TrainReporter
    run_id: str = ""
    first_step: int | None = None
    last_event: Mapping[str, Any] = field(default_factory=dict)
    meters: TrainMeters = field(default_factory=TrainMeters)

    @property
    def steps_done(self) -> int:
        """From where the run began, which may be before the newest checkpoint, to its end."""
        return int(self.last_event["step"]) - (self.first_step or 0)

    def flush(self) -> None:
        """Hand what was heard to Ray's exporter, while there is a cluster."""
        self.meters.flush()

    def hear(self, line: Mapping[str, Any]) -> None:
        if line.get("event") in ("started", "resumed") and self.first_step is None:
            self.first_step = int(line["step"])
        if line.get("event") in ("finished", "stopped"):
            self.last_event = line
        if line.get("event") == "checkpoint":
            self.stored_step = int(line["step"])
            self.reporter.note_checkpoint()
        self.meters.hear(line)
        self.report(line)


def run_training(plan: TrainPlan, report: Report) -> TrainResult:
    """Train, or go on from the last checkpoint; a finished training is left as it is.

    `report` gets every line of metrics and every event. SIGTERM ends the run after a last
    checkpoint. Raises GanrayError.
    """
    config = plan.config
    generator, store = join_uri(config.output, GENERATOR_KEY), open_store(config.output)
    run_id = f"train-{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
    with (
        GracefulStop() as stop,
        log_run(run_id),
        claimed(store, run_id) as claim,
        Wishes(stop, claim) as wishes,
    ):
        start = _prepare_output(plan, store)
        reporter = TrainReporter(plan, store, report, lambda: wishes.wish().may_write)
        if isinstance(start, TrainResult):
            if not awaits_gate(plan, store):
                return start
            with reporter.at_the_end():
                pass_gate(plan, store, start.gave_up_at or plan.total_steps, report)
            return replace(start, report=_page(config, reporter))
        # The generator first: from here on, where one stands this training is finished.
        store.delete(GENERATOR_KEY)
        store.write(CONFIG_KEY, to_yaml(config).encode())
        course = Course(report, start.step, reporter, run_id)
        with reporter.at_the_end():
            # Without the gate, which makes no step: it would be taken for a training that stands.
            with course.meters:
                if config.workers.max == 0:
                    share = Share(0, 1, config.batch_size)
                    link = Link(course.hear, wishes.wish)
                    run_worker(plan, WorkerPlace(share, _local_device(), link), start.notes)
                else:
                    train_on_ray(plan, course, wishes, stop, start.notes)
            _require_end(course, wishes)
            pass_gate(plan, store, int(course.last_event["step"]), report)
    page = _page(config, reporter)
    return TrainResult(generator, course.steps_done, already_finished=False, report=page)


def _page(config: TrainConfig, reporter: TrainReporter) -> str:
    return join_uri(config.output, REPORT_KEY) if reporter.is_written else ""


def _require_end(course: Course, wishes: Wishes) -> None:
    """Raise RunFailedError unless the training came to its end."""
    if wishes.is_taken:
        raise RunFailedError(
            "another run took this output over while this one did not answer; it stopped, what "
            "is stored stays"
        )
    if course.last_event.get("event") != "finished":
        raise RunFailedError(
            f"stopped by SIGTERM at step {course.last_event.get('step', course.stored_step)}; its "
            f"last checkpoint is that of step {course.stored_step}. Run the same command again "
            "to go on"
        )


def _prepare_output(plan: TrainPlan, store: Store) -> _Start | TrainResult:
    """Where to go on from, or what an earlier run left that has nothing more to do."""
    config = plan.config
    if not config.resume:
        _remove_earlier(config, store)
        return _Start(0)
    checkpoints = list_checkpoints(store)
    step = checkpoint_step(checkpoints[-1]) if checkpoints else 0
    end = finished_step(store, or_else=plan.total_steps)
    stored = read_if_there(store, CONFIG_KEY)
    extension = None
    if stored and (checkpoints or end is not None):
        extension = compare_configs(stored, config, step)
    if end is None:
        return _Start(step, (extension,) if extension else ())
    if end < (extension["from_steps"] if extension else plan.total_steps):
        return _nothing_to_do(config, gave_up_at=end)
    if extension is None:
        return _nothing_to_do(config)
    if not checkpoints:
        raise ConfigError(
            f"{config.output} holds a generator of {end} steps and no checkpoint to go on from; "
            "choose another output, or start anew with resume=false"
        )
    return _Start(step, (extension,))


def _nothing_to_do(config: TrainConfig, *, gave_up_at: int | None = None) -> TrainResult:
    generator = join_uri(config.output, GENERATOR_KEY)
    return TrainResult(generator, 0, already_finished=True, gave_up_at=gave_up_at)


def _remove_earlier(config: TrainConfig, store: Store) -> None:
    """Remove what an earlier training left at the output, but never what this one starts from."""
    if config.init_from.startswith(config.output.rstrip("/") + "/"):
        raise ConfigError(
            f"resume=false replaces {config.output}, and init_from={config.init_from} lies there; "
            "choose another output"
        )
    # Checkpoints last: as long as one stands, so does what it was trained with.
    for prefix in (
        *(GENERATOR_KEY, METRICS_KEY, EVENTS_KEY, REPORT_KEY, "tensorboard/"),
        *(f"{GATE_FOLDER}/", PICTURES),
        *("checkpoints/", CONFIG_KEY),
    ):
        with contextlib.suppress(NotFoundError):
            for info in list(store.list(prefix)):
                store.delete(info.key)


def _local_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
