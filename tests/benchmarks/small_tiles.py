"""CPU that a small tile costs beside the generator, against the obvious pipeline of Ray Data.

A plain loop without Ray reads, decodes, restores, encodes and writes tile by tile. What a
design takes above that loop is its overhead: that of `ganray restore` on Ray, over that of
`read_images → map_batches(actor) → write_images`. Pillow's own settings of JPEG, which
write_images uses, cost less than ganray's (quality 95, no subsampling), so that each design
is held against a loop with its own settings. CPU is that of a whole tree of processes, Ray's
among them, as the slope between two archive sizes on one cluster that runs already.

The same loop through ganray's Restorer says which part of ganray's overhead is its arithmetic
beside the network: patches, rounding, and the figures that tell whether a result can be
trusted. On a GPU that part is the GPU's. The second ratio leaves it out.
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

Archives = dict[str, tuple[str, str]]
"""Source and target by the name of a run."""


def run(folder: Path, *, quick: bool) -> list[Figure]:
    few, many, repeats = (50, 350, 1) if quick else (100, 1000, 3)
    generator = write_trivial_generator(folder)
    # The first run of a cluster pays for the start of its processes.
    sources = {
        name: write_archive(str(folder / name), number, SIDE)
        for name, number in (("warm", few), ("few", few), ("many", many))
    }
    designs: dict[str, Callable[[Archives], Measured]] = {
        "loop": lambda runs: loop(runs, generator, GANRAY_JPEG),
        "loop through Restorer": lambda runs: loop(runs, generator, GANRAY_JPEG, restorer=True),
        "ganray restore on Ray": lambda runs: ganray(runs, generator),
        "loop, JPEG as write_images": lambda runs: loop(runs, generator, PILLOW_JPEG),
        "Ray Data pipeline": lambda runs: ray_data(runs, generator),
    }
    costs: dict[str, list[float]] = {name: [] for name in designs}
    for repeat in range(repeats):
        for number, (name, design) in enumerate(designs.items()):
            runs = {
                size: (source, f"{source}-{repeat}-{number}") for size, source in sources.items()
            }
            costs[name].append(milliseconds_per_tile(design(runs), many - few))
    return figures(costs)


def loop(
    runs: Archives, generator: str, jpeg: dict[str, Any], *, restorer: bool = False
) -> Measured:
    job = {"loop": "files", "generator": generator, "jpeg": jpeg, "restorer": restorer}
    return measure("run_loop.py", job | {"runs": [[name, *run] for name, run in runs.items()]})


def ganray(runs: Archives, generator: str) -> Measured:
    workers = {"min": NUM_WORKERS, "max": NUM_WORKERS, "in_process": "never"}
    settings = {"generator": generator, "workers": workers}
    configs = [
        [name, settings | {"source": source, "target": target}]
        for name, (source, target) in runs.items()
    ]
    return measure("run_restore.py", {"runs": configs})


def ray_data(runs: Archives, generator: str) -> Measured:
    listed = [[name, *run, generator] for name, run in runs.items()]
    return measure("run_ray_data.py", {"pipeline": "images", "runs": listed})


def milliseconds_per_tile(measured: Measured, num_tiles: int) -> float:
    """CPU of one tile more."""
    few = measured.between("few begins", "few settled").cpu_seconds
    many = measured.between("many begins", "many settled").cpu_seconds
    return 1000 * (many - few) / num_tiles


def figures(costs: dict[str, list[float]]) -> list[Figure]:
    middle = {name: median(values) for name, values in costs.items()}
    whole = middle["ganray restore on Ray"] - middle["loop"]
    jobs_own = middle["ganray restore on Ray"] - middle["loop through Restorer"]
    theirs = middle["Ray Data pipeline"] - middle["loop, JPEG as write_images"]
    return [
        *(
            Figure(f"CPU per {SIDE}² JPEG tile: {name}", f"{spread(values, 1)} ms")
            for name, values in costs.items()
        ),
        Figure(
            "overhead, ganray ÷ Ray Data pipeline",
            f"{whole / theirs:.2f}",
            f"goal 0.1; above their loops {whole:.1f} ms and {theirs:.1f} ms",
        ),
        Figure(
            "the same without Restorer's arithmetic",
            f"{jobs_own / theirs:.2f}",
            f"above the loop through Restorer {jobs_own:.1f} ms",
        ),
    ]
