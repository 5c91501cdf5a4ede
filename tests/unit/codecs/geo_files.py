"""GeoTIFFs in memory: as GDAL writes them, and as ganray does after a generator that repeats."""

import io
from contextlib import contextmanager
from typing import Any

import numpy as np
import rasterio
import tifffile
from rasterio.io import MemoryFile
from rasterio.transform import from_origin

from ganray.codecs.geo import GeoWindows
from ganray.codecs.geo_config import GeoConfig
from ganray.codecs.geo_tags import geo_overview_tags, geo_tags
from ganray.codecs.tiff_assembly import assemble
from ganray.codecs.tiff_metadata import profile_tags
from ganray.codecs.tiff_runs import RunSource, encode_run
from ganray.codecs.tiled_tiff import TiffLayout
from ganray.raster.validity import hold, repeat
from ganray.raster.windows import Box
from tests.unit.codecs.tiff_files import Memory

KEY = "scene.tif"
UTM = {"crs": "EPSG:32633", "transform": from_origin(465181.05, 5080254.63, 10, 10)}


def values(shape: tuple[int, int, int], dtype: str, seed: int = 0) -> np.ndarray:
    """Pixels (C,H,W) of a type, of all its sizes and signs."""
    random = np.random.default_rng(seed)
    if dtype == "float32":
        return random.normal(0, 100, shape).astype(dtype)
    limits = np.iinfo(dtype)
    return random.integers(limits.min, limits.max, shape, dtype, endpoint=True)


def geotiff(pixels: np.ndarray, *, mask: np.ndarray | None = None, **settings: Any) -> bytes:
    """A GeoTIFF as GDAL writes it; `also` is called with the dataset before it is closed."""
    also = settings.pop("also", lambda dataset: None)
    settings = {"crs": UTM["crs"], "transform": UTM["transform"], **settings}
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), MemoryFile() as file:
        with file.open(
            driver="GTiff",
            count=pixels.shape[0],
            height=pixels.shape[1],
            width=pixels.shape[2],
            dtype=str(pixels.dtype),
            **settings,
        ) as dataset:
            also(dataset)
            dataset.write(pixels)
            if mask is not None:
                dataset.write_mask(mask)
        return bytes(file.read())


def opened(data: bytes, config: GeoConfig | None = None) -> GeoWindows:
    return GeoWindows(Memory(**{KEY: data}), KEY, config or GeoConfig())


@contextmanager
def dataset_of(data: bytes) -> Any:
    with MemoryFile(data) as file, file.open() as dataset:
        yield dataset


def whole(raster: GeoWindows) -> Box:
    return Box(0, 0, raster.height, raster.width)


def repeated(
    data: bytes,
    scale: int,
    *,
    window_side: int = 64,
    tile_sides: tuple[int, ...] = (64,),
    compression: str = "deflate",
    classic_bytes: int = 2**32,
) -> bytes:
    """The file that ganray would write after a generator that repeats pixels."""
    raster = opened(data)
    profile = raster.profile
    height, width = raster.height * scale, raster.width * scale
    metadata = profile_tags(profile, history="{}", shape=(profile.num_bands, height, width))
    layout = TiffLayout(
        height,
        width,
        profile.colorinterp,
        profile.dtype,
        window_side,
        compression,
        tags=metadata.tags + geo_tags(profile, scale),
        overview_tags=geo_overview_tags(profile),
        tile_sides=tile_sides,
        validity=raster.validity,
    )
    memory, runs = Memory(), []
    for index in range(layout.num_windows):
        box = layout.window_box(index)
        edges = (box.top, box.left, box.bottom, box.right)
        source = raster.read(Box(*(edge // scale for edge in edges)))
        restored = hold(repeat(source.pixels, scale), source, raster.validity, scale)
        masked = layout.has_mask and source.mask is not None
        mask = repeat(source.mask, scale) if masked else None
        run = encode_run(layout, index, restored, mask=mask)
        memory.objects[str(index)] = run
        runs.append(RunSource(str(index), len(run)))
    raster.close()
    assemble(layout, runs, read=memory.read, sink=memory, classic_bytes=classic_bytes)
    return bytes(memory.file)


def tile_edges(data: bytes, number: int) -> tuple[int, int]:
    """Where a tile or strip of the first directory stands."""
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        page = tiff.pages[0]
        start = page.dataoffsets[number]
        return start, start + page.databytecounts[number]
