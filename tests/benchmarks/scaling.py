"""Throughput of two workers on Ray over that of one, in the middle of a run.

The generator is a real one, and rows are counted by when workers recorded them, from a
quarter to three quarters of a run, so that neither start nor end counts. Two bare loops of
the generator at once, over one, are the most that the machine gave in that minute: where that
is below 2, its cores were shared with others. With a simulated device, which takes no CPU, the
ratio says whether orders, rows and the driver keep up whatever the cores are at.
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from material import write_archive, write_trivial_generator
from measuring import Figure, measure, spread
from simulated_device import Device

SIDE = 256
GENERATOR = "compact-x2"
SIMULATED = Device(2e6)


def run(folder: Path, *, quick: bool) -> list[Figure]:
    number, repeats = (96, 1) if quick else (160, 2)
    source = write_archive(str(folder / "archive"), number, SIDE)
    trivial = write_trivial_generator(folder)
    gains: list[float] = []
    simulated: list[float] = []
    ceilings: list[float] = []
    for repeat in range(repeats):
        rates = {}
        for workers in (1, 2):
            target = str(folder / f"restored-{repeat}-{workers}")
            rates[workers], precision = workers_rate(source, target, workers)
        bare = {processes: bare_rate(source, precision, processes) for processes in (1, 2)}
        simulated.append(simulated_gain(source, str(folder / f"simulated-{repeat}"), trivial))
        gains.append(rates[2] / rates[1])
        ceilings.append(bare[2] / bare[1])
    shares = [gain / ceiling for gain, ceiling in zip(gains, ceilings, strict=True)]
    return [
        Figure("throughput, 2 workers ÷ 1 on Ray", spread(gains), "goal 1.9 on two free cores"),
        Figure("the same of bare loops, 2 processes ÷ 1", spread(ceilings), "the ceiling"),
        Figure("share of the ceiling", spread(shares), "goal 0.95"),
        Figure("2 workers ÷ 1, simulated device", spread(simulated), "takes no CPU; goal 1.9"),
    ]


def workers_rate(source: str, target: str, workers: int) -> tuple[float, str]:
    """Inputs per second in the middle half of a run, and the precision of its arithmetic."""
    config = {
        "source": source,
        "target": target,
        "generator": GENERATOR,
        "workers": {"min": workers, "max": workers, "in_process": "never"},
    }
    ended = measure("run_restore.py", {"runs": [["all", config]]}).marks["all ends"].values
    return middle_rate(ended["recorded"]), ended["precision"]


def middle_rate(recorded: list[float]) -> float:
    """Inputs per second in the middle half of a run."""
    moments = sorted(recorded)
    first, last = len(moments) // 4, 3 * len(moments) // 4
    return (last - first) / (moments[last] - moments[first])


def simulated_gain(source: str, target: str, generator: str) -> float:
    """Two workers over one, whose device is a clock."""
    runs = [
        [
            str(workers),
            {
                "source": source,
                "target": f"{target}-{workers}",
                "generator": generator,
                "workers": {"min": workers, "max": workers, "in_process": "never"},
            },
            asdict(SIMULATED),
        ]
        for workers in (1, 2)
    ]
    marks = measure("run_simulated.py", {"runs": runs}).marks
    one, two = (middle_rate(marks[f"{n} ends"].values["recorded"]) for n in (1, 2))
    return two / one


def bare_rate(source: str, precision: str, processes: int) -> float:
    """Inputs per second of bare loops that run at the same time."""
    job = {"loop": "generator", "source": source, "generator": GENERATOR, "precision": precision}
    together = threading.Barrier(processes)

    def loop(_: int) -> float:
        bare = measure("run_loop.py", job, on_mark=lambda name: _wait(together, name))
        return bare.marks["ends"].values["num_inputs"] / bare.between("begins", "ends").seconds

    with ThreadPoolExecutor(processes) as pool:
        return sum(pool.map(loop, range(processes)))


def _wait(together: threading.Barrier, name: str) -> None:
    if name == "begins":
        together.wait()
