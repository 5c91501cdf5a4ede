"""Photographs that Pillow would reduce to 8 bits: 16-bit colour and gray with alpha, PNG and TIFF.

`photo.py` sends them here before it decodes anything; nobody else needs to know.
"""

import struct

import imagecodecs
import numpy as np

from ganray.codecs.photo_output import OutputConfig
from ganray.codecs.png_chunks import SIGNATURE, pack_chunk, read_chunks, require_checksums
from ganray.codecs.png_metadata import PngDetails, find_chunks, profile_chunks
from ganray.codecs.tiff_directories import TagValues, open_tiff
from ganray.codecs.tiff_metadata import profile_tags
from ganray.codecs.tiff_samples import JPEG
from ganray.codecs.tiff_tags import Code
from ganray.codecs.tiff_tiles import interleave, separate
from ganray.codecs.tiff_whole import UNKNOWN_BYTES, encode_tiff, open_tiff_bytes
from ganray.codecs.tiff_windows import TiffWindows
from ganray.errors import TooLargeError, UndecodableError, UnsupportedImageError
from ganray.raster.image import Image, Pixels, Profile
from ganray.raster.windows import Box

FORMATS = ("png", "tiff")
DEPTH = 16

_PNG_BANDS = {
    0: ("gray",),
    2: ("red", "green", "blue"),
    4: ("gray", "alpha"),
    6: ("red", "green", "blue", "alpha"),
}
_PNG_HEADER_BYTES = 33
_LONGEST_PNG_SIDE = 2**31 - 1

# Of level 1, zlib's strategy of runs codes twice as fast as its search, and 16-bit grain comes
# out smaller by it: there is nothing to be found.
_RUNS, _SUB, _ALL_FILTERS = 3, 0x10, 0xF8


def is_deep(data: bytes) -> bool:
    """Whether these bytes begin a photograph for this module; damaged ones begin none."""
    if data.startswith(SIGNATURE):
        return _is_deep_png(data)
    try:
        tiff = open_tiff(lambda start, end: data[start:end])
        values = TagValues(tiff, tiff.first_directory)
        num_bands = values.positive(Code.SAMPLES_PER_PIXEL, 1)
        depths = values.for_bands(Code.BITS_PER_SAMPLE, num_bands)
        compression = values.number(Code.COMPRESSION, 1)
    except (UndecodableError, OverflowError):
        return False
    return num_bands > 1 and max(depths) > 8 and compression != JPEG


def probe(data: bytes) -> tuple[Profile, int, int]:
    """Profile, height and width from the header alone; `data` may be a file's beginning."""
    if data.startswith(SIGNATURE):
        height, width = _png_size(data)
        return _png_profile(data), height, width
    picture = open_tiff_bytes(data, UNKNOWN_BYTES)
    height, width = picture.height, picture.width
    return _tiff_profile(picture), *(
        (width, height) if picture.orientation >= 5 else (height, width)
    )


def decode(data: bytes, *, max_pixels: int) -> Image:
    """Decode a whole file; its size is checked against `max_pixels` before any pixel is read.

    Raises UndecodableError, UnsupportedImageError or TooLargeError.
    """
    profile, height, width = probe(data)
    if height * width > max_pixels:
        raise TooLargeError(
            f"{width}x{height} is {height * width} pixels; limits.pixels allows {max_pixels}"
        )
    if data.startswith(SIGNATURE):
        return Image(_png_pixels(data, profile, height, width), profile)
    picture = open_tiff_bytes(data)
    pixels = picture.read(Box(0, 0, picture.height, picture.width))
    return Image(_upright(pixels, picture.orientation), profile)


def encode(image: Image, codec: str, options: OutputConfig, history: str) -> bytes:
    """Encode 16-bit pixels and their profile as PNG or TIFF."""
    if codec == "tiff":
        return encode_tiff(image, options, history)
    samples = interleave(image.pixels)
    fast = options.png_level == 1
    encoded = bytes(
        imagecodecs.png_encode(
            samples,
            level=options.png_level,
            strategy=_RUNS if fast else None,
            filter=_SUB if fast else _ALL_FILTERS,
        )
    )
    chunks = (pack_chunk(*chunk) for chunk in profile_chunks(image, history))
    return b"".join((encoded[:_PNG_HEADER_BYTES], *chunks, encoded[_PNG_HEADER_BYTES:]))


def require_encodable(profile: Profile, codec: str, height: int, width: int) -> None:
    """Raise UnsupportedImageError unless `codec` holds such an image."""
    bands = "+".join(profile.colorinterp)
    if codec not in FORMATS or profile.dtype != "uint16" or profile.bit_depth != DEPTH:
        raise UnsupportedImageError(
            f"{codec} cannot hold {bands} at {profile.bit_depth} bits; set output.format=png or "
            "tiff"
        )
    if codec == "png" and profile.colorinterp not in _PNG_BANDS.values():
        raise UnsupportedImageError(f"png cannot hold {bands}; set output.format=tiff")
    if codec == "png" and max(height, width) > _LONGEST_PNG_SIDE:
        raise UnsupportedImageError(f"png holds no {width}x{height}; set output.format=tiff")


def lost_in(profile: Profile, codec: str) -> tuple[str, ...]:
    """What of a deep photograph's profile `codec` has no place for, beyond `profile.lost`."""
    if codec == "png":
        return ()
    chunks = profile.details.chunks if isinstance(profile.details, PngDetails) else ()
    names = dict.fromkeys(f"{kind.decode('latin-1')} chunk" for kind, _ in chunks)
    return (*names, *profile_tags(profile, history="", shape=(profile.num_bands, 1, 1)).lost)


# PNG


def _is_deep_png(data: bytes) -> bool:
    if len(data) < _PNG_HEADER_BYTES or data[12:16] != b"IHDR" or data[24] != DEPTH:
        return False
    return data[25] in (2, 4, 6) or (data[25] == 0 and _has_key(data))


def _has_key(data: bytes) -> bool:
    """Whether one colour of a PNG is transparent."""
    return any(kind == b"tRNS" for kind, _ in read_chunks(data))


def _png_size(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from(">II", data, 16)
    if not (0 < height <= _LONGEST_PNG_SIDE and 0 < width <= _LONGEST_PNG_SIDE):
        raise UndecodableError(f"damaged image: a PNG of {width}x{height} pixels")
    return height, width


def _png_profile(data: bytes) -> Profile:
    chunks = list(read_chunks(data))
    animation = next((content for kind, content in chunks if kind == b"acTL"), b"")
    num_frames = int.from_bytes(animation[:4])
    if num_frames > 1:
        raise UnsupportedImageError(f"{num_frames} frames or pages in one file; expected one")
    found = find_chunks(chunks)
    bands, has_key = _PNG_BANDS[data[25]], any(kind == b"tRNS" for kind, _ in chunks)
    return Profile(
        codec="png",
        dtype="uint16",
        bit_depth=DEPTH,
        colorinterp=(*bands, "alpha") if has_key else bands,
        resolution=found.resolution,
        icc=found.icc,
        exif=found.exif,
        xmp=found.xmp,
        lost=("transparent colour key", *found.lost) if has_key else found.lost,
        details=found.details,
    )


def _png_pixels(data: bytes, profile: Profile, height: int, width: int) -> Pixels:
    require_checksums(data)
    # Where it fails, the decoder gives back a reference that it does not have, and so often
    # that it ends the interpreter. What is merely cut or altered must not get that far.
    if not any(kind == b"IEND" for kind, _ in read_chunks(data)):
        raise UndecodableError("damaged or truncated image: the PNG does not end")
    try:
        samples = imagecodecs.png_decode(data)
    except (RuntimeError, ValueError) as error:
        raise UndecodableError(f"damaged or truncated image: {error}") from error
    samples = samples.reshape(*samples.shape[:2], -1)
    shape = (height, width, profile.num_bands)
    if samples.shape != shape or samples.dtype != np.uint16:
        raise UndecodableError(
            f"damaged image: {samples.dtype} pixels of shape {samples.shape}; expected {shape}"
        )
    return separate(samples)


# TIFF


def _tiff_profile(picture: TiffWindows) -> Profile:
    profile = picture.profile
    if profile.dtype != "uint16":
        raise UnsupportedImageError(
            f"a TIFF of {profile.num_bands} {profile.dtype} bands; expected a photograph of 8 or "
            "16 bits"
        )
    return profile


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """The pixels as TIFF's Orientation wants them shown; from 5 on, rows are columns."""
    turned = np.swapaxes(pixels, 1, 2) if orientation >= 5 else pixels
    if orientation in (3, 4, 7, 8):
        turned = turned[:, ::-1]
    if orientation in (2, 3, 6, 7):
        turned = turned[:, :, ::-1]
    return np.ascontiguousarray(turned)
