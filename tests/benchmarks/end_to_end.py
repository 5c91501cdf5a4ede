"""From an object store and back to it, against the generator alone on the same patches.

`wall` is the share of the bare loop's speed that a whole restoration reaches: reading,
decoding, restoring, checking, encoding, writing and recording, from the first row that is
recorded to the last. `CPU` is the same for CPU seconds, those of the decoders' processes
included and the store's own left out. Both sides alternate. On a machine whose cores are
taken by others, `wall` says more of these others than of ganray.
"""

import os
from pathlib import Path
from statistics import median

from material import write_archive
from measuring import Figure, measure, spread

from ganray.object_store import running

SIDE = 512
SUFFIXES = (".jpg", ".png")
GENERATOR = "compact-x2"
GOAL = "goal 0.95"


def run(folder: Path, *, quick: bool) -> list[Figure]:
    number, repeats = (8, 1) if quick else (24, 3)
    with running(folder / "store") as store:
        # ganray's own clients find the store by the environment, here and in every child.
        os.environ.update(store.environment)
        store.create_bucket("bench")
        source = write_archive("s3://bench/archive", number, SIDE, SUFFIXES)
        figures = measure_precision(source, "auto", repeats)
        # Float32 takes twice as long, and shows overhead half as much.
        return figures + measure_precision(source, "float32", max(1, repeats // 2))


def measure_precision(source: str, precision: str, repeats: int) -> list[Figure]:
    wall: list[float] = []
    cpu: list[float] = []
    used, bare_seconds = precision, 0.0
    for repeat in range(repeats):
        target = f"s3://bench/{precision}-{repeat}"
        config = {
            "source": source,
            "target": target,
            "generator": GENERATOR,
            "precision": precision,
            "workers": {"max": 0},
        }
        whole = measure("run_restore.py", {"runs": [["all", config]]})
        used = whole.marks["all ends"].values["precision"]
        loop = {"loop": "generator", "source": source, "generator": GENERATOR, "precision": used}
        bare = measure("run_loop.py", loop)
        span, bare_span = whole.between("all first", "all last"), bare.between("begins", "ends")
        num_inputs = bare.marks["ends"].values["num_inputs"]
        bare_seconds = bare_span.cpu_seconds / num_inputs
        factor = (num_inputs - 1) / num_inputs
        wall.append(bare_span.seconds / span.seconds * factor)
        cpu.append(bare_span.cpu_seconds / span.cpu_seconds * factor)
    name = f"S3 → S3 ÷ generator loop, {precision}" + (f" = {used}" * (used != precision))
    note = f"{GOAL}; generator {1000 * bare_seconds:.0f} ms of CPU per image of {SIDE}²"
    cores = f"CPU share {median(cpu):.2f} says what an idle machine could reach"
    return [Figure(f"{name}: wall", spread(wall), cores), Figure(f"{name}: CPU", spread(cpu), note)]
