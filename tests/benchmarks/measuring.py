"""Runs one Python process and reads the CPU time and the memory of all that lives below it.

The process says by `mark` where it is, and goes on once its owner has looked: a mark's figures
are exact, and looking costs the process nothing. Processes that come and go between two marks
are sampled, so that the last moments of their CPU time may be missing.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import psutil

FOLDER = Path(__file__).parent
SAMPLE_SECONDS = 0.25
# Folders in memory, where there are such: the speed of a disk is no property of ganray.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@dataclass(frozen=True)
class Span:
    """What passed between two marks; CPU is that of the process and of all below it."""

    seconds: float
    cpu_seconds: float


@dataclass(frozen=True)
class Mark:
    """One look at the process: the clock, its CPU time so far, and what it said."""

    seconds: float
    cpu_seconds: float
    values: dict[str, Any]


@dataclass
class Measured:
    """All marks of one process, and the peaks of its memory and of its largest Ray worker's."""

    marks: dict[str, Mark] = field(default_factory=dict)
    driver_megabytes: float = 0.0
    worker_megabytes: float = 0.0

    def between(self, first: str, last: str) -> Span:
        begin, end = self.marks[first], self.marks[last]
        return Span(end.seconds - begin.seconds, end.cpu_seconds - begin.cpu_seconds)


def mark(name: str, **values: Any) -> None:
    """Say to the owner where this process is, and wait until it has looked."""
    print(json.dumps({"mark": name, "values": values}), flush=True)
    sys.stdin.readline()


def measure(
    script: str,
    job: Mapping[str, Any],
    *,
    environment: Mapping[str, str] | None = None,
    on_mark: Callable[[str], None] = lambda name: None,
) -> Measured:
    """Run a script of this folder to its end; `on_mark` is called while it waits."""
    command = [sys.executable, str(FOLDER / script), json.dumps(job)]
    measured = Measured()
    with tempfile.TemporaryFile("w+") as words:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=words,
            text=True,
            env=os.environ | (environment or {}),
        )
        tree = _Tree(process.pid)
        over = threading.Event()
        sampler = threading.Thread(target=tree.sample_until, args=(over,))
        sampler.start()
        try:
            _follow(process, tree, measured, on_mark)
        finally:
            over.set()
            sampler.join()
            process.kill()
        if process.wait():
            words.seek(0)
            raise SystemExit(f"{script} failed:\n{words.read()[-4000:]}")
    measured.driver_megabytes, measured.worker_megabytes = tree.peaks()
    return measured


def _follow(
    process: "subprocess.Popen[str]",
    tree: "_Tree",
    measured: Measured,
    on_mark: Callable[[str], None],
) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    for line in process.stdout:
        # Libraries print too.
        if line.startswith('{"mark"'):
            said = json.loads(line)
            on_mark(said["mark"])
            measured.marks[said["mark"]] = Mark(perf_counter(), tree.sample(), said["values"])
            process.stdin.write("\n")
            process.stdin.flush()
    process.wait()


class _Tree:
    """A process and all below it: CPU time and peak memory, of the dead as last seen."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._lock = threading.Lock()
        self._cpu: dict[psutil.Process, float] = {}
        self._peaks: dict[psutil.Process, float] = {}
        self._workers: set[psutil.Process] = set()

    def sample_until(self, over: threading.Event) -> None:
        while not over.wait(SAMPLE_SECONDS):
            self.sample()

    def sample(self) -> float:
        """Look at every process; CPU seconds of all so far."""
        with self._lock:
            with suppress(psutil.Error):
                for process in [self._root, *self._root.children(recursive=True)]:
                    with suppress(psutil.Error, OSError):
                        self._look_at(process)
            return sum(self._cpu.values())

    def _look_at(self, process: psutil.Process) -> None:
        times = process.cpu_times()
        self._cpu[process] = times.user + times.system
        # One that is ending has no memory left to speak of.
        self._peaks[process] = max(self._peaks.get(process, 0.0), _peak_megabytes(process.pid))
        # A worker gets its title when it gets its work.
        if process not in self._workers and process != self._root:
            title = (process.cmdline() or [""])[0]
            if title.startswith("ray::") and not title.startswith("ray::IDLE"):
                self._workers.add(process)

    def peaks(self) -> tuple[float, float]:
        """Megabytes of the process itself, and of the largest Ray worker."""
        workers = max((self._peaks[worker] for worker in self._workers), default=0.0)
        return self._peaks.get(self._root, 0.0), workers


def _peak_megabytes(pid: int) -> float:
    # The kernel's own high-water mark, which no sampling can miss. psutil has none on Linux.
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    what: str
    value: str
    note: str = ""


def spread(values: list[float], digits: int = 2) -> str:
    """The median, and the range where there are several."""
    middle = f"{median(values):.{digits}f}"
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def run_chosen(document: str, benchmarks: Mapping[str, Callable[..., list[Figure]]]) -> None:
    """The command line of a file of benchmarks: the names to run, all without one, and --quick."""
    parser = argparse.ArgumentParser(
        description=document, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(benchmarks))
    parser.add_argument("--quick", action="store_true", help="fewer, smaller, once")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(benchmarks)
    if unknown:
        parser.error(f"unknown {', '.join(sorted(unknown))}; choose of {', '.join(benchmarks)}")
    for name, benchmark in benchmarks.items():
        if not arguments.names or name in arguments.names:
            _run_one(name, benchmark, quick=arguments.quick)


def _run_one(name: str, benchmark: Callable[..., list[Figure]], *, quick: bool) -> None:
    """Print a benchmark's part of the table as soon as it is there."""
    begin = perf_counter()
    with tempfile.TemporaryDirectory(prefix="ganray-bench-", dir=MEMORY) as folder:
        figures = benchmark(Path(folder), quick=quick)
    print(f"\n{name}, {perf_counter() - begin:.0f} s")
    widths = [max(len(figure.what) for figure in figures), max(len(f.value) for f in figures)]
    for figure in figures:
        line = f"  {figure.what:<{widths[0]}}  {figure.value:>{widths[1]}}  {figure.note}"
        print(line.rstrip(), flush=True)
