"""The layout of one large TIFF that many workers make: its levels, tiles, windows and directories.

A pure function of a few numbers, so that all who take part agree without talking. Level 0 is
the image, each further level half as large, until one tile holds it. Pixels are (C,H,W) in
the layout's dtype; inside the file they are interleaved by pixel. A mask is a plane of its own
beside the image's, with directories and tiles of its own on every level.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ganray.codecs.tiff_metadata import LAYOUT_TAGS
from ganray.codecs.tiff_tags import Code, Kind, Tag, numbers_tag
from ganray.codecs.tiff_tiles import COMPRESSIONS, DTYPES, NO_PREDICTOR, predictor
from ganray.raster.validity import EVERYWHERE, Validity
from ganray.raster.windows import Box

TILE_SIDES = (512, 256, 128, 64)
TILE_BYTES = 8 << 20
"""What a tile should not exceed before compression: images of many bands have smaller ones."""
HIGHEST_STRIP = 512

RGB = ("red", "green", "blue")
PHOTOMETRIC_GRAY, PHOTOMETRIC_RGB, PHOTOMETRIC_MASK = 1, 2, 4
EXTRA_UNSPECIFIED, EXTRA_UNASSOCIATED_ALPHA = 0, 2
REDUCED_RESOLUTION, TRANSPARENCY_MASK = 1, 4
SAMPLE_FORMATS = {"u": 1, "i": 2, "f": 3}

Sizes = NDArray[np.int64]
"""Offsets or byte counts of one level's tiles, (planes,rows,columns): the image's, its mask's."""


@dataclass(frozen=True)
class TiffLayout:
    """What the file will be. All sides are in pixels of the output.

    `bands` are named as in `Profile`. `window_side` is a multiple of one of `tile_sides`, of
    which the first that fits is used. `tags` go into the directory of the image,
    `overview_tags` into those of its overviews, if it `has_overviews`. Overviews are made of what
    `validity` says are values.
    """

    height: int
    width: int
    bands: tuple[str, ...]
    dtype: str
    window_side: int
    compression: str = "deflate"
    tags: tuple[Tag, ...] = ()
    overview_tags: tuple[Tag, ...] = ()
    tile_sides: tuple[int, ...] = TILE_SIDES
    has_overviews: bool = True
    validity: Validity = EVERYWHERE

    def __post_init__(self) -> None:
        assert self.height > 0 and self.width > 0 and self.bands, f"{self} has no pixels"
        assert self.dtype in DTYPES and self.compression in COMPRESSIONS, f"{self} is not written"
        assert any(self.window_side % side == 0 for side in self.tile_sides), (
            f"window_side {self.window_side} is no multiple of one of {self.tile_sides}"
        )
        assert all(side % 16 == 0 for side in self.tile_sides), "TIFF wants multiples of 16"
        for tags in (self.tags, self.overview_tags):
            codes = {tag.code for tag in tags}
            assert len(codes) == len(tags) and not codes & LAYOUT_TAGS, f"tags {sorted(codes)}"

    @property
    def num_bands(self) -> int:
        return len(self.bands)

    @cached_property
    def tile_side(self) -> int:
        fitting = [side for side in self.tile_sides if self.window_side % side == 0]
        pixel_bytes = self.num_bands * np.dtype(self.dtype).itemsize
        small = [side for side in fitting if side**2 * pixel_bytes <= TILE_BYTES]
        tiled = (side for side in small if not self._looks_like_strips(side))
        return next(tiled, small[0] if small else fitting[-1])

    def _looks_like_strips(self, side: int) -> bool:
        """Whether validators take a level of such tiles for strips: one is as wide as the level."""
        return any(
            width == side and height > HIGHEST_STRIP
            for height, width in _halves(self.height, self.width, side)
        )

    @property
    def has_mask(self) -> bool:
        return self.validity.kind == "mask"

    @property
    def num_planes(self) -> int:
        return 2 if self.has_mask else 1

    @cached_property
    def levels(self) -> tuple[tuple[int, int], ...]:
        """(height, width) of every level."""
        if not self.has_overviews:
            return ((self.height, self.width),)
        return tuple(_halves(self.height, self.width, self.tile_side))

    @property
    def num_shared_levels(self) -> int:
        """How many overviews have no tile that reaches over two windows: levels 1 to this one."""
        tiles, shared = self.window_side // self.tile_side, 0
        while tiles % 2 == 0:
            tiles, shared = tiles // 2, shared + 1
        return min(shared, len(self.levels) - 1)

    @property
    def window_columns(self) -> int:
        return -(-self.width // self.window_side)

    @property
    def num_windows(self) -> int:
        return -(-self.height // self.window_side) * self.window_columns

    def window_box(self, index: int, level: int = 0) -> Box:
        """The pixels of a window, in those of a level up to one above the shared ones."""
        row, column = divmod(index, self.window_columns)
        side = self.window_side >> level
        height, width = self.levels[level]
        return Box(
            row * side,
            column * side,
            min((row + 1) * side, height),
            min((column + 1) * side, width),
        )

    def window_tiles(self, index: int, level: int) -> Box:
        """The tiles of a window on a shared level, in rows and columns of that level's tiles."""
        box, side = self.window_box(index, level), self.tile_side
        return Box(box.top // side, box.left // side, -(-box.bottom // side), -(-box.right // side))

    def tile_grid(self, level: int) -> tuple[int, int]:
        """Rows and columns of a level's tiles."""
        height, width = self.levels[level]
        return -(-height // self.tile_side), -(-width // self.tile_side)

    @property
    def digest(self) -> str:
        """Names all that the bytes of a run depend on, apart from its pixels; not the tags."""
        numbers: list[object] = [self.height, self.width, self.bands, self.dtype, self.window_side]
        numbers += [self.tile_side, self.compression]
        numbers += [] if self.has_overviews else ["no overviews"]
        numbers += [] if self.validity == EVERYWHERE else [repr(self.validity)]
        content = json.dumps(numbers)
        return hashlib.sha256(content.encode()).hexdigest()


def _halves(height: int, width: int, tile_side: int) -> Iterator[tuple[int, int]]:
    """Sizes of all levels down to that which one tile holds."""
    yield height, width
    while max(height, width) > tile_side:
        height, width = -(-height // 2), -(-width // 2)
        yield height, width


def directories(
    layout: TiffLayout, offsets: Sequence[Sizes], byte_counts: Sequence[Sizes], *, big: bool
) -> list[tuple[Tag, ...]]:
    """The directories of the file, for offsets and byte counts of all tiles.

    In GDAL's order: the image, its mask, the overviews, their masks.
    """
    made = []
    for level, plane in _directory_order(layout):
        shape = (layout.num_planes, *layout.tile_grid(level))
        tables = [table[level].reshape(shape)[plane] for table in (offsets, byte_counts)]
        own = _mask_tags(layout, level) if plane else _image_tags(layout, level)
        made.append((*_level_tags(layout, level), *own, *_table_tags(*tables, big=big)))
    return made


def _directory_order(layout: TiffLayout) -> Iterator[tuple[int, int]]:
    """Level and plane of every directory."""
    for levels in (range(1), range(1, len(layout.levels))):
        for plane in range(layout.num_planes):
            yield from ((level, plane) for level in levels)


def _level_tags(layout: TiffLayout, level: int) -> tuple[Tag, ...]:
    """What the directories of a level have in common."""
    height, width = layout.levels[level]
    return (
        numbers_tag(Code.WIDTH, Kind.LONG, width),
        numbers_tag(Code.HEIGHT, Kind.LONG, height),
        numbers_tag(Code.COMPRESSION, Kind.SHORT, COMPRESSIONS[layout.compression]),
        numbers_tag(Code.PLANAR_CONFIGURATION, Kind.SHORT, 1),
        numbers_tag(Code.TILE_WIDTH, Kind.LONG, layout.tile_side),
        numbers_tag(Code.TILE_HEIGHT, Kind.LONG, layout.tile_side),
    )


def _image_tags(layout: TiffLayout, level: int) -> tuple[Tag, ...]:
    dtype = np.dtype(layout.dtype)
    extra = extra_samples(layout.bands)
    photometric = PHOTOMETRIC_GRAY if len(layout.bands) - len(extra) == 1 else PHOTOMETRIC_RGB
    each = layout.num_bands
    return (
        numbers_tag(Code.SUBFILE_TYPE, Kind.LONG, REDUCED_RESOLUTION if level else 0),
        numbers_tag(Code.BITS_PER_SAMPLE, Kind.SHORT, *[8 * dtype.itemsize] * each),
        numbers_tag(Code.PHOTOMETRIC, Kind.SHORT, photometric),
        numbers_tag(Code.SAMPLES_PER_PIXEL, Kind.SHORT, each),
        numbers_tag(Code.PREDICTOR, Kind.SHORT, predictor(layout.dtype, layout.compression)),
        *((numbers_tag(Code.EXTRA_SAMPLES, Kind.SHORT, *extra),) if extra else ()),
        numbers_tag(Code.SAMPLE_FORMAT, Kind.SHORT, *[SAMPLE_FORMATS[dtype.kind]] * each),
        *(layout.overview_tags if level else layout.tags),
    )


def _mask_tags(layout: TiffLayout, level: int) -> tuple[Tag, ...]:
    kind = TRANSPARENCY_MASK | (REDUCED_RESOLUTION if level else 0)
    return (
        numbers_tag(Code.SUBFILE_TYPE, Kind.LONG, kind),
        numbers_tag(Code.BITS_PER_SAMPLE, Kind.SHORT, 1),
        numbers_tag(Code.PHOTOMETRIC, Kind.SHORT, PHOTOMETRIC_MASK),
        numbers_tag(Code.SAMPLES_PER_PIXEL, Kind.SHORT, 1),
        numbers_tag(Code.PREDICTOR, Kind.SHORT, NO_PREDICTOR),
        numbers_tag(Code.SAMPLE_FORMAT, Kind.SHORT, 1),
    )


def extra_samples(bands: Sequence[str]) -> list[int]:
    """What TIFF's ExtraSamples says of the bands behind gray or RGB."""
    extra = bands[3:] if tuple(bands[:3]) == RGB else bands[1:]
    return [EXTRA_UNASSOCIATED_ALPHA if b == "alpha" else EXTRA_UNSPECIFIED for b in extra]


def _table_tags(offsets: Sizes, byte_counts: Sizes, *, big: bool) -> tuple[Tag, Tag]:
    kind, dtype = (Kind.LONG8, "<u8") if big else (Kind.LONG, "<u4")
    return (
        Tag(Code.TILE_OFFSETS, kind, offsets.astype(dtype).tobytes()),
        Tag(Code.TILE_BYTE_COUNTS, Kind.LONG, byte_counts.astype("<u4").tobytes()),
    )
