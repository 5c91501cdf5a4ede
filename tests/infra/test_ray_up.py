"""The cluster of infra/ray-up is one that Ray takes, and its nodes are drained in time."""

import copy
import http.server
import importlib.util
import json
import re
import shlex
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pytest
import yaml
from ray._private.authentication.authentication_token_setup import (
    _get_default_token_path as get_default_token_path,
)
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts import scripts as ray_commands

from ganray import __version__
from tests.infra.manifests import ROOT

RAY_UP = ROOT / "infra" / "ray-up"
CLUSTER = yaml.safe_load((RAY_UP / "aws.yaml").read_text())


def without_docker() -> dict[str, Any]:
    """The cluster with what infra/README.md puts in Docker's place."""
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "infra/README.md").read_text(), re.DOTALL)
    (block,) = [block for block in blocks if "setup_commands" in block]
    changes = yaml.safe_load(block)
    cluster = copy.deepcopy(CLUSTER)
    del cluster["docker"]
    cluster["file_mounts"] |= changes.pop("file_mounts")
    return cluster | changes


@pytest.mark.parametrize("cluster", [CLUSTER, without_docker()], ids=["docker", "wheel"])
def test_ray_takes_the_cluster(cluster: dict[str, Any]) -> None:
    prepared = prepare_config(copy.deepcopy(cluster))
    validate_config(prepared)
    assert set(cluster) <= set(prepared)


def test_ray_refuses_a_mistyped_field() -> None:
    with pytest.raises(jsonschema.ValidationError, match="idle_timeout_minute"):
        validate_config(prepare_config(CLUSTER | {"idle_timeout_minute": 5}))


def test_workers_begin_at_none_and_are_spot() -> None:
    types = dict(CLUSTER["available_node_types"])
    head = types.pop(CLUSTER["head_node_type"])
    assert "InstanceMarketOptions" not in head["node_config"]
    for worker in types.values():
        assert worker["min_workers"] == 0 < worker["max_workers"]
        assert worker["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert sum(worker["max_workers"] for worker in types.values()) == CLUSTER["max_workers"]
    assert not CLUSTER["provider"]["cache_stopped_nodes"]


def test_a_worker_has_a_role_and_not_the_one_that_starts_instances() -> None:
    profiles = {
        name: node_type["node_config"]["IamInstanceProfile"]["Arn"].partition("/")[2]
        for name, node_type in CLUSTER["available_node_types"].items()
    }
    assert profiles == {"head": "ganray-head", "cpu": "ganray", "gpu": "ganray"}


def test_the_image_is_the_one_that_is_built_for_this_version() -> None:
    assert CLUSTER["docker"]["image"] == f"registry.example.com/ganray:{__version__}"


@pytest.mark.parametrize("group", ["head", "worker"])
def test_ray_is_started_by_options_that_it_has(group: str) -> None:
    (start,) = [
        command.partition("; ")[2]
        for command in CLUSTER[f"{group}_start_ray_commands"]
        if "ray start" in command
    ]
    words = shlex.split(start)
    with ray_commands.start.make_context("start", words[2:]) as context:
        assert context.params["head"] == (group == "head")


def test_what_is_mounted_exists() -> None:
    sources = [path for path in CLUSTER["file_mounts"].values() if not path.startswith("~")]
    assert sources
    for source in sources:
        assert (ROOT / source).is_file()


def test_every_node_asks_for_the_token_of_whoever_starts_the_cluster() -> None:
    assert "--env RAY_AUTH_MODE=token" in CLUSTER["docker"]["run_options"]
    (profile,) = [line for line in without_docker()["setup_commands"] if ".bashrc" in line]
    assert " RAY_AUTH_MODE=token " in profile
    (to, source), *_ = [item for item in CLUSTER["file_mounts"].items() if "token" in item[0]]
    home = str(Path.home())
    assert to == source == str(get_default_token_path()).replace(home, "~", 1)


def _program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("notice", RAY_UP / "notice.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["notice"] = module
    spec.loader.exec_module(module)
    return module


notice = _program()


@pytest.fixture
def metadata() -> Iterator[tuple[str, list[str]]]:
    """EC2's service, which announces the node's end when it is asked for the third time."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def _answer(self, status: int, body: bytes = b"") -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_PUT(self) -> None:
            self._answer(200 if self.headers["X-aws-ec2-metadata-token-ttl-seconds"] else 400, b"t")

        def do_GET(self) -> None:
            assert self.headers["X-aws-ec2-metadata-token"] == "t"
            asked.append(self.path)
            if len(asked) == 1:
                self._answer(503)
            elif len(asked) == 2:
                self._answer(404)
            else:
                end = datetime.now(UTC) + timedelta(seconds=120)
                text = end.strftime("%Y-%m-%dT%H:%M:%SZ")
                self._answer(200, json.dumps({"action": "terminate", "time": text}).encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_node_whose_end_is_announced_is_drained_before_it(
    metadata: tuple[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, asked = metadata
    ray = tmp_path / "ray"
    ray.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/words\n')
    ray.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert notice.main([f"--metadata={url}", "--poll-seconds=0.01"]) == 0
    assert asked == ["/latest/meta-data/spot/instance-action"] * 3
    words = (tmp_path / "words").read_text().split()
    assert words[0] == "drain-node"
    with ray_commands.drain_node.make_context("drain-node", words[1:]) as context:
        assert 60 < context.params["deadline_remaining_seconds"] < 120
