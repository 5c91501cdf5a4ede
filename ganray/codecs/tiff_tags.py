"""TIFF's tags, and how directories of them are packed: classic TIFF or BigTIFF, little-endian.

An EXIF block is a classic TIFF without pixels and is packed here too. Says nothing about what
a tag means, and reads no file: `tiff_directories.py` does.
"""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from ganray.errors import UndecodableError


class Code(IntEnum):
    """The tags that ganray reads or writes, by TIFF's or EXIF's number."""

    SUBFILE_TYPE = 254
    OLD_SUBFILE_TYPE = 255
    WIDTH = 256
    HEIGHT = 257
    BITS_PER_SAMPLE = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    FILL_ORDER = 266
    DOCUMENT_NAME = 269
    DESCRIPTION = 270
    MAKE = 271
    MODEL = 272
    STRIP_OFFSETS = 273
    ORIENTATION = 274
    SAMPLES_PER_PIXEL = 277
    ROWS_PER_STRIP = 278
    STRIP_BYTE_COUNTS = 279
    X_RESOLUTION = 282
    Y_RESOLUTION = 283
    PLANAR_CONFIGURATION = 284
    RESOLUTION_UNIT = 296
    SOFTWARE = 305
    DATE_TIME = 306
    ARTIST = 315
    HOST_COMPUTER = 316
    PREDICTOR = 317
    TILE_WIDTH = 322
    TILE_HEIGHT = 323
    TILE_OFFSETS = 324
    TILE_BYTE_COUNTS = 325
    SUB_DIRECTORIES = 330
    EXTRA_SAMPLES = 338
    SAMPLE_FORMAT = 339
    JPEG_TABLES = 347
    XMP = 700
    DEPTH = 32997
    COPYRIGHT = 33432
    PIXEL_SCALE = 33550
    METAMORPH = 33629
    IPTC = 33723
    INTERGRAPH_MATRIX = 33920
    TIEPOINTS = 33922
    TRANSFORMATION = 34264
    PHOTOSHOP = 34377
    EXIF = 34665
    ICC = 34675
    GEO_KEYS = 34735
    GEO_DOUBLES = 34736
    GEO_TEXTS = 34737
    GPS = 34853
    IMAGE_HISTORY = 37395
    PHOTOSHOP_LAYERS = 37724
    EXIF_WIDTH = 40962
    EXIF_HEIGHT = 40963
    INTEROPERABILITY = 40965
    GDAL_METADATA = 42112
    GDAL_NODATA = 42113
    RPC = 50844
    RSID = 50908
    GEO_METADATA = 50909


GEOTIFF_TAGS = frozenset((33550, 33922, 34264, 34735, 42113))
"""What makes a TIFF a GeoTIFF: its georeference, and GDAL's nodata."""


class Kind(IntEnum):
    """TIFF's types of values."""

    BYTE = 1
    ASCII = 2
    SHORT = 3
    LONG = 4
    RATIONAL = 5
    SBYTE = 6
    UNDEFINED = 7
    SSHORT = 8
    SLONG = 9
    SRATIONAL = 10
    FLOAT = 11
    DOUBLE = 12
    IFD = 13
    LONG8 = 16
    SLONG8 = 17
    IFD8 = 18


# A rational is one value of two words, and byte order is a matter of words.
WORD_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 1, 7: 1, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4}
WORD_BYTES |= {16: 8, 17: 8, 18: 8}
_UNSIGNED = (Kind.BYTE, Kind.SHORT, Kind.LONG, Kind.IFD, Kind.LONG8, Kind.IFD8)


@dataclass(frozen=True)
class Tag:
    """One entry of a directory: `data` holds its values, little-endian.

    `children` is the directory that the tag points to, in place of `data`.
    """

    code: int
    kind: Kind
    data: bytes = field(default=b"", repr=False)
    children: tuple["Tag", ...] = ()

    @property
    def count(self) -> int:
        return len(self.data) // value_bytes(self.kind)


def value_bytes(kind: Kind) -> int:
    """Bytes of one value."""
    return WORD_BYTES[kind] * (2 if kind in (Kind.RATIONAL, Kind.SRATIONAL) else 1)


def numbers_tag(code: int, kind: Kind, *values: float) -> Tag:
    """A tag of integers or floats; a rational's values are numerator and denominator in turn."""
    letters = {Kind.FLOAT: "f", Kind.DOUBLE: "d", Kind.SSHORT: "h", Kind.SLONG: "i"}
    letter = letters.get(kind) or {1: "B", 2: "H", 4: "I", 8: "Q"}[WORD_BYTES[kind]]
    return Tag(code, kind, struct.pack(f"<{len(values)}{letter}", *values))


def text_tag(code: int, text: str) -> Tag:
    """A tag of text, closed by the zero byte that TIFF asks for."""
    return Tag(code, Kind.ASCII, text.encode() + b"\0")


def directory_tag(code: int, children: Sequence[Tag]) -> Tag:
    """A tag that points to a directory of its own."""
    return Tag(code, Kind.LONG, children=tuple(children))


def numbers(tag: Tag) -> NDArray[np.int64]:
    """The values of a tag of unsigned integers. Raises UndecodableError for anything else."""
    if tag.kind not in _UNSIGNED:
        raise UndecodableError(f"tag {tag.code} is of type {tag.kind.name}; expected integers")
    values = np.frombuffer(tag.data, f"<u{WORD_BYTES[tag.kind]}")
    if values.size and int(values.max()) > np.iinfo(np.int64).max:
        raise UndecodableError(f"tag {tag.code} holds {int(values.max())}: damaged")
    return values.astype(np.int64)


def rationals(tag: Tag) -> tuple[Fraction, ...]:
    """The values of a tag of unsigned rationals; none if a denominator is 0 or the kind differs."""
    if tag.kind is not Kind.RATIONAL:
        return ()
    words = np.frombuffer(tag.data, "<u4").tolist()
    pairs = list(zip(words[::2], words[1::2], strict=True))
    return () if any(not below for _, below in pairs) else tuple(Fraction(*pair) for pair in pairs)


def pack_file(directories: Sequence[Sequence[Tag]], *, big: bool) -> bytes:
    """A TIFF's beginning: header and chained directories with all that their tags hold."""
    header = (
        struct.pack("<2s3HQ", b"II", 43, 8, 0, 16) if big else struct.pack("<2sHI", b"II", 42, 8)
    )
    parts, start = [header], len(header)
    for number, tags in enumerate(directories, start=1):
        end = start + _directory_bytes(tags, big=big)
        parts.append(_pack_directory(tags, start, end if number < len(directories) else 0, big=big))
        start = end
    return b"".join(parts)


def file_bytes(directories: Sequence[Sequence[Tag]], *, big: bool) -> int:
    """The length of what `pack_file` returns."""
    return (16 if big else 8) + sum(_directory_bytes(tags, big=big) for tags in directories)


def _directory_bytes(tags: Sequence[Tag], *, big: bool) -> int:
    inline = 8 if big else 4
    outside = sum(_aligned(len(tag.data)) for tag in tags if len(tag.data) > inline)
    below = sum(_directory_bytes(tag.children, big=big) for tag in tags if tag.children)
    return _table_bytes(len(tags), big=big) + outside + below


def _table_bytes(num_tags: int, *, big: bool) -> int:
    return _aligned(16 + 20 * num_tags if big else 6 + 12 * num_tags)


def _aligned(num_bytes: int) -> int:
    return math.ceil(num_bytes / 8) * 8


def _pack_directory(tags: Sequence[Tag], start: int, following: int, *, big: bool) -> bytes:
    """A directory at `start`: its table, the values that do not fit into it, its children."""
    offset_format, entry_format = ("<Q", "<HHQ") if big else ("<I", "<HHI")
    table = [struct.pack("<Q" if big else "<H", len(tags))]
    values: list[bytes] = []
    position = start + _table_bytes(len(tags), big=big)
    for tag in sorted(tags, key=lambda tag: tag.code):
        kind, count, outside = tag.kind, tag.count, tag.data
        if tag.children:
            kind, count = (Kind.LONG8 if big else Kind.LONG), 1
            outside = _pack_directory(tag.children, position, 0, big=big)
        table.append(struct.pack(entry_format, tag.code, kind, count))
        if not tag.children and len(outside) <= struct.calcsize(offset_format):
            table.append(outside.ljust(struct.calcsize(offset_format), b"\0"))
            continue
        table.append(struct.pack(offset_format, position))
        values.append(outside.ljust(_aligned(len(outside)), b"\0"))
        position += len(values[-1])
    table.append(struct.pack(offset_format, following))
    packed = b"".join(table)
    return b"".join((packed.ljust(_table_bytes(len(tags), big=big), b"\0"), *values))
