"""Rasters with a georeference: GeoTIFF and COG, read through GDAL window by window by ranges.

Bands of uint8, uint16, int16 or float32, any number of them; nodata, masks, alpha and NaN. What
is beside the file (.aux.xml, .tfw and the like) is not read: an input's version is that of its
one object. A mask beside the file is refused, other sidecars are named as lost. A VRT, which may
point anywhere, is no input.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from ganray.codecs.geo_config import GeoConfig
from ganray.codecs.geo_dataset import environment, open_dataset, translated
from ganray.codecs.geo_file import StoreOpener
from ganray.codecs.geo_header import is_raster, read_header
from ganray.codecs.geo_profile import (
    LARGEST_FLOAT,
    check_dataset,
    dataset_validity,
    make_profile,
    num_bits,
)
from ganray.codecs.geo_sample import read_sample
from ganray.codecs.geo_sidecars import find_sidecars
from ganray.codecs.geo_tiles import (
    check_complete,
    check_ends,
    check_present,
    parse_tables,
    plan_reading,
)
from ganray.codecs.geo_values import fixed_range, percentile_range, type_range
from ganray.codecs.store_blocks import HeaderReader
from ganray.codecs.tiff_directories import TagValues, open_tiff
from ganray.errors import TooLargeError, UndecodableError, UnsupportedImageError
from ganray.raster.image import Image, Pixels, Profile, ValueRange
from ganray.raster.validity import MaskedPixels, pixel_mask
from ganray.raster.windows import Box
from ganray.storage import Store, open_store


def is_geo(store: Store, key: str) -> bool:
    """Whether a TIFF is a raster rather than a photograph: from its first directory alone.

    A file that is no TIFF is none: whoever reads photographs says what is wrong with it.
    """
    return _is_raster(HeaderReader(store, key, store.stat(key).num_bytes).read)


def is_geo_file(data: bytes) -> bool:
    """`is_geo` of a whole file."""
    return _is_raster(lambda start, end: data[start:end])


def _is_raster(read: Callable[[int, int], bytes]) -> bool:
    try:
        tiff = open_tiff(read)
        return is_raster(TagValues(tiff, tiff.first_directory))
    except UndecodableError:
        return False


def describe_geo(uri: str, key: str, config: GeoConfig) -> tuple[Profile, int, int]:
    """Profile, height and width of a raster in the store of a URI."""
    raster = GeoWindows(open_store(uri), key, config)
    try:
        return raster.profile, raster.height, raster.width
    finally:
        raster.close()


def read_raster(uri: str, key: str, config: GeoConfig, *, max_pixels: int) -> Image:
    """All pixels of a raster in the store of a URI, with their mask."""
    raster = GeoWindows(open_store(uri), key, config)
    try:
        if raster.num_pixels > max_pixels:
            raise TooLargeError(
                f"{raster.width}x{raster.height} is {raster.num_pixels} pixels; limits.pixels "
                f"allows {max_pixels}"
            )
        found = raster.read(Box(0, 0, raster.height, raster.width))
        return Image(found.pixels, raster.profile, found.mask)
    finally:
        raster.close()


def read_geo_box(uri: str, key: str, box: Box, config: GeoConfig) -> MaskedPixels:
    """The pixels of a raster inside a box, for a process that is called once."""
    raster = GeoWindows(open_store(uri), key, config)
    try:
        return raster.read(box)
    finally:
        raster.close()


class GeoWindows:
    """A raster in a store, for one thread; it is to be closed by that thread.

    Raises UndecodableError, UnsupportedImageError or TooLargeError; a file that ends too early is
    found here, damaged pixels when they are read. MissingExtraError without rasterio.
    """

    def __init__(self, store: Store, key: str, config: GeoConfig) -> None:
        self._store = store
        self._key = key
        self._config = config
        num_bytes = store.stat(key).num_bytes
        self._reader = HeaderReader(store, key, num_bytes)
        self._header = read_header(self._reader.read, max_bands=config.max_bands)
        self._tables = parse_tables(self._header.image)
        check_present(self._tables, num_bytes)
        if self._header.mask is not None:
            check_present(parse_tables(self._header.mask), num_bytes)
        self._opener = StoreOpener(self._reader.blocks)
        self._open: Any = None
        with environment(config.cache_bytes), translated(self._opener):
            dataset = self._dataset()
            check_dataset(dataset)
            self._stored = dataset.dtypes[0]
            self.dtype = "float32" if self._stored == "float64" else self._stored
            self.validity = dataset_validity(dataset, self.dtype)
            self.height: int = dataset.height
            self.width: int = dataset.width
        if self.validity.kind == "everywhere":
            check_complete(self._tables)

    def _dataset(self) -> Any:
        """The open dataset; opened anew after a failure."""
        if self._open is None:
            self._opener.failure = None
            self._open = open_dataset(self._opener)
        return self._open

    def close(self) -> None:
        """Let go of GDAL's dataset; the next read would open it again."""
        if self._open is not None:
            with environment(self._config.cache_bytes):
                self._open.close()
            self._open = None

    @property
    def num_pixels(self) -> int:
        return self.height * self.width

    @cached_property
    def profile(self) -> Profile:
        """All that is not pixels. With values=percentiles a sample of the pixels is read for it."""
        with environment(self._config.cache_bytes), translated(self._opener):
            dataset = self._dataset()
            profile = make_profile(dataset, self._header, self.validity, self.dtype)
            values = self._value_range(dataset, profile.colorinterp)
        lost = (*profile.lost, *find_sidecars(self._store, self._key))
        return replace(profile, value_range=values, lost=lost)

    def _value_range(self, dataset: Any, bands: tuple[str, ...]) -> ValueRange | None:
        if self._config.values == "fixed":
            return fixed_range(self._config, bands, self.dtype)
        if self._config.values == "percentiles":
            return percentile_range(self._sample(dataset), self.validity, self._config.percentiles)
        return type_range(self.dtype, num_bits(dataset))

    def read(self, box: Box) -> MaskedPixels:
        """The pixels (C,h,w) of a box inside the raster, and the mask of those with a value.

        A pixel has one if any of its bands does but alpha; `validity.bands` tells them apart.
        Raises UndecodableError, or the store's errors.
        """
        inside = (
            0 <= box.top < box.bottom <= self.height and 0 <= box.left < box.right <= self.width
        )
        assert inside, f"{box} is not inside {self.height}x{self.width}"
        try:
            with environment(self._config.cache_bytes), translated(self._opener):
                return self._read_planned(self._dataset(), box)
        except BaseException:
            # What GDAL holds after a failed read is not to be used again.
            self.close()
            raise

    def _read_planned(self, dataset: Any, box: Box) -> MaskedPixels:
        plan = plan_reading(self._tables, box)
        with self._opener.following(plan):
            found = self._read(dataset, box)
        check_ends(self._header.image, plan.tails)
        return found

    def _read(self, dataset: Any, box: Box) -> MaskedPixels:
        window = (box.top, box.bottom), (box.left, box.right)
        pixels = _narrow(dataset.read(window=window), dataset.nodata)
        if self.validity.kind == "mask":
            mask = dataset.read_masks(1, window=window) != 0
            return MaskedPixels(pixels, None if mask.all() else mask)
        return MaskedPixels(pixels, pixel_mask(self.validity.bands(pixels), self.validity))

    def _sample(self, dataset: Any) -> MaskedPixels:
        return read_sample(
            dataset,
            dataset.count * np.dtype(self._stored).itemsize,
            read_box=lambda box: self._read_planned(dataset, box),
            read_reduced=lambda shape: self._read_reduced(dataset, shape),
        )

    def _read_reduced(self, dataset: Any, shape: tuple[int, int]) -> MaskedPixels:
        """The whole raster at reduced size, from an overview."""
        pixels = dataset.read(out_shape=(dataset.count, *shape))
        narrowed = _narrow(pixels, dataset.nodata)
        if self.validity.kind != "mask":
            return MaskedPixels(narrowed)
        return MaskedPixels(narrowed, dataset.read_masks(1, out_shape=shape) != 0)


def _narrow(pixels: Pixels, nodata: float | None) -> Pixels:
    """float64 as float32, of which nodata that it does not hold is NaN; others as they are.

    Raises UnsupportedImageError where another value does not fit.
    """
    if pixels.dtype != np.float64:
        return pixels
    with np.errstate(invalid="ignore", over="ignore"):
        beyond = np.isfinite(pixels) & (np.abs(pixels) > LARGEST_FLOAT)
        narrowed = pixels.astype(np.float32)
    if beyond.any():
        if nodata is None or abs(nodata) <= LARGEST_FLOAT:
            raise UnsupportedImageError(
                "float64 values beyond those of float32, which a generator works in; rescale them "
                "first"
            )
        narrowed[beyond] = np.nan
    return narrowed
