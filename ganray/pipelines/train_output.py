"""What a training leaves behind: metrics, TensorBoard events, checkpoints, the generator.

Training never waits for the store: a state is copied, and a thread stores it. A store that
fails costs nothing but later checkpoints, until the generator itself has to be stored.
"""

import json
import logging
import socket
import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

from ganray.errors import NotFoundError, StorageError
from ganray.pipelines.train_checkpoints import store_checkpoint, write_verified
from ganray.pipelines.train_writer import BackgroundWriter
from ganray.storage import RetryPolicy, Store
from ganray.storage.retry import AttemptError, retrying
from ganray.training.loop import Metrics
from ganray.training.reactions import Event
from ganray.training.state import Snapshot, encode_snapshot

GENERATOR_KEY = "generator.safetensors"
CONFIG_KEY = "config.yaml"
METRICS_KEY = "metrics.jsonl"
EVENTS_KEY = "events.jsonl"

STOP_SECONDS = 20.0
"""How long a training that is told to stop waits for its last checkpoint."""
PATIENCE = RetryPolicy(seconds=600.0, base_seconds=1.0, cap_seconds=30.0)
"""With the store, once everything is trained."""

Report = Callable[[Mapping[str, Any]], None]
"""Gets every line of metrics and every event."""

_log = logging.getLogger(__name__)


class TrainOutput:
    """The output folder or prefix of one training; one process at a time writes to it.

    `may_write` says whether this is still so.
    """

    def __init__(
        self,
        store: Store,
        report: Report,
        may_write: Callable[[], bool] = lambda: True,
        *,
        patience: RetryPolicy = PATIENCE,
    ) -> None:
        self.store = store
        self._report = report
        self._may_write = may_write
        self._patience = patience
        self._lines: list[Metrics] = []
        self._events: list[Event] = []
        self._pictures: dict[str, bytes] = {}
        self._failed_step = -1
        self._scratch = tempfile.TemporaryDirectory(prefix="ganray-tensorboard-")
        self._tensorboard = SummaryWriter(self._scratch.name)
        self._writer = BackgroundWriter[Snapshot](self._keep, self._note_failure)

    def begin(self, step: int) -> None:
        """Go on with the events, and with the metrics of steps up to `step`."""
        if step:
            self._lines = [line for line in self._read(METRICS_KEY) if int(line["step"]) <= step]
            self._events = self._read(EVENTS_KEY)

    def add_event(self, event: Event) -> None:
        """Tell that something happened; it is stored with the next checkpoint."""
        self._append(event)
        self._report(event)

    def _append(self, event: Event) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self._events.append({**event, "time": now})

    def log(self, metrics: Metrics) -> None:
        """Tell one line of metrics; it is stored with the next checkpoint."""
        self._lines.append(metrics)
        self._report(metrics)
        for name, value in metrics.items():
            if isinstance(value, int | float) and name != "step":
                self._tensorboard.add_scalar(name, value, int(metrics["step"]))

    def keep_picture(self, key: str, data: bytes) -> None:
        """Store a picture with the next checkpoint."""
        self._pictures[key] = data

    def flush(self) -> None:
        """Store pictures, metrics and events. Raises StorageError; nothing is forgotten."""
        for key, picture in list(self._pictures.items()):
            self.store.write(key, picture)
            del self._pictures[key]
        for key, lines in ((METRICS_KEY, self._lines), (EVENTS_KEY, self._events)):
            content = "".join(json.dumps(line) + "\n" for line in list(lines))
            self.store.write(key, content.encode())
        self._tensorboard.flush()
        for path in sorted(Path(self._scratch.name).iterdir()):
            self.store.write(f"tensorboard/{path.name}", path.read_bytes())

    def save(self, snapshot: Snapshot) -> None:
        """Have metrics and a state stored while training goes on."""
        self._writer.put(snapshot)

    def stop(self, snapshot: Snapshot) -> None:
        """Store a last state, if the store takes it in time: whoever stops a run is in a hurry."""
        step = snapshot["step"]
        self.save(snapshot)
        is_stored = self._writer.drain(STOP_SECONDS)
        self._close()
        self.add_event({"event": "stopped", "step": step, "checkpoint_stored": is_stored})
        if is_stored:
            try:
                self.flush()
            except StorageError as error:
                _log.warning("event=flush_failed cause=%r", str(error))

    def finish(self, step: int, generator: bytes) -> None:
        """Store the trained generator, last of all; nothing more can be logged.

        The end is told once the generator stands: whoever hears of it may rely on that.
        Raises StorageError, which says where the generator is, when the store stays away.
        """
        label = f"store the trained generator in {self.store.uri}"
        try:
            if not self._writer.drain(self._patience.seconds):
                raise StorageError(f"{label}: the store does not take the last checkpoint")
            finished: Event = {"event": "finished", "step": step}
            self._append(finished)
            retrying(lambda: self._try_generator(generator), self._patience, label)
            self._report(finished)
        except StorageError as error:
            path = _keep_locally(generator)
            raise StorageError(
                f"{error}. The training is complete: its generator is in {path} on "
                f"{socket.gethostname()}; copy it, or mend the store and run the same command "
                "again, which goes on from the last checkpoint that was stored"
            ) from error
        finally:
            self._close()

    def _try_generator(self, generator: bytes) -> None:
        try:
            self._require_claim()
            self.flush()
            write_verified(self.store, GENERATOR_KEY, generator)
        except StorageError as error:
            _log.warning("event=generator_not_stored cause=%r", str(error))
            raise AttemptError(type(error), str(error), "trying again", retryable=True) from error

    def _keep(self, snapshot: Snapshot) -> None:
        """In the writer's thread: metrics first, so that a state never lacks its own."""
        self._require_claim()
        self.flush()
        key = store_checkpoint(self.store, snapshot["step"], encode_snapshot(snapshot))
        self.add_event({"event": "checkpoint", "step": snapshot["step"]})
        _log.info("event=checkpoint key=%r output=%r", key, self.store.uri)

    def _note_failure(self, snapshot: Snapshot, error: StorageError) -> None:
        _log.warning("event=checkpoint_failed step=%d cause=%r", snapshot["step"], str(error))
        # Once for each state, however often it is tried again.
        if snapshot["step"] != self._failed_step:
            self._failed_step = snapshot["step"]
            self.add_event(
                {"event": "checkpoint_failed", "step": snapshot["step"], "cause": str(error)}
            )

    def _require_claim(self) -> None:
        if not self._may_write():
            raise StorageError(
                f"{self.store.uri}: the claim on it is not held, since the store did not answer "
                "or another run is there"
            )

    def _read(self, key: str) -> list[dict[str, Any]]:
        try:
            return [json.loads(line) for line in self.store.read(key).decode().splitlines()]
        except NotFoundError:
            # The state was stored while these were not.
            return []

    def _close(self) -> None:
        self._writer.close()
        self._tensorboard.close()


def _keep_locally(generator: bytes) -> str:
    """A file that outlives this process."""
    with tempfile.NamedTemporaryFile(
        prefix="ganray-generator-", suffix=".safetensors", delete=False
    ) as file:
        file.write(generator)
    return file.name
