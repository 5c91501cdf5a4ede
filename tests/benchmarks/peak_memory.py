"""Peak memory of the driver and of the largest worker, of an archive and of one ten times larger.

Peaks are the kernel's own (VmHWM). The imports of Ray and torch are most of them, so that the
growth in megabytes says more than the ratio. Tiles grow in number, the scene in pixels: it is
restored window by window by two workers, and its output is as large as it is.
"""

from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from material import picture, write_archive, write_trivial_generator
from measuring import Figure, Measured, measure

TILE_SIDE = 64
TIFF_TILE = 256
SCENE = {"split_pixels": 2**20, "window_pixels": 512, "output": {"tiff_compression": "zstd"}}


def run(folder: Path, *, quick: bool) -> list[Figure]:
    generator = write_trivial_generator(folder)
    numbers = (50, 500) if quick else (200, 2000)
    sides = (1024, 3248) if quick else (2048, 6500)
    tiles = [
        peaks(write_archive(str(folder / f"tiles-{number}"), number, TILE_SIDE), generator, {})
        for number in numbers
    ]
    scenes = [
        peaks(write_scene(folder / f"scene-{side}", side), generator, SCENE) for side in sides
    ]
    return [
        *figures(f"{numbers[0]} → {numbers[1]} tiles", *tiles),
        *figures(f"scene of {sides[0]}² → {sides[1]}²", *scenes),
    ]


def write_scene(folder: Path, side: int) -> str:
    """Write one tiled TIFF of side² pixels of RGB, and return the folder."""
    folder.mkdir()
    tile = picture(TIFF_TILE, 0)
    num_tiles = (-(-side // TIFF_TILE)) ** 2
    tifffile.imwrite(
        folder / "scene.tif",
        (tile for _ in range(num_tiles)),
        shape=(side, side, 3),
        dtype=np.uint8,
        tile=(TIFF_TILE, TIFF_TILE),
        photometric="rgb",
        compression="zlib",
    )
    return str(folder)


def peaks(source: str, generator: str, settings: dict[str, Any]) -> Measured:
    config = {
        "source": source,
        "target": f"{source}-restored",
        "generator": generator,
        "workers": {"min": 2, "max": 2, "in_process": "never"},
    }
    return measure("run_restore.py", {"runs": [["all", config | settings]]})


def figures(what: str, small: Measured, large: Measured) -> list[Figure]:
    pairs = {
        "driver": (small.driver_megabytes, large.driver_megabytes),
        "largest worker": (small.worker_megabytes, large.worker_megabytes),
    }
    return [
        Figure(
            f"peak memory of the {name}, {what}",
            f"{after / before:.2f}",
            f"flat is 1; {before:.0f} → {after:.0f} MB",
        )
        for name, (before, after) in pairs.items()
    ]
