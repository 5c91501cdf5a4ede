"""The header of a DPX: what it says of the pixels, and the same header for restored ones.

A header is kept as the bytes that it is, vendor's fields and undefined values included; only
what speaks of size and place is rewritten. Source: SMPTE ST 268.
"""

import struct
from dataclasses import dataclass, field

from ganray.codecs.film_packing import DEPTHS, METHODS, Packing
from ganray.errors import UndecodableError, UnsupportedImageError
from ganray.raster.image import Pixels

ORDERS = {b"SDPX": ">", b"XPDS": "<"}
"""Byte order by magic."""

GENERIC_BYTES, HEADER_BYTES = 1664, 2048
"""Without and with what is of the film and television industries."""

UNDEFINED = {"B": 0xFF, "H": 0xFFFF, "I": 0xFFFFFFFF}
MAX_FILE_BYTES = 2**32 - 2

USER_ID_BYTES = 32
HISTORY_ID = b"ganray"
"""Names the user data that a restoration leaves: a line for each."""

IMAGE_OFFSET, FILE_BYTES, USER_BYTES = (4, "I"), (16, "I"), (32, "I")
ORIENTATION, NUM_ELEMENTS, WIDTH, HEIGHT = (768, "H"), (770, "H"), (772, "I"), (776, "I")
IS_SIGNED, DESCRIPTOR, TRANSFER, COLORIMETRIC = (780, "I"), (800, "B"), (801, "B"), (802, "B")
BIT_DEPTH, PACKING, ENCODING, ELEMENT_OFFSET = (803, "B"), (804, "H"), (806, "H"), (808, "I")
LINE_PADDING = (812, "I")
TIMECODE, FRAME_RATES = (1920, "I"), (1940, 1724)
LARGEST_RATE = 1e6
TEXTS = {
    **{"creator": (160, 260), "project": (260, 460), "keycode": (1664, 1680)},
    **{"film_format": (1680, 1712), "frame_id": (1732, 1764), "slate": (1764, 1864)},
}
"""What a header says in words: of the file, and of its film."""

_IN_PIXELS = ((1408, "I"), (1412, "I"), (1416, "f"), (1420, "f"), (1424, "I"), (1428, "I"))
_BORDERS = ((1620, "H"), (1622, "H"), (1624, "H"), (1626, "H"))

_MAX_FLOAT = 3.4028234e38

_RGB = ("red", "green", "blue")
BANDS = {
    # A separation, one colour's black-and-white record, is a gray picture by itself.
    **dict.fromkeys((1, 2, 3, 6), ("gray",)),
    50: _RGB,
    51: (*_RGB, "alpha"),
    52: (*_RGB, "alpha"),
}
_ABGR = 52
_OTHER_DESCRIPTORS = {
    **{0: "user-defined", 4: "alpha alone", 7: "colour difference", 8: "depth", 9: "composite"},
    **{100: "CbYCrY 4:2:2", 101: "CbYACrYA 4:2:2:4", 102: "CbYCr", 103: "CbYCrA"},
}

Field = tuple[int, str]
"""Where a number stands in a header, and its kind as in `struct`."""


@dataclass(frozen=True)
class DpxHeader:
    """All bytes before the pixels of a DPX. `line_step`: lines begin at multiples of it."""

    data: bytes = field(repr=False)
    line_step: int = 4

    @property
    def order(self) -> str:
        return ORDERS[self.data[:4]]

    def number(self, place: Field) -> int:
        """An unsigned integer; 0 if it is undefined."""
        value: int = struct.unpack_from(self.order + place[1], self.data, place[0])[0]
        return 0 if value == UNDEFINED[place[1]] else value

    @property
    def size(self) -> tuple[int, int]:
        return self.number(HEIGHT), self.number(WIDTH)

    @property
    def bands(self) -> tuple[str, ...]:
        return BANDS[self.number(DESCRIPTOR)]

    @property
    def packing(self) -> Packing:
        depth, method = self.number(BIT_DEPTH), self.number(PACKING)
        return Packing(depth, method, self.order, len(self.bands))

    def stride(self, width: int) -> int:
        """Bytes from one line to the next."""
        line_bytes = self.packing.line_bytes(width) + self.number(LINE_PADDING)
        return -(-line_bytes // self.line_step) * self.line_step

    def stored_order(self, pixels: Pixels) -> Pixels:
        """Red, green, blue, alpha as the file has them, or back."""
        return pixels[::-1] if self.number(DESCRIPTOR) == _ABGR else pixels


def described(header: DpxHeader) -> dict[str, object]:
    """What a person wants to know of a header; what it leaves undefined is left out."""
    found: dict[str, object] = {
        "byte_order": "big-endian" if header.order == ">" else "little-endian",
        "packing": header.packing.method,
        "transfer_characteristic": header.number(TRANSFER),
        "colorimetric": header.number(COLORIMETRIC),
    }
    if len(header.data) < HEADER_BYTES:
        return found
    timecode = header.number(TIMECODE)
    if timecode:
        found["timecode"] = ":".join(f"{byte:02x}" for byte in timecode.to_bytes(4, "big"))
    rates = (struct.unpack_from(f"{header.order}f", header.data, at)[0] for at in FRAME_RATES)
    rate = next((rate for rate in rates if 0 < rate < LARGEST_RATE), None)
    texts = {name: _text(header.data[start:end]) for name, (start, end) in TEXTS.items()}
    found |= {} if rate is None else {"frame_rate": round(rate, 4)}
    return found | {name: text for name, text in texts.items() if text}


def _text(field: bytes) -> str:
    text = field.partition(b"\0")[0]
    return text.decode("ascii", "replace").strip() if not text.startswith(b"\xff") else ""


def parse_dpx(data: bytes) -> DpxHeader:
    """The header of a file, of which `data` may be the beginning.

    Raises UndecodableError or UnsupportedImageError.
    """
    if data[:4] not in ORDERS or len(data) < GENERIC_BYTES:
        raise UndecodableError(f"no DPX header: {len(data)} bytes that begin with {data[:4]!r}")
    begun = DpxHeader(data[:GENERIC_BYTES])
    offset = begun.number(ELEMENT_OFFSET) or begun.number(IMAGE_OFFSET)
    if offset < GENERIC_BYTES or 0 in begun.size:
        height, width = begun.size
        raise UndecodableError(f"a DPX of {width}x{height} pixels at byte {offset}: damaged")
    _refuse(begun)
    return DpxHeader(data[:offset], _line_step(begun, data, offset))


def pixel_span(header: DpxHeader, data: bytes) -> tuple[int, int]:
    """Where in a whole file the pixels are. Raises UndecodableError if it ends too early."""
    (height, width), start = header.size, len(header.data)
    stride = header.stride(width)
    expected = start + (height - 1) * stride + header.packing.line_bytes(width)
    if len(data) < expected:
        raise UndecodableError(
            f"a DPX of {len(data)} bytes; expected {expected} by its header: truncated"
        )
    return start, min(start + height * stride, len(data))


def restored_header(header: DpxHeader, shape: tuple[int, ...], scale: int, history: str) -> bytes:
    """The header for restored pixels (C,H,W), magnified by `scale`."""
    data = bytearray(_with_history(header, history))
    edited = DpxHeader(bytes(data), header.line_step)
    num_bytes = len(data) + shape[1] * edited.stride(shape[2])
    if num_bytes > MAX_FILE_BYTES:
        raise UnsupportedImageError(
            f"a DPX of {num_bytes} bytes; its header counts to {MAX_FILE_BYTES}"
        )
    numbers = {WIDTH: shape[2], HEIGHT: shape[1], FILE_BYTES: num_bytes}
    numbers |= {IMAGE_OFFSET: len(data), ELEMENT_OFFSET: len(data)}
    for place, number in numbers.items():
        struct.pack_into(header.order + place[1], data, place[0], number)
    for place in (*_IN_PIXELS, *_BORDERS) if scale != 1 else ():
        _multiply(data, header.order, place, scale)
    return bytes(data)


def _refuse(header: DpxHeader) -> None:
    descriptor, depth = header.number(DESCRIPTOR), header.number(BIT_DEPTH)
    if header.number(NUM_ELEMENTS) != 1:
        raise UnsupportedImageError(
            f"a DPX of {header.number(NUM_ELEMENTS)} image elements; expected one"
        )
    if descriptor not in BANDS:
        name = _OTHER_DESCRIPTORS.get(descriptor, f"descriptor {descriptor}")
        raise UnsupportedImageError(f"a DPX of {name}; expected luma, RGB or RGBA")
    if depth not in DEPTHS or header.number(IS_SIGNED) or header.number(PACKING) not in METHODS:
        raise UnsupportedImageError(
            f"a DPX of {depth}-bit samples, signed {header.number(IS_SIGNED)}, packing "
            f"{header.number(PACKING)}; expected 8, 10, 12 or 16 bits without sign"
        )
    if header.number(ENCODING):
        raise UnsupportedImageError("a DPX with run-length encoding; expected plain pixels")


def _line_step(header: DpxHeader, data: bytes, offset: int) -> int:
    """Lines begin at whole words, unless the file says or shows that they do not.

    Many writers leave the padding out without a word; then the file is just as long as its
    lines. Its stated length has to agree, so that it is not a longer one that was cut.
    """
    height, width = header.size
    line_bytes = header.packing.line_bytes(width)
    if header.number(LINE_PADDING):
        return 1
    bare = offset + height * line_bytes
    padded = offset + (height - 1) * -(-line_bytes // 4) * 4 + line_bytes
    stated = header.number(FILE_BYTES)
    if len(data) >= padded and len(data) != bare:
        return 4
    return 1 if (stated or len(data)) == bare else 4


def _with_history(header: DpxHeader, history: str) -> bytes:
    """One more line in ganray's user data; those of somebody else are left alone."""
    data, num_user = header.data, header.number(USER_BYTES)
    user = data[HEADER_BYTES : HEADER_BYTES + num_user] if num_user else b""
    vacant = not num_user and not data[HEADER_BYTES:].strip(b"\0\xff")
    is_ours = user[:USER_ID_BYTES].rstrip(b"\0") == HISTORY_ID
    if not history or len(data) < HEADER_BYTES or not (vacant or is_ours):
        return data
    lines = user[USER_ID_BYTES:].rstrip(b"\0")
    user = HISTORY_ID.ljust(USER_ID_BYTES, b"\0") + b"\n".join(
        line for line in (lines, history.encode()) if line
    )
    # Whole kilobytes, so that a frame's length does not vary with the text.
    num_bytes = max(len(data), -(-(HEADER_BYTES + len(user)) // 1024) * 1024)
    edited = bytearray((data[:HEADER_BYTES] + user).ljust(num_bytes, b"\0"))
    struct.pack_into(header.order + USER_BYTES[1], edited, USER_BYTES[0], len(user))
    return bytes(edited)


def _multiply(data: bytearray, order: str, place: Field, scale: int) -> None:
    """Scale a number of pixels, unless it is undefined; one that grows too large becomes so."""
    offset, kind = place
    value = struct.unpack_from(order + kind, data, offset)[0]
    if kind == "f":
        # Undefined is what is no number.
        if abs(value * scale) <= _MAX_FLOAT:
            struct.pack_into(order + kind, data, offset, value * scale)
    elif value != UNDEFINED[kind]:
        struct.pack_into(order + kind, data, offset, min(value * scale, UNDEFINED[kind]))
