"""OpenEXR: half and float, any channels, windows that differ; pixels through OpenImageIO."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganray.codecs.film_exr_header import (
    DTYPES,
    FLOAT,
    LOSSLESS,
    ExrHeader,
    require_table,
    with_attributes,
)
from ganray.codecs.film_files import memory_file
from ganray.codecs.tiff_tiles import interleave, separate
from ganray.errors import TooLargeError, UndecodableError, UnsupportedImageError
from ganray.raster.image import Image, Pixels, Profile

_COLORS = {"R": "red", "G": "green", "B": "blue", "A": "alpha", "Y": "gray"}
_FORMATS = {1: "half", 2: "float"}
_LARGEST = 2**31 - 1


@dataclass(frozen=True)
class Specials:
    """Pixels that are not finite in some channel: their places, row by row, and their values."""

    places: bytes = b""
    values: bytes = b""


@dataclass(frozen=True)
class ExrDetails:
    """What `encode_exr` needs: the input's header, the order of its bands, its invalid pixels."""

    header: ExrHeader = field(repr=False)
    channels: tuple[str, ...]
    specials: Specials = field(default=Specials(), repr=False)


def exr_profile(header: ExrHeader, white: float) -> Profile:
    """The profile of a file. Raises UndecodableError or UnsupportedImageError."""
    kinds = {channel.name: channel.kind for channel in header.channels}
    names = _band_order(tuple(kinds))
    is_mipmap = header.tiles is not None and header.tiles[2] & 0xF != 0
    depth = max(kinds.values())
    return Profile(
        codec="exr",
        dtype=DTYPES[depth],
        bit_depth=32 if depth == FLOAT else 16,
        colorinterp=tuple(_COLORS.get(name, "undefined") for name in names),
        lossless=header.compression in LOSSLESS,
        lost=("reduced levels",) if is_mipmap else (),
        value_range=(0.0, white),
        details=ExrDetails(header, names),
    )


def decode_exr(data: bytes, profile: Profile) -> Image:
    """Decode a whole file of that profile. Raises UndecodableError."""
    details = profile.details
    assert isinstance(details, ExrDetails)
    require_table(details.header, len(data))
    window = details.header.window(b"dataWindow")
    with memory_file(data) as path, _library_errors():
        samples, found = _read(str(path), "half" if profile.dtype == "float16" else "float")
    expected = (window.height, window.width, len(details.channels))
    if samples.shape != expected or set(found) != set(details.channels):
        raise UndecodableError(f"an EXR of {samples.shape} samples; its header says {expected}")
    pixels = separate(samples)
    if found != details.channels:
        pixels = pixels[[found.index(name) for name in details.channels]]
    mask = _finite(pixels)
    if mask.all():
        return Image(pixels, profile)
    places = np.flatnonzero(~mask)
    specials = Specials(
        places.astype(np.int64).tobytes(), pixels.reshape(len(pixels), -1)[:, places].tobytes()
    )
    return Image(pixels, replace(profile, details=replace(details, specials=specials)), mask)


def encode_exr(image: Image, compression: str, history: str, scale: int) -> bytes:
    """Encode pixels; where the input was not finite, the output is what the input was."""
    details = image.profile.details
    assert isinstance(details, ExrDetails)
    pixels = _with_specials(image, details, scale)
    spec = _spec(image.profile, details, pixels.shape, scale)
    spec.attribute("compression", _output_compression(details.header, compression))
    with memory_file() as path:
        output = _library().ImageOutput.create("openexr")
        assert output is not None, "OpenImageIO without OpenEXR"
        written = output.open(str(path), spec) and output.write_image(interleave(pixels))
        if not (output.close() and written):
            raise UnsupportedImageError(f"cannot be written as exr: {_reason(output.geterror())}")
        data = path.read_bytes()
    return with_attributes(data, details.header, history)


def require_exr(profile: Profile, height: int, width: int) -> None:
    """Raise UnsupportedImageError unless such an image is written as EXR."""
    if not isinstance(profile.details, ExrDetails):
        raise UnsupportedImageError(
            f"{profile.codec} of {profile.bit_depth} bits is not written as exr; set "
            "output.format=same"
        )
    window = profile.details.header.window(b"dataWindow")
    factor = max(1, height // window.height, width // window.width)
    scaled = [
        profile.details.header.window(name).scale(factor)
        for name in (b"dataWindow", b"displayWindow")
    ]
    ends = [abs(end) for w in scaled for end in (w.left, w.top, w.right, w.bottom)]
    if max(ends) > _LARGEST:
        raise UnsupportedImageError(
            f"an EXR of {width}x{height} pixels whose windows end beyond {_LARGEST}"
        )


def _finite(pixels: Pixels) -> NDArray[np.bool_]:
    """Where (C,H,W) pixels are finite in all bands, by their bits: numpy is slow at halves."""
    kind, exponent = (np.uint16, 0x7C00) if pixels.dtype == np.float16 else (np.uint32, 0x7F800000)
    mask = np.ones(pixels.shape[1:], np.bool_)
    for plane in pixels.view(kind):
        mask &= (plane & kind(exponent)) != exponent
    return mask


def _band_order(names: tuple[str, ...]) -> tuple[str, ...]:
    """Red, green, blue, alpha, then the rest as the file has it."""
    first = [name for name in ("R", "G", "B", "Y", "A") if name in names]
    return (*first, *(name for name in names if name not in first))


def _read(path: str, kind: str) -> tuple[NDArray[np.generic], tuple[str, ...]]:
    library = _library()
    picture = library.ImageInput.open(path)
    if picture is None:
        raise UndecodableError(f"damaged or truncated EXR: {_reason(library.geterror())}")
    try:
        names = tuple(picture.spec().channelnames)
        samples = picture.read_image(0, 0, 0, len(names), kind)
        if samples is None or picture.has_error:
            raise UndecodableError(f"damaged or truncated EXR: {_reason(picture.geterror())}")
        return samples, names
    finally:
        picture.close()


@contextmanager
def _library_errors() -> Iterator[None]:
    """Turn what the binding raises on damaged files, even about its own messages, into ours."""
    try:
        yield
    except MemoryError:
        raise TooLargeError(
            "the frame needs more memory than there is; lower limits.pixels"
        ) from None
    except (RuntimeError, ValueError) as error:
        raise UndecodableError(f"damaged or truncated EXR: {error}") from error


def _reason(message: str) -> str:
    """The first line of what the library says, without the name of a file that is in memory."""
    lines = message.strip().splitlines() or ["no reason given"]
    return lines[0].partition("): ")[2] or lines[0]


def _spec(profile: Profile, details: ExrDetails, shape: tuple[int, ...], scale: int) -> Any:
    header = details.header
    kinds = {channel.name: channel.kind for channel in header.channels}
    library = _library()
    spec = library.ImageSpec(shape[2], shape[1], shape[0], _FORMATS[max(kinds.values())])
    spec.channelnames = details.channels
    if len(set(kinds.values())) > 1:
        spec.channelformats = tuple(
            library.TypeDesc(_FORMATS[kinds[name]]) for name in details.channels
        )
    data = header.window(b"dataWindow").scale(scale)
    display = header.window(b"displayWindow").scale(scale)
    spec.x, spec.y = data.left, data.top
    spec.full_x, spec.full_y = display.left, display.top
    spec.full_width, spec.full_height = display.width, display.height
    if header.tiles:
        spec.tile_width, spec.tile_height = header.tiles[:2]
    return spec


def _output_compression(header: ExrHeader, wanted: str) -> str:
    """As in the input, unless that would lose something once more."""
    if wanted != "same":
        return wanted
    return header.compression if header.compression in LOSSLESS else "zip"


def _with_specials(image: Image, details: ExrDetails, scale: int) -> Pixels:
    if not details.specials.places:
        return image.pixels
    num_bands, height, width = image.pixels.shape
    rows, columns = np.divmod(np.frombuffer(details.specials.places, np.int64), width // scale)
    values = np.frombuffer(details.specials.values, image.profile.dtype).reshape(num_bands, -1)
    blocks = image.pixels.copy().reshape(num_bands, height // scale, scale, width // scale, scale)
    blocks[:, rows, :, columns, :] = values.T[:, :, np.newaxis, np.newaxis]
    return blocks.reshape(image.pixels.shape)


def _library() -> Any:
    """OpenImageIO, which takes a quarter of a second that others than EXR do not need."""
    return import_module("OpenImageIO")
