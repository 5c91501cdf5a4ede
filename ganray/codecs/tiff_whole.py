"""A TIFF that fits into memory, by ganray's own reader and writer: bytes in, bytes out.

For the pixels that Pillow does not hold: any number of bands, of any type of `TiffLayout`.
One image without overviews, in tiles; `tiff_windows.py` and `tiff_assembly.py` are for what
is too large.
"""

from dataclasses import dataclass, field

from ganray.codecs.photo_output import OutputConfig
from ganray.codecs.tiff_assembly import assemble
from ganray.codecs.tiff_metadata import profile_tags
from ganray.codecs.tiff_runs import RunSource, encode_run
from ganray.codecs.tiff_windows import TiffWindows
from ganray.codecs.tiled_tiff import TiffLayout
from ganray.raster.image import Image

TILE_SIDE = 512
TILE_STEP = 16
"""TIFF wants sides of tiles in multiples of it."""

UNKNOWN_BYTES = 2**62
"""The length of a file of which only the beginning is known: nothing lies behind its end."""


def open_tiff_bytes(data: bytes, num_bytes: int | None = None) -> TiffWindows:
    """A TIFF in memory, or the beginning of one of `num_bytes`.

    Raises UndecodableError or UnsupportedImageError.
    """
    content = _Content(data, len(data) if num_bytes is None else num_bytes)
    return TiffWindows(content, "", may_be_turned=True)


def encode_tiff(image: Image, options: OutputConfig, history: str) -> bytes:
    """Encode pixels and profile as one TIFF; `history` becomes a line of ImageHistory."""
    return assemble_whole(_layout(image, options, history), image)


def assemble_whole(layout: TiffLayout, image: Image) -> bytes:
    """The file of a layout of one window, with the image's pixels and mask."""
    mask = image.mask if layout.has_mask else None
    run = encode_run(layout, 0, image.pixels, mask=mask)
    file = _Growing(run)
    assemble(layout, [RunSource("", len(run))], read=file.read, sink=file)
    return b"".join(file.parts)


def _layout(image: Image, options: OutputConfig, history: str) -> TiffLayout:
    num_bands, height, width = image.pixels.shape
    longest = max(height, width)
    side = min(TILE_SIDE, -(-longest // TILE_STEP) * TILE_STEP)
    tags = profile_tags(image.profile, history=history, shape=(num_bands, height, width)).tags
    return TiffLayout(
        height=height,
        width=width,
        bands=image.profile.colorinterp,
        dtype=image.profile.dtype,
        window_side=-(-longest // side) * side,
        compression=options.tiff_compression,
        tags=tags,
        tile_sides=(side,),
        has_overviews=False,
    )


@dataclass(frozen=True)
class _Content:
    """The one object of a store, as `TiffWindows` reads it."""

    data: bytes = field(repr=False)
    num_bytes: int

    def stat(self, key: str) -> "_Content":
        return self

    def read(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        return self.data[start:end]


class _Growing:
    """The file that is assembled out of one run."""

    def __init__(self, run: bytes) -> None:
        self.parts: list[bytes] = []
        self._run = run

    def read(self, key: str, start: int, end: int) -> bytes:
        return self._run[start:end]

    def write(self, data: bytes) -> None:
        self.parts.append(data)

    def copy(self, key: str, start: int, end: int) -> None:
        self.parts.append(self._run[start:end])
