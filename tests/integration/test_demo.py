"""`make demo`: it works, it works twice, and it leaves nothing behind when it is interrupted."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
from PIL import Image

from tests.integration.command import ganray
from tests.integration.test_restore import wait_until


def store_processes(folder: Path) -> list[psutil.Process]:
    """Processes that work in the store of a demo."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if any(str(folder) in word for word in process.info["cmdline"] or ()):
            found.append(process)
    return found


def test_the_demo_runs_from_end_to_end_and_leaves_nothing_running(tmp_path: Path) -> None:
    demo = tmp_path / "demo"
    demo.mkdir()
    (demo / ".ganray-demo").touch()
    (demo / "left by an earlier demo").touch()
    outcome = ganray("demo", str(demo), "--steps", "2")
    assert outcome.code == 0, outcome.text
    assert "16 restored" in outcome.output
    assert "0 problems" in outcome.output
    assert str(demo / "before-after.jpg") in outcome.output
    assert Image.open(demo / "before-after.jpg").width > 600
    assert not (demo / "left by an earlier demo").exists()
    assert store_processes(demo) == []


def test_an_interrupted_demo_leaves_no_process(tmp_path: Path) -> None:
    demo = tmp_path / "demo"
    process = subprocess.Popen(
        [sys.executable, "-m", "ganray", "demo", str(demo)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("starting at step"):
            break
    family = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(timeout=60) != 0
    process.stdout.close()
    wait_until(lambda: not any(member.is_running() for member in family), seconds=60)
    assert store_processes(demo) == []


def test_a_folder_that_is_no_demo_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    outcome = ganray("demo", str(tmp_path))
    assert outcome.code == 2
    assert (tmp_path / "precious").read_text() == "mine"
