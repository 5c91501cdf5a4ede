"""CPU that a small tile costs beside the generator, against the obvious pipeline of Ray Data.

A plain loop without Ray reads, decodes, restores, encodes and writes tile by tile. What a
design takes above that loop is its overhead: that of `ganray restore` on Ray, over that of
`read_images → map_batches(actor) → write_images`. Pillow's own settings of JPEG, which
write_images uses, cost less than ganray's (quality 95, no subsampling), so that each design
is held against a loop with its own settings. CPU is that of a whole tree of processes, Ray's
among them, as the slope between two archive sizes on one cluster that runs already.
"""

from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from material import write_archive, write_trivial_generator
from measuring import Figure, Measured, measure, spread

SIDE = 256
GANRAY_JPEG = {"quality": 95, "subsampling": 0}
PILLOW_JPEG: dict[str, Any] = {}
NUM_WORKERS = 2


def run(folder: Path, *, quick: bool) -> list[Figure]:
    few, many, repeats = (100, 700, 1) if quick else (100, 1300, 3)
    generator = write_trivial_generator(folder)
    designs: dict[str, Callable[[list[list[str]]], Measured]] = {
        "loop, ganray's JPEG": lambda archives: loop(archives, generator, GANRAY_JPEG),
        "ganray restore": lambda archives: ganray(archives, generator),
        "loop, Pillow's JPEG": lambda archives: loop(archives, generator, PILLOW_JPEG),
        "Ray Data pipeline": lambda archives: ray_data(archives, generator),
    }
    costs: dict[str, list[float]] = {name: [] for name in designs}
    for repeat in range(repeats):
        for name, design in designs.items():
            place = folder / f"{repeat}-{len(costs[name])}-{name.replace(' ', '-')}"
            archives = [
                # The first run of a cluster pays for the start of its processes.
                ["warm", write_archive(f"{place}-warm", few, SIDE)],
                ["few", write_archive(f"{place}-few", few, SIDE)],
                ["many", write_archive(f"{place}-many", many, SIDE)],
            ]
            costs[name].append(milliseconds_per_tile(design(archives), many - few))
    return figures(costs)


def loop(archives: list[list[str]], generator: str, jpeg: dict[str, Any]) -> Measured:
    job = {"loop": "files", "archives": archives, "generator": generator, "jpeg": jpeg}
    return measure("run_loop.py", job)


def ganray(archives: list[list[str]], generator: str) -> Measured:
    runs = [
        [
            name,
            {
                "source": source,
                "target": f"{source}-restored",
                "generator": generator,
                "workers": {"min": NUM_WORKERS, "max": NUM_WORKERS, "in_process": "never"},
            },
        ]
        for name, source in archives
    ]
    return measure("run_restore.py", {"runs": runs})


def ray_data(archives: list[list[str]], generator: str) -> Measured:
    runs = [[name, source, f"{source}-restored", generator] for name, source in archives]
    return measure("run_ray_data.py", {"pipeline": "images", "runs": runs})


def milliseconds_per_tile(measured: Measured, num_tiles: int) -> float:
    """CPU of one tile more."""
    few = measured.between("few begins", "few settled").cpu_seconds
    many = measured.between("many begins", "many settled").cpu_seconds
    return 1000 * (many - few) / num_tiles


def figures(costs: dict[str, list[float]]) -> list[Figure]:
    lines = [
        Figure(f"CPU per {SIDE}² JPEG tile: {name}", f"{spread(values, 1)} ms")
        for name, values in costs.items()
    ]
    middle = {name: median(values) for name, values in costs.items()}
    ours = middle["ganray restore"] - middle["loop, ganray's JPEG"]
    theirs = middle["Ray Data pipeline"] - middle["loop, Pillow's JPEG"]
    note = f"goal 0.1; above the loop {ours:.1f} ms and {theirs:.1f} ms"
    return [*lines, Figure("overhead, ganray ÷ Ray Data pipeline", f"{ours / theirs:.2f}", note)]
