"""What a training leaves behind: metrics, TensorBoard events, checkpoints, the generator."""

import json
import logging
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

from ganray.errors import NotFoundError
from ganray.storage import ObjectInfo, open_store
from ganray.training.loop import Metrics
from ganray.training.state import TrainingState, encode_state

logger = logging.getLogger(__name__)

NUM_KEPT_CHECKPOINTS = 2
GENERATOR_KEY = "generator.safetensors"
CONFIG_KEY = "config.yaml"
METRICS_KEY = "metrics.jsonl"
EVENTS_KEY = "events.jsonl"


class TrainOutput:
    """The output folder or prefix of one training; one process at a time writes to it."""

    def __init__(self, uri: str) -> None:
        self.store = open_store(uri)
        self._lines: list[Metrics] = []
        self._events: list[Metrics] = []
        self._scratch = tempfile.TemporaryDirectory(prefix="ganray-tensorboard-")
        self._writer = SummaryWriter(self._scratch.name)

    def begin(self, step: int, config: str) -> None:
        """Write the resolved configuration; keep the metrics of steps up to `step`."""
        self.store.write(CONFIG_KEY, config.encode())
        if step:
            self._lines = [line for line in self._read(METRICS_KEY) if int(line["step"]) <= step]
            self._events = self._read(EVENTS_KEY)
        self.add_event("resumed" if step else "started", step)
        self.flush()

    def add_event(self, event: str, step: int, **details: Any) -> None:
        """Note that something happened; it is stored at the next flush."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self._events.append({"event": event, "step": step, "time": now, **details})

    def log(self, metrics: Metrics) -> None:
        """Add one line of metrics; it is stored at the next flush."""
        self._lines.append(metrics)
        for name, value in metrics.items():
            if isinstance(value, int | float) and name != "step":
                self._writer.add_scalar(name, value, int(metrics["step"]))

    def flush(self) -> None:
        """Store metrics and events as they are now."""
        for key, lines in ((METRICS_KEY, self._lines), (EVENTS_KEY, self._events)):
            content = "".join(json.dumps(line) + "\n" for line in lines)
            self.store.write(key, content.encode())
        self._writer.flush()
        for path in sorted(Path(self._scratch.name).iterdir()):
            self.store.write(f"tensorboard/{path.name}", path.read_bytes())

    def finish(self, step: int, generator: bytes) -> None:
        """Store the trained generator, last of all; nothing more can be logged."""
        self.add_event("finished", step)
        self.flush()
        self.store.write(GENERATOR_KEY, generator)
        self._writer.close()
        self._scratch.cleanup()

    def save(self, state: TrainingState) -> None:
        """Store metrics, then the state, then remove the oldest states."""
        self.add_event("checkpoint", state.step)
        self.flush()
        self.store.write(f"checkpoints/step-{state.step:08d}.pt", encode_state(state))
        for old in list_checkpoints(self.store.uri)[:-NUM_KEPT_CHECKPOINTS]:
            self.store.delete(old.key)
        logger.info("checkpoint step=%d output=%s", state.step, self.store.uri)

    def _read(self, key: str) -> list[Metrics]:
        return [json.loads(line) for line in self.store.read(key).decode().splitlines()]


def list_checkpoints(output: str) -> Sequence[ObjectInfo]:
    """States of the training at `output`, oldest first."""
    store = open_store(output)
    try:
        infos = [info for info in store.list("checkpoints/") if info.key.endswith(".pt")]
    except NotFoundError:
        return []
    return sorted(infos, key=lambda info: info.key)


def checkpoint_step(info: ObjectInfo) -> int:
    """The step that a state's key names."""
    return int(info.key.removesuffix(".pt").rpartition("-")[2])
