"""A restoration by workers whose device is simulated, on the cluster that RAY_ADDRESS names.

    python -m tests.benchmarks.run_on_cloud '{"config": {…}, "device": {…}, "notes": "file"}'

`device` has the fields of `simulated_device.Device`, `config` those of a restoration.
Every worker adds a line of JSON to `notes` for each input: when it was done, and on which node.
The exit code is that of `ganray restore`.
"""

import json
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import ray

from ganray.cli import main as run_command
from ganray.ledger import LedgerRow
from ganray.pipelines import restore as restore_job
from ganray.pipelines.pool import WorkerContext
from ganray.pipelines.restore_orders import RestoreJob, Told, WorkOrder
from tests.benchmarks.simulated_device import Device, SimulatedWorker


class NotingWorker(SimulatedWorker):
    """A simulated worker that says what it does, and where."""

    def __init__(
        self, job: RestoreJob, context: WorkerContext, *, device: Device, notes: Path
    ) -> None:
        super().__init__(job, context, device=device)
        self.notes = notes
        self.node = ray.get_runtime_context().get_node_id()

    def run(self, order: WorkOrder) -> Iterator[Told]:
        self._wait_at_gate()
        for told in super().run(order):
            if isinstance(told, LedgerRow):
                note = {"key": told.key, "node": self.node, "end": told.recorded_at}
                line = json.dumps(note)
                with self.notes.open("a") as file:
                    file.write(line + "\n")
            yield told

    def _wait_at_gate(self) -> None:
        """Where there is a folder `gate` beside the notes: say there that this node is at work, and
        wait for the file `open`."""
        gate = self.notes.with_name("gate")
        if gate.is_dir():
            (gate / self.node).touch()
            while not (gate / "open").exists():
                time.sleep(0.1)


def main(job: dict[str, Any]) -> int:
    device, notes = Device(**job["device"]), Path(job["notes"])
    restore_job.RestoreWorker = partial(NotingWorker, device=device, notes=notes)
    return run_command(["restore", *(f"{key}={value}" for key, value in job["config"].items())])


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
