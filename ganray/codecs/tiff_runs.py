"""What one window contributes to a large TIFF: a run of compressed tiles that describes itself.

A run is [tiles of level 0][tiles of each shared overview level][footer][trailer]; where there is
a mask, its tiles of a level stand behind the image's. The footer is
a JSON index and, where there are overviews above the shared ones, the window's pixels half as
large as the last shared level. It is all that an assembler has to understand of a run; it
copies the rest. Equal pixels give equal runs, so that a window may be made twice.

A run says to which layout and window it belongs, but not of which scene it is: where scenes
have equal sizes, name the scene in `extra`.
"""

import hashlib
import json
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate, chain, islice, pairwise
from typing import Any

import numpy as np

from ganray.codecs.tiff_tiles import (
    compress,
    decode_mask_tile,
    decode_tile,
    decompress,
    encode_mask_tile,
    encode_tile,
    halve_masked,
    interleave,
    separate,
)
from ganray.codecs.tiled_tiff import TiffLayout
from ganray.errors import UndecodableError
from ganray.raster.image import Pixels
from ganray.raster.validity import Mask, MaskedPixels, unstack
from ganray.raster.windows import Box, crop, place

MAGIC = b"GANRUN01"
FOOTER_READ_BYTES = 256 << 10
"""What is read of a run's end at first; nearly every footer is smaller."""

# Magic, bytes of JSON, bytes of pixels, CRC-32 of both.
_TRAILER = struct.Struct("<8s3I")
_PIXELS_COMPRESSION = "deflate"

ReadRange = Callable[[str, int, int], bytes]
"""Returns the bytes [start, end) of the object of a key, as `Store.read` does."""


@dataclass(frozen=True)
class RunSource:
    """Where a run is stored."""

    key: str
    num_bytes: int


@dataclass(frozen=True)
class LevelBytes:
    """The tiles of one level inside a run: their range of bytes, and its CRC-32."""

    start: int
    end: int
    crc: int


@dataclass(frozen=True)
class RunFooter:
    """The index of a run.

    `tile_bytes` and `levels` are in order of levels, and the tiles of a level row by row, the
    mask's behind the image's. `sha256` is that of level 0. `rest` are the pixels of the first
    level above the shared ones, None if there is none.
    """

    tile_bytes: tuple[tuple[int, ...], ...]
    levels: tuple[LevelBytes, ...]
    sha256: str
    extra: Mapping[str, Any]
    rest: MaskedPixels | None = field(repr=False)


def encode_run(
    layout: TiffLayout,
    index: int,
    pixels: Pixels,
    extra: Mapping[str, Any] | None = None,
    *,
    mask: Mask | None = None,
) -> bytes:
    """Encode the pixels (C,H,W) of one window. `extra`, JSON, is kept for whoever reads the run.

    The `mask` (H,W) is for a layout that has one; None is valid everywhere.
    """
    box = layout.window_box(index)
    expected = (layout.num_bands, box.height, box.width)
    assert pixels.shape == expected, f"window {index} has shape {pixels.shape}, not {expected}"
    assert pixels.dtype == layout.dtype, f"window {index} is {pixels.dtype}, not {layout.dtype}"
    assert mask is None or (layout.has_mask and mask.shape == expected[1:]), "no such mask"
    everywhere = np.ones(expected[1:], np.bool_)
    image = MaskedPixels(pixels, everywhere if layout.has_mask and mask is None else mask)
    levels: list[list[bytes]] = []
    for level in range(layout.num_shared_levels + 1):
        image = halve_masked(image, layout.validity) if level else image
        levels.append(list(_encode_tiles(layout, image)))
    described = {
        "layout": layout.digest,
        "window": index,
        "tile_bytes": [[len(tile) for tile in tiles] for tiles in levels],
        "crc": [_crc(tiles) for tiles in levels],
        "sha256": _sha256(levels[0]),
        "extra": dict(extra or {}),
    }
    packed = json.dumps(described, sort_keys=True, separators=(",", ":")).encode()
    rest = _encode_rest(layout, image)
    trailer = _TRAILER.pack(MAGIC, len(packed), len(rest), _crc([packed, rest]))
    return b"".join((*chain.from_iterable(levels), packed, rest, trailer))


def read_footer(layout: TiffLayout, index: int, *, source: RunSource, read: ReadRange) -> RunFooter:
    """Read and check the footer of the run of one window, with one request or two.

    Raises UndecodableError if it is damaged, or belongs to another layout or window.
    """
    packed, rest = _read_footer_bytes(source, read)
    described = json.loads(packed)
    if (described["layout"], described["window"]) != (layout.digest, index):
        raise UndecodableError(
            f"{source.key}: the run of window {described['window']} of another layout or place; "
            f"expected window {index}; restore the window again"
        )
    tile_bytes = tuple(tuple(sizes) for sizes in described["tile_bytes"])
    edges = list(accumulate(map(sum, tile_bytes), initial=0))
    _check_tiles(layout, index, source, tile_bytes)
    if edges[-1] + len(packed) + len(rest) + _TRAILER.size != source.num_bytes:
        raise _damaged(source, f"{source.num_bytes} bytes do not add up to its tiles and footer")
    return RunFooter(
        tile_bytes=tile_bytes,
        levels=tuple(
            LevelBytes(*edge, crc)
            for edge, crc in zip(pairwise(edges), described["crc"], strict=True)
        ),
        sha256=described["sha256"],
        extra=described["extra"],
        rest=_decode_rest(layout, index, rest),
    )


def decode_run(layout: TiffLayout, index: int, data: bytes) -> Pixels:
    """The pixels (C,H,W) of a whole run. Raises UndecodableError if it is not intact."""
    return decode_masked_run(layout, index, data).pixels


def decode_masked_run(layout: TiffLayout, index: int, data: bytes) -> MaskedPixels:
    """The pixels of a whole run with their mask. Raises UndecodableError if it is not intact."""
    source = RunSource(f"window {index}", len(data))
    footer = read_footer(layout, index, source=source, read=lambda key, start, end: data[start:end])
    full = footer.levels[0]
    if _sha256([data[full.start : full.end]]) != footer.sha256:
        raise _damaged(source, "its tiles differ from their checksum")
    window = layout.window_box(index)
    pixels = np.empty((layout.num_bands, window.height, window.width), layout.dtype)
    mask = np.empty((1, window.height, window.width), np.bool_)
    shape = (layout.num_bands, layout.tile_side, layout.tile_side)
    edges = pairwise(accumulate(footer.tile_bytes[0], initial=full.start))
    boxes = list(_tile_boxes(layout, window.height, window.width))
    for box, (start, end) in zip(boxes, islice(edges, len(boxes)), strict=True):
        tile = decode_tile(data[start:end], shape, layout.dtype, layout.compression)
        place(pixels, crop(tile, box.shift(box.top, box.left)), box)
    if not layout.has_mask:
        return MaskedPixels(pixels)
    for box, (start, end) in zip(boxes, edges, strict=True):
        bits = decode_mask_tile(data[start:end], layout.tile_side, layout.compression)
        place(mask, crop(bits[np.newaxis], box.shift(box.top, box.left)), box)
    return MaskedPixels(pixels, mask[0])


def _encode_tiles(layout: TiffLayout, image: MaskedPixels) -> Iterator[bytes]:
    _, height, width = image.pixels.shape
    side, compression = layout.tile_side, layout.compression
    for box in _tile_boxes(layout, height, width):
        yield encode_tile(crop(image.pixels, box), side, compression)
    if image.mask is not None:
        for box in _tile_boxes(layout, height, width):
            yield encode_mask_tile(crop(image.mask[np.newaxis], box)[0], side, compression)


def _tile_boxes(layout: TiffLayout, height: int, width: int) -> Iterator[Box]:
    """The boxes of the tiles that cover so many pixels, row by row, cut by their edges."""
    side = layout.tile_side
    for top in range(0, height, side):
        for left in range(0, width, side):
            yield Box(top, left, min(top + side, height), min(left + side, width))


def _encode_rest(layout: TiffLayout, image: MaskedPixels) -> bytes:
    """Half the size of the last shared level, for the levels above it."""
    if layout.num_shared_levels == len(layout.levels) - 1:
        return b""
    halved = halve_masked(image, layout.validity)
    return compress(interleave(halved.stack()), _PIXELS_COMPRESSION)


def _decode_rest(layout: TiffLayout, index: int, rest: bytes) -> MaskedPixels | None:
    level = layout.num_shared_levels + 1
    if level == len(layout.levels):
        return None
    box = layout.window_box(index, level)
    shape = (box.height, box.width, layout.num_bands + layout.has_mask)
    planes = separate(decompress(rest, shape, layout.dtype, _PIXELS_COMPRESSION))
    return unstack(planes, has_mask=layout.has_mask)


def _read_footer_bytes(source: RunSource, read: ReadRange) -> tuple[bytes, bytes]:
    start = max(0, source.num_bytes - FOOTER_READ_BYTES)
    tail = read(source.key, start, source.num_bytes)
    if len(tail) != source.num_bytes - start or len(tail) < _TRAILER.size:
        raise _damaged(source, f"it ends {source.num_bytes - start - len(tail)} bytes early")
    magic, num_packed, num_rest, crc = _TRAILER.unpack(tail[-_TRAILER.size :])
    footer_bytes = num_packed + num_rest + _TRAILER.size
    if magic != MAGIC or footer_bytes > source.num_bytes:
        raise _damaged(source, "it has no footer")
    if footer_bytes > len(tail):
        tail = read(source.key, source.num_bytes - footer_bytes, start) + tail
    footer = tail[-footer_bytes : -_TRAILER.size]
    if zlib.crc32(footer) != crc:
        raise _damaged(source, "its footer differs from its checksum")
    return footer[:num_packed], footer[num_packed:]


def _check_tiles(
    layout: TiffLayout, index: int, source: RunSource, tile_bytes: tuple[tuple[int, ...], ...]
) -> None:
    """Every tile of every shared level has to be there, and to hold something."""
    boxes = [layout.window_tiles(index, n) for n in range(layout.num_shared_levels + 1)]
    found = [len(sizes) for sizes in tile_bytes]
    expected = [layout.num_planes * box.num_pixels for box in boxes]
    if found != expected or min(map(min, tile_bytes)) < 1:
        raise _damaged(
            source, f"it has {found} tiles, some of them empty or none; expected {expected}"
        )


def _crc(parts: Iterable[bytes]) -> int:
    crc = 0
    for part in parts:
        crc = zlib.crc32(part, crc)
    return crc


def _sha256(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _damaged(source: RunSource, what: str) -> UndecodableError:
    return UndecodableError(
        f"{source.key}: a damaged or truncated run: {what}; restore the window again"
    )
