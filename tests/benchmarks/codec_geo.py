"""What reading and writing GeoTIFFs through ganray costs beside rasterio used directly.

Decoding: windows of a tiled COG in a folder, by ranges through ganray's store and with masks,
against rasterio's own reading of the same windows of the same file. Encoding: windows to runs and
runs to a COG with overviews, against rasterio's tiled writing with overviews made by GDAL. CPU
time of one process, the two sides in turn.
"""

from collections.abc import Callable
from pathlib import Path
from time import process_time

import numpy as np
import rasterio
from measuring import Figure, spread
from rasterio.enums import Resampling
from rasterio.io import MemoryFile

from ganray.codecs.geo import GeoWindows
from ganray.codecs.geo_config import GeoConfig
from ganray.codecs.tiff_assembly import assemble
from ganray.codecs.tiff_runs import RunSource, encode_run
from ganray.codecs.tiled_tiff import TiffLayout
from ganray.raster.validity import Validity
from ganray.raster.windows import Box, crop
from ganray.storage import open_store

WINDOW_SIDE = 1024
KEY = "scene.tif"
NUM_BANDS = 4


def run(folder: Path, *, quick: bool) -> list[Figure]:
    side, repeats = (2048, 3) if quick else (4096, 5)
    pixels = scene(side)
    found = []
    for compression in ("deflate", "zstd"):
        layout = TiffLayout(
            side,
            side,
            ("gray", *["undefined"] * (NUM_BANDS - 1)),
            "uint16",
            WINDOW_SIDE,
            compression,
            validity=Validity("nodata", (0.0,) * NUM_BANDS),
        )
        ours, theirs = in_turn(
            lambda layout=layout: write(folder, layout, pixels),  # type: ignore[misc]
            lambda compression=compression: write_with_rasterio(pixels, compression),  # type: ignore[misc]
            repeats,
        )
        found += figures(f"encode {compression}", pixels.nbytes, ours, theirs)
        ours, theirs = in_turn(lambda: read(folder), lambda: read_with_rasterio(folder), repeats)
        found += figures(f"decode {compression}", pixels.nbytes, ours, theirs)
    return found


def scene(side: int) -> np.ndarray:
    """Reflectances that vary slowly, with sensor noise and a border without values."""
    random = np.random.default_rng(0)
    pixels = np.empty((NUM_BANDS, side, side), np.uint16)
    waves = np.sin(np.arange(side) / 97.0)
    for band in pixels:
        noise = random.normal(0, 20, (side, side))
        band[...] = 3000 + 1500 * np.multiply.outer(waves, waves) + noise
    pixels[:, :100] = 0
    return pixels


def in_turn(
    ours: Callable[[], None], theirs: Callable[[], None], repeats: int
) -> tuple[list[float], list[float]]:
    """CPU seconds of both sides, alternating; a first time of each is for warming up."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for repeat in range(repeats + 1):
        for side, call in zip(seconds, (ours, theirs), strict=True):
            begin = process_time()
            call()
            if repeat:
                side.append(process_time() - begin)
    return seconds


def figures(what: str, num_bytes: int, ours: list[float], theirs: list[float]) -> list[Figure]:
    megabytes = num_bytes / 1e6
    ratios = [their / our for our, their in zip(ours, theirs, strict=True)]
    return [
        Figure(f"geo {what}, ganray", f"{spread([megabytes / s for s in ours], 0)} MB/CPU-s"),
        Figure(f"geo {what}, rasterio", f"{spread([megabytes / s for s in theirs], 0)} MB/CPU-s"),
        Figure(f"geo {what}, ganray ÷ rasterio", spread(ratios), "goal 0.9"),
    ]


class Runs:
    """Runs in memory, and the file that is made of them."""

    def __init__(self) -> None:
        self.stored: dict[str, bytes] = {}
        self.file: list[bytes] = []

    def read(self, key: str, start: int, end: int) -> bytes:
        return self.stored[key][start:end]

    def write(self, data: bytes) -> None:
        self.file.append(data)

    def copy(self, key: str, start: int, end: int) -> None:
        self.file.append(self.stored[key][start:end])


def write(folder: Path, layout: TiffLayout, pixels: np.ndarray) -> None:
    runs = Runs()
    sources = []
    for index in range(layout.num_windows):
        run = encode_run(layout, index, crop(pixels, layout.window_box(index)))
        runs.stored[str(index)] = run
        sources.append(RunSource(str(index), len(run)))
    assemble(layout, sources, read=runs.read, sink=runs)
    (folder / KEY).write_bytes(b"".join(runs.file))


def write_with_rasterio(pixels: np.ndarray, compression: str) -> None:
    level = {"deflate": {"zlevel": 1}, "zstd": {"zstd_level": 1}}[compression]
    count, height, width = pixels.shape
    with MemoryFile() as file:
        with file.open(
            driver="GTiff",
            count=count,
            height=height,
            width=width,
            dtype="uint16",
            nodata=0,
            tiled=True,
            blockxsize=512,
            blockysize=512,
            interleave="pixel",
            compress=compression,
            predictor=2,
            **level,
        ) as dataset:
            dataset.write(pixels)
            factors = [2**n for n in range(1, 9) if height / 2**n > 256]
            dataset.build_overviews(factors, Resampling.average)
        file.read()


def boxes(height: int, width: int) -> list[Box]:
    """Windows with a halo, as restoring reads them."""
    halo, inside = 32, Box(0, 0, height, width)
    return [
        Box(top, left, min(top + WINDOW_SIDE, height), min(left + WINDOW_SIDE, width)).grow(
            halo, inside
        )
        for top in range(0, height, WINDOW_SIDE)
        for left in range(0, width, WINDOW_SIDE)
    ]


def read(folder: Path) -> None:
    raster = GeoWindows(open_store(str(folder)), KEY, GeoConfig())
    for box in boxes(raster.height, raster.width):
        raster.read(box)
    raster.close()


def read_with_rasterio(folder: Path) -> None:
    options = {"GDAL_CACHEMAX": 64 << 20, "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}
    with rasterio.Env(**options), rasterio.open(folder / KEY) as dataset:
        for box in boxes(*dataset.shape):
            window = (box.top, box.bottom), (box.left, box.right)
            dataset.read(window=window)
            dataset.dataset_mask(window=window)
