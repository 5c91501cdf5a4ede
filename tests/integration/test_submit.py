"""Jobs that are submitted to a running head: uploaded or installed, stopped, and gone on with."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ganray.ledger import Ledger, LedgerRow
from ganray.pipelines.runs import read_runs
from ganray.storage import open_store
from tests.integration.pictures import write_pictures
from tests.integration.ray_head import RayHead, ray_head
from tests.integration.test_restore import wait_until

ROOT = Path(__file__).parents[2]
PATIENT = {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "200", "OMP_NUM_THREADS": "1"}}
UPLOADED = ("--working-dir", ".", "--runtime-env-json", json.dumps(PATIENT))
SECONDS = 300
NUM_INPUTS = 60


@pytest.fixture(scope="module")
def head() -> Iterator[RayHead]:
    with ray_head(num_cpus=3) as running:
        yield running


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What a job needs of this checkout, and beside it what must not travel."""
    folder = tmp_path / "checkout"
    for name in ("ganray", "jobs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (".gitignore", ".rayignore"):
        shutil.copy(ROOT / name, folder)
    for name in (".git", ".venv", "ganray-output", "my-photos", "tests"):
        (folder / name).mkdir()
        (folder / name / "large").write_bytes(bytes(2**20))
    (folder / "mine.yaml").write_text("generator: compact-x2\n")
    return folder


def submit(
    head: RayHead, name: str, *words: str, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return head.ray("job", "submit", "--submission-id", name, *words, cwd=cwd)


def rows(target: Path) -> dict[str, LedgerRow]:
    return Ledger(open_store(str(target))).read() if target.exists() else {}


def log_of(head: RayHead, name: str) -> str:
    return head.ray("job", "logs", name).stdout


def status(head: RayHead, name: str) -> str:
    return head.ray("job", "status", name).stdout


def test_a_job_that_is_stopped_and_submitted_again_redoes_nothing(
    head: RayHead, checkout: Path, tmp_path: Path
) -> None:
    archive, target = tmp_path / "archive", tmp_path / "restored"
    write_pictures(archive, NUM_INPUTS, side=320)
    words = f"source={archive}", f"target={target}", "workers.in_process=never", "workers.max=2"
    job = "python", "jobs/restore.py", *words
    named = "--metadata-json", json.dumps({"target": str(target)}), "--entrypoint-num-cpus", "1"
    first = submit(head, "first", "--no-wait", *named, *UPLOADED, "--", *job, cwd=checkout)
    assert first.returncode == 0, first.stdout + first.stderr
    wait_until(lambda: len(rows(target)) >= 2, SECONDS)
    head.ray("job", "stop", "first")
    log = log_of(head, "first")
    assert "stopped" in status(head, "first"), log
    assert "stopped by SIGTERM" in log, log
    listed = head.ray("job", "list").stdout
    assert f"'target': '{target}'" in listed, listed
    recorded = rows(target)
    assert 2 <= len(recorded) < NUM_INPUTS, "the job was over before it was stopped"

    (uploaded,) = head.folder.glob("session_latest/runtime_resources/working_dir_files/_ray_pkg_*/")
    assert {path.name for path in uploaded.iterdir()} == {"ganray", "jobs", "mine.yaml"}

    # The same from what is installed on the nodes, and nothing uploaded.
    again = submit(head, "again", "--", "python", "-m", "ganray", "restore", *words)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "Board" not in again.stdout, again.stdout
    assert "succeeded" in status(head, "again")
    assert f"{len(recorded)} unchanged" in again.stdout
    after = rows(target)
    assert len(after) == NUM_INPUTS
    assert {row.attempts for row in after.values()} == {1}
    assert [run.job for run in read_runs(str(target))] == ["again", "first"]
    assert all(after[key] == row for key, row in recorded.items()), "a recorded input was redone"


def test_a_job_that_waits_for_a_node_hears_a_stop(head: RayHead, tmp_path: Path) -> None:
    write_pictures(tmp_path / "archive", 2, side=64)
    words = f"source={tmp_path / 'archive'}", f"target={tmp_path / 'restored'}", "workers.gpus=1"
    job = "python", "-m", "ganray", "restore", *words
    environment = "--runtime-env-json", json.dumps(PATIENT)
    waiting = submit(head, "waiting", "--no-wait", *environment, "--", *job)
    assert waiting.returncode == 0, waiting.stdout + waiting.stderr
    wait_until(lambda: "event=waiting_for_nodes" in log_of(head, "waiting"), SECONDS)
    head.ray("job", "stop", "waiting")
    log = log_of(head, "waiting")
    assert "stopped by SIGTERM; 2 of 2 inputs are still to be done" in log, log
    assert "Traceback" not in log, log


def test_the_exit_code_and_the_reason_are_the_jobs(head: RayHead, checkout: Path) -> None:
    job = "python", "jobs/restore.py", "jobs/configs/restore.yaml", "targett=x"
    failed = submit(head, "mistaken", *UPLOADED, "--", *job, cwd=checkout)
    assert failed.returncode == 1
    assert "failed with exit code 2" in status(head, "mistaken")
    assert "did you mean 'target'" in failed.stdout
