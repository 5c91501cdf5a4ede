"""Seconds and memory of reading and compacting a ledger of a million rows.

    python tests/benchmarks/bench_ledger.py [number of rows ...]

Each figure is of a process of its own; memory is its peak above what it takes after its
imports. Keys of the segments follow each other, as a run absorbs them, or alternate, which is
the worst case of a merge. Figures of one run on a shared machine mean little.
"""

import hashlib
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ganray.ledger import Ledger, LedgerRow
from ganray.storage import open_store

FEW, MANY = 1, 100


def main(numbers: list[int]) -> None:
    with tempfile.TemporaryDirectory() as name:
        for num_rows in numbers:
            for num_segments, alternates in ((FEW, False), (MANY, False), (MANY, True)):
                order = ", alternating" if alternates else ""
                print(f"{num_rows} rows in {num_segments} segments{order}", flush=True)
                folder = Path(name, f"{num_rows}-{num_segments}-{alternates}")
                write_ledger(folder, num_rows, num_segments, alternates)
                for task in ("scan_for_resume", "scan", "compact"):
                    if num_segments > 1 or task != "compact":
                        measure(folder, task)


def measure(folder: Path, task: str) -> None:
    command = [sys.executable, __file__, "--task", str(folder), task]
    print(subprocess.run(command, check=True, capture_output=True, text=True).stdout, end="")


def run_task(folder: str, task: str) -> None:
    before, begin = peak_megabytes(), time.perf_counter()
    ledger = Ledger(open_store(folder))
    if task == "compact":
        ledger.compact("bench")
    else:
        assert sum(1 for _ in getattr(ledger, task)()) > 0
    seconds = time.perf_counter() - begin
    print(f"  {task:16} {seconds:6.1f} s, {peak_megabytes() - before:5.0f} MB")


def write_ledger(folder: Path, num_rows: int, num_segments: int, alternates: bool) -> None:
    ledger = Ledger(open_store(str(folder)))
    for number in range(num_segments):
        numbers = range(number * num_rows // num_segments, (number + 1) * num_rows // num_segments)
        if alternates:
            numbers = range(number, num_rows, num_segments)
        ledger.absorb([row(n) for n in numbers], [], f"run-{number:04d}")


def row(number: int) -> LedgerRow:
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    return LedgerRow(
        key=f"archive/{number // 1000:05d}/scene-{number:07d}.tif",
        etag=digest[:32],
        generator_digest="a" * 64,
        config_digest="b" * 64,
        state="restored",
        recorded_at=1.7e9 + number / 100,
        run_id="20260101T000000000000-abcdef",
        attempts=1,
        output=f"archive/{number // 1000:05d}/scene-{number:07d}.tif",
        output_bytes=1_000_000 + number,
        output_sha256=digest,
        seconds=0.5 + number % 7,
        num_windows=4,
        input_pixels=1_000_000,
        output_pixels=1_000_000,
        consistency=number % 101 / 3,
        colour_drift=number % 97 / 3,
        clipped=number % 89 / 3,
        non_finite=0.0,
        seam_error=number % 83 / 3,
        ganray_version="0.3.0",
    )


def peak_megabytes() -> float:
    # Not ru_maxrss, which begins with the peak of the parent.
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) / 1024


if __name__ == "__main__":
    if sys.argv[1:2] == ["--task"]:
        run_task(sys.argv[2], sys.argv[3])
    else:
        main([int(number) for number in sys.argv[1:]] or [100_000, 1_000_000])
