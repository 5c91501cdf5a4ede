"""Images of any family as pictures to look at: whole, with values from 0 to 1 shown as 8 bits."""

from collections.abc import Sequence

import numpy as np

from ganray.codecs.catalog import DEFAULTS, Codecs, is_image
from ganray.errors import ConfigError
from ganray.raster.image import FloatPixels, Pixels, from_float, to_float
from ganray.report.encoding import Picture
from ganray.storage import open_store, split_uri
from ganray.training.references import Reading, as_reference, read_image, whole_reference

LONGEST_NAME = 40


def read_pixels(uri: str, bands: int = 0, codecs: Codecs = DEFAULTS) -> FloatPixels:
    """Decode one file to (C,H,W) in 0-1 without alpha, as a generator of `bands` would see it.

    0 bands are those that it has. Raises CodecError, ConfigError or StorageError.
    """
    folder, key = split_uri(uri)
    if not is_image(key):
        raise ConfigError(f"{uri} is no image by its name; expected one of a family that is read")
    image = read_image(open_store(folder), key, codecs)
    found = as_reference(image, Reading(bands, "float32", codecs))
    return whole_reference(found, bands or found.pixels.shape[0])


def picture_of(pixels: Pixels) -> Picture:
    """Pixels (C,H,W), integers or floats in 0-1, as 8 bits to show.

    Fewer than three bands are shown by the first as gray, of more than three three are shown.
    """
    shown = pixels[:3] if pixels.shape[0] >= 3 else pixels[:1]
    if shown.dtype != np.uint8:
        unit = shown if shown.dtype.kind == "f" else to_float(shown)
        shown = from_float(unit.astype(np.float32, copy=False), "uint8")
    picture: Picture = np.ascontiguousarray(np.moveaxis(shown, 0, -1)).astype(np.uint8, copy=False)
    return picture if picture.shape[-1] == 3 else picture[..., 0]


def short_names(names: Sequence[str]) -> list[str]:
    """Names that fit above pictures and tell them apart: a name's end says most, and those that
    end alike are numbered by their places."""
    short = [short_name(name) for name in names]
    return [
        f"{name} ({place})" if short.count(name) > 1 else name
        for place, name in enumerate(short, start=1)
    ]


def short_name(name: str) -> str:
    """A name that fits above a picture: its end says most."""
    return name if len(name) <= LONGEST_NAME else f"…{name[1 - LONGEST_NAME :]}"
