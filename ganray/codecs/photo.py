"""Photographs: PNG, JPEG, WebP and TIFF, gray or RGB, with or without alpha.

8 bits and 16-bit gray go through Pillow; what it would reduce to 8 bits goes to
`deep_photo.py`, before anything is decoded. ICC profile, EXIF, XMP and resolution are kept.
What would be lost in silence (several frames, CMYK, floats) is refused by name.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import PIL
from PIL import Image as PillowImage

from ganray.codecs import deep_photo
from ganray.codecs.jpeg_stream import encode_jpeg
from ganray.codecs.photo_metadata import (
    exif_with_history,
    metadata_settings,
    read_exif,
    read_resolution,
    read_xmp,
)
from ganray.codecs.photo_output import OutputConfig as OutputConfig
from ganray.codecs.png_chunks import require_checksums
from ganray.codecs.tiff_tags import GEOTIFF_TAGS
from ganray.errors import TooLargeError, UndecodableError, UnsupportedImageError
from ganray.raster.image import Image, Pixels, Profile

FORMATS = {"PNG": "png", "JPEG": "jpeg", "WEBP": "webp", "TIFF": "tiff"}
SUFFIXES = {
    "png": (".png",),
    "jpeg": (".jpg", ".jpeg"),
    "webp": (".webp",),
    "tiff": (".tif", ".tiff"),
}
"""Suffixes of each format; new names get the first."""

COLORINTERP = {
    "L": ("gray",),
    "LA": ("gray", "alpha"),
    "RGB": ("red", "green", "blue"),
    "RGBA": ("red", "green", "blue", "alpha"),
}
MODES = {bands: mode for mode, bands in COLORINTERP.items()}
DEEP_MODES = ("I;16", "I;16B", "I;16L")

TIFF_SUBFILE_TYPE = 254
TIFF_NO_PICTURE = {1: "overviews", 4: "transparency mask", 5: "overviews"}
"""Further pages that belong to the first, by TIFF's NewSubfileType; they are not kept."""
TIFF_BITS_PER_SAMPLE = 258
TIFF_COMPRESSIONS = {"deflate": "tiff_adobe_deflate", "zstd": "zstd", "none": "raw"}
WEBP_LONGEST_SIDE = 16383
JPEG_LONGEST_SIDE = 65535


def probe(data: bytes) -> tuple[Profile, int, int]:
    """Profile, height and width from the header alone; `data` may be a file's beginning."""
    if deep_photo.is_deep(data):
        return deep_photo.probe(data)
    with _open(data) as picture:
        return _profile(picture, data), picture.height, picture.width


def decode(data: bytes, *, max_pixels: int) -> Image:
    """Decode a whole file; its size is checked against `max_pixels` before any pixel is read.

    Raises UndecodableError, UnsupportedImageError or TooLargeError.
    """
    if deep_photo.is_deep(data):
        return deep_photo.decode(data, max_pixels=max_pixels)
    with _open(data) as picture:
        if picture.format == "PNG":
            require_checksums(data)
        profile = _profile(picture, data)
        num_pixels = picture.width * picture.height
        if num_pixels > max_pixels:
            raise TooLargeError(
                f"{picture.width}x{picture.height} is {num_pixels} pixels; limits.pixels allows "
                f"{max_pixels}"
            )
        pixels = _pixels(picture, profile)
        # A PNG may hold its metadata behind the pixels, where only the whole file shows them.
        return Image(pixels, _profile(picture, data) if picture.format == "PNG" else profile)


def encode(image: Image, codec: str, options: OutputConfig, history: str) -> bytes:
    """Encode pixels and profile as `codec`; `history` goes into EXIF's ImageHistory.

    Raises UnsupportedImageError if the format does not hold the pixels or the metadata.
    """
    require_encodable(image.profile, codec, *image.pixels.shape[1:])
    if _needs_more_than_pillow(image.profile):
        return deep_photo.encode(image, codec, options, history)
    samples = np.ascontiguousarray(np.moveaxis(image.pixels, 0, -1))
    samples = samples[..., 0] if samples.shape[-1] == 1 else samples
    is_jpeg = codec == "jpeg"
    # Of a JPEG Pillow writes the metadata only; see `jpeg_stream`.
    picture = PillowImage.fromarray(samples[:1, :1] if is_jpeg else samples)
    buffer = io.BytesIO()
    # As wide as in `_open`: a damaged or oversized block of metadata makes Pillow raise anything.
    try:
        picture.save(
            buffer, format=codec.upper(), **_settings(image, codec, options, history=history)
        )
    except MemoryError:
        raise
    except Exception as error:
        raise UnsupportedImageError(
            f"its pixels with their metadata cannot be written as {codec}: {error}; set another "
            "output.format"
        ) from error
    if is_jpeg:
        return encode_jpeg(samples, options.jpeg_quality, buffer.getvalue())
    return buffer.getvalue()


def _settings(image: Image, codec: str, options: OutputConfig, *, history: str) -> dict[str, Any]:
    profile = image.profile
    settings: dict[str, Any] = dict(_compression(codec, profile, options))
    settings |= {"icc_profile": profile.icc} if profile.icc else {}
    settings |= {"dpi": profile.resolution} if profile.resolution else {}
    exif = exif_with_history(profile.exif, image.pixels.shape, history)
    return settings | metadata_settings(codec, exif, profile.xmp)


@contextmanager
def _open(data: bytes) -> Iterator[PillowImage.Image]:
    """Open a picture and turn whatever Pillow raises on it into one of ganray's errors.

    Pillow raises nearly any exception on damaged files, SyntaxError and struct.error among
    them, so that the boundary has to be this wide.
    """
    # Pillow's own limit is a global constant that refuses real scans; ours is configurable.
    PillowImage.MAX_IMAGE_PIXELS = None
    try:
        with PillowImage.open(io.BytesIO(data), formats=tuple(FORMATS)) as picture:
            yield picture
    except (UndecodableError, UnsupportedImageError, TooLargeError):
        raise
    except PIL.UnidentifiedImageError:
        raise UndecodableError(_describe_bytes(data)) from None
    except MemoryError:
        raise TooLargeError(
            "the image needs more memory than there is; lower limits.pixels"
        ) from None
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UndecodableError(f"damaged or truncated image: {reason}") from error


def _describe_bytes(data: bytes) -> str:
    """Why there is no image. A whole file of a rare kind may be refused as a damaged one is."""
    if not data:
        return "the file is empty; expected PNG, JPEG, WebP or TIFF"
    begins = {
        **{b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG"},
        **{b"II*\0": "TIFF", b"MM\0*": "TIFF", b"II+\0": "BigTIFF", b"MM\0+": "BigTIFF"},
    }
    is_webp = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    found = "WebP" if is_webp else next((n for b, n in begins.items() if data.startswith(b)), "")
    if found:
        return (
            f"a damaged {found}, or a kind of {found} that is not read; expected a whole PNG, "
            "JPEG, WebP or TIFF: put a sound copy in its place"
        )
    return f"no image: it begins with {data[:12]!r}; expected PNG, JPEG, WebP or TIFF"


def _profile(picture: PillowImage.Image, data: bytes) -> Profile:
    _refuse_what_would_be_lost(picture, data)
    codec = FORMATS[picture.format or ""]
    deep = picture.mode in DEEP_MODES
    mode, lost = ("L", ()) if deep else _decoded_mode(picture)
    return Profile(
        codec=codec,
        dtype="uint16" if deep else "uint8",
        bit_depth=16 if deep else 8,
        colorinterp=COLORINTERP[mode],
        resolution=read_resolution(picture),
        icc=picture.info.get("icc_profile"),
        exif=read_exif(picture),
        xmp=read_xmp(picture),
        lossless=_is_lossless(picture, data),
        lost=(*lost, *dict.fromkeys(TIFF_NO_PICTURE[kind] for kind in _further_frames(picture))),
    )


def _refuse_what_would_be_lost(picture: PillowImage.Image, data: bytes) -> None:
    if picture.format == "TIFF" and GEOTIFF_TAGS & set(picture.tag_v2):  # type: ignore[attr-defined]
        raise UnsupportedImageError(
            "a GeoTIFF: its georeference would be lost; expected a photograph"
        )
    pictures = 1 + sum(kind not in TIFF_NO_PICTURE for kind in _further_frames(picture))
    if pictures > 1:
        raise UnsupportedImageError(f"{pictures} frames or pages in one file; expected one")
    bits = _bits_per_sample(picture, data)
    deep = picture.mode in DEEP_MODES
    if not deep and any(depth > 8 for depth in bits):
        raise UnsupportedImageError(
            f"{'+'.join(map(str, bits))}-bit {picture.format} of mode {picture.mode}: Pillow would "
            "reduce it to 8 bits; expected 8-bit bands or 16-bit gray"
        )
    if deep and ("transparency" in picture.info or bits != (16,)):
        raise UnsupportedImageError(
            f"{'+'.join(map(str, bits))}-bit gray with transparency or packed samples; expected "
            "plain 16-bit gray"
        )


def _further_frames(picture: PillowImage.Image) -> list[int]:
    """What each frame or page behind the first is: TIFF's NewSubfileType, or 0."""
    info = dict(picture.info)
    num_frames: int = getattr(picture, "n_frames", 1)
    if picture.format != "TIFF" or num_frames == 1:
        return [0] * (num_frames - 1)
    kinds = []
    for frame in range(1, num_frames):
        picture.seek(frame)
        kinds.append(int(picture.tag_v2.get(TIFF_SUBFILE_TYPE, 0)))  # type: ignore[attr-defined]
    picture.seek(0)
    # Pillow would keep what only an overview says.
    picture.info = dict(info)
    return kinds


def _bits_per_sample(picture: PillowImage.Image, data: bytes) -> tuple[int, ...]:
    if picture.format == "PNG":
        depth, color_type = data[24], data[25]
        return (depth,) * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(color_type, 1)
    if picture.format == "TIFF":
        tags = picture.tag_v2  # type: ignore[attr-defined]
        bits = tags.get(TIFF_BITS_PER_SAMPLE, (1,))
        return tuple(bits) if isinstance(bits, tuple) else (bits,)
    return (8,) * len(picture.getbands())


def _decoded_mode(picture: PillowImage.Image) -> tuple[str, tuple[str, ...]]:
    """The mode that pixels are decoded to, and what is lost on the way."""
    transparent = "transparency" in picture.info
    if picture.mode == "P":
        return ("RGBA" if transparent else "RGB"), ("palette",)
    if picture.mode == "1":
        return "L", ("1-bit depth",)
    if picture.mode in ("L", "RGB") and transparent:
        return {"L": "LA", "RGB": "RGBA"}[picture.mode], ("transparent colour key",)
    if picture.mode in COLORINTERP:
        return picture.mode, ()
    raise UnsupportedImageError(
        f"{picture.format} of mode {picture.mode}; expected 8-bit gray, RGB or RGBA, or 16-bit gray"
    )


def _pixels(picture: PillowImage.Image, profile: Profile) -> Pixels:
    mode = MODES[profile.colorinterp]
    picture.load()
    converted = picture if picture.mode in (mode, *DEEP_MODES) else picture.convert(mode)
    array = np.asarray(converted).astype(profile.dtype, copy=False)
    return array[np.newaxis] if array.ndim == 2 else np.moveaxis(array, -1, 0)


def _is_lossless(picture: PillowImage.Image, data: bytes) -> bool:
    return picture.format in ("PNG", "TIFF") or (
        picture.format == "WEBP" and b"VP8L" in _webp_chunks(data)
    )


def _webp_chunks(data: bytes) -> Iterator[bytes]:
    """Names of the chunks of a RIFF file: an ICC profile of any size precedes the pixels."""
    offset = 12
    while offset + 8 <= len(data):
        yield data[offset : offset + 4]
        length = int.from_bytes(data[offset + 4 : offset + 8], "little")
        offset += 8 + length + length % 2


def require_encodable(profile: Profile, codec: str, height: int, width: int) -> None:
    """Raise UnsupportedImageError unless such an image is written as `codec`, losing nothing."""
    longest = max(height, width)
    limit = {"webp": WEBP_LONGEST_SIDE, "jpeg": JPEG_LONGEST_SIDE}.get(codec)
    if limit and longest > limit:
        raise UnsupportedImageError(
            f"the output's longer side is {longest} pixels and {codec} holds {limit}; set "
            "output.format=tiff"
        )
    if _needs_more_than_pillow(profile):
        deep_photo.require_encodable(profile, codec, height, width)
        return
    deep = profile.bit_depth > 8
    if codec in ("jpeg", "webp") and (deep or (codec == "jpeg" and profile.alpha is not None)):
        raise UnsupportedImageError(
            f"{codec} cannot hold {'+'.join(profile.colorinterp)} at "
            f"{profile.bit_depth} bits; set output.format=png or tiff"
        )


def _needs_more_than_pillow(profile: Profile) -> bool:
    return profile.bit_depth > 8 and profile.num_bands > 1


def _compression(codec: str, profile: Profile, options: OutputConfig) -> dict[str, Any]:
    if codec == "png":
        return {"compress_level": options.png_level}
    if codec == "jpeg":
        return {"quality": options.jpeg_quality, "subsampling": 0}
    if codec == "webp":
        lossless = profile.lossless
        return {
            "lossless": lossless,
            "quality": 50 if lossless else options.jpeg_quality,
            "exact": True,
        }
    return {"compression": TIFF_COMPRESSIONS[options.tiff_compression]}
