"""Whole images of an archive as they are measured, and which part of them has values.

Without torch, so that a decoder's own process starts in a moment.
"""

from dataclasses import dataclass

import numpy as np

from ganray.codecs.catalog import Codecs
from ganray.errors import UnsupportedImageError
from ganray.raster.image import FloatPixels
from ganray.raster.rectangle import largest_valid_box
from ganray.raster.validity import Mask
from ganray.raster.windows import Box
from ganray.storage import Store
from ganray.training.references import Reading, as_reference, read_image, whole_reference

SMALLEST_SHARE = 0.1
"""Of an image whose largest rectangle of values is smaller, what is measured would say little."""


@dataclass(frozen=True)
class WholeImage:
    """An image (bands,H,W) in 0-1, the type that holds what its file does, and where all bands
    have a value, (H,W); None is everywhere."""

    pixels: FloatPixels
    dtype: str
    valid: Mask | None = None


def read_whole(store: Store, key: str, bands: int, codecs: Codecs) -> WholeImage:
    """Decode an image. Raises CodecError, also where values are not finite."""
    image = read_image(store, key, codecs)
    dtype = "uint8" if image.pixels.dtype == np.uint8 else "uint16"
    found = as_reference(image, Reading(bands, "float32", codecs))
    pixels = whole_reference(found, bands)
    if not np.isfinite(pixels).all():
        raise UnsupportedImageError(
            "it holds values that are not finite; fill them, or declare what stands for none "
            "as its nodata"
        )
    if found.valid is None:
        return WholeImage(pixels, dtype)
    seen = found.valid[:1] if found.is_single else found.valid
    valid: Mask = np.logical_and.reduce(seen, axis=0)
    return WholeImage(pixels, dtype, valid)


def measured_box(valid: Mask, multiple: int = 1) -> Box:
    """The part of an image to measure: what was filled would be restored perfectly.

    Raises UnsupportedImageError where values are too scattered for one.
    """
    box = largest_valid_box(valid, multiple)
    if box.num_pixels < SMALLEST_SHARE * valid.size:
        raise UnsupportedImageError(
            f"its largest rectangle in which every pixel has a value is {box.width}x{box.height} "
            f"of {valid.shape[1]}x{valid.shape[0]} pixels; expected at least {SMALLEST_SHARE:.0%} "
            "of them: cut out a part that has values"
        )
    return box
