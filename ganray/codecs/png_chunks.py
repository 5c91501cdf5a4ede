"""The chunks of a PNG: read without trusting their lengths, checked, and written.

Says nothing about pixels.
"""

import struct
import zlib
from collections.abc import Iterator

from ganray.errors import UndecodableError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
OVERHEAD_BYTES = 12
"""Length, name and checksum of a chunk."""

Chunk = tuple[bytes, bytes]
"""Name and content."""


def read_chunks(data: bytes) -> Iterator[Chunk]:
    """The chunks that are there from end to end, up to the last; pixels without their content."""
    for kind, start, end in _spans(data):
        if end > len(data) - 4:
            return
        yield kind, b"" if kind == b"IDAT" else data[start:end]
        if kind == b"IEND":
            return


def require_checksums(data: bytes) -> None:
    """Raise UndecodableError for a chunk that is not what was written: decoders pass it on."""
    for kind, start, end in _spans(data):
        found = zlib.crc32(memoryview(data)[start - 4 : end])
        if end + 4 <= len(data) and found != int.from_bytes(data[end : end + 4]):
            name = kind.decode("latin-1")
            raise UndecodableError(f"damaged image: the checksum of its {name} chunk is wrong")


def pack_chunk(kind: bytes, content: bytes) -> bytes:
    """The bytes of a chunk."""
    checksum = zlib.crc32(content, zlib.crc32(kind))
    return b"".join((struct.pack(">I", len(content)), kind, content, struct.pack(">I", checksum)))


def _spans(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, and where the content begins and is said to end, of each chunk."""
    offset = len(SIGNATURE)
    while offset + OVERHEAD_BYTES <= len(data):
        length, kind = struct.unpack_from(">I4s", data, offset)
        yield kind, offset + 8, offset + 8 + length
        offset += OVERHEAD_BYTES + length
