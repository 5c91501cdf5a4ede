"""Nodes that come and go: Ray's own autoscaler, on nodes that are real raylets of this machine."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.integration.command import ganray_here
from tests.integration.fake_cloud import AUTOSCALERS, FakeCloud, end_family, fake_cloud, gpu_nodes
from tests.integration.pictures import write_pictures
from tests.integration.test_restore import wait_until

ROOT = Path(__file__).parents[2]
SECONDS = 240
MAX_NODES = 3
NUM_INPUTS = 80
LOST_INPUTS = 2 * 3
"""Two nodes are lost, each with an order of 80 // (3 * 8) inputs."""


def start_restoration(
    cloud: FakeCloud, folder: Path, *, num_inputs: int, seconds: float
) -> subprocess.Popen[str]:
    """A restoration of inputs of which each takes its worker some seconds, and no CPU."""
    write_pictures(folder / "archive", num_inputs, side=64)
    config = {
        "source": folder / "archive",
        "target": folder / "restored",
        "workers.min": 0,
        "workers.max": MAX_NODES,
        "workers.gpus": 1,
    }
    job = {
        "config": {key: str(value) for key, value in config.items()},
        "device": {"pixels_per_second": 64**2 / seconds},
        "notes": str(folder / "notes"),
    }
    return subprocess.Popen(
        [sys.executable, str(ROOT / "tests/benchmarks/run_on_cloud.py"), json.dumps(job)],
        env=os.environ | cloud.environment | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def nodes_at_work(notes: Path) -> set[str]:
    return {line["node"] for line in read(notes)}


def nodes_told(target: Path) -> list[int]:
    """How many nodes the run saw, one after the other."""
    (events,) = target.glob("_ganray/runs/*/events.jsonl")
    return [event["number"] for event in read(events) if event["event"] == "nodes"]


def read(notes: Path) -> list[dict]:
    return [json.loads(line) for line in notes.read_text().splitlines()] if notes.exists() else []


@pytest.mark.parametrize("autoscaler", AUTOSCALERS)
def test_nodes_come_for_the_backlog_are_replaced_when_lost_and_go_when_it_is_done(
    tmp_path: Path, autoscaler: str
) -> None:
    notes = tmp_path / "notes"
    with fake_cloud(gpu_nodes(MAX_NODES), autoscaler) as cloud:
        assert cloud.nodes() == {}
        driver = start_restoration(cloud, tmp_path, num_inputs=NUM_INPUTS, seconds=1.0)
        try:
            wait_until(lambda: len(nodes_at_work(notes)) == MAX_NODES, SECONDS)
            killed, drained, _ = sorted(cloud.nodes())
            cloud.nodes()[killed].kill()
            cloud.drain(drained, seconds=4)
            time.sleep(4)
            cloud.nodes()[drained].kill()
            output, _ = driver.communicate(timeout=SECONDS)
        finally:
            if driver.poll() is None:
                end_family(psutil.Process(driver.pid))
        assert driver.returncode == 0, output
        wait_until(lambda: cloud.nodes() == {}, SECONDS)
    counts = ganray_here("status", str(tmp_path / "restored"), "--json").json["inputs"]
    assert (counts["restored"], counts["pending"]) == (NUM_INPUTS, 0)
    numbers = nodes_told(tmp_path / "restored")
    assert numbers[0] == 0 and max(numbers) == MAX_NODES, numbers
    assert min(numbers[numbers.index(MAX_NODES) :]) < MAX_NODES, "the losses were not seen"
    # Of each node that was lost at most the order at hand came again.
    assert len(read(notes)) <= NUM_INPUTS + LOST_INPUTS
