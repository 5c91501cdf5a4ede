"""What Prometheus finds while a restoration or a training runs on a cluster, and at the end."""

import json
import os
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import ray
from prometheus_client.parser import text_string_to_metric_families

from ganray.pipelines.metrics import METRICS, SERVED_PREFIX
from tests.integration.command import ganray_here
from tests.integration.pictures import write_pictures
from tests.integration.ray_head import free_port
from tests.integration.test_train import TINY, stages

NUM_PICTURES = 12
SIDE = 64
NUM_STEPS = 8
DEADLINE_SECONDS = 60
RAY_OWN = {"SessionName", "WorkerId", "Component", "NodeAddress", "Version", "le"}

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def exporter() -> Iterator[str]:
    """A Ray cluster of this test; the address at which Prometheus would scrape it."""
    port = free_port()
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        _metrics_export_port=port,
        _system_config={"metrics_report_interval_ms": 1000},
    )
    yield f"http://127.0.0.1:{port}/metrics"
    ray.shutdown()


def scrape(address: str) -> Samples:
    """ganray's samples by name and own labels; of several processes, their sum."""
    try:
        text = urllib.request.urlopen(address, timeout=5).read().decode()
    except OSError:
        return {}
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.startswith(f"{SERVED_PREFIX}ganray_"):
                labels = {k: v for k, v in sample.labels.items() if k not in RAY_OWN}
                own = frozenset((k, v) for k, v in labels.items() if not k.startswith("otel_"))
                key = (sample.name.removeprefix(SERVED_PREFIX), own)
                found[key] = found.get(key, 0.0) + sample.value
    return found


def value(samples: Samples, name: str, /, **labels: str) -> float:
    return samples.get((name, frozenset(labels.items())), -1.0)


def samples_once(address: str, are_last: Callable[[Samples], bool]) -> Samples:
    """What is counted, once driver and worker have made their last report to Ray's agent."""
    for _ in range(DEADLINE_SECONDS):
        samples = scrape(address)
        if are_last(samples):
            return samples
        time.sleep(1)
    raise AssertionError(samples)


def assert_known(samples: Samples) -> None:
    """Every sample is of a metric of the table, with its labels."""
    known = {metric.name: set(metric.labels) for metric in METRICS}
    for name, labels in samples:
        stem = name if name in known else name.rpartition("_")[0]
        assert {label for label, _ in labels} == known[stem], name


def test_a_run_is_seen_while_it_goes_on_and_its_counts_are_exact(
    tmp_path: Path, exporter: str
) -> None:
    write_pictures(tmp_path / "photos", NUM_PICTURES, side=SIDE)
    (tmp_path / "photos" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    scraped: list[Samples] = []
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(0.3):
            scraped.append(scrape(exporter))

    watcher = threading.Thread(target=watch)
    watcher.start()
    outcome = ganray_here(
        "restore",
        f"source={tmp_path / 'photos'}",
        f"target={tmp_path / 'restored'}",
        "workers.max=1",
        "workers.in_process=never",
    )
    is_over.set()
    watcher.join()
    assert outcome.code == 3, outcome.text
    during = [
        s for s in scraped if value(s, "ganray_run_start_timestamp_seconds", kind="restore") > 0
    ]
    assert during
    assert {
        value(s, "ganray_inputs", state=state) for s in during for state in ("pending", "restored")
    } & set(range(1, NUM_PICTURES + 2))

    last = "ganray_windows_total", "ganray_input_seconds_count"
    samples = samples_once(exporter, lambda s: {value(s, name) for name in last} == {NUM_PICTURES})
    if os.environ.get("SHOW"):
        print(urllib.request.urlopen(exporter).read().decode())
    pixels = NUM_PICTURES * SIDE**2
    assert value(samples, "ganray_input_pixels_total") == pixels
    assert value(samples, "ganray_output_pixels_total") == 4 * pixels
    assert value(samples, "ganray_failures_total", error="UndecodableError") == 1
    assert value(samples, "ganray_input_seconds_count") == NUM_PICTURES
    written = sum(f.stat().st_size for f in (tmp_path / "restored").glob("*.png"))
    assert value(samples, "ganray_written_bytes_total") >= written
    for stage in ("read", "decode", "restore", "encode", "write"):
        assert value(samples, "ganray_stage_seconds_total", stage=stage) > 0, stage
    assert_known(samples)


def test_a_training_is_seen_with_its_losses_its_speed_and_its_events(
    tmp_path: Path, exporter: str
) -> None:
    write_pictures(tmp_path / "archive", 4, side=48)
    places = [f"{key}={tmp_path / 'archive'}" for key in ("archive", "validation")]
    steps = stages(2, 1, NUM_STEPS - 3)
    outcome = ganray_here(
        "train", *places, f"output={tmp_path / 'out'}", *TINY, *steps, "workers.max=1"
    )
    assert outcome.code == 0, outcome.text
    told = "ganray_train_events_total"
    samples = samples_once(exporter, lambda s: value(s, told, event="finished") == 1)
    assert value(samples, "ganray_train_step") == NUM_STEPS
    assert value(samples, "ganray_train_patches_per_second") > 0
    assert value(samples, "ganray_run_start_timestamp_seconds", kind="train") > 0
    for part in ("data", "generator", "discriminator", "communication"):
        assert 0 <= value(samples, "ganray_train_time_ratio", part=part) <= 1, part
    lines = [json.loads(x) for x in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    last = next(line for line in reversed(lines) if "stage" in line)
    assert value(samples, "ganray_train_value", name="pixel") == pytest.approx(last["pixel"])
    assert_known(samples)
