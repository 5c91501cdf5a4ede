"""Scanned and digital film: DPX and Cineon, whose code values stay what they are, and OpenEXR.

A frame is one image; `film_sequence.py` says which belong together. Cineon is only read: its
frames are written as DPX. Code values keep their place in the file's own range, 0 to 1023 for
10 bits; what a generator sees of them is `FilmConfig`'s.
"""

from dataclasses import dataclass, field, replace
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from ganray.codecs.film_cineon import ORDERS as CINEON_MAGICS
from ganray.codecs.film_cineon import as_dpx, cineon_pixel_span, parse_cineon
from ganray.codecs.film_dpx import (
    MAX_FILE_BYTES,
    TRANSFER,
    DpxHeader,
    described,
    parse_dpx,
    pixel_span,
    restored_header,
)
from ganray.codecs.film_dpx import ORDERS as DPX_MAGICS
from ganray.codecs.film_exr import decode_exr, encode_exr, exr_profile, require_exr
from ganray.codecs.film_exr_header import MAGIC as EXR_MAGIC
from ganray.codecs.film_exr_header import parse_exr
from ganray.codecs.film_packing import pack, unpack
from ganray.codecs.film_space import FILM_BLACK, FILM_WHITE, LARGEST_CODE, LogCurve
from ganray.config import Section
from ganray.errors import TooLargeError, UndecodableError, UnsupportedImageError
from ganray.raster.image import Image, Pixels, Profile

SUFFIXES = {"dpx": (".dpx",), "cineon": (".cin",), "exr": (".exr",)}

WRITTEN_AS = {"cineon": "dpx"}
"""The format of outputs whose own is not written."""

# DPX's numbers of transfer characteristics that are no logarithm: linear light and video.
_NOT_LOG = (2, 5, 6, 7, 8, 9, 10)


class FilmConfig(Section):
    """How film is shown to the generator, and written."""

    space: Literal["stored", "linear", "display"] = "stored"
    """What a generator sees of DPX and Cineon: the code values as `stored`, or the light of log
    footage by Cineon's curve, `linear` or as sRGB would `display` it. Files that say of
    themselves that they are linear or video stay as stored. All are inverted exactly."""
    black: Annotated[float, Field(ge=0, le=LARGEST_CODE)] | None = None
    """The code value, in 10 bits, that a generator sees as 0; other depths have it in proportion.
    None is 0 as stored, and Cineon's 95 in the other spaces."""
    white: Annotated[float, Field(ge=0, le=LARGEST_CODE)] | None = None
    """The code value, in 10 bits, that a generator sees as 1. None is 1023 as stored, and Cineon's
    685 in the other spaces; what is brighter is kept."""
    exr_white: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """The value in an EXR that a generator sees as 1; what is brighter is kept."""
    exr_compression: Literal["same", "none", "rle", "zips", "zip", "piz"] = "same"
    """Of EXR; `same` is the input's, or zip in place of one that loses something."""

    @model_validator(mode="after")
    def _require_range(self) -> Self:
        black, white = self.code_range(self.space)
        if black >= white:
            raise ValueError(f"black {black} is not below white {white}; set black < white")
        return self

    def code_range(self, space: str) -> tuple[float, float]:
        """Black and white in codes of 10 bits."""
        default = (0.0, float(LARGEST_CODE)) if space == "stored" else (FILM_BLACK, FILM_WHITE)
        black = default[0] if self.black is None else self.black
        return black, default[1] if self.white is None else self.white


@dataclass(frozen=True)
class DpxDetails:
    """What `encode` needs: the header of the output, and the curve by which codes became light."""

    header: DpxHeader = field(repr=False)
    curve: LogCurve | None = None

    @property
    def described(self) -> dict[str, object]:
        """For `ganray inspect`."""
        return described(self.header) | {"log_curve": self.curve is not None}


def probe(data: bytes, config: FilmConfig) -> tuple[Profile, int, int]:
    """Profile, height and width from the header alone; `data` may be a file's beginning."""
    if data.startswith(EXR_MAGIC):
        header = parse_exr(data)
        window = header.window(b"dataWindow")
        return exr_profile(header, config.exr_white), window.height, window.width
    if data[:4] in CINEON_MAGICS:
        dpx, lost = as_dpx(parse_cineon(data))
        return replace(_dpx_profile(dpx, config), codec="cineon", lost=lost), *dpx.size
    if data[:4] in DPX_MAGICS:
        dpx = parse_dpx(data)
        return _dpx_profile(dpx, config), *dpx.size
    raise UndecodableError(
        f"no film frame: it begins with {data[:12]!r}; expected DPX, Cineon or OpenEXR"
        if data
        else "the file is empty; expected DPX, Cineon or OpenEXR"
    )


def decode(data: bytes, config: FilmConfig, *, max_pixels: int) -> Image:
    """Decode a whole file; its size is checked against `max_pixels` before any pixel is read.

    Raises UndecodableError, UnsupportedImageError or TooLargeError.
    """
    profile, height, width = probe(data, config)
    if height * width > max_pixels:
        raise TooLargeError(
            f"{width}x{height} is {height * width} pixels; limits.pixels allows {max_pixels}"
        )
    if not isinstance(profile.details, DpxDetails):
        return decode_exr(data, profile)
    header = profile.details.header
    if profile.codec == "cineon":
        start, end = cineon_pixel_span(parse_cineon(data), data)
    else:
        start, end = pixel_span(header, data)
    if data[end:].strip(b"\0\xff"):
        profile = replace(profile, lost=(*profile.lost, "data behind the pixels"))
    shape = (profile.num_bands, height, width)
    codes = unpack(memoryview(data)[start:end], header.packing, shape, header.stride(width))
    return Image(_developed(header.stored_order(codes), profile), profile)


def encode(image: Image, format: str, config: FilmConfig, history: str, *, scale: int) -> bytes:  # noqa: A002
    """Encode restored pixels with all that the input's header says.

    `history` becomes a line of DPX's user data, where it is free, and of EXR's ImageHistory.
    Raises UnsupportedImageError if the format does not hold the image.
    """
    profile, shape = image.profile, image.pixels.shape
    require_encodable(profile, format, *shape[1:])
    if not isinstance(profile.details, DpxDetails):
        return encode_exr(image, config.exr_compression, history, scale)
    header = profile.details.header
    codes = header.stored_order(_exposed(image.pixels, profile))
    start = restored_header(header, shape, scale, history)
    return start + pack(codes, header.packing, header.stride(shape[2]))


def require_encodable(profile: Profile, format: str, height: int, width: int) -> None:  # noqa: A002
    """Raise UnsupportedImageError unless a film frame of that size is written as `format`."""
    if format == "exr":
        require_exr(profile, height, width)
        return
    if format in WRITTEN_AS:
        raise UnsupportedImageError(
            f"{format} is not written; its frames are written as {WRITTEN_AS[format]}: set "
            "output.format=same"
        )
    if format != "dpx" or not isinstance(profile.details, DpxDetails):
        raise UnsupportedImageError(
            f"{profile.codec} of {profile.bit_depth} bits is not written as {format}: its code "
            "values would change their meaning; set output.format=same"
        )
    header = profile.details.header
    num_bytes = len(header.data) + height * header.stride(width)
    if num_bytes > MAX_FILE_BYTES:
        raise UnsupportedImageError(
            f"a DPX of {width}x{height} pixels takes {num_bytes} bytes; its header counts to "
            f"{MAX_FILE_BYTES}"
        )


def _dpx_profile(header: DpxHeader, config: FilmConfig) -> Profile:
    depth = header.packing.bit_depth
    is_log = header.number(TRANSFER) not in _NOT_LOG
    space = config.space if is_log else "stored"
    black, white = config.code_range(space)
    largest = 2**depth - 1
    curve = None if space == "stored" else LogCurve(black, white, space)
    per_code = largest / LARGEST_CODE
    return Profile(
        codec="dpx",
        dtype="float32" if curve else header.packing.dtype,
        bit_depth=depth,
        colorinterp=header.bands,
        value_range=(0.0, 1.0) if curve else (black * per_code, white * per_code),
        details=DpxDetails(header, curve),
    )


def _developed(codes: Pixels, profile: Profile) -> Pixels:
    """Code values in the space of the profile; alpha is a fraction whatever the space."""
    details = profile.details
    assert isinstance(details, DpxDetails)
    if details.curve is None:
        return np.ascontiguousarray(codes)
    light = details.curve.develop(codes, profile.bit_depth)
    if profile.alpha is not None:
        light[profile.alpha] = codes[profile.alpha] / np.float32(2**profile.bit_depth - 1)
    return light


def _exposed(pixels: Pixels, profile: Profile) -> Pixels:
    """Inverse of `_developed`."""
    details = profile.details
    assert isinstance(details, DpxDetails)
    if details.curve is None:
        return pixels
    codes = details.curve.expose(pixels, profile.bit_depth)
    if profile.alpha is not None:
        largest = 2**profile.bit_depth - 1
        codes[profile.alpha] = np.rint(np.clip(pixels[profile.alpha], 0, 1) * largest)
    return codes
