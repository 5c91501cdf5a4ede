"""Nodes that come and go: Ray's own autoscalers, on nodes that are real raylets of this machine."""

import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from tests.integration.cloud_restoration import read_lines, start_restoration
from tests.integration.command import ganray_here
from tests.integration.fake_cloud import AUTOSCALERS, fake_cloud, gpu_nodes
from tests.integration.ray_head import end_family
from tests.integration.test_restore import wait_until

SECONDS = 240
NOTICE_SECONDS = 4
MAX_NODES = 3
NUM_INPUTS = 72
INPUTS_PER_ORDER = NUM_INPUTS // (MAX_NODES * 8)


@pytest.mark.parametrize("autoscaler", AUTOSCALERS)
def test_nodes_come_for_the_backlog_are_replaced_when_lost_and_go_when_it_is_done(
    tmp_path: Path, autoscaler: str
) -> None:
    notes, gate = tmp_path / "notes", tmp_path / "gate"
    gate.mkdir()
    with fake_cloud(gpu_nodes(MAX_NODES), autoscaler) as cloud:
        assert cloud.nodes() == {}
        driver = start_restoration(
            cloud, tmp_path, num_inputs=NUM_INPUTS, seconds=0.5, max_workers=MAX_NODES
        )
        try:
            wait_until(lambda: len(list(gate.iterdir())) == MAX_NODES, SECONDS)
            nodes = cloud.nodes()
            (gate / "open").touch()
            killed, drained = sorted(nodes)[:2]
            nodes[killed].kill()
            cloud.drain(drained, seconds=NOTICE_SECONDS)
            time.sleep(NOTICE_SECONDS)
            with suppress(psutil.NoSuchProcess):
                nodes[drained].kill()
            output, _ = driver.communicate(timeout=SECONDS)
        finally:
            if driver.poll() is None:
                end_family(psutil.Process(driver.pid))
        assert driver.returncode == 0, output
        wait_until(lambda: cloud.nodes() == {}, SECONDS)
    counts = ganray_here("status", str(tmp_path / "restored"), "--json").json["inputs"]
    assert (counts["restored"], counts["pending"]) == (NUM_INPUTS, 0)
    numbers = nodes_told(tmp_path / "restored")
    # A lost node counts, beside the one in its place, until Ray has noticed.
    assert numbers[0] == 0 and MAX_NODES <= max(numbers) <= MAX_NODES + 2, numbers
    assert any(later < earlier for earlier, later in pairwise(numbers)), "the losses were not seen"
    # Of each of the two nodes that were lost at most the order at hand came again.
    assert len(read_lines(notes)) <= NUM_INPUTS + 2 * INPUTS_PER_ORDER


def nodes_told(target: Path) -> list[int]:
    """How many nodes the run saw, one after the other."""
    (events,) = target.glob("_ganray/runs/*/events.jsonl")
    return [event["number"] for event in read_lines(events) if event["event"] == "nodes"]
