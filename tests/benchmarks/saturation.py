"""How fast a device can be before something else is slower, by a device that is a clock.

`device` restores 256² JPEG tiles in one process by a worker whose generator takes time and no
CPU: the share of the device's speed that is reached, and how busy each stage was. Stages of
several threads are busy when all their threads are. `CPU` is in cores; where it is near one,
Python's lock may be the limit, where it is near what the machine has, the machine is.

`stage` asks whether codecs in the worker's threads hold a fast device up, so that tasks of
their own should decode and encode beside it: the same device behind both, on Ray, by the
slope between two archive sizes.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from material import write_archive, write_trivial_generator
from measuring import Figure, Measured, measure, spread
from simulated_device import Device

SIDE = 256
TILE_PIXELS = SIDE**2
DEVICE_SECONDS = 4.0
LARGEST_ARCHIVE = 2400
WORKER_DESIGNS = {"1 + 1 threads": 1, "2 + 2 threads": 2}
STAGE_DESIGN = ("stages",)


@dataclass(frozen=True)
class Case:
    """A device and the threads that feed it."""

    name: str
    device: Device
    num_threads: int = 0


def device_cases(*, quick: bool) -> Iterator[Case]:
    for mega in (20,) if quick else (5, 20, 80):
        speed = mega * 1e6
        yield Case(f"{mega} Mpixel/s", Device(speed))
        yield Case(f"{mega} Mpixel/s in batches of 32", Device(speed, batch_windows=32))
        yield Case(f"{mega} Mpixel/s, store 20 ms away", Device(speed, latency_seconds=0.02))
    eight = Device(20e6, latency_seconds=0.02)
    yield Case("20 Mpixel/s, store 20 ms away, 8 + 8 threads", eight, num_threads=8)


def run_device(folder: Path, *, quick: bool) -> list[Figure]:
    repeats = 1 if quick else 2
    generator = write_trivial_generator(folder)
    cases = list(device_cases(quick=quick))
    found: dict[str, list[dict[str, float]]] = {case.name: [] for case in cases}
    for repeat in range(repeats):
        for index, case in enumerate(cases):
            place = folder / f"{repeat}-{index}"
            found[case.name].append(device_share(case, place, generator))
    return [_device_figure(name, runs) for name, runs in found.items()]


def device_share(case: Case, place: Path, generator: str) -> dict[str, float]:
    """Shares of the device's speed and of the stages' time in one run."""
    speed = case.device.pixels_per_second
    number = min(LARGEST_ARCHIVE, int(DEVICE_SECONDS * speed / TILE_PIXELS))
    config = {
        "source": write_archive(f"{place}-archive", number, SIDE),
        "target": f"{place}-restored",
        "generator": generator,
        "workers": {"max": 0, "readers": case.num_threads, "writers": case.num_threads},
    }
    measured = measure("run_simulated.py", {"runs": [["all", config, asdict(case.device)]]})
    recorded = sorted(measured.marks["all ends"].values["recorded"])
    rate = (number - 1) / (recorded[-1] - recorded[0])
    span = measured.between("all first", "all last")
    stages = measured.marks["all stages"].values
    threads = case.num_threads or 2
    return {
        "tiles per second": rate,
        "share": rate * TILE_PIXELS / speed,
        "CPU": span.cpu_seconds / span.seconds,
        "device": stages["device"] / span.seconds,
        "readers": stages["read"] / threads / span.seconds,
        "writers": stages["write"] / threads / span.seconds,
        "commit": stages["commit"] / span.seconds,
    }


def _device_figure(name: str, runs: list[dict[str, float]]) -> Figure:
    middle = {what: median([run[what] for run in runs]) for what in runs[0]}
    busy = ", ".join(f"{s} {middle[s]:.2f}" for s in ("device", "readers", "writers", "commit"))
    return Figure(
        f"share of a device of {name}",
        spread([run["share"] for run in runs]),
        f"{middle['tiles per second']:.0f} tiles/s; busy: {busy}; {middle['CPU']:.2f} cores",
    )


def run_stage(folder: Path, *, quick: bool) -> list[Figure]:
    repeats = 1 if quick else 3
    speeds = (20,) if quick else (20, 80)
    few, many = (100, 500) if quick else (200, 1400)
    generator = write_trivial_generator(folder)
    sources = [
        (size, write_archive(str(folder / size), number, SIDE))
        for size, number in (("few", few), ("many", many))
    ]
    rates: dict[tuple[int, str], list[float]] = {}
    for repeat in range(repeats):
        for measured, designs in (
            (worker_designs(sources, speeds, generator, f"{repeat}"), WORKER_DESIGNS),
            (stage_design(sources, speeds, f"{repeat}"), STAGE_DESIGN),
        ):
            for mega in speeds:
                for design in designs:
                    rate = tiles_per_second(measured, f"{mega} {design}", many - few)
                    rates.setdefault((mega, design), []).append(rate * TILE_PIXELS / 1e6)
    return [_stage_figure(mega, design, rates) for mega in speeds for design in WORKER_DESIGNS]


def worker_designs(
    sources: list[tuple[str, str]], speeds: tuple[int, ...], generator: str, repeat: str
) -> Measured:
    """One worker of ganray's, whose threads decode and encode."""
    runs = []
    for mega in speeds:
        for design, threads in WORKER_DESIGNS.items():
            for size, source in sources:
                name = f"{mega} {design} {size}"
                config = {
                    "source": source,
                    "target": f"{source}-{repeat}-{name}",
                    "generator": generator,
                    "workers": {
                        "max": 1,
                        "in_process": "never",
                        "readers": threads,
                        "writers": threads,
                    },
                }
                runs.append([name, config, asdict(Device(mega * 1e6))])
    return measure("run_simulated.py", {"runs": runs})


def stage_design(sources: list[tuple[str, str]], speeds: tuple[int, ...], repeat: str) -> Measured:
    """A pipeline of Ray Data with stages of its own for codecs."""
    runs = [
        [f"{mega} stages {size}", source, f"{source}-{repeat}-{mega}-stages", mega * 1e6]
        for mega in speeds
        for size, source in sources
    ]
    return measure("run_ray_data.py", {"pipeline": "stages", "runs": runs})


def tiles_per_second(measured: Measured, name: str, num_tiles: int) -> float:
    few, many = (
        measured.between(f"{name} {size} begins", f"{name} {size} ends").seconds
        for size in ("few", "many")
    )
    return num_tiles / (many - few)


def _stage_figure(mega: int, design: str, rates: dict[tuple[int, str], list[float]]) -> Figure:
    ours, stages = rates[mega, design], rates[mega, "stages"]
    ratios = [one / other for one, other in zip(ours, stages, strict=True)]
    return Figure(
        f"worker with {design} ÷ CPU stages on Ray, device of {mega} Mpixel/s",
        spread(ratios),
        f"above 1 no stage pays; {median(ours):.1f} against {median(stages):.1f} Mpixel/s",
    )
