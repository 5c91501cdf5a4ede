"""The variants of `bench_gpu.py`: one archive through one network, in several ways.

Each takes a job and says how long it took and how much of the device's memory.
"""

import copy
import io
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image as PillowImage
from torch import Tensor, nn

from ganray.codecs import photo
from ganray.models.checkpoint import Checkpoint
from ganray.pipelines.budget import Budget
from ganray.pipelines.overlap import Engine
from ganray.raster.image import Image, empty_pixels
from ganray.raster.windows import place
from ganray.restoration import Restorer, RestorerConfig
from ganray.restoration.batches import BATCH_OUTPUT_PIXELS
from ganray.restoration.canvas import Canvas, RestoredWindow, WindowTask
from ganray.restoration.restorer import window_tasks

SCALE = 4
WARM_UP_WINDOWS = 16
SCRIPT_TILE, SCRIPT_PADDING = 512, 10
JPEG = photo.OutputConfig()
LIMIT_PIXELS = 2**27
BUFFER_BYTES = 2**31


@dataclass(frozen=True)
class Job:
    """One network, one archive in a folder, and where and how to run them."""

    checkpoint: Checkpoint
    source: Path
    target: Path
    device: torch.device
    dtype: torch.dtype
    num_threads: int
    num_ahead: int
    num_repeats: int = 1
    compiles: bool = False

    @property
    def restorer(self) -> Restorer:
        precision = {torch.float16: "float16", torch.bfloat16: "bfloat16"}[self.dtype]
        config = RestorerConfig(precision=precision, device=str(self.device), compile=self.compiles)
        # A copy, since a variant may turn it into half precision or compile it.
        return Restorer(copy.deepcopy(self.checkpoint), config)


@dataclass(frozen=True)
class Result:
    seconds: float
    gigabytes: float
    note: str = ""


def bare_loop(job: Job) -> Result:
    """The patches of the archive through the network alone, over one batch that stays."""
    network, batch, num_batches = bare_parts(job)
    return loop(job, network, batch, num_batches)


def bare_loop_with_cudnn(job: Job) -> Result:
    torch.backends.cudnn.benchmark = True
    try:
        return bare_loop(job)
    finally:
        torch.backends.cudnn.benchmark = False


def compiled_loop(job: Job) -> Result:
    network, batch, num_batches = bare_parts(job)
    compiled = torch.compile(network)
    begin = time.perf_counter()
    with torch.inference_mode():
        compiled(batch)
    synchronize(job.device)
    seconds = time.perf_counter() - begin
    return replace(
        loop(job, compiled, batch, num_batches), note=f"{seconds:.0f} s for the first batch"
    )


def bare_parts(job: Job) -> tuple[nn.Module, Tensor, float]:
    """The network in half precision, a full batch, and how many of them the archive is."""
    restorer = job.restorer
    patches = [
        piece for task in all_windows(job, restorer) for piece in Canvas(task, SCALE).pieces()
    ]
    read = patches[0].patch.read
    limit = BATCH_OUTPUT_PIXELS[job.device.type] // SCALE**2
    size = max(1, limit // read.num_pixels)
    batch = torch.rand(size, 3, read.height, read.width, device=job.device, dtype=job.dtype)
    network = restorer.generator.network.to(job.dtype)
    return network, batch.contiguous(memory_format=torch.channels_last), len(patches) / size


def loop(
    job: Job, network: Callable[[Tensor], Tensor], batch: Tensor, num_batches: float
) -> Result:
    """Whole batches, and the last one in part: its share of the seconds is taken."""
    whole = max(1, round(num_batches))
    with torch.inference_mode():
        network(batch)
        synchronize(job.device)
        begin = time.perf_counter()
        for _ in range(whole):
            network(batch)
        synchronize(job.device)
    seconds = (time.perf_counter() - begin) * num_batches / whole
    height, width = batch.shape[2:]
    return Result(seconds, peak(job.device), f"batches of {batch.shape[0]} of {width}x{height}")


def compiled_windows(job: Job) -> Result:
    return windows(replace(job, compiles=True))


def compiled_files(job: Job) -> Result:
    return files(replace(job, compiles=True))


def windows(job: Job) -> Result:
    restorer = job.restorer
    warm_up(job, restorer)
    tasks = list(all_windows(job, restorer))
    begin = time.perf_counter()
    for restored in restorer.restore_windows(tasks):
        assert restored.pixels is not None
    return Result(time.perf_counter() - begin, peak(job.device))


def files(job: Job) -> Result:
    restorer = job.restorer
    warm_up(job, restorer)
    engine: Engine[float] = Engine(
        restorer.restore_windows,
        lambda seconds: None,
        num_readers=job.num_threads,
        num_writers=job.num_threads,
        num_ahead=job.num_ahead,
        buffer_bytes=BUFFER_BYTES,
    )
    paths = sorted(job.source.iterdir())
    # Page-locked memory is taken at first, and costs more than what is done with it.
    run_files(engine, job, restorer, paths * job.num_repeats)
    seconds, codec_seconds = run_files(engine, job, restorer, paths * job.num_repeats)
    engine.close()
    busy = codec_seconds / seconds
    return Result(
        seconds / job.num_repeats,
        peak(job.device),
        f"{busy:.1f} of {2 * job.num_threads} threads busy",
    )


def run_files(
    engine: Engine[float], job: Job, restorer: Restorer, paths: list[Path]
) -> tuple[float, float]:
    """Seconds that pass, and those of all codecs."""
    tasks = [FileTask(restorer, path, job.target) for path in paths]
    begin = time.perf_counter()
    codec_seconds = sum(engine.run(tasks, lambda: False))
    return time.perf_counter() - begin, codec_seconds


class FileTask:
    """One file on its way through an engine; its outcome is the seconds of its codecs."""

    def __init__(self, restorer: Restorer, path: Path, target: Path) -> None:
        self.restorer = restorer
        self.path = path
        self.target = target
        self.name = path.name
        self.held_bytes = 0
        self.device_seconds = 0.0
        self.is_timed = False
        self._codec_seconds = 0.0

    def load(self, budget: Budget) -> None:
        begin = time.perf_counter()
        self._image = photo.decode(self.path.read_bytes(), max_pixels=LIMIT_PIXELS)
        self._codec_seconds += time.perf_counter() - begin
        self.held_bytes = budget.acquire(self._image.pixels.nbytes * (1 + SCALE**2))

    def windows(self) -> Iterator[WindowTask]:
        bands, height, width = self._image.pixels.shape
        grid = self.restorer.grid(height, width)
        self._num_missing = grid.num_windows
        if grid.num_windows > 1:
            self._restored = empty_pixels(bands, height * SCALE, width * SCALE, np.uint8)
        yield from window_tasks(self._image.pixels, grid, None, token=self)

    def collect(self, restored: RestoredWindow) -> bool:
        assert restored.pixels is not None
        if restored.task.grid.num_windows == 1:
            self._restored = restored.pixels
        else:
            place(self._restored, restored.pixels, restored.task.window.core.scale(SCALE))
        self._num_missing -= 1
        return self._num_missing == 0

    def store(self) -> float:
        begin = time.perf_counter()
        image = Image(self._restored, self._image.profile)
        (self.target / self.path.name).write_bytes(photo.encode(image, "jpeg", JPEG, ""))
        del self._image, self._restored
        return self._codec_seconds + time.perf_counter() - begin

    def abandon(self) -> None:
        """Nothing: what was loaded is memory."""


def script(job: Job) -> Result:
    """Everything in one thread, nothing at the same time."""
    network = job.restorer.generator.network.to(job.dtype)
    paths = sorted(job.source.iterdir())
    restore_as_script(job, network, paths[0])
    synchronize(job.device)
    begin = time.perf_counter()
    for path in paths:
        restore_as_script(job, network, path)
    return Result(time.perf_counter() - begin, peak(job.device))


def restore_as_script(job: Job, network: nn.Module, path: Path) -> None:
    pixels = np.array(PillowImage.open(path)).astype(np.float32) / 255
    degraded = torch.from_numpy(np.moveaxis(pixels, -1, 0)).contiguous()[None]
    degraded = degraded.to(job.device, job.dtype)
    _, _, height, width = degraded.shape
    restored = degraded.new_empty((1, 3, height * SCALE, width * SCALE))
    with torch.inference_mode():
        for top in range(0, height, SCRIPT_TILE):
            for left in range(0, width, SCRIPT_TILE):
                restore_tile(network, degraded, restored, top=top, left=left)
    whole = restored[0].float().clamp(0, 1).cpu().numpy()
    output = np.moveaxis((whole * 255).round().astype(np.uint8), 0, -1)
    buffer = io.BytesIO()
    settings = {"quality": JPEG.jpeg_quality, "subsampling": 0}
    PillowImage.fromarray(output).save(buffer, format="jpeg", **settings)
    (job.target / path.name).write_bytes(buffer.getvalue())


def restore_tile(
    network: nn.Module, degraded: Tensor, restored: Tensor, *, top: int, left: int
) -> None:
    """One tile with its padding through the network, its middle into `restored`."""
    _, _, height, width = degraded.shape
    bottom, right = min(top + SCRIPT_TILE, height), min(left + SCRIPT_TILE, width)
    first_row, first_column = max(0, top - SCRIPT_PADDING), max(0, left - SCRIPT_PADDING)
    rows = slice(first_row, min(bottom + SCRIPT_PADDING, height))
    columns = slice(first_column, min(right + SCRIPT_PADDING, width))
    result = network(degraded[:, :, rows, columns])
    down, across = (top - first_row) * SCALE, (left - first_column) * SCALE
    tall, wide = (bottom - top) * SCALE, (right - left) * SCALE
    restored[:, :, top * SCALE : bottom * SCALE, left * SCALE : right * SCALE] = result[
        :, :, down : down + tall, across : across + wide
    ]


def all_windows(job: Job, restorer: Restorer) -> Iterator[WindowTask]:
    for path in sorted(job.source.iterdir()):
        pixels = photo.decode(path.read_bytes(), max_pixels=LIMIT_PIXELS).pixels
        yield from window_tasks(pixels, restorer.grid(*pixels.shape[1:]), None)


def warm_up(job: Job, restorer: Restorer) -> None:
    some = list(islice(all_windows(job, restorer), WARM_UP_WINDOWS))
    for _ in restorer.restore_windows(some):
        synchronize(job.device)
    reset_peak(job.device)


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak(device: torch.device) -> float:
    return torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else 0.0
