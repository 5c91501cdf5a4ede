"""From decoded frames to the pixels that a generator sees, and back to frames for an encoder.

Gray is presented as it is stored. YUV becomes RGB of full range by the matrix that the film
names (BT.601, 709, 2020 …) and its range, through swscale with exact rounding and interpolated
chroma: 8-bit 4:4:4 differs from the formula by no more than its rounding. RGB of 9 to 16 bits
has swscale's white: limited range ends at 255 · 2^(bits - 8), which is 1020 of 1023.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ganray.codecs.video_source import require_av
from ganray.errors import UnsupportedImageError
from ganray.raster.image import Pixels

# Bilinear, accurate rounding, full chroma interpolation in and out, the same on every CPU.
SWSCALE_FLAGS = 0x2 | 0x40000 | 0x2000 | 0x4000 | 0x80000

LIMITED_RANGE, FULL_RANGE = 1, 2
UNSPECIFIED = 2
MATRIX_RGB, MATRIX_BT709, MATRIX_UNKNOWN, MATRIX_BT601 = 0, 1, 2, 6
MATRICES = {1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 9: "bt2020nc"}
"""Matrices that swscale knows, by their number in ITU-T H.273."""

GRAY: tuple[str, ...] = ("gray",)
RGB: tuple[str, ...] = ("red", "green", "blue")
RGBA: tuple[str, ...] = (*RGB, "alpha")
BANDS = {(1, False): GRAY, (3, False): RGB, (3, True): RGBA}
"""By the number of colour components, and whether there is alpha beside them."""
PLANAR_ORDER = {GRAY: (0,), RGB: (2, 0, 1), RGBA: (2, 0, 1, 3)}
"""Where each band's plane is: planar RGB is stored as green, blue, red."""

DEPTHS = {GRAY: (8, 9, 10, 12, 14, 16), RGB: (8, 9, 10, 12, 14, 16), RGBA: (8, 10, 12, 14, 16)}
"""Bits of a sample that planar formats have."""


@dataclass(frozen=True)
class PixelKind:
    """Bands and depth of a pixel format, and the planar format that holds just these."""

    bands: tuple[str, ...]
    bit_depth: int
    planar_format: str
    is_yuv: bool

    @property
    def dtype(self) -> str:
        return "uint8" if self.bit_depth == 8 else "uint16"


def describe_format(video_format: Any) -> PixelKind:
    """What the generator is to see of a pixel format of PyAV's.

    Raises UnsupportedImageError for formats that have no such pixels: palettes, floats, XYZ.
    """
    name, components = video_format.name, video_format.components
    colours = [part for part in components if not part.is_alpha]
    has_alpha = len(colours) < len(components)
    bits = max((part.bits for part in components), default=0)
    is_odd = video_format.has_palette or video_format.is_bayer or "f16" in name or "f32" in name
    bands = BANDS.get((len(colours), has_alpha), ())
    allowed = DEPTHS.get(bands, ())
    if is_odd or name.startswith("xyz") or bits > 16 or not allowed:
        raise UnsupportedImageError(
            f"pixel format {name}; expected gray, YUV or RGB of 8 to 16 bits"
        )
    # Packed formats of few bits: 5-6-5 and the like become 8 bits.
    depth = next((size for size in allowed if size >= bits), 16)
    stem = {GRAY: "gray", RGB: "gbrp", RGBA: "gbrap"}[bands]
    planar = stem if depth == 8 else f"{stem}{depth}le"
    return PixelKind(bands, depth, planar, bands != GRAY and not video_format.is_rgb)


class PixelConverter:
    """Converts the frames of one film, one after the other. For one thread."""

    def __init__(self, kind: PixelKind, matrix: int, colour_range: int) -> None:
        self._kind = kind
        self._matrix = matrix
        self._range = colour_range
        self._reformatter = require_av().video.reformatter.VideoReformatter()

    def to_pixels(self, frame: Any) -> Pixels:
        """Pixels (C,H,W) of a decoded frame."""
        kind = self._kind
        if frame.format.name != kind.planar_format:
            if kind.is_yuv:
                frame.colorspace, frame.color_range = self._matrix, self._range
            # Of no use to a change of matrix, and swscale refuses some of them.
            frame.color_primaries = frame.color_trc = UNSPECIFIED
            frame = self._reformat(frame, kind.planar_format)
        pixels: Pixels = np.empty((len(kind.bands), frame.height, frame.width), kind.dtype)
        for band, plane in enumerate(PLANAR_ORDER[kind.bands]):
            pixels[band] = _plane_view(frame.planes[plane], kind.dtype)[:, : frame.width]
        return pixels

    def to_frame(self, pixels: Pixels, pixel_format: str) -> Any:
        """A frame of `pixel_format` with the pixels (C,H,W)."""
        kind = self._kind
        if pixel_format in ("bgr0", "bgra"):
            return _packed_frame(pixels, pixel_format)
        frame = require_av().VideoFrame(pixels.shape[2], pixels.shape[1], kind.planar_format)
        for band, plane in enumerate(PLANAR_ORDER[kind.bands]):
            _plane_view(frame.planes[plane], kind.dtype)[:, : frame.width] = pixels[band]
        if pixel_format == kind.planar_format:
            return frame
        # Taken over by the converted frame, and by swscale from there.
        frame.colorspace = self._matrix
        return self._reformat(frame, pixel_format, dst_color_range=self._range)

    def _reformat(self, frame: Any, pixel_format: str, **ranges: int) -> Any:
        return self._reformatter.reformat(
            frame, format=pixel_format, interpolation=SWSCALE_FLAGS, threads=1, **ranges
        )


def _packed_frame(pixels: Pixels, pixel_format: str) -> Any:
    """8-bit RGB or RGBA as FFV1 takes it: blue, green, red, and alpha or nothing."""
    frame = require_av().VideoFrame(pixels.shape[2], pixels.shape[1], pixel_format)
    rows = _plane_view(frame.planes[0], "uint8")
    packed = rows[:, : 4 * frame.width].reshape(frame.height, frame.width, 4)
    for channel, band in enumerate((2, 1, 0, 3)[: len(pixels)]):
        packed[..., channel] = pixels[band]
    if len(pixels) == 3:
        packed[..., 3] = 0
    return frame


def _plane_view(plane: Any, dtype: str) -> Any:
    """The samples of a plane (rows, samples with padding) in place."""
    rows = np.frombuffer(plane, dtype="uint8").reshape(plane.height, abs(plane.line_size))
    # FFmpeg stores some planes from the bottom to the top.
    ordered = rows[::-1] if plane.line_size < 0 else rows
    return ordered.view(dtype)
