"""Cineon, which ganray reads and writes as DPX: its header, told in that of a DPX.

DPX grew out of Cineon and has a field for nearly all; what has none is named as lost.
Source: Kodak, "Cineon Image File Format Draft", and SMPTE ST 268.
"""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from ganray.codecs.film_dpx import HEADER_BYTES, MAX_FILE_BYTES, UNDEFINED, DpxHeader
from ganray.codecs.film_packing import FILLED_A, FILLED_B, Packing
from ganray.errors import UndecodableError, UnsupportedImageError

ORDERS = {b"\x80\x2a\x5f\xd7": ">", b"\xd7\x5f\x2a\x80": "<"}
CINEON_BYTES = 2048
DEPTH = 10

_DESCRIPTOR_RGB = 50
_METHODS = {5: FILLED_A, 6: FILLED_B}
_PRINTING_DENSITY = 1
_RGB_DENSITIES = (1, 2, 3)
_FIRST_CHANNEL, _CHANNEL_BYTES = 196, 28
_RGB_CHANNELS = (196, 224, 252)
_MOST = 2**31 - 1

# Offset in a DPX, and that in a Cineon.
_INTEGERS = ((1408, 712), (1412, 716), (1712, 1068))
_CODES = ((784, 208), (792, 216))
_FLOATS = ((788, 212), (796, 220), (1724, 1072), (1948, 980))
_TEXTS = (
    ("file name", (36, 100), (32, 100)),
    ("source's file name", (1432, 100), (720, 100)),
    ("input device", (1556, 32), (844, 64)),
    ("input device's serial number", (1588, 32), (940, 32)),
    ("film format", (1680, 32), (1036, 32)),
    ("frame identification", (1732, 32), (1076, 32)),
    ("slate", (1764, 100), (1108, 200)),
)
_KEYCODE = (
    *((1664, 2, 1024, "B"), (1666, 2, 1025, "B"), (1668, 2, 1026, "B")),
    *((1670, 6, 1028, "I"), (1676, 4, 1032, "I")),
)
"""Offset and digits in a DPX; offset and kind in a Cineon."""

# In a DPX: encryption key, all references, places and times that a Cineon may not have.
_UNDEFINED = (
    *(660, 784, 788, 792, 796, *range(1408, 1432, 4), 1628, 1632, 1636, 1640),
    *(*range(1712, 1732, 4), 1920, 1924, 1928, *range(1932, 1972, 4)),
)

# Of bytes in the wrong order, infinity, which is undefined, comes out as next to nothing.
_LEAST_FLOAT = 1e-30


@dataclass(frozen=True)
class CineonHeader:
    """All bytes before the pixels of a Cineon file."""

    data: bytes = field(repr=False)
    order: str

    def number(self, offset: int, kind: str) -> int:
        value: int = struct.unpack_from(self.order + kind, self.data, offset)[0]
        return value

    def real(self, offset: int) -> float | None:
        """A float that says something."""
        value: float = struct.unpack_from(f"{self.order}f", self.data, offset)[0]
        return value if math.isfinite(value) and abs(value) > _LEAST_FLOAT else None

    def text(self, offset: int, num_bytes: int) -> bytes:
        return self.data[offset : offset + num_bytes].partition(b"\0")[0].rstrip(b"\xff")

    @property
    def size(self) -> tuple[int, int]:
        return self.number(_FIRST_CHANNEL + 8, "I"), self.number(_FIRST_CHANNEL + 4, "I")

    @property
    def packing(self) -> Packing:
        return Packing(DEPTH, _METHODS[self.data[681]], self.order, 3)


def parse_cineon(data: bytes) -> CineonHeader:
    """The header of a file, of which `data` may be the beginning.

    Raises UndecodableError or UnsupportedImageError.
    """
    if data[:4] not in ORDERS or len(data) < CINEON_BYTES:
        raise UndecodableError(f"no Cineon header: {len(data)} bytes, begin {data[:4]!r}")
    begun = CineonHeader(data[:CINEON_BYTES], ORDERS[data[:4]])
    offset = begun.number(4, "I")
    if not CINEON_BYTES <= offset < MAX_FILE_BYTES or 0 in begun.size:
        height, width = begun.size
        raise UndecodableError(f"a Cineon of {width}x{height} pixels at byte {offset}: damaged")
    _refuse(begun)
    return CineonHeader(data[:offset], begun.order)


def cineon_pixel_span(header: CineonHeader, data: bytes) -> tuple[int, int]:
    """Where in a whole file the pixels are. Raises UndecodableError if it ends too early."""
    (height, width), start = header.size, len(header.data)
    end = start + height * header.packing.line_bytes(width)
    if len(data) < end:
        raise UndecodableError(
            f"a Cineon of {len(data)} bytes; expected {end} by its header: truncated"
        )
    return start, end


def as_dpx(header: CineonHeader) -> tuple[DpxHeader, tuple[str, ...]]:
    """A DPX header that says the same, and the names of what it has no place for."""
    user = header.data[CINEON_BYTES:].rstrip(b"\0")
    data = bytearray(HEADER_BYTES) + user
    data[:4] = b"SDPX" if header.order == ">" else b"XPDS"
    data[8:12] = b"V2.0"
    lost = list(_lost(header))
    for offset in _UNDEFINED:
        data[offset : offset + 4] = b"\xff" * 4
    for offset, kind, value in (*_structure(header, len(data)), *_numbers(header)):
        struct.pack_into(header.order + kind, data, offset, value)
    for name, offset, num_bytes, text in _texts(header):
        data[offset : offset + min(len(text), num_bytes)] = text[:num_bytes]
        lost += [f"{name} beyond {num_bytes} characters"] if len(text) > num_bytes else []
    return DpxHeader(bytes(data)), tuple(lost)


def _refuse(header: CineonHeader) -> None:
    starts = range(_FIRST_CHANNEL, _FIRST_CHANNEL + 8 * _CHANNEL_BYTES, _CHANNEL_BYTES)
    depths = [header.data[start + 2] for start in starts][: header.data[193]]
    if depths != [DEPTH] * 3 or header.data[680] or header.data[681] not in _METHODS:
        raise UnsupportedImageError(
            f"a Cineon of {'+'.join(map(str, depths))}-bit channels, interleave "
            f"{header.data[680]}, packing {header.data[681]}; expected three of 10 bits, pixel "
            "by pixel, in words of 32 bits"
        )
    sizes = {header.data[start + 4 : start + 12] for start in _RGB_CHANNELS}
    if len(sizes) > 1:
        raise UnsupportedImageError("a Cineon whose channels differ in size; expected one size")
    if header.data[682] or header.number(684, "I") not in (0, UNDEFINED["I"]):
        raise UnsupportedImageError("a Cineon of signed samples or padded lines; expected neither")


def _structure(header: CineonHeader, num_bytes: int) -> Iterator[tuple[int, str, int]]:
    """Offset in a DPX, kind and value of what says how the file is laid out."""
    (height, width), num_user = header.size, num_bytes - HEADER_BYTES
    yield from ((4, "I", num_bytes), (20, "I", 1), (24, "I", 1664), (28, "I", 384))
    yield from ((32, "I", num_user), (768, "H", header.data[192]), (770, "H", 1))
    yield from ((772, "I", width), (776, "I", height), (800, "B", _DESCRIPTOR_RGB))
    yield from ((803, "B", DEPTH), (804, "H", header.packing.method), (808, "I", num_bytes))
    densities = tuple(header.data[start + 1] for start in _RGB_CHANNELS) == _RGB_DENSITIES
    transfer = _PRINTING_DENSITY if densities and not header.data[196] else UNDEFINED["B"]
    yield from ((801, "B", transfer), (802, "B", transfer))


def _numbers(header: CineonHeader) -> Iterator[tuple[int, str, float]]:
    """Offset in a DPX, kind and value of what is defined."""
    for offset, place in _INTEGERS:
        value = header.number(place, "I")
        if value <= _MOST:
            yield offset, "I", value
    for offset, place in _CODES:
        code = header.real(place)
        if code is not None and code == int(code) and 0 <= code <= _MOST:
            yield offset, "I", int(code)
    for offset, place in _FLOATS:
        real = header.real(place)
        if real is not None:
            yield offset, "f", real


def _texts(header: CineonHeader) -> Iterator[tuple[str, int, int, bytes]]:
    """Name, offset and length in a DPX, and text."""
    for name, (offset, num_bytes), place in _TEXTS:
        yield name, offset, num_bytes, header.text(*place)
    for name, offset, start in (("creation time", 136, 132), ("source time", 1532, 820)):
        both = header.text(start, 12), header.text(start + 12, 12)
        yield name, offset, 24, b":".join(part for part in both if part)
    keycode = [header.number(place, kind) for _, _, place, kind in _KEYCODE]
    for (offset, digits, _, kind), value in zip(_KEYCODE, keycode, strict=True):
        if any(keycode) and value != UNDEFINED[kind]:
            yield "keycode", offset, digits, b"%0*d" % (digits, value)


def _lost(header: CineonHeader) -> Iterator[str]:
    """What a DPX has no field for, if it says something."""
    if header.text(452, 200):
        yield "label"
    if any(header.real(place) is not None for place in range(420, 452, 4)):
        yield "white point and primaries"
    if header.text(908, 32):
        yield "input device's model"
    if any(header.real(place) is not None for place in (972, 976)):
        yield "input device's pitch"
    if header.data[683] == 1:
        yield "negative image sense"
    if any(_MOST < header.number(place, "I") < UNDEFINED["I"] for place in (712, 716)):
        yield "negative offset"
    references = [
        tuple(header.real(start + place) for place in (12, 16, 20, 24)) for start in _RGB_CHANNELS
    ]
    if len(set(references)) > 1:
        yield "reference values of green and blue"
