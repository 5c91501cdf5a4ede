"""Where the time goes before the first row, in this process and on Ray, part by part.

A fresh process restores a few tiles from folder to folder. On Ray the worker's part of
imports, which follows the call of its class, is in `its process starts`.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from material import write_archive
from measuring import FOLDER, Figure

NUM_TILES = 16
SIDE = 256
GENERATOR = "compact-x2"

PARTS = {
    "python": "interpreter",
    "torch imported": "import torch",
    "ray imported": "import ray.data",
    "ganray imported": "import ganray",
    "planned": "check, list, plan",
    "ray.init called": "run begins: folder, ledger, generator",
    "ray.init done": "ray.init",
    "worker called": "first pool: its plan, its process starts",
    "worker made": "worker: stores, threads",
    "first order": "first order arrives",
    "first window restored": "generator loaded and measured, first window",
    "first row recorded": "first row encoded, written, recorded",
    "first row reported": "first row at the driver",
    "run ended": "the other tiles, ledger compacted",
    "process ended": "end of the process",
}
"""A point that is reached, and what happens before it; in the order of a run."""


def run(folder: Path, *, quick: bool) -> list[Figure]:
    repeats = 1 if quick else 3
    source = write_archive(str(folder / "archive"), NUM_TILES, SIDE)
    here = {"max": 0}
    on_ray = {"min": 1, "max": 1, "in_process": "never"}
    found: dict[str, list[dict[str, float]]] = {"in this process": [], "on Ray": []}
    for repeat in range(repeats):
        for place, workers in zip(found, (here, on_ray), strict=True):
            name = f"{repeat}-{workers['max']}"
            stamps = folder / f"stamps-{name}"
            config = {
                "source": source,
                "target": str(folder / f"restored-{name}"),
                "generator": GENERATOR,
                "workers": workers,
            }
            found[place].append(parts_of_run(stamps, config))
    return [figure for place, runs in found.items() for figure in figures(place, runs)]


def parts_of_run(stamps: Path, config: dict[str, object]) -> dict[str, float]:
    """Seconds of each part of one run."""
    stamps.mkdir()
    job = json.dumps({"stamps": str(stamps), "config": config})
    started = time.time()
    command = [sys.executable, str(FOLDER / "run_startup.py"), job]
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode:
        raise SystemExit(f"run_startup.py failed:\n{ended.stderr[-4000:]}")
    (stamps / "process ended").touch()
    seconds, before = {}, started
    for point, part in PARTS.items():
        path = stamps / point
        if path.exists():
            reached = path.stat().st_mtime
            seconds[part] = reached - before
            before = reached
    return seconds


def figures(place: str, runs: list[dict[str, float]]) -> list[Figure]:
    seconds = {part: median([run[part] for run in runs]) for part in runs[0]}
    lines = [Figure(f"start {place}: {part}", f"{value:.2f} s") for part, value in seconds.items()]
    names = list(seconds)
    first_row = names[: names.index("first row at the driver") + 1]
    total = sum(seconds[part] for part in first_row)
    return [*lines, Figure(f"start {place}: to the first row", f"{total:.1f} s")]
