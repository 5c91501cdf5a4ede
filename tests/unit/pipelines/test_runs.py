"""The history of a target: states, cost, order, and what was killed."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from ganray.claim import claimed
from ganray.errors import NotFoundError
from ganray.owner import Owner
from ganray.pipelines.runs import read_runs
from ganray.pipelines.summary import InputCounts, RunFolder, Summary
from ganray.storage import open_store


def write_run(
    target: Path, run_id: str, counts: InputCounts | None, *, planned: Any = None, **fields: Any
) -> None:
    folder = RunFolder(open_store(str(target)), run_id)
    folder.write_config("source: a\n")
    folder.add_event({"event": "planned", "generator": "digest-1"} | (planned or {}))
    folder.write_events()
    if counts is not None:
        folder.write_summary(Summary(run_id, counts, **fields))


def run_id(number: int) -> str:
    return f"20260305T0{number}0000000000-abcdef"


def test_runs_are_told_latest_first_with_their_states(tmp_path: Path) -> None:
    write_run(tmp_path, run_id(1), InputCounts(listed=3, restored=3))
    write_run(tmp_path, run_id(2), InputCounts(listed=3, restored=2, failed=1))
    cut = InputCounts(listed=3, restored=1, pending=2)
    write_run(tmp_path, run_id(3), cut, stopped="deadline")
    write_run(tmp_path, run_id(4), cut, stopped="SIGTERM")
    write_run(tmp_path, run_id(5), cut)
    write_run(tmp_path, run_id(6), None)
    states = [(line.run_id, line.state) for line in read_runs(str(tmp_path))]
    expected = ["lost", "unfinished", "stopped", "deadline", "some_failed", "done"]
    assert states == list(zip(map(run_id, (6, 5, 4, 3, 2, 1)), expected, strict=True))


def test_a_run_that_holds_its_claim_is_running(tmp_path: Path) -> None:
    write_run(tmp_path, run_id(1), None)
    with claimed(open_store(str(tmp_path)), run_id(1)):
        assert [line.state for line in read_runs(str(tmp_path))] == ["running"]
    assert [line.state for line in read_runs(str(tmp_path))] == ["lost"]


def test_a_run_of_another_machine_that_may_be_dead_is_not_shown_as_running(tmp_path: Path) -> None:
    write_run(tmp_path, run_id(1), None)
    there = Owner("another-host", "another-boot", os.getpid(), "")
    with claimed(open_store(str(tmp_path)), run_id(1), owner=there):
        assert [line.state for line in read_runs(str(tmp_path))] == ["claimed"]


def test_throughput_cost_and_generator_are_those_of_the_run(tmp_path: Path) -> None:
    planned = {"cost_per_worker_hour": 2.5, "workers": 4, "asked": "registry:photo", "job": "5"}
    figures = {"input_pixels": 500, "seconds": 50.0, "worker_seconds": 7200.0}
    write_run(tmp_path, run_id(1), InputCounts(listed=1), planned=planned, **figures)
    (line,) = read_runs(str(tmp_path))
    assert (line.cost, line.pixels_per_second, line.workers, line.job) == (5.0, 10.0, 4, "5")
    assert (line.generator, line.generator_digest) == ("registry:photo", "digest-1")
    assert line.started_at == "2026-03-05T01:00:00+00:00"


def test_a_run_without_a_price_has_no_cost(tmp_path: Path) -> None:
    write_run(tmp_path, run_id(1), InputCounts(), planned={"cost_per_worker_hour": 0.0})
    (line,) = read_runs(str(tmp_path))
    assert line.cost is None


def test_a_run_of_an_earlier_version_is_told_as_far_as_it_is_known(tmp_path: Path) -> None:
    write_run(tmp_path, run_id(1), InputCounts(listed=2, restored=2))
    path = tmp_path / "_ganray/runs" / run_id(1) / "summary.json"
    summary = json.loads(path.read_text())
    for name in ("stopped", "failures", "retryable"):
        del summary[name]
    path.write_text(json.dumps(summary))
    (path.parent / "events.jsonl").write_text("not json\n")
    (line,) = read_runs(str(tmp_path))
    assert (line.state, line.generator_digest) == ("done", "")


def test_a_thousand_runs_are_all_told(tmp_path: Path) -> None:
    for number in range(1000):
        # Not by a store, which takes care that each is on the disk.
        folder = tmp_path / "_ganray/runs" / f"20260305T010000{number:06d}-abcdef"
        folder.mkdir(parents=True)
        summary = Summary(folder.name, InputCounts(listed=number))
        (folder / "summary.json").write_text(json.dumps(summary.as_dict()))
    lines = list(read_runs(str(tmp_path)))
    assert [line.inputs.listed for line in lines if line.inputs] == list(range(999, -1, -1))


def test_a_target_without_runs_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no run"):
        list(read_runs(str(tmp_path)))
