"""How fast a device can be before something else is slower, by a device that is a clock.

`device` restores 256² JPEG tiles in one process by a worker whose generator takes time and no
CPU: the share of the device's speed that is reached, and how busy each stage was. Stages of
several threads are busy when all their threads are. `CPU` is in cores; where it is near one,
Python's lock may be the limit, where it is near what the machine has, the machine is.

`stage` asks whether codecs in the worker's threads hold a fast device up, so that tasks of
their own should decode and encode beside it: the same device behind both, on Ray, by the outputs
from a quarter of the archive on. What stages have decoded by then is in their favour.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from material import write_archive, write_trivial_generator
from measuring import Figure, measure, spread
from simulated_device import Device

SIDE = 256
TILE_PIXELS = SIDE**2
DEVICE_SECONDS = 2.5
LARGEST_ARCHIVE = 2400
WORKER_DESIGNS = {"1 + 1 threads": 1, "2 + 2 threads": 2}
STAGE_DESIGN = ("stages",)


@dataclass(frozen=True)
class Case:
    """A device and the threads that feed it."""

    name: str
    device: Device
    num_threads: int = 0
    prefetch: int = 0
    is_on_disk: bool = False


def device_cases(*, quick: bool) -> Iterator[Case]:
    for mega in (20,) if quick else (5, 20, 80):
        speed = mega * 1e6
        yield Case(f"{mega} Mpixel/s", Device(speed))
        yield Case(f"{mega} Mpixel/s in batches of 32", Device(speed, batch_windows=32))
        yield Case(f"{mega} Mpixel/s, store 20 ms away", Device(speed, latency_seconds=0.02))
        yield Case(f"{mega} Mpixel/s, folder on disk", Device(speed), is_on_disk=True)
    batches = Device(20e6, batch_windows=32)
    yield Case("20 Mpixel/s in batches of 32, prefetch 96", batches, prefetch=96)
    distant = Device(20e6, latency_seconds=0.02)
    yield Case("20 Mpixel/s, store 20 ms away, 8 + 8 threads", distant, num_threads=8)


def run_device(folder: Path, *, quick: bool) -> list[Figure]:
    repeats = 1 if quick else 2
    generator = write_trivial_generator(folder)
    cases = list(device_cases(quick=quick))
    found: dict[str, list[dict[str, float]]] = {case.name: [] for case in cases}
    for repeat in range(repeats):
        for index, case in enumerate(cases):
            with tempfile.TemporaryDirectory() as disk:
                place = Path(disk if case.is_on_disk else folder, f"{repeat}-{index}")
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
        "workers": {
            "max": 0,
            "readers": case.num_threads,
            "writers": case.num_threads,
            "prefetch": case.prefetch,
        },
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
    repeats = 1 if quick else 2
    speeds = (20,) if quick else (20, 80)
    generator = write_trivial_generator(folder)
    source = write_archive(str(folder / "archive"), 600 if quick else 1400, SIDE)
    rates: dict[tuple[int, str], list[float]] = {}
    for repeat in range(repeats):
        targets = {
            **worker_designs(source, speeds, generator, repeat),
            **stage_design(source, speeds, repeat),
        }
        for case, target in targets.items():
            rates.setdefault(case, []).append(megapixels_per_second(target))
    return [_stage_figure(mega, design, rates) for mega in speeds for design in WORKER_DESIGNS]


def worker_designs(
    source: str, speeds: tuple[int, ...], generator: str, repeat: int
) -> dict[tuple[int, str], str]:
    """One worker of ganray's, whose threads decode and encode; the targets of all cases."""
    targets = {
        (mega, design): f"{source}-{repeat}-{mega}-{threads}"
        for mega in speeds
        for design, threads in WORKER_DESIGNS.items()
    }
    runs = []
    for (mega, design), target in targets.items():
        threads = WORKER_DESIGNS[design]
        config = {
            "source": source,
            "target": target,
            "generator": generator,
            "workers": {
                "max": 1,
                "in_process": "never",
                "readers": threads,
                "writers": threads,
            },
        }
        runs.append([f"{mega} {design}", config, asdict(Device(mega * 1e6))])
    measure("run_simulated.py", {"runs": runs})
    return targets


def stage_design(source: str, speeds: tuple[int, ...], repeat: int) -> dict[tuple[int, str], str]:
    """A pipeline of Ray Data with stages of its own for codecs; the targets of all cases."""
    targets = {(mega, "stages"): f"{source}-{repeat}-{mega}-stages" for mega in speeds}
    runs = [[f"{mega} stages", source, target, mega * 1e6] for (mega, _), target in targets.items()]
    measure("run_ray_data.py", {"pipeline": "stages", "runs": runs})
    return targets


def megapixels_per_second(target: str) -> float:
    """By when the outputs were written, those of the first quarter left out."""
    written = sorted(path.stat().st_mtime for path in Path(target).glob("*.jpg"))
    first = len(written) // 4
    return (len(written) - 1 - first) * TILE_PIXELS / 1e6 / (written[-1] - written[first])


def _stage_figure(mega: int, design: str, rates: dict[tuple[int, str], list[float]]) -> Figure:
    ours, stages = rates[mega, design], rates[mega, "stages"]
    ratios = [one / other for one, other in zip(ours, stages, strict=True)]
    return Figure(
        f"worker with {design} ÷ CPU stages on Ray, device of {mega} Mpixel/s",
        spread(ratios),
        f"above 1 no stage pays; {median(ours):.1f} against {median(stages):.1f} Mpixel/s",
    )
