"""The header of an OpenEXR file: its attributes, as the bytes that they are.

OpenImageIO reads and writes the pixels. Attributes it translates, and drops those of types
that it does not know; here they are carried over instead. Source: "OpenEXR File Layout".
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from ganray.errors import UndecodableError, UnsupportedImageError

MAGIC = b"v/1\x01"
VERSION = 2
TILED, LONG_NAMES, DEEP, MULTIPART = 0x200, 0x400, 0x800, 0x1000
_SHORT_NAME = 31
MAX_ATTRIBUTES = 4096

HALF, FLOAT = 1, 2
DTYPES = {HALF: "float16", FLOAT: "float32"}

COMPRESSIONS = ("none", "rle", "zips", "zip", "piz", "pxr24", "b44", "b44a", "dwaa", "dwab")
"""OpenImageIO's names, in the order of OpenEXR's numbers."""

LOSSLESS = COMPRESSIONS[:5]
_MOST_LINES = 256
"""The lines of a chunk in any compression are at most as many."""

# What says how the pixels are stored: that of the output is its own.
STRUCTURE = frozenset(
    (
        *(b"chunkCount", b"compression", b"dataWindow", b"displayWindow", b"lineOrder"),
        *(b"tiles", b"type", b"version"),
    )
)
HISTORY = b"Exif:ImageHistory"
"""The name that OpenImageIO, too, gives to the record of what was done to an image."""


@dataclass(frozen=True)
class Attribute:
    """One entry of a header."""

    name: bytes
    kind: bytes
    value: bytes = field(repr=False)


@dataclass(frozen=True)
class Channel:
    """A channel; `kind` is OpenEXR's number."""

    name: str
    kind: int


@dataclass(frozen=True)
class Window:
    """A rectangle with its last row and column, as OpenEXR has it."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def height(self) -> int:
        return self.bottom - self.top + 1

    @property
    def width(self) -> int:
        return self.right - self.left + 1

    def scale(self, factor: int) -> "Window":
        """The same after magnification."""
        return Window(
            self.left * factor,
            self.top * factor,
            (self.right + 1) * factor - 1,
            (self.bottom + 1) * factor - 1,
        )


@dataclass(frozen=True)
class ExrHeader:
    """The one header of a file. `num_bytes` is where the table of its chunks begins."""

    flags: int
    attributes: tuple[Attribute, ...]
    num_bytes: int

    def value(self, name: bytes, num_bytes: int) -> bytes:
        """An attribute's bytes. Raises UndecodableError unless there are as many."""
        for attribute in self.attributes:
            if attribute.name == name and len(attribute.value) == num_bytes:
                return attribute.value
        raise UndecodableError(f"an EXR without a {name.decode('latin-1')} that makes sense")

    def window(self, name: bytes) -> Window:
        window = Window(*struct.unpack("<4i", self.value(name, 16)))
        if window.height < 1 or window.width < 1:
            raise UndecodableError(f"an EXR of {window.width}x{window.height} pixels: damaged")
        return window

    @property
    def compression(self) -> str | None:
        """Its name, None if it is newer than this module."""
        number = self.value(b"compression", 1)[0]
        return COMPRESSIONS[number] if number < len(COMPRESSIONS) else None

    @property
    def tiles(self) -> tuple[int, int, int] | None:
        """Width, height and mode of tiles, whose lower half is 0 for one level."""
        if not self.flags & TILED:
            return None
        width, height, mode = struct.unpack("<2IB", self.value(b"tiles", 9))
        return width, height, mode

    @property
    def channels(self) -> tuple[Channel, ...]:
        """All channels, by name. Raises UnsupportedImageError for one that would not be kept."""
        value = next((a.value for a in self.attributes if a.name == b"channels"), b"")
        channels = tuple(_channels(value))
        names = [channel.name for channel in channels]
        if not channels or names != sorted(set(names)):
            raise UndecodableError("an EXR without channels, or in disorder: damaged")
        return channels


def parse_exr(data: bytes) -> ExrHeader:
    """The header of a file, of which `data` may be the beginning.

    Raises UndecodableError, or UnsupportedImageError for parts and deep pixels.
    """
    if data[:4] != MAGIC or len(data) < 8 or data[4] != VERSION:
        raise UndecodableError(f"no OpenEXR header: it begins with {data[:8]!r}")
    flags = int.from_bytes(data[4:8], "little")
    if flags & DEEP:
        raise UnsupportedImageError("an EXR of deep pixels; expected one value for each")
    attributes, end = [], 8
    while data[end : end + 1] != b"\0":
        attribute, end = _attribute(data, end)
        attributes.append(attribute)
        if len(attributes) > MAX_ATTRIBUTES:
            raise UndecodableError(f"an EXR of more than {MAX_ATTRIBUTES} attributes: damaged")
    end += 1
    if flags & MULTIPART:
        if data[end : end + 1] != b"\0":
            raise UnsupportedImageError("an EXR of several parts; expected one")
        end += 1
    return ExrHeader(flags, tuple(attributes), end)


def with_attributes(data: bytes, kept: ExrHeader, history: str) -> bytes:
    """The file `data`, as OpenImageIO wrote it, with all other attributes of another header."""
    written = parse_exr(data)
    own = {a.name: a for a in written.attributes if a.name in STRUCTURE}
    # The list of channels among them: it says more of each than OpenImageIO writes.
    own |= {a.name: a for a in kept.attributes if a.name not in STRUCTURE}
    if history:
        earlier = own[HISTORY].value if HISTORY in own else b""
        lines = b"\n".join(line for line in (earlier, history.encode()) if line)
        own[HISTORY] = Attribute(HISTORY, b"string", lines)
    header = b"".join(map(_pack, own.values())) + b"\0"
    flags = written.flags
    if any(len(name) > _SHORT_NAME for a in own.values() for name in (a.name, a.kind)):
        flags |= LONG_NAMES
    table_bytes = struct.unpack_from("<Q", data, written.num_bytes)[0] - written.num_bytes
    table = struct.unpack_from(f"<{table_bytes // 8}Q", data, written.num_bytes)
    assert min(table) == table[0], "chunks are not in the order of their table"
    moved = 8 + len(header) - written.num_bytes
    offsets = struct.pack(f"<{len(table)}Q", *(offset + moved for offset in table))
    start = MAGIC + flags.to_bytes(4, "little") + header + offsets
    return b"".join((start, memoryview(data)[written.num_bytes + table_bytes :]))


def require_table(header: ExrHeader, num_bytes: int) -> None:
    """Raise UndecodableError if a file of `num_bytes` has no room for all of its chunks."""
    window, tiles = header.window(b"dataWindow"), header.tiles
    num_chunks = -(-window.height // _MOST_LINES)
    if tiles:
        width, height, _ = tiles
        if not (width and height):
            raise UndecodableError("an EXR in tiles of no size: damaged")
        num_chunks = -(-window.height // height) * -(-window.width // width)
    # An offset, and a chunk's own place and length.
    if header.num_bytes + 16 * num_chunks > num_bytes:
        raise UndecodableError(
            f"an EXR of {window.width}x{window.height} pixels in {num_bytes} bytes: truncated"
        )


def _attribute(data: bytes, start: int) -> tuple[Attribute, int]:
    """The attribute that begins there, and where the next one does."""
    name_end = data.find(b"\0", start, start + 256)
    kind_end = data.find(b"\0", name_end + 1, name_end + 257)
    if name_end < 0 or kind_end < 0 or kind_end + 5 > len(data):
        raise UndecodableError("an EXR that ends in its header: damaged or truncated")
    value_start = kind_end + 5
    end = value_start + int.from_bytes(data[kind_end + 1 : value_start], "little")
    if end > len(data):
        raise UndecodableError("an EXR that ends in its header: damaged or truncated")
    name, kind = data[start:name_end], data[name_end + 1 : kind_end]
    return Attribute(name, kind, data[value_start:end]), end


def _pack(attribute: Attribute) -> bytes:
    length = len(attribute.value).to_bytes(4, "little")
    return b"".join((attribute.name, b"\0", attribute.kind, b"\0", length, attribute.value))


def _channels(value: bytes) -> Iterator[Channel]:
    start = 0
    while value[start : start + 1] not in (b"\0", b""):
        end = value.find(b"\0", start)
        if end < 0 or end + 17 > len(value):
            raise UndecodableError("an EXR with a damaged list of channels")
        kind, across, down = struct.unpack_from("<i4x2i", value, end + 1)
        name = value[start:end].decode("utf-8", "replace")
        if (across, down) != (1, 1):
            raise UnsupportedImageError(
                f"an EXR whose channel {name} has one sample for {across}x{down} pixels; expected "
                "one for each; save it with full channels first"
            )
        if kind not in DTYPES:
            raise UnsupportedImageError(
                f"an EXR whose channel {name} is of integers; expected half or float"
            )
        yield Channel(name, kind)
        start = end + 17
