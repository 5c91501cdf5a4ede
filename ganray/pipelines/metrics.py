"""What ganray exports to Prometheus, through Ray: the table of all metrics, and how one is told.

Ray's agent on every node serves them, with `ray_` before each name. A process that is part of no
cluster exports nothing. Labels take few values: states, stages, names that stand in the code.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import ray
from ray.util.metrics import Counter, Gauge, Histogram

SERVED_PREFIX = "ray_"
"""What Ray puts before each name as it serves it."""
EXPORT_SECONDS = 2.0
"""Between two visits to Ray's own meters: each costs 3 to 10 µs, as much as a part of a small
window, and a gauge that was not set anew for 20 s is no longer served."""


@dataclass(frozen=True, eq=False)
class Metric:
    """One metric; `name` is as ganray says it. A histogram has `buckets`, by their upper ends."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def served_name(self) -> str:
        """The name that Prometheus finds."""
        return SERVED_PREFIX + self.name


RUN_START = Metric(
    "ganray_run_start_timestamp_seconds", "gauge", "When the run that is going on began.", ("kind",)
)
RUN_PROGRESS = Metric(
    "ganray_run_progress_timestamp_seconds",
    "gauge",
    "When the run that is going on last recorded an input, a window or a step.",
    ("kind",),
)
INPUTS = Metric("ganray_inputs", "gauge", "Inputs of the run by state.", ("state",))
FAILURES = Metric(
    "ganray_failures_total", "counter", "Inputs that failed, by the class of the error.", ("error",)
)
INPUT_PIXELS = Metric("ganray_input_pixels_total", "counter", "Pixels of inputs restored.")
OUTPUT_PIXELS = Metric("ganray_output_pixels_total", "counter", "Pixels of restored outputs.")
INPUT_SECONDS = Metric(
    "ganray_input_seconds",
    "histogram",
    "Seconds that the stages of one input took.",
    buckets=(0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0),
)
WINDOWS = Metric("ganray_windows_total", "counter", "Windows that went through the generator.")
READ_BYTES = Metric("ganray_read_bytes_total", "counter", "Bytes read from the stores.")
WRITTEN_BYTES = Metric("ganray_written_bytes_total", "counter", "Bytes written to the stores.")
STAGE_SECONDS = Metric(
    "ganray_stage_seconds_total",
    "counter",
    "Seconds of a worker's threads by stage: read, decode, restore, encode or write.",
    ("stage",),
)
DEVICE_WAIT_SECONDS = Metric(
    "ganray_device_wait_seconds_total",
    "counter",
    "Seconds that a device waited for inputs to be read, or for outputs to be written.",
)
QUEUE_DEPTH = Metric(
    "ganray_queue_depth", "gauge", "Inputs or windows at a worker: loading or storing.", ("queue",)
)
STORE_RETRIES = Metric(
    "ganray_store_retries_total", "counter", "Requests to a store that were made again."
)
TRAIN_STEP = Metric("ganray_train_step", "gauge", "The last step that was told.")
TRAIN_VALUE = Metric(
    "ganray_train_value", "gauge", "Losses, learning rate and validation, by name.", ("name",)
)
TRAIN_PATCHES = Metric(
    "ganray_train_patches_per_second", "gauge", "Patches per second of all workers."
)
TRAIN_TIME = Metric(
    "ganray_train_time_ratio",
    "gauge",
    "Share of the time by part; data is what training waits for.",
    ("part",),
)
TRAIN_EVENTS = Metric(
    "ganray_train_events_total",
    "counter",
    "Events of a training: checkpoints, skipped steps, rollbacks and others.",
    ("event",),
)
NIGHT_START = Metric(
    "ganray_nightly_start_timestamp_seconds", "gauge", "When the night that is going on began."
)
NIGHT_END = Metric(
    "ganray_nightly_end_timestamp_seconds",
    "gauge",
    "When a night ended, for the seconds until its process is gone.",
    ("outcome",),
)

METRICS = (
    *(RUN_START, RUN_PROGRESS, INPUTS, FAILURES, INPUT_PIXELS, OUTPUT_PIXELS, INPUT_SECONDS),
    *(WINDOWS, READ_BYTES, WRITTEN_BYTES, STAGE_SECONDS, DEVICE_WAIT_SECONDS, QUEUE_DEPTH),
    *(STORE_RETRIES, TRAIN_STEP, TRAIN_VALUE, TRAIN_PATCHES, TRAIN_TIME, TRAIN_EVENTS),
    *(NIGHT_START, NIGHT_END),
)
"""All that ganray exports: dashboard and alerts know no other."""

_Series = tuple[Metric, tuple[str, ...]]


class Meters:
    """Collects values of this process; `exporting` hands them to Ray now and then.

    What is collected before the process has joined a cluster is handed over then. Threads may
    share one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._added: dict[_Series, float] = {}
        self._set: dict[_Series, float] = {}
        self._exported: dict[Metric, Any] = {}

    def add(self, metric: Metric, value: float, *labels: str) -> None:
        """Count `value` more; `labels` are values of the metric's labels, in its order."""
        series = (metric, labels)
        with self._lock:
            self._added[series] = self._added.get(series, 0.0) + value

    def set(self, metric: Metric, value: float, *labels: str) -> None:
        """Say what a gauge shows from now on."""
        with self._lock:
            self._set[metric, labels] = value

    def observe(self, metric: Metric, value: float) -> None:
        """Count one value of a histogram; outside a cluster it is forgotten."""
        if ray.is_initialized():
            self._export(metric).observe(value)

    @contextmanager
    def exporting(self) -> Iterator[None]:
        """Hand over what is collected every few seconds meanwhile, and at the end."""
        is_over = threading.Event()

        def export() -> None:
            while not is_over.wait(EXPORT_SECONDS):
                self.flush()

        thread = threading.Thread(target=export, name="ganray-export", daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()
            self.flush()

    def flush(self) -> None:
        """Hand over what was counted, and what gauges show, if there is a cluster."""
        if not ray.is_initialized():
            return
        with self._lock:
            added, self._added = self._added, {}
            for (metric, labels), value in added.items():
                if value > 0:
                    tags = dict(zip(metric.labels, labels, strict=True))
                    self._export(metric).inc(value, tags)
            for (metric, labels), value in self._set.items():
                tags = dict(zip(metric.labels, labels, strict=True))
                self._export(metric).set(value, tags)

    def _export(self, metric: Metric) -> Any:
        """Ray's own object of a metric, made at its first value."""
        if metric not in self._exported:
            match metric.kind:
                case "counter":
                    made = Counter(metric.name, metric.help, metric.labels)
                case "gauge":
                    made = Gauge(metric.name, metric.help, metric.labels)
                case "histogram":
                    made = Histogram(metric.name, metric.help, metric.buckets, metric.labels)
            self._exported[metric] = made
        return self._exported[metric]
