"""How many workers one driver keeps busy, by workers that sleep.

    python tests/benchmarks/bench_control_plane.py            both, about ten minutes
    python tests/benchmarks/bench_control_plane.py --quick    fewer workers
    python tests/benchmarks/bench_control_plane.py memory     only this

    busy     64 workers, 50 ms an input, orders of 256 inputs as a large archive has them: the
             share of its time that a worker is at an input, from its first to its last
    memory   the driver's peak and CPU for a million inputs, whose workers take no time

A worker costs a CPU-second or more to start: on a small machine most of `busy` is that, which is
why the share is counted from each worker's first input on.
"""

from pathlib import Path

from measuring import Figure, Measured, measure, run_chosen

PER_ORDER = 256
SECONDS_PER_INPUT = 0.05


def busy(folder: Path, *, quick: bool) -> list[Figure]:
    workers = 8 if quick else 64
    job = {"workers": workers, "orders": 4 * workers, "seconds": SECONDS_PER_INPUT}
    measured = measure("run_control_plane.py", whole(job))
    ended = measured.marks["ends"].values
    return [
        Figure("a worker at an input, share of its time", f"{ended['busy'] / ended['spans']:.3f}"),
        Figure("workers at work at all", str(ended["workers"]), f"of {workers}"),
        *of_the_driver(measured),
    ]


def memory(folder: Path, *, quick: bool) -> list[Figure]:
    job = {"workers": 8, "orders": 400 if quick else 4096, "seconds": 0.0}
    return of_the_driver(measure("run_control_plane.py", whole(job)))


def whole(job: dict[str, float]) -> dict[str, float]:
    return job | {"per_order": PER_ORDER, "per_wave": job["orders"]}


def of_the_driver(measured: Measured) -> list[Figure]:
    begun, ended = measured.marks["begins"].values, measured.marks["ends"].values
    cpu = ended["driver"] - begun["driver"]
    return [
        Figure("inputs", str(ended["rows"])),
        Figure("driver, CPU µs an input", f"{1e6 * cpu / ended['rows']:.0f}"),
        Figure("driver, peak megabytes", f"{measured.driver_megabytes:.0f}", "goal below 1,500"),
    ]


if __name__ == "__main__":
    run_chosen(__doc__, {"busy": busy, "memory": memory})
