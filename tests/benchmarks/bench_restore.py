"""CPU per tile of the restore job, in this process and on Ray, against the bare generator loop.

    make bench

Tiles are small JPEG files, where overhead shows most. CPU is that of all processes of a job, as
the slope between two archive sizes, so that start-up does not count. Compare ratios: figures of
one run on a shared machine mean little.
"""

import io
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import torch
from PIL import Image

from ganray.raster.image import to_float
from ganray.restoration import Restorer

SIDE = 256
FEW, MANY = 40, 160


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in (FEW, MANY):
            write_tiles(folder / f"archive-{number}", number)
        bare = bare_loop(folder / f"archive-{FEW}")
        print(f"bare generator loop        {1000 * bare:7.1f} ms of CPU per tile of {SIDE}x{SIDE}")
        for workers, label in ((0, "restore, in the process"), (2, "restore, 2 Ray workers")):
            slope = job_slope(folder, workers)
            print(f"{label:26} {1000 * slope:7.1f} ms, {slope / bare:5.2f} of the bare loop")


def write_tiles(folder: Path, number: int) -> None:
    folder.mkdir()
    for index in range(number):
        rng = np.random.default_rng(index)
        coarse = rng.integers(0, 256, (SIDE // 4, SIDE // 4, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        picture.save(folder / f"{index:05d}.jpg", quality=90)


def bare_loop(folder: Path) -> float:
    """CPU seconds per tile of the generator alone, on decoded tiles in memory."""
    restorer = Restorer.load("compact-x2")
    tiles = []
    for path in sorted(folder.iterdir()):
        pixels = np.asarray(Image.open(io.BytesIO(path.read_bytes())))
        tiles.append(torch.from_numpy(to_float(np.moveaxis(pixels, -1, 0)))[None])
    tiles = [tile.contiguous(memory_format=torch.channels_last) for tile in tiles]
    with torch.inference_mode():
        restorer.generator(tiles[0])
        begin = time.process_time()
        for tile in tiles:
            restorer.generator(tile)
    return (time.process_time() - begin) / len(tiles)


def job_slope(folder: Path, workers: int) -> float:
    """CPU seconds per further tile of `ganray restore`."""
    few, many = (job_cpu(folder, number, workers) for number in (FEW, MANY))
    return (many - few) / (MANY - FEW)


def job_cpu(folder: Path, number: int, workers: int) -> float:
    target = folder / f"restored-{number}-{workers}"
    words = f"source={folder}/archive-{number}", f"target={target}", f"workers.max={workers}"
    command = [sys.executable, "-m", "ganray", "restore", *words]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seconds: dict[int, float] = {}
    watcher = threading.Thread(target=watch, args=(psutil.Process(process.pid), seconds))
    watcher.start()
    if process.wait():
        raise SystemExit(f"{' '.join(command)} failed")
    watcher.join()
    return sum(seconds.values())


def watch(process: psutil.Process, seconds: dict[int, float]) -> None:
    """Keep the largest CPU time seen of `process` and of everything below it."""
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        try:
            for member in [process, *process.children(recursive=True)]:
                times = member.cpu_times()
                seconds[member.pid] = times.user + times.system
        except psutil.NoSuchProcess:
            pass
        time.sleep(0.1)


if __name__ == "__main__":
    main()
