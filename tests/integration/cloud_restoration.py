"""A restoration on a fake cloud, whose workers sleep in place of a device and note what they do."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.integration.fake_cloud import FakeCloud
from tests.integration.pictures import write_pictures

ROOT = Path(__file__).parents[2]
SIDE = 64


def start_restoration(
    cloud: FakeCloud, folder: Path, *, num_inputs: int, seconds: float, max_workers: int
) -> subprocess.Popen[str]:
    """Restore so many inputs from `folder/archive` to `folder/restored` by workers with a GPU each,
    which take so many seconds for an input, none of a CPU, and write to `folder/notes`."""
    write_pictures(folder / "archive", num_inputs, side=SIDE)
    config = {"source": folder / "archive", "target": folder / "restored"}
    config |= {"workers.max": max_workers, "workers.gpus": 1}
    job = {
        "config": {key: str(value) for key, value in config.items()},
        "device": {"pixels_per_second": SIDE**2 / seconds},
        "notes": str(folder / "notes"),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.run_on_cloud", json.dumps(job)],
        cwd=ROOT,
        env=os.environ | cloud.environment | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of JSON of a file; none of one that is not there yet."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
