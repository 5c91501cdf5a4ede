"""An image file of any family: from bytes to pixels and back, by the codec of its name.

Rasters are not read from bytes but from their store, by ranges: see `geo.py`. Films of
many frames are `video.py`'s.
"""

from ganray.codecs import deep_photo, dicom, film, photo
from ganray.codecs.catalog import Codecs, family_of
from ganray.codecs.geo_whole import encode_raster
from ganray.codecs.geo_whole import require_encodable as require_raster
from ganray.codecs.tiff_metadata import profile_tags
from ganray.raster.image import Image, Profile

RASTER = "geotiff"
"""The format of rasters, in their profile."""

FILM_FORMATS, DICOM_FORMATS = frozenset(film.SUFFIXES), frozenset(dicom.SUFFIXES)


def probe_file(key: str, data: bytes, codecs: Codecs) -> tuple[Profile, int, int]:
    """Profile, height and width from a header; `data` may be a file's beginning.

    Raises CodecError.
    """
    family = family_of(key)
    if family == "film":
        return film.probe(data, codecs.film)
    if family == "dicom":
        return dicom.probe(data, codecs.dicom)
    return photo.probe(data)


def decode_file(key: str, data: bytes, codecs: Codecs, *, max_pixels: int) -> Image:
    """Decode a whole file; its size is checked against `max_pixels` before any pixel is read.

    Raises CodecError.
    """
    family = family_of(key)
    if family == "film":
        return film.decode(data, codecs.film, max_pixels=max_pixels)
    if family == "dicom":
        return dicom.decode(data, codecs.dicom, max_pixels=max_pixels)
    return photo.decode(data, max_pixels=max_pixels)


def encode_file(
    image: Image, written_as: str, codecs: Codecs, history: str, *, scale: int
) -> bytes:
    """Encode restored pixels (C,scale·H,scale·W) with the profile of their input.

    `history` is written where the format has a place for it. Raises UnsupportedImageError.
    """
    if written_as in FILM_FORMATS:
        return film.encode(image, written_as, codecs.film, history, scale=scale)
    if written_as in DICOM_FORMATS:
        return dicom.encode(image, written_as, codecs.dicom, history, scale=scale)
    if image.profile.codec == RASTER:
        return encode_raster(image, codecs.output, history, scale=scale)
    return photo.encode(image, written_as, codecs.output, history)


def require_encodable(profile: Profile, written_as: str, height: int, width: int) -> None:
    """Raise UnsupportedImageError unless an image of that size is written as a format."""
    if profile.codec == RASTER:
        require_raster(profile, written_as, height, width)
    elif written_as in FILM_FORMATS or profile.codec in FILM_FORMATS:
        film.require_encodable(profile, written_as, height, width)
    elif written_as in DICOM_FORMATS or profile.codec in DICOM_FORMATS:
        dicom.require_encodable(profile, written_as, height, width)
    else:
        photo.require_encodable(profile, written_as, height, width)


def lost_in(profile: Profile, written_as: str) -> tuple[str, ...]:
    """What the format of an output does not hold of its input's profile."""
    if profile.codec == RASTER:
        shape = (profile.num_bands, 1, 1)
        return profile_tags(profile, history="", shape=shape).lost
    is_deep = profile.codec in photo.SUFFIXES and profile.bit_depth > 8 and profile.num_bands > 1
    return deep_photo.lost_in(profile, written_as) if is_deep else ()


def written_format(codec: str, codecs: Codecs) -> str:
    """The format that an input of format `codec` is written in."""
    wanted = codecs.output.format
    return film.WRITTEN_AS.get(codec, codec) if wanted == "same" else wanted
