"""References as training sees them: an image of any family, shown as a restoration shows it.

Values are 0-1 by the rules of `raster/ranges.py`, patches keep the depth of their archive, and
pixels without a value are filled as a restoration fills them.
"""

from dataclasses import dataclass

import numpy as np

from ganray.codecs.catalog import DEFAULTS, Codecs, is_tiff, is_video
from ganray.codecs.files import RASTER, decode_file
from ganray.codecs.geo import is_geo, read_raster
from ganray.codecs.geo_whole import raster_validity
from ganray.errors import UnsupportedImageError
from ganray.raster.filling import fill
from ganray.raster.image import FloatPixels, Image, Pixels, Profile, to_float
from ganray.raster.ranges import ValueRanges, choose_ranges
from ganray.raster.validity import EVERYWHERE, Mask, Validity
from ganray.raster.windows import Box, crop
from ganray.storage import Store

LARGEST_REFERENCE_PIXELS = 2**28
SMALLEST_VALID_SHARE = 0.01
"""Of an image of which less has a value no patch is worth the search."""

DEPTHS = ("uint8", "uint16", "float32")
"""The types that patches travel in, each of which holds all before it exactly."""


@dataclass(frozen=True)
class Reading:
    """How the images of an archive are read: `bands` of the generator, `dtype` of the patches.

    0 bands are those that each image has.
    """

    bands: int
    dtype: str = "float32"
    codecs: Codecs = DEFAULTS

    def __post_init__(self) -> None:
        assert self.dtype in DEPTHS, f"{self.dtype}; expected one of {DEPTHS}"


@dataclass(frozen=True)
class Reference:
    """Pixels (C,H,W): integers over all of their type, or float32 in 0-1.

    C is the generator's number of bands, or one that is to be repeated; with `is_single`, bands of
    which a patch takes one. `valid` is (C,H,W), True where there is a value; None is everywhere.
    """

    pixels: Pixels
    valid: Mask | None = None
    is_single: bool = False

    @property
    def num_bytes(self) -> int:
        return self.pixels.nbytes + (0 if self.valid is None else self.valid.nbytes)

    def patch(self, box: Box, band: int | None = None) -> Pixels:
        """The pixels of a box, filled where there are none; of one band where that is asked."""
        chosen = slice(None) if band is None else slice(band, band + 1)
        pixels = crop(self.pixels[chosen], box)
        return pixels if self.valid is None else fill(pixels, crop(self.valid[chosen], box))

    def missing_share(self, box: Box) -> float:
        """The part of a box's values that are none, 0-1."""
        return 0.0 if self.valid is None else 1 - float(crop(self.valid, box).mean())


def load_reference(store: Store, key: str, reading: Reading) -> Reference:
    """Read one image. Raises CodecError, also where its bands or depth are not as planned."""
    return as_reference(read_image(store, key, reading.codecs), reading)


def as_reference(image: Image, reading: Reading) -> Reference:
    """An image that was read, as training sees it. Raises CodecError, as `load_reference` does."""
    chosen = choose_bands(image.profile, reading)
    valid = _validity(image).bands(image.pixels, image.mask)
    if valid is not None:
        valid = valid[chosen]
        if valid.mean() < SMALLEST_VALID_SHARE:
            raise UnsupportedImageError(
                f"only {valid.mean():.2%} of its pixels have a value; expected at least "
                f"{SMALLEST_VALID_SHARE:.0%}: leave it out by selection.exclude"
            )
    ranges = choose_ranges(image.profile)
    own = None if ranges is None else tuple(ranges[band] for band in chosen)
    pixels = _show(image.pixels[chosen], own, valid)
    is_single = image.profile.codec == RASTER and reading.codecs.geo.bands == "each"
    if reading.bands == 1 and len(chosen) > 1 and not is_single:
        pixels = to_depth(pixels, "float32").mean(axis=0, keepdims=True)
        valid = None if valid is None else np.logical_and.reduce(valid, axis=0, keepdims=True)
    return Reference(to_depth(pixels, reading.dtype), valid, is_single)


def read_reference(store: Store, key: str, bands: int, codecs: Codecs = DEFAULTS) -> FloatPixels:
    """Decode one whole image to (bands,H,W) in 0-1: alpha is left out, gray is repeated."""
    return whole_reference(load_reference(store, key, Reading(bands, "float32", codecs)), bands)


def whole_reference(found: Reference, bands: int) -> FloatPixels:
    """All pixels of a float32 reference as (bands,H,W), gray repeated."""
    height, width = found.pixels.shape[1:]
    band = 0 if found.is_single else None
    pixels = repeat_band(found.patch(Box(0, 0, height, width), band), bands)
    return pixels.astype(np.float32, copy=False)


def read_image(store: Store, key: str, codecs: Codecs) -> Image:
    """Decode a whole file of any family but films of many frames."""
    if is_video(key):
        raise UnsupportedImageError(
            "a film of many frames; training takes images: extract its frames as PNG"
        )
    if is_tiff(key) and is_geo(store, key):
        return read_raster(store.uri, key, codecs.geo, max_pixels=LARGEST_REFERENCE_PIXELS)
    return decode_file(key, store.read(key), codecs, max_pixels=LARGEST_REFERENCE_PIXELS)


def choose_bands(profile: Profile, reading: Reading) -> list[int]:
    """The bands that training takes: all but alpha, or those that `geo.bands` numbers.

    Raises UnsupportedImageError if they do not fit the generator.
    """
    colour = [band for band in range(profile.num_bands) if band != profile.alpha]
    wanted = reading.codecs.geo.bands
    is_raster = profile.codec == RASTER
    if is_raster and wanted == "each":
        return colour
    if is_raster and not isinstance(wanted, str):
        unknown = [number for number in wanted if number - 1 not in colour]
        if unknown:
            raise UnsupportedImageError(
                f"geo.bands={list(wanted)} of an image with {len(colour)} bands besides alpha"
            )
        colour = [number - 1 for number in wanted]
    if reading.bands and not fits(len(colour), reading.bands):
        raise UnsupportedImageError(
            f"{len(colour)} bands besides alpha, and the generator takes {reading.bands}"
        )
    return colour


def fits(found: int, bands: int) -> bool:
    """Whether a generator of `bands` is trained on images of so many: gray is repeated for three,
    colour averaged for one."""
    return found == bands or {found, bands} == {1, 3}


def repeat_band(pixels: Pixels, bands: int) -> Pixels:
    """(1,H,W) pixels as (bands,H,W); others as they are."""
    return pixels if pixels.shape[0] == bands else np.repeat(pixels, bands, axis=0)


def to_depth(pixels: Pixels, dtype: str) -> Pixels:
    """The same fractions of 1 in a type that holds them exactly, or float32.

    Raises UnsupportedImageError for a type that does not.
    """
    found = str(pixels.dtype)
    if found == dtype:
        return pixels
    if DEPTHS.index(found) > DEPTHS.index(dtype):
        raise UnsupportedImageError(
            f"its pixels are {found}, and those of the archive were planned as {dtype}; it has "
            "changed since, start anew"
        )
    # 65535 is 257 times 255.
    return pixels.astype(np.uint16) * np.uint16(257) if dtype == "uint16" else to_float(pixels)


def _show(pixels: Pixels, ranges: ValueRanges | None, valid: Mask | None) -> Pixels:
    """Stored values as training takes them: with ranges as float32 in 0-1, cut to it."""
    if ranges is None:
        return pixels
    low, high = np.array(ranges, np.float32).T[:, :, np.newaxis, np.newaxis]
    numbers = pixels.astype(np.float32)
    if valid is not None:
        numbers = np.where(valid, numbers, low)
    unit: FloatPixels = np.clip((numbers - low) / (high - low), 0, 1)
    return unit


def _validity(image: Image) -> Validity:
    """What says where an image has values."""
    if image.profile.codec == RASTER:
        return raster_validity(image.profile)
    return EVERYWHERE if image.mask is None else Validity("mask")
