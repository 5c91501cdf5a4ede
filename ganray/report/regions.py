"""Parts of images in a store, of any family: read by windows where they are large."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ganray.codecs.catalog import Codecs, is_tiff
from ganray.codecs.files import decode_file
from ganray.codecs.geo import GeoWindows, is_geo
from ganray.codecs.tiff_windows import TiffWindows
from ganray.errors import UndecodableError, UnsupportedImageError
from ganray.raster.image import Image
from ganray.raster.windows import Box, crop
from ganray.storage import Store

WHOLE_PIXELS = 2**24
"""Of a restored picture that is read whole; of larger ones a region in the middle is."""
REGION_SIDE = 1536
"""In pixels of the restored picture."""
LARGE_TIFF_BYTES = 2**20
"""A smaller one is not worth being read by ranges."""


@dataclass(frozen=True)
class Opened:
    """An image of which boxes can be read."""

    height: int
    width: int
    read: Callable[[Box], Image]


@contextmanager
def opened(store: Store, key: str, codecs: Codecs, max_pixels: int) -> Iterator[Opened]:
    """Open an image of one frame. Raises CodecError or StorageError."""
    if is_tiff(key) and is_geo(store, key):
        raster = GeoWindows(store, key, codecs.geo)
        try:
            yield Opened(raster.height, raster.width, lambda box: _read_raster(raster, box))
        finally:
            raster.close()
        return
    picture = _large_tiff(store, key)
    if picture is not None:
        found = picture
        yield Opened(
            picture.height, picture.width, lambda box: Image(found.read(box), found.profile)
        )
        return
    image = decode_file(key, store.read(key), codecs, max_pixels=max_pixels)
    _, height, width = image.pixels.shape
    yield Opened(height, width, lambda box: _cut(image, box))


def read_both(before: Opened, after: Opened) -> tuple[Image, Image, bool]:
    """The same part of an input and of its restoration, and whether that is the whole.

    Raises UndecodableError if the sizes are not each other's multiple.
    """
    scale = max(1, after.width // before.width)
    if (before.height * scale, before.width * scale) != (after.height, after.width):
        raise UndecodableError(
            f"its restoration is {after.width}x{after.height}, no multiple of its "
            f"{before.width}x{before.height}; it has changed since it was restored"
        )
    box = Box(0, 0, before.height, before.width)
    is_whole = after.height * after.width <= WHOLE_PIXELS
    if not is_whole:
        box = _middle(box, max(1, REGION_SIDE // scale))
    return before.read(box), after.read(box.scale(scale)), is_whole


def _middle(box: Box, side: int) -> Box:
    top, left = max(0, (box.height - side) // 2), max(0, (box.width - side) // 2)
    return Box(top, left, min(box.bottom, top + side), min(box.right, left + side))


def _read_raster(raster: GeoWindows, box: Box) -> Image:
    found = raster.read(box)
    return Image(found.pixels, raster.profile, found.mask)


def _large_tiff(store: Store, key: str) -> TiffWindows | None:
    """A TIFF that can be read by ranges; None if another library has to read it whole."""
    if not is_tiff(key) or store.stat(key).num_bytes <= LARGE_TIFF_BYTES:
        return None
    try:
        return TiffWindows(store, key)
    except UnsupportedImageError:
        return None


def _cut(image: Image, box: Box) -> Image:
    mask = image.mask
    if mask is not None:
        mask = mask[box.top : box.bottom, box.left : box.right]
    return Image(crop(image.pixels, box), image.profile, mask)
