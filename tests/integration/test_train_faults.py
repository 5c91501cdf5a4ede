"""Training where workers are killed, machines come and go, stores fail and drivers die."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
import torch
from ray.cluster_utils import Cluster

from ganray.claim import CLAIMS_PREFIX
from ganray.config import load_config
from ganray.object_store import ObjectStore
from ganray.pipelines import train_on_ray
from ganray.pipelines.train import run_training
from ganray.pipelines.train_config import TrainConfig, plan_training
from ganray.storage import open_store
from tests.integration.command import Outcome
from tests.integration.fault_proxy import FaultProxy, Status
from tests.integration.pictures import write_pictures
from tests.integration.test_restore import end, wait_until
from tests.integration.test_train import DONE, FAILED, TINY, USAGE, stages, train, weights

QUARTER = "workers.cpus=0.25"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    write_pictures(tmp_path / "archive", 4, side=48)
    return tmp_path / "archive"


def start(archive: Path | str, output: Path | str, *words: str) -> subprocess.Popen[str]:
    where = f"archive={archive}", f"validation={archive}", f"output={output}"
    return subprocess.Popen(
        [sys.executable, "-m", "ganray", "train", *where, *TINY, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def events(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "events.jsonl").read_text().splitlines()]


def named(output: Path, name: str) -> list[dict[str, Any]]:
    return [event for event in events(output) if event["event"] == name]


def curve(output: Path) -> dict[int, dict[str, float]]:
    """Every step's losses and measures, which do not depend on who computed them."""
    merged: dict[int, dict[str, float]] = {}
    for text in (output / "metrics.jsonl").read_text().splitlines():
        line = json.loads(text)
        # Signs are counted: one that turns is a jump.
        own = ("patches_per_second", "sign")
        numbers = {
            k: v
            for k, v in line.items()
            if isinstance(v, float) and k not in own and not k.startswith("time_")
        }
        merged.setdefault(line["step"], {}).update(numbers)
    return merged


def assert_same_training(one: Path, other: Path) -> None:
    for name, tensor in weights(one).items():
        torch.testing.assert_close(tensor, weights(other)[name], rtol=0, atol=2e-5)
    first, second = curve(one), curve(other)
    assert first.keys() == second.keys()
    for step, values in first.items():
        assert second[step] == pytest.approx(values, rel=2e-2, abs=2e-4), step


@pytest.fixture
def uninterrupted(archive: Path, tmp_path: Path) -> Path:
    outcome = train(archive, tmp_path / "whole", *PLAN, "workers.max=0")
    assert outcome.code == DONE, outcome.text
    return tmp_path / "whole"


PLAN = *stages(50, 10, 40), "checkpoint_every=5", "validate_every=25"


def test_four_then_two_then_four_workers_learn_what_one_learns(
    archive: Path, tmp_path: Path, uninterrupted: Path
) -> None:
    output = tmp_path / "elastic"
    for number in (4, 2):
        reached = newest_step(output)
        driver = start(archive, output, *PLAN, *exactly(number))
        wait_until(lambda reached=reached: newest_step(output) > reached)
        stop_all(driver)
    last = train(archive, output, *PLAN, *exactly(4))
    assert last.code == DONE, last.text
    assert [event["workers"] for event in events(output) if "workers" in event] == [4, 2, 4]
    assert_same_training(uninterrupted, output)


def exactly(number: int) -> tuple[str, ...]:
    return f"workers.max={number}", f"workers.min={number}", QUARTER


def newest_step(output: Path) -> int:
    keys = sorted(path.name for path in output.glob("checkpoints/*.pt"))
    return int(keys[-1][-11:-3]) if keys else 0


def stop_all(driver: subprocess.Popen[str]) -> str:
    family = psutil.Process(driver.pid).children(recursive=True)
    driver.send_signal(signal.SIGTERM)
    text, _ = driver.communicate(timeout=90)
    end(family)
    assert driver.returncode == FAILED, text
    assert "stopped by SIGTERM" in text
    return text


def test_a_killed_worker_is_replaced_and_changes_nothing(
    archive: Path, tmp_path: Path, uninterrupted: Path
) -> None:
    output = tmp_path / "killed"
    driver = start(archive, output, *PLAN, *exactly(2))
    wait_until(lambda: newest_step(output) >= 5)
    os.kill(ray_workers(driver)[0].pid, signal.SIGKILL)
    text, _ = driver.communicate(timeout=240)
    assert driver.returncode == DONE, text
    assert named(output, "worker_lost") and named(output, "resumed"), text
    assert_same_training(uninterrupted, output)


def ray_workers(driver: subprocess.Popen[str]) -> list[psutil.Process]:
    family = psutil.Process(driver.pid).children(recursive=True)
    return [process for process in family if "RayTrainWorker" in process.name()]


def test_a_mistake_is_not_tried_again(archive: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    for key in ("step-00000001.pt", "step-00000002.pt"):
        open_store(str(output)).write(f"checkpoints/{key}", b"?")
    outcome = train(archive, output, *PLAN, "workers.max=2", QUARTER)
    assert outcome.code == FAILED
    assert "none of them is whole" in outcome.errors
    assert "worker_lost" not in outcome.text


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False}
    )
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def test_machines_that_go_and_come_change_the_number_of_workers_alone(
    archive: Path,
    tmp_path: Path,
    uninterrupted: Path,
    cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(train_on_ray, "RESIZE_SECONDS", 5.0)
    node = cluster.add_node(num_cpus=2)
    output = tmp_path / "nodes"
    words = *TINY, *PLAN, "workers.min=0", "workers.max=2", "workers.cpus=1"
    given = list(dict.fromkeys(words))
    where = f"archive={archive}", f"validation={archive}", f"output={output}"
    plan = plan_training(load_config(TrainConfig, [*where, *given]))
    steps: list[int] = []

    def report(line: Any) -> None:
        if "stage" in line:
            steps.append(line["step"])
            if line["step"] == 7 and steps.count(7) == 1:
                cluster.remove_node(node, allow_graceful=False)

    run_training(plan, report)
    counts = [event["workers"] for event in events(output) if "workers" in event]
    assert counts[0] == 2 and counts[-1] == 1, counts
    assert_same_training(uninterrupted, output)


# --- The driver -------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", ["workers.max=0", "workers.max=2"])
def test_sigterm_leaves_a_last_checkpoint_from_which_the_next_run_goes_on(
    workers: str, archive: Path, tmp_path: Path
) -> None:
    plan = *stages(400, 0, 0), "checkpoint_every=1000", "validate_every=1000"
    output = tmp_path / "out"
    driver = start(archive, output, *plan, workers, QUARTER)
    assert driver.stdout is not None
    for line in driver.stdout:
        if line.startswith("step 5/"):
            break
    begun = time.monotonic()
    text = stop_all(driver)
    assert time.monotonic() - begun < 30
    reached = newest_step(output)
    assert 5 <= reached < 400
    assert f"its last checkpoint is that of step {reached}" in text
    assert [event["event"] for event in events(output)] == ["started", "checkpoint", "stopped"]
    assert not list(open_store(str(output)).list(CLAIMS_PREFIX))
    again = train(archive, output, *stages(reached + 5, 0, 0), "workers.max=0")
    # Fewer steps than before are another schedule.
    assert again.code == USAGE
    again = train(archive, output, *plan, "workers.max=0")
    assert again.code == DONE, again.text
    assert f"going on from checkpoints/step-{reached:08d}.pt" in again.output


def test_of_two_drivers_on_one_output_the_second_stops(archive: Path, tmp_path: Path) -> None:
    plan = *stages(2000, 0, 0), "checkpoint_every=5", "workers.max=0"
    output = tmp_path / "out"
    driver = start(archive, output, *plan)
    try:
        wait_until(lambda: newest_step(output) >= 5)
        second = train(archive, output, *plan)
        assert second.code == FAILED
        assert "another run is at work" in second.errors
    finally:
        os.kill(driver.pid, signal.SIGKILL)
        driver.communicate()
    # The dead driver's claim counts no more.
    words = *stages(2000, 0, 0), "batch_size=2", "workers.max=0"
    third = train(archive, output, *words)
    assert third.code == USAGE and "batch_size: 4 → 2" in third.errors


def test_more_steps_at_the_end_are_an_extension(archive: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert train(archive, output, *stages(4, 0, 0), "workers.max=0").code == DONE
    longer = train(archive, output, *stages(6, 0, 0), "workers.max=0")
    assert longer.code == DONE, longer.text
    assert "extended" in longer.output
    (event,) = named(output, "extended")
    assert (event["from_steps"], event["to_steps"]) == (4, 6)


def test_a_damaged_newest_checkpoint_is_told_and_costs_only_its_steps(
    archive: Path, tmp_path: Path, uninterrupted: Path
) -> None:
    output = tmp_path / "out"
    driver = start(archive, output, *PLAN, "workers.max=0")
    wait_until(lambda: newest_step(output) >= 10)
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate()
    newest = max(output.glob("checkpoints/*.pt"))
    newest.write_bytes(newest.read_bytes()[:-100])
    outcome = train(archive, output, *PLAN, "workers.max=0")
    assert outcome.code == DONE, outcome.text
    assert "fallback" in outcome.output
    (event,) = named(output, "fallback")
    assert event["damaged"] == [f"checkpoints/{newest.name}"]
    assert_same_training(uninterrupted, output)


def test_a_store_that_fails_in_the_middle_is_told_and_training_comes_to_its_end(
    archive: Path,
    bucket: str,
    object_store: ObjectStore,
    uninterrupted: Path,
    tmp_path: Path,
) -> None:
    output = f"{bucket}/training"
    with FaultProxy(object_store.endpoint_url) as proxy:
        # Refused for good by the store's own judgement, so that nothing waits for retries.
        proxy.inject(Status(403, "QuotaExceeded"), method="PUT", path="/checkpoints/", times=2)
        outcome = train_by(proxy.url, archive, output)
    assert outcome.code == DONE, outcome.text
    assert "checkpoint_failed" in outcome.output
    copy = tmp_path / "copy"
    for info in open_store(output).list():
        (copy / info.key).parent.mkdir(parents=True, exist_ok=True)
        (copy / info.key).write_bytes(open_store(output).read(info.key))
    assert named(copy, "checkpoint_failed")
    assert_same_training(uninterrupted, copy)


def train_by(url: str, archive: Path, output: str) -> Outcome:
    from tests.integration.command import ganray_here

    where = f"archive={archive}", f"validation={archive}", f"output={output}"
    return ganray_here("train", *where, *TINY, *PLAN, "workers.max=0", AWS_ENDPOINT_URL=url)
