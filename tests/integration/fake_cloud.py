"""A Ray cluster on this machine whose nodes come and go by Ray's own autoscaler.

Every node is a real raylet, started by Ray's fake multi-node provider. `ray.cluster_utils`'
AutoscalingCluster is not used: its start and its end run `ray stop --force`, which ends every
other Ray on the machine.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import ray
import ray.util
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID

from tests.integration.ray_head import (
    RAY,
    STORE_BYTES,
    free_port,
    new_token,
    short_folder,
    started_head,
)

ROOT = Path(__file__).parents[2]
PROVIDER = "tests.integration.fake_provider.LosableNodes"
COMMANDS = (
    *("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands"),
    *("head_start_ray_commands", "worker_start_ray_commands", "rsync_exclude", "rsync_filter"),
)
"""What the autoscaler would run on nodes of a real cloud."""
SETTINGS = {
    "RAY_FAKE_CLUSTER": "1",
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    # A lost node is noticed within seconds, not half a minute.
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "3000",
    "PYTHONPATH": str(ROOT),
}
# The autoscaler that KubeRay runs; `ray up` runs the first one.
SECOND_AUTOSCALER = {
    "RAY_enable_autoscaler_v2": "1",
    "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
    "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
}
AUTOSCALERS: dict[str, dict[str, str]] = {"v1": {}, "v2": SECOND_AUTOSCALER}
IDLE_SECONDS = 5.0


@dataclass(frozen=True)
class FakeCloud:
    """A running cluster: its address, what a client needs in its environment, and its folder."""

    address: str
    environment: dict[str, str]
    folder: Path
    head: psutil.Process

    def nodes(self) -> dict[str, psutil.Process]:
        """The raylets of the nodes that the autoscaler has started and that live, by node id."""
        found = {}
        for process in self.head.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if process.name() == "raylet" and process.status() != psutil.STATUS_ZOMBIE:
                    found[process.environ().get("RAY_OVERRIDE_NODE_ID_FOR_TESTING", "")] = process
        # The head of the first autoscaler has no id that was given to it.
        return {node: p for node, p in found.items() if node not in ("", FAKE_HEAD_NODE_ID)}

    def drain(self, node: str, seconds: int) -> None:
        """Announce that a node will be taken away, as a spot market does."""
        command = [*RAY, "drain-node", "--address", self.address, "--node-id", node]
        command += ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot"]
        command += ["--deadline-remaining-seconds", str(seconds)]
        environment = os.environ | self.environment
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60)


def gpu_nodes(maximum: int) -> dict[str, Any]:
    """A node type with one GPU and two logical CPUs, of which there may be none."""
    resources = {"CPU": 2, "GPU": 1, "object_store_memory": STORE_BYTES}
    return {
        "gpu": {
            "resources": resources,
            "node_config": {},
            "min_workers": 0,
            "max_workers": maximum,
        }
    }


@contextmanager
def fake_cloud(node_types: dict[str, Any], autoscaler: str) -> Iterator[FakeCloud]:
    """A head that has one CPU and no GPU, and one of AUTOSCALERS, which adds nodes and removes them
    when they were idle for five seconds. All of it ends with the context."""
    port = free_port()
    address = f"{ray.util.get_node_ip_address()}:{port}"
    token = new_token()
    settings = token | SETTINGS | AUTOSCALERS[autoscaler]
    with short_folder("ganray-cloud-") as folder:
        config = folder / "cloud.json"
        config.write_text(json.dumps(_configuration(node_types, address)))
        words = [f"--port={port}", "--num-cpus=1", "--num-gpus=0", "--include-dashboard=false"]
        words += [f"--autoscaling-config={config}"]
        with started_head(folder, words, settings) as head:
            yield FakeCloud(address, token | {"RAY_ADDRESS": address}, folder, head)


def _configuration(node_types: dict[str, Any], address: str) -> dict[str, Any]:
    head = {"resources": {}, "node_config": {}, "max_workers": 0}
    return {
        "cluster_name": "fake",
        "max_workers": 16,
        "idle_timeout_minutes": IDLE_SECONDS / 60,
        "upscaling_speed": 100.0,
        "provider": {
            "type": "external",
            "module": PROVIDER,
            "gcs_address": address,
            "head_node_id": FAKE_HEAD_NODE_ID,
            "launch_multiple": True,
            # Nodes share this machine's address, and nothing is to be installed on them.
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "auth": {},
        "available_node_types": {"ray.head.default": head, **node_types},
        "head_node_type": "ray.head.default",
        "file_mounts": {},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        **{name: [] for name in COMMANDS},
    }
