"""Once per generator and device: is half precision exact enough, and is there a seam?

Measured on real patches, recorded beside the generator, and read by every later worker.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ganray.models.checkpoint import Checkpoint
from ganray.raster.image import FloatPixels
from ganray.raster.windows import Box, Grid, crop
from ganray.restoration.batches import BatchStream
from ganray.restoration.generator import Generator
from ganray.restoration.restorer import DTYPES, Restorer, RestorerConfig, window_tasks
from ganray.restoration.tiling import Tiling

TOLERATED_STEPS = 1
"""Largest difference from float32, in steps of 8 bits, that `precision=auto` accepts."""
SMALLEST_SPEEDUP = 1.2
HALF_TYPES = {"cuda": ("float16", "bfloat16"), "cpu": ("bfloat16",)}
PATCH_SIDE = 128
TIMED_SIDE = 64
TIMED_PATCHES = {"cpu": 1, "cuda": 64}
SEAM_CORE = 64


@dataclass(frozen=True)
class Qualification:
    """What was found about a generator on a device; differences are of pixels in 0-1.

    `precision` is what `precision=auto` means for 8-bit pixels. `half_speed` is the half type's
    speed as a multiple of float32's; where that is little, nothing else was measured of it.
    `half_difference` and `half_mean_difference` are its largest and mean difference from
    float32, `half_steps` the largest after rounding to 8 bits. `seam_error` is the largest
    difference between the tiled and the whole image; None if no sample was large enough to have
    a seam.
    """

    device: str
    precision: str
    half_type: str
    half_speed: float
    half_difference: float | None
    half_mean_difference: float | None
    half_steps: int | None
    seam_error: float | None
    halo: int
    overlap: int
    num_patches: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def half(self) -> torch.dtype | None:
        """The half type that `auto` stands for, None for float32."""
        return DTYPES[self.precision]


def qualify(
    checkpoint: Checkpoint, config: RestorerConfig, samples: Sequence[FloatPixels]
) -> Qualification:
    """Measure a generator on `samples`, (bands,h,w) in 0-1 of real images, at least one."""
    restorer = Restorer(checkpoint, config)
    patches = [_centre(sample, PATCH_SIDE, PATCH_SIDE) for sample in samples]
    tried = [_try_half(restorer.generator, n, patches) for n in HALF_TYPES[_kind(restorer)]]
    best = min(tried, key=lambda half: half.difference)
    is_fit = best.steps <= TOLERATED_STEPS
    was_measured = best.difference < math.inf
    return Qualification(
        device=device_name(restorer.generator.device),
        precision=best.name if is_fit else "float32",
        half_type=best.name,
        half_speed=best.speed,
        half_difference=best.difference if was_measured else None,
        half_mean_difference=best.mean_difference if was_measured else None,
        half_steps=best.steps if was_measured else None,
        seam_error=measure_seam(restorer.generator, restorer.tiling, samples),
        halo=restorer.tiling.halo,
        overlap=restorer.tiling.overlap,
        num_patches=len(patches),
    )


@dataclass(frozen=True)
class _Half:
    """A half type's speed as a multiple of float32's, and its differences from it."""

    name: str
    speed: float
    difference: float = math.inf
    mean_difference: float = math.inf
    steps: int = 256


def _try_half(generator: Generator, name: str, patches: Sequence[FloatPixels]) -> _Half:
    small = _centre(patches[0], TIMED_SIDE, TIMED_SIDE)
    full, half = (_seconds(generator, small, dtype) for dtype in (None, DTYPES[name]))
    if full < SMALLEST_SPEEDUP * half:
        return _Half(name, full / half)
    pairs = [
        (_run(generator, patch, DTYPES[name]), _run(generator, patch, None)) for patch in patches
    ]
    differences = [np.abs(half - full) for half, full in pairs]
    steps = [np.abs(_to_steps(half) - _to_steps(full)).max() for half, full in pairs]
    return _Half(
        name,
        full / half,
        # A value that is not finite makes the half type unfit, and is no number to compare.
        float(np.nan_to_num(max(d.max() for d in differences), nan=math.inf)),
        float(np.nan_to_num(np.mean([d.mean() for d in differences]), nan=math.inf)),
        int(max(steps)),
    )


def _to_steps(pixels: FloatPixels) -> NDArray[np.int32]:
    steps: NDArray[np.int32] = np.rint(np.nan_to_num(pixels).clip(0, 1) * 255).astype(np.int32)
    return np.where(np.isfinite(pixels), steps, 2 * 255)


def measure_seam(
    generator: Generator, tiling: Tiling, samples: Sequence[FloatPixels]
) -> float | None:
    """Largest difference between a strip of the largest sample in one piece and tiled, in 0-1.

    The strip holds several small cores side by side, which have the same seams as large ones.
    None where every patch reads the whole strip, so that there is nothing to compare.
    """
    margin = tiling.halo + tiling.overlap
    side = SEAM_CORE + 2 * margin
    strips = [_centre(sample, SEAM_CORE, side + 2 * SEAM_CORE) for sample in samples]
    # Patches are side by side: length makes them differ, height only adds pixels.
    strip = np.clip(max(strips, key=lambda strip: strip.shape[:0:-1]), 0, 1)
    _, height, width = strip.shape
    grid = Grid(height, width, tiling.halo, side, width, tiling.overlap, tiling.alignment)
    if len({patch.read for patch in grid.patches(Box(0, 0, height, width))}) == 1:
        return None
    exact = replace(generator, half=None, deep=None, compiles=False)
    # Where seams are does not depend on what is lost.
    mask = np.zeros((height, width), bool) if generator.takes_mask else None
    whole = np.clip(_run(generator, strip, None), 0, 1)
    error = 0.0
    for tiled in BatchStream(exact).run(window_tasks(strip, grid, None, mask=mask)):
        # A window that is not finite fails its inputs by name; it has no seam to speak of.
        if tiled.pixels is not None:
            expected = crop(whole, tiled.task.window.core.scale(generator.scale))
            error = max(error, float(np.abs(np.subtract(tiled.pixels, expected)).max()))
    return error


def device_name(device: torch.device) -> str:
    """A device as files and reports name it, such as `cpu` or `nvidia-h100-80gb-hbm3`."""
    if device.type != "cuda":
        return device.type
    return "-".join(torch.cuda.get_device_name(device).lower().split())


def _kind(restorer: Restorer) -> str:
    return restorer.generator.device.type


def _centre(pixels: FloatPixels, height: int, width: int) -> FloatPixels:
    _, full_height, full_width = pixels.shape
    top, left = max(0, (full_height - height) // 2), max(0, (full_width - width) // 2)
    return pixels[:, top : top + height, left : left + width]


def _run(generator: Generator, pixels: FloatPixels, dtype: torch.dtype | None) -> FloatPixels:
    batch = torch.from_numpy(np.ascontiguousarray(pixels))[None].to(generator.device)
    with torch.inference_mode():
        restored: FloatPixels = generator.run(batch, dtype)[0].cpu().numpy()
    return restored


def _seconds(generator: Generator, pixels: FloatPixels, dtype: torch.dtype | None) -> float:
    """The fastest of three runs, after one that does not count; on a CPU, of its own time.

    A GPU is given as much at once as it is in a restoration: little would only time its start.
    """
    device = generator.device
    batch = torch.from_numpy(np.ascontiguousarray(pixels))[None].to(device)
    batch = batch.repeat(TIMED_PATCHES[device.type], 1, 1, 1)
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    seconds = []
    with torch.inference_mode():
        for _ in range(4):
            _settle(device)
            begin = clock()
            generator.run(batch, dtype)
            _settle(device)
            seconds.append(clock() - begin)
    return min(seconds[1:])


def _settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
